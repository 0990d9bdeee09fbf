"""Scaled dot-product attention as published: one head of one sequence. Every faster form is tested against this one."""

import math

import jax
import jax.numpy as jnp
from jax import Array


def attention_weights(q_TH: Array, k_SH: Array, mask_TS: Array | None = None) -> Array:
    """How much each query reads of each key: softmax(q kᵀ / √H), float32 [T, S].

    q_TH [T, H] and k_SH [S, H] are of any floating type. mask_TS is True where query t may read key s; the weights of a
    query that may read nothing are all zero. The division by √H keeps the scores' variance, and with it the softmax's
    gradient, independent of the width. Source: Vaswani et al. 2017, eq. 1 and §3.2.1.
    """
    scores_TS = jnp.einsum("th,sh->ts", q_TH, k_SH, preferred_element_type=jnp.float32) / math.sqrt(q_TH.shape[-1])
    if mask_TS is None:
        return jax.nn.softmax(scores_TS, axis=-1)
    lowest = jnp.finfo(jnp.float32).min
    top_T1 = jax.lax.stop_gradient(jnp.max(scores_TS, axis=-1, keepdims=True, where=mask_TS, initial=lowest))
    # The inner where keeps exp from overflowing on hidden scores: its gradient would be 0 · inf = NaN.
    weights_TS = jnp.where(mask_TS, jnp.exp(jnp.where(mask_TS, scores_TS - top_T1, 0.0)), 0.0)
    total_T1 = jnp.sum(weights_TS, axis=-1, keepdims=True)
    return weights_TS / jnp.where(total_T1 == 0, 1.0, total_T1)


def attend(q_TH: Array, k_SH: Array, v_SH: Array, mask_TS: Array | None = None) -> tuple[Array, Array]:
    """One head: softmax(q kᵀ / √H) v.

    Returns o_TH [T, H] in v's dtype and the weights float32 [T, S]; what a caller does not use is never computed under
    jit. A query that may read nothing returns zeros. Source: Vaswani et al. 2017, eq. 1.
    """
    weights_TS = attention_weights(q_TH, k_SH, mask_TS)
    o_TH = jnp.einsum("ts,sh->th", weights_TS.astype(v_SH.dtype), v_SH, preferred_element_type=jnp.float32)
    return o_TH.astype(v_SH.dtype), weights_TS


# Several readers share one library of keys and values (grouped-query attention, Ainslie et al. 2023); with one reader
# each this is multi-head attention (Vaswani et al. 2017, §3.2.2), with a single library multi-query (Shazeer 2019).
_readers = jax.vmap(attend, in_axes=(1, None, None, None), out_axes=(1, 0))
_libraries = jax.vmap(_readers, in_axes=(1, 1, 1, None), out_axes=(1, 0))


def grouped(q_TNH: Array, k_SKH: Array, v_SKH: Array, mask_TS: Array | None = None) -> tuple[Array, Array]:
    """Every head of one sequence: N query heads, of which each N/K neighbours share one of the K key/value heads.

    Returns o_TNH [T, N, H] and the weights float32 [N, T, S]. Raises ValueError where K does not divide N.
    """
    (T, N, H), K = q_TNH.shape, k_SKH.shape[1]
    if N % K:
        raise ValueError(f"query heads must be a multiple of key/value heads, got {N} and {K}")
    o_TKGH, weights_KGTS = _libraries(q_TNH.reshape(T, K, N // K, H), k_SKH, v_SKH, mask_TS)
    return o_TKGH.reshape(T, N, H), weights_KGTS.reshape(N, T, -1)
