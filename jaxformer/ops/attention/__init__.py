"""Attention of a batch of sequences, lifted from the formula for one head of one sequence."""

import jax
import jax.numpy as jnp
from jax import Array

from jaxformer.ops.attention.formula import grouped
from jaxformer.ops.attention.masks import Mask


def attention_with_weights(
    q_BTNH: Array, k_BSKH: Array, v_BSKH: Array, *, mask: Mask | None = None, query_positions_T: Array | None = None
) -> tuple[Array, Array]:
    """`attention`, together with its weights float32 [B, N, T, S]."""
    T, S = q_BTNH.shape[1], k_BSKH.shape[1]
    query_positions_T = jnp.arange(T) if query_positions_T is None else query_positions_T

    def sequence(q_TNH: Array, k_SKH: Array, v_SKH: Array, mask: Mask | None) -> tuple[Array, Array]:
        mask_TS = None if mask is None else mask.table(query_positions_T, jnp.arange(S))
        return grouped(q_TNH, k_SKH, v_SKH, mask_TS)

    mask_axes = None if mask is None else mask.batch_axes()
    return jax.vmap(sequence, in_axes=(0, 0, 0, mask_axes))(q_BTNH, k_BSKH, v_BSKH, mask)


def attention(
    q_BTNH: Array, k_BSKH: Array, v_BSKH: Array, *, mask: Mask | None = None, query_positions_T: Array | None = None
) -> Array:
    """Multi-head scaled dot-product attention of a batch: o [B, T, N, H] in v's dtype.

    q [B, T, N, H]; k, v [B, S, K, H], where K divides N (grouped-query attention). The softmax runs in float32. `mask`
    says who may read whom, by position; its arrays have a leading batch axis, or none where all sequences share them.
    Queries stand at `query_positions_T` (0 … T-1 unless given), keys at 0 … S-1. Source: Vaswani et al. 2017, §3.2.
    """
    return attention_with_weights(q_BTNH, k_BSKH, v_BSKH, mask=mask, query_positions_T=query_positions_T)[0]
