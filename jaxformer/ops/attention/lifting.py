"""From one head of one sequence to every head of every one."""

from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from jaxformer.ops.attention.asked import Asked
from jaxformer.ops.attention.formula import attend


def every_head(asked: Asked) -> tuple[Array, Array]:
    """The formula for all heads at once: what they read, o [B, T, N, W] in v's dtype, and the weights [B, N, T, S].

    Of N query heads each N/K neighbours share one of the K libraries of keys and values (grouped-query attention,
    Ainslie et al. 2023); with one reader each this is multi-head attention (Vaswani et al. 2017, §3.2.2), with a single
    library multi-query.
    """

    def head(q_TH: Array, k_SH: Array, v_SW: Array, mask: Any, bias: Any, sink: Any, t_T: Array, s_S: Array) -> Any:
        mask_TS = None if mask is None else mask.table(t_T, s_S)
        bias_TS = None if bias is None else bias.table(t_T, s_S)
        return attend(q_TH, k_SH, v_SW, mask_TS, bias_TS, sink, scale=asked.scale, softcap=asked.softcap)

    (B, T, N, H), (S, K) = asked.q_BTNH.shape, asked.k_BSKH.shape[1:3]
    q_BKGTH = jnp.moveaxis(asked.q_BTNH.reshape(B, T, K, N // K, H), 1, 3)
    k_BKSH, v_BKSW = jnp.swapaxes(asked.k_BSKH, 1, 2), jnp.swapaxes(asked.v_BSKW, 1, 2)
    bias_KG, sinks_KG = jax.tree.map(lambda x: x.reshape(K, N // K, *x.shape[1:]), (asked.bias, asked.sinks_N))
    mask_axes = None if asked.mask is None else asked.mask.batch_axes()
    t, s = asked.query_positions, asked.key_positions
    t, s = jnp.arange(T) if t is None else t, jnp.arange(S) if s is None else s
    place_axes = [0 if place.ndim == 2 else None for place in (t, s)]

    readers = jax.vmap(head, (0, None, None, None, 0, 0, None, None))
    libraries = jax.vmap(readers, (0, 0, 0, None, 0, 0, None, None))
    sequences = jax.vmap(libraries, (0, 0, 0, mask_axes, None, None, *place_axes))
    o_BKGTW, weights_BKGTS = sequences(q_BKGTH, k_BKSH, v_BKSW, asked.mask, bias_KG, sinks_KG, t, s)
    return jnp.moveaxis(o_BKGTW, 3, 1).reshape(B, T, N, -1), weights_BKGTS.reshape(B, N, T, S)
