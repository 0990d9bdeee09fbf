"""What every search shares: how the next token is scored, how sentences of different length compare, what comes out."""

from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array


class Decoded(NamedTuple):
    """One sentence for each source."""

    tokens_BT: Array
    """int32 [B, length]: the tokens without the begin mark, the end mark, then padding."""
    scores_B: Array
    """log p(sentence | source), the end mark included, divided by `length_penalty`; float32."""


class Marks(NamedTuple):
    """The ids of the marks that begin, end and fill up a sentence."""

    bos: int
    eos: int
    pad: int


def length_penalty(length: Array | int, alpha: Array | float) -> Array:
    """((5 + length) / 6)^alpha, which divides a log-probability; `length` counts the end mark (Wu et al. 2016, eq. 14).

    With alpha = 0 probabilities compare as they are, and short sentences win; alpha = 1 is nearly a mean over tokens.
    """
    return ((5.0 + length) / 6.0) ** jnp.asarray(alpha, jnp.float32)


def likeliest(logits_V: Array, count: int, must_end: Array, marks: Marks) -> tuple[Array, Array]:
    """The `count` likeliest next tokens [..., count], likeliest first: their log-probabilities, float32, and their ids.

    The probabilities are the model's own, over all V tokens of logits_V [..., V]; pad and bos are never chosen. Where
    `must_end`, a bool scalar, the end mark is the only choice: the others come with log-probability -inf.
    """
    total_1 = jax.nn.logsumexp(logits_V, axis=-1, keepdims=True)
    ids_V = jnp.arange(logits_V.shape[-1])
    allowed_V = (ids_V != marks.pad) & (ids_V != marks.bos)
    logits_C, tokens_C = jax.lax.top_k(jnp.where(allowed_V, logits_V, -jnp.inf), count)
    only_end_C = jnp.where(jnp.arange(count) == 0, logits_V[..., marks.eos, None], -jnp.inf)
    logits_C = jnp.where(must_end, only_end_C, logits_C)
    return logits_C - total_1, jnp.where(must_end, marks.eos, tokens_C)


def begin(model: nn.Module, params: Any, source_BS: Array, length: int, marks: Marks) -> tuple[Array, Any]:
    """Logits [B, V] of the first token, and the model's cache with room for `length` tokens."""
    if length < 1:
        raise ValueError(f"length must be at least 1, the end mark, got {length}")
    bos_B1 = jnp.full((source_BS.shape[0], 1), marks.bos, jnp.int32)
    logits_B1V, cache = model.apply(params, source_BS, bos_B1, length, method="prefill")
    return logits_B1V[:, 0], cache
