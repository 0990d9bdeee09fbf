"""Greedy decoding: always the likeliest next token."""

from functools import partial
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array

from jaxformer.decoding.scoring import Decoded, Marks, begin, length_penalty, likeliest


class _Paths(NamedTuple):
    step: Array
    tokens_BT: Array
    logp_B: Array
    ended_B: Array


@partial(jax.jit, static_argnames=("model", "length", "bos", "eos", "pad"))
def greedy(
    model: nn.Module,
    params: Any,
    source_BS: Array,
    *,
    length: int,
    alpha: Array | float = 0.6,
    bos: int,
    eos: int,
    pad: int,
) -> Decoded:
    """The likeliest next token, again and again, until every sentence has ended: one loop over the model's cache.

    Args:
        model: a module with `prefill` and `decode`, as `Transformer` and `Rnn` have them; static.
        params: its variables.
        source_BS: int32, padded with `pad` at the end. A row of nothing but padding gives an empty sentence of score 0.
        length: most tokens of a sentence, its end mark included; static. In the last place only the end mark is left to
            choose, and its probability counts: a sentence that would go on is cut there, and its score compares.
        alpha: exponent of the length penalty. It changes no token here, only makes the score comparable with `beam`'s.
        bos, eos, pad: ids of the marks; bos and pad are never generated.
    """
    marks = Marks(bos, eos, pad)

    def extend(paths: _Paths, logits_BV: Array) -> _Paths:
        logp_B1, token_B1 = likeliest(logits_BV, 1, paths.step == length - 1, marks)
        token_B = jnp.where(paths.ended_B, pad, token_B1[:, 0])
        logp_B = paths.logp_B + jnp.where(paths.ended_B, 0.0, logp_B1[:, 0])
        tokens_BT = paths.tokens_BT.at[:, paths.step].set(token_B)
        return _Paths(paths.step + 1, tokens_BT, logp_B, paths.ended_B | (token_B == eos))

    def advance(state: tuple[_Paths, Any]) -> tuple[_Paths, Any]:
        paths, cache = state
        latest_B1 = jax.lax.dynamic_slice_in_dim(paths.tokens_BT, paths.step - 1, 1, axis=1)
        logits_B1V, cache = model.apply(params, latest_B1, cache, method="decode")
        return extend(paths, logits_B1V[:, 0]), cache

    logits_BV, cache = begin(model, params, source_BS, length, marks)
    rows = source_BS.shape[0]
    nothing_BT = jnp.full((rows, length), pad, jnp.int32)
    empty_B = jnp.all(source_BS == pad, axis=1)
    paths = extend(_Paths(jnp.zeros((), jnp.int32), nothing_BT, jnp.zeros(rows), empty_B), logits_BV)
    paths, _ = jax.lax.while_loop(lambda state: ~jnp.all(state[0].ended_B), advance, (paths, cache))
    tokens_B = jnp.sum(paths.tokens_BT != pad, axis=1)
    return Decoded(paths.tokens_BT, paths.logp_B / length_penalty(tokens_B, alpha))
