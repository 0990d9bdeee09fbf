"""Attention of a batch of sequences, lifted from the formula for one head of one sequence."""

from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from jaxformer.ops.attention.biases import Bias
from jaxformer.ops.attention.chunks import attend_by_chunks
from jaxformer.ops.attention.formula import attend
from jaxformer.ops.attention.lifting import every_head, in_turn, together
from jaxformer.ops.attention.masks import Mask


def attention_with_weights(
    q_BTNH: Array,
    k_BSKH: Array,
    v_BSKH: Array,
    *,
    mask: Mask | None = None,
    bias: Bias | None = None,
    sinks_N: Array | None = None,
    scale: float | None = None,
    softcap: float | None = None,
    query_positions: Array | None = None,
    key_positions: Array | None = None,
) -> tuple[Array, Array]:
    """`attention`, together with its weights float32 [B, N, T, S]."""
    query_positions = jnp.arange(q_BTNH.shape[1]) if query_positions is None else query_positions
    key_positions = jnp.arange(k_BSKH.shape[1]) if key_positions is None else key_positions

    def head(q_TH: Array, k_SH: Array, v_SH: Array, mask: Any, bias: Any, sink: Any, t_T: Array, s_S: Array) -> Any:
        mask_TS = None if mask is None else mask.table(t_T, s_S)
        bias_TS = None if bias is None else bias.table(t_T, s_S)
        return attend(q_TH, k_SH, v_SH, mask_TS, bias_TS, sink, scale=scale, softcap=softcap)

    places = (query_positions, key_positions)
    o_BKGTW, weights_BKGTS = every_head(head, jax.vmap, q_BTNH, k_BSKH, v_BSKH, mask, bias, sinks_N, *places)
    return together(o_BKGTW), weights_BKGTS.reshape(q_BTNH.shape[0], -1, *weights_BKGTS.shape[3:])


def attention(
    q_BTNH: Array,
    k_BSKH: Array,
    v_BSKH: Array,
    *,
    mask: Mask | None = None,
    bias: Bias | None = None,
    sinks_N: Array | None = None,
    scale: float | None = None,
    softcap: float | None = None,
    query_positions: Array | None = None,
    key_positions: Array | None = None,
) -> Array:
    """Multi-head scaled dot-product attention of a batch: o [B, T, N, W] in v's dtype.

    q [B, T, N, H]; k [B, S, K, H] and v [B, S, K, W], where K divides N (grouped-query attention). The softmax runs in
    float32. Source: Vaswani et al. 2017, §3.2.

    Args:
        mask: who may read whom, by position; its arrays have a leading batch axis, or none where all sequences share
            them.
        bias: what is added to the scores, by position and head.
        sinks_N: a score for reading nothing, float32 [N].
        scale: what scores are multiplied by, 1/√H unless given.
        softcap: scores s become softcap · tanh(s / softcap).
        query_positions, key_positions: where queries and keys stand, integers [T] and [S], or with a leading batch
            axis; 0, 1, 2, … unless given.

    On one CPU device, long sequences that stand at 0, 1, 2, … are read chunk by chunk (`attend_by_chunks`), with the
    same result up to rounding.
    """
    if query_positions is None and key_positions is None and _chunks_pay(q_BTNH, k_BSKH):

        def head(*of_head: Any) -> Array:
            return attend_by_chunks(*of_head[:-2], scale=scale, softcap=softcap)

        return together(every_head(head, in_turn, q_BTNH, k_BSKH, v_BSKH, mask, bias, sinks_N))
    return attention_with_weights(
        q_BTNH,
        k_BSKH,
        v_BSKH,
        mask=mask,
        bias=bias,
        sinks_N=sinks_N,
        scale=scale,
        softcap=softcap,
        query_positions=query_positions,
        key_positions=key_positions,
    )[0]


def _chunks_pay(q_BTNH: Array, k_BSKH: Array) -> bool:
    """Whether taking a head and a chunk at a time is faster: where the scores together exceed a processor's cache, and
    those of one head are worth a turn of a loop.

    Several devices divide sequences and heads among them, which a loop over both would undo.
    """
    (B, T, N, _), S = q_BTNH.shape, k_BSKH.shape[1]
    large = B * N * T * S >= 2**20 and min(T, S) >= 128
    return large and jax.default_backend() == "cpu" and jax.device_count() == 1
