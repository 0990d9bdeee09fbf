"""Attention of a batch of sequences, by whoever computes it fastest; the truth is the formula for one head of one."""

from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from jaxformer.config.attention import AUTO, Backend
from jaxformer.ops.attention.asked import Asked
from jaxformer.ops.attention.backends import attend_by, taken
from jaxformer.ops.attention.biases import Bias
from jaxformer.ops.attention.lifting import every_head
from jaxformer.ops.attention.masks import Mask


def attention(
    q_BTNH: Array,
    k_BSKH: Array,
    v_BSKW: Array,
    *,
    mask: Mask | None = None,
    bias: Bias | None = None,
    sinks_N: Array | None = None,
    scale: float | None = None,
    softcap: float | None = None,
    query_positions: Array | None = None,
    key_positions: Array | None = None,
    backend: Backend = AUTO,
) -> Array:
    """Multi-head scaled dot-product attention of a batch: o [B, T, N, W] in v's dtype.

    q [B, T, N, H]; k [B, S, K, H] and v [B, S, K, W], where K divides N (grouped-query attention). The softmax runs in
    float32. Source: Vaswani et al. 2017, §3.2.

    Args:
        mask: who may read whom, by position; its arrays have a leading batch axis, or none where all sequences share
            them. A query that may read nothing gets zeros.
        bias: what is added to the scores, by position and head.
        sinks_N: a score for reading nothing, float32 [N].
        scale: what scores are multiplied by, 1/√H unless given.
        softcap: scores s become softcap · tanh(s / softcap).
        query_positions, key_positions: where queries and keys stand, integers [T] and [S], or with a leading batch
            axis; 0, 1, 2, … unless given.
        backend: who computes it (`jaxformer.config.attention`); all give the same result up to rounding. Only `Formula`
            has derivatives in forward mode, the others have gradients.

    Raises:
        ValueError: shapes that do not fit, or a backend that cannot do exactly this, with the reason.
    """
    mask = jax.tree.map(jnp.asarray, mask)
    asked = Asked(q_BTNH, k_BSKH, v_BSKW, mask, bias, sinks_N, scale, softcap, query_positions, key_positions)
    asked.check()
    return attend_by(taken(backend, asked).backend, asked)


def attention_with_weights(q_BTNH: Array, k_BSKH: Array, v_BSKW: Array, **how: Any) -> tuple[Array, Array]:
    """`attention` by the formula, with any of its arguments but a backend, and its weights, float32 [B, N, T, S]."""
    how["mask"] = jax.tree.map(jnp.asarray, how.get("mask"))
    asked = Asked(q_BTNH, k_BSKH, v_BSKW, **how)
    asked.check()
    return every_head(asked)
