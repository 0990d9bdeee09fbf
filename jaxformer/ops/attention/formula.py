"""Scaled dot-product attention as published: one head of one sequence. Every faster form is tested against this one."""

import math
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from jaxformer.ops.linear import capped


def scores(
    q_TH: Array, k_SH: Array, bias_TS: Array | None = None, *, scale: float | None = None, softcap: float | None = None
) -> Array:
    """How well each key answers each query: q kᵀ / √H, float32 [T, S].

    The division by √H keeps the scores' variance, and with it the softmax's gradient, independent of the width; a model
    that multiplies by another `scale` says so. `softcap` c bends scores s to c · tanh(s / c) (Gemma Team 2024), then
    `bias_TS` is added. Source: Vaswani et al. 2017, eq. 1 and §3.2.1.
    """
    before, after = factors(q_TH, scale)
    products_TS = jnp.einsum("th,sh->ts", q_TH * before, k_SH, preferred_element_type=jnp.float32)
    return bent(products_TS, after, bias_TS, softcap)


def factors(q_TH: Array, scale: float | None) -> tuple[float, float]:
    """What queries are multiplied by, and their products with keys.

    There are fewer queries than products, but shorter numbers than float32 would be rounded by it.
    """
    scale = 1 / math.sqrt(q_TH.shape[-1]) if scale is None else scale
    return (scale, 1.0) if q_TH.dtype == jnp.float32 else (1.0, scale)


def bent(products_TS: Array, factor: float, bias_TS: Array | None, softcap: float | None) -> Array:
    """Scores of products of queries and keys: multiplied by a factor, capped, and with their bias."""
    scores_TS = capped(products_TS * factor, softcap)
    return scores_TS if bias_TS is None else scores_TS + bias_TS


def masked_softmax(scores_TS: Array, mask_TS: Array | None = None, sink: Array | None = None) -> Array:
    """Weights float32 [T, S] of each query's keys, which sum to one; all zero for a query that may read nothing.

    mask_TS is True where query t may read key s. A `sink` is one more score in the sum, for reading nothing, so that
    the weights may sum to less (OpenAI 2025, gpt-oss).
    """
    return _shares(scores_TS, mask_TS, sink)[0]


def _shares(scores_TS: Array, mask_TS: Array | None, sink: Array | None) -> tuple[Array, Array | None]:
    """The weights of `masked_softmax`, and that of the sink [T, 1], which is too small at times to be told from the
    others' sum.
    """
    if mask_TS is None and sink is None:
        return jax.nn.softmax(scores_TS, axis=-1), None
    if mask_TS is None:
        mask_TS = jnp.ones(scores_TS.shape, bool)
    lowest = jnp.finfo(jnp.float32).min if sink is None else sink
    top_T1 = jax.lax.stop_gradient(jnp.max(scores_TS, axis=-1, keepdims=True, where=mask_TS, initial=lowest))
    # The inner where keeps exp from overflowing on hidden scores: its gradient would be 0 · inf = NaN.
    weights_TS = jnp.where(mask_TS, jnp.exp(jnp.where(mask_TS, scores_TS - top_T1, 0.0)), 0.0)
    total_T1 = jnp.sum(weights_TS, axis=-1, keepdims=True)
    if sink is None:
        return weights_TS / jnp.where(total_T1 == 0, 1.0, total_T1), None
    sink_T1 = jnp.exp(sink - top_T1)
    return weights_TS / (total_T1 + sink_T1), sink_T1 / (total_T1 + sink_T1)


@jax.custom_jvp
def read(scores_TS: Array, v_SH: Array, mask_TS: Array | None = None, sink: Array | None = None) -> tuple[Array, Array]:
    """What queries with these scores read: weights times values, o_TH [T, H] in v's dtype, and the weights themselves,
    float32 [T, S].
    """
    weights_TS = masked_softmax(scores_TS, mask_TS, sink)
    return _weighted(weights_TS, v_SH).astype(v_SH.dtype), weights_TS


@read.defjvp
def _(primals: tuple[Any, ...], tangents: tuple[Any, ...]) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
    """With weights P, scores S and o = P v: do = (P ∘ dS) v - sum(P ∘ dS) o + P dv.

    It is the softmax's rule with the sum taken after the product with v instead of before, so that its transpose sums
    do ∘ o over a head's width and not dP ∘ P over all keys (Dao et al. 2022, appendix B.2).
    """
    scores_TS, v_SH, mask_TS, sink = primals
    dscores_TS, dv_SH, _, dsink = tangents
    weights_TS, sink_T1 = _shares(scores_TS, mask_TS, sink)
    o_TH = _weighted(weights_TS, v_SH)
    moved_TS = weights_TS * dscores_TS
    common_T1 = jnp.sum(moved_TS, axis=-1, keepdims=True)
    if sink is not None:
        common_T1 = common_T1 + sink_T1 * dsink
    do_TH = _weighted(moved_TS, v_SH) - common_T1 * o_TH + _weighted(weights_TS, dv_SH)
    return (o_TH.astype(v_SH.dtype), weights_TS), (do_TH.astype(v_SH.dtype), moved_TS - common_T1 * weights_TS)


def _weighted(weights_TS: Array, v_SH: Array) -> Array:
    """weights times v, float32: the weights are rounded to v's dtype, the sum is not."""
    return jnp.einsum("ts,sh->th", weights_TS.astype(v_SH.dtype), v_SH, preferred_element_type=jnp.float32)


def attend(
    q_TH: Array,
    k_SH: Array,
    v_SH: Array,
    mask_TS: Array | None = None,
    bias_TS: Array | None = None,
    sink: Array | None = None,
    *,
    scale: float | None = None,
    softcap: float | None = None,
) -> tuple[Array, Array]:
    """One head: softmax(q kᵀ / √H) v.

    q_TH [T, H] and k_SH [S, H] are of any floating type, v_SH [S, W] may have a width of its own. Returns o_TH [T, W]
    in v's dtype and the weights float32 [T, S]; what a caller does not use is never computed under jit. A query that
    may read nothing returns zeros. Source: Vaswani et al. 2017, eq. 1; the rest as in `scores` and `masked_softmax`.
    """
    return read(scores(q_TH, k_SH, bias_TS, scale=scale, softcap=softcap), v_SH, mask_TS, sink)
