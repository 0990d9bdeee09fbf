"""From one head of one sequence to every head of every one: all at once, or in turn."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from jaxformer.ops.attention.biases import Bias
from jaxformer.ops.attention.masks import Mask

Head = Callable[..., Any]
"""(q_TH, k_SH, v_SH, mask, bias, sink, t_T, s_S) → arrays: the mask of one sequence, the bias of one head, and where
queries and keys stand.
"""

Lift = Callable[[Callable[..., Any], tuple[Any, ...]], Callable[..., Any]]
"""`jax.vmap`, or `in_turn`: (function, axes of its arguments) → function of arrays with one axis more in front."""


def in_turn(f: Callable[..., Any], in_axes: tuple[Any, ...]) -> Callable[..., Any]:
    """`jax.vmap(f, in_axes)` for axes that are 0 or None, as a loop: what one call needs is free before the next."""

    def looped(*args: Any) -> Any:
        leaves, structure = jax.tree.flatten(args, is_leaf=_is_none)
        axes = jax.tree.leaves(jax.tree.broadcast(in_axes, args, is_leaf=_is_none), is_leaf=_is_none)
        own = [None if axis is None else leaf for axis, leaf in zip(axes, leaves, strict=True)]

        def one(own: list[Any]) -> Any:
            whole = [shared if mine is None else mine for shared, mine in zip(leaves, own, strict=True)]
            return f(*jax.tree.unflatten(structure, whole))

        return jax.lax.map(one, own)

    return looped


def _is_none(axis: Any) -> bool:
    return axis is None


def every_head(
    head: Head,
    lift: Lift,
    q_BTNH: Array,
    k_BSKH: Array,
    v_BSKH: Array,
    mask: Mask | None,
    bias: Bias | None,
    sinks_N: Array | None,
    query_positions: Array | None = None,
    key_positions: Array | None = None,
) -> Any:
    """What `head` returns for N query heads, of which each N/K neighbours share one of the K key/value heads, with the
    axes [B, K, N/K] in front.

    Several readers share one library of keys and values (grouped-query attention, Ainslie et al. 2023); with one reader
    each this is multi-head attention (Vaswani et al. 2017, §3.2.2), with a single library multi-query. Raises
    ValueError where K does not divide N.
    """
    (B, T, N, H), K = q_BTNH.shape, k_BSKH.shape[2]
    if N % K:
        raise ValueError(f"query heads must be a multiple of key/value heads, got {N} and {K}")
    q_BKGTH = jnp.moveaxis(q_BTNH.reshape(B, T, K, N // K, H), 1, 3)
    k_BKSH, v_BKSH = jnp.swapaxes(k_BSKH, 1, 2), jnp.swapaxes(v_BSKH, 1, 2)
    bias_KG, sinks_KG = jax.tree.map(lambda x: x.reshape(K, N // K, *x.shape[1:]), (bias, sinks_N))
    mask_axes = None if mask is None else mask.batch_axes()
    places = (query_positions, key_positions)
    place_axes = [0 if place is not None and place.ndim == 2 else None for place in places]

    readers = lift(head, (0, None, None, None, 0, 0, None, None))
    libraries = lift(readers, (0, 0, 0, None, 0, 0, None, None))
    sequences = lift(libraries, (0, 0, 0, mask_axes, None, None, *place_axes))
    return sequences(q_BKGTH, k_BKSH, v_BKSH, mask, bias_KG, sinks_KG, *places)


def together(o_BKGTW: Array) -> Array:
    """[B, T, N, W]: what the heads of each token have read, side by side."""
    B, K, G, T, W = o_BKGTW.shape
    return jnp.moveaxis(o_BKGTW, 3, 1).reshape(B, T, K * G, W)
