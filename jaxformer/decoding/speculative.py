"""Speculative decoding: a small model drafts, the large one reads the draft and keeps what it would have said too."""

from functools import partial
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array

from jaxformer.config.sampling import Sampling
from jaxformer.decoding.generate import PLAIN, Written
from jaxformer.ops.sampling import restricted, verify


class Speculated(NamedTuple):
    """What was added to one sequence, and how well the draft guessed."""

    written: Written
    drafted: Array
    accepted: Array
    """Of the drafted tokens, those that stood."""


class _Round(NamedTuple):
    """A sequence between two rounds. `last` is written and not yet read by either model."""

    done: Array
    tokens_N: Array
    last: Array
    ended: Array
    target_cache: Any
    draft_cache: Any
    key: Array
    drafted: Array
    accepted: Array


@partial(jax.jit, static_argnames=("target", "draft", "count", "ahead", "sampling", "stops", "pad"))
def speculate(
    target: nn.Module,
    target_params: Any,
    draft: nn.Module,
    draft_params: Any,
    tokens_1T: Array,
    length_1: Array,
    key: Array,
    *,
    count: int,
    ahead: int = 4,
    sampling: Sampling = PLAIN,
    stops: tuple[int, ...] = (),
    pad: int = 0,
) -> Speculated:
    """Up to `count` more tokens of one sequence, each distributed exactly as the target model's own, whatever the draft
    model is; at temperature 0 they are the target's own tokens.

    Both models have one vocabulary. In each round the draft model writes `ahead` tokens, the target model reads them in
    one pass, and those up to the first refusal stand, followed by one of the target's. There is no repetition penalty,
    which would have to look into the draft. Sources: Leviathan et al. 2023; Chen et al. 2023.
    """
    if sampling.repetition_penalty != 1:
        raise ValueError(f"speculation takes no repetition_penalty, got {sampling.repetition_penalty}")
    room, places_A = tokens_1T.shape[1] + count + ahead + 1, jnp.arange(ahead + 1)

    def probabilities(logits_KV: Array) -> Array:
        return jax.nn.softmax(jax.vmap(lambda logits_V: restricted(logits_V, sampling))(logits_KV), axis=-1)

    def drawn(key: Array, p_V: Array) -> Array:
        return jax.random.categorical(key, jnp.log(p_V)).astype(jnp.int32)

    def is_stop(tokens: Array) -> Array:
        return jnp.isin(tokens, jnp.asarray(stops, jnp.int32))

    def one_more(state: tuple[Any, Array], key: Array) -> tuple[tuple[Any, Array], tuple[Array, Array]]:
        """The draft model reads a token and draws the next one."""
        cache, token = state
        logits_11V, cache = draft.apply(draft_params, token[None, None], cache, method="decode")
        p_V = probabilities(logits_11V[0])[0]
        token = drawn(key, p_V)
        return (cache, token), (token, p_V)

    def play(r: _Round) -> _Round:
        key, of_draft, of_verdict = jax.random.split(r.key, 3)
        start_1 = r.target_cache.length_B
        # One more than is judged, so that the draft model has read its last token too.
        keys = jax.random.split(of_draft, ahead + 1)
        (draft_cache, _), (tokens_A, draft_AV) = jax.lax.scan(one_more, (r.draft_cache, r.last), keys)
        tokens_K, draft_KV = tokens_A[:ahead], draft_AV[:ahead]
        read_1A = jnp.concatenate([r.last[None], tokens_K])[None]
        logits_1AV, target_cache = _decoded(target, target_params, read_1A, r.target_cache)
        kept, follows = verify(of_verdict, tokens_K, draft_KV, probabilities(logits_1AV[0]))
        added_A = jnp.where(places_A < kept, tokens_A, follows)
        stopped_A = is_stop(added_A) & (places_A <= kept)
        added = jnp.where(jnp.any(stopped_A), jnp.argmax(stopped_A), kept) + 1
        where_A = jnp.where(places_A < added, r.done + places_A, count)
        return _Round(
            done=r.done + added,
            tokens_N=r.tokens_N.at[where_A].set(added_A, mode="drop"),
            last=follows,
            ended=jnp.any(stopped_A),
            # Both forget what was refused.
            target_cache=target_cache.rewound(start_1 + kept + 1),
            draft_cache=draft_cache.rewound(start_1 + kept + 1),
            key=key,
            drafted=r.drafted + ahead,
            accepted=r.accepted + kept,
        )

    logits_1V, target_cache = target.apply(target_params, tokens_1T, length_1, room, ahead + 1, method="prefill")
    _, draft_cache = draft.apply(draft_params, tokens_1T, length_1, room, ahead + 1, method="prefill")
    key, of_first = jax.random.split(key)
    first, zero = drawn(of_first, probabilities(logits_1V)[0]), jnp.zeros((), jnp.int32)
    tokens_N = jnp.full(count, pad, jnp.int32).at[0].set(first)
    begun = _Round(zero + 1, tokens_N, first, is_stop(first), target_cache, draft_cache, key, zero, zero)
    r = jax.lax.while_loop(lambda r: (r.done < count) & ~r.ended, play, begun)
    return Speculated(Written(r.tokens_N[None], jnp.minimum(r.done, count)[None]), r.drafted, r.accepted)


def _decoded(model: nn.Module, params: Any, tokens_1A: Array, cache: Any) -> tuple[Array, Any]:
    return model.apply(params, tokens_1A, cache, method="decode")  # pyright: ignore[reportReturnType]
