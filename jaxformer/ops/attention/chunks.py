"""The formula, one head and one chunk of queries at a time.

The scores of a chunk stay in a processor's cache, keys that its queries may not read are left out, and the gradient
computes scores and outputs anew instead of keeping them (Dao et al. 2022, §3.1, with chunks of queries alone). To keep
the outputs saves one product of eight, and was measured to take a fifth longer on a CPU.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from jaxformer.ops.attention.biases import Bias
from jaxformer.ops.attention.formula import attend
from jaxformer.ops.attention.masks import Mask

CHUNK = 256
"""Queries at a time."""


def chunked(
    q_BTNH: Array,
    k_BSKH: Array,
    v_BSKH: Array,
    mask: Mask | None = None,
    bias: Bias | None = None,
    sinks_N: Array | None = None,
    *,
    scale: float | None = None,
    softcap: float | None = None,
    chunk: int = CHUNK,
) -> Array:
    """What every query reads, [B, T, N, W], as in `attention`, `chunk` queries at a time; queries and keys stand at 0,
    1, 2, …
    """
    (B, T, N, H), K = q_BTNH.shape, k_BSKH.shape[2]
    if N % K:
        raise ValueError(f"query heads must be a multiple of key/value heads, got {N} and {K}")
    if k_BSKH.shape[1] != v_BSKH.shape[1]:
        raise ValueError(f"there must be as many values as keys, got {v_BSKH.shape[1]} and {k_BSKH.shape[1]}")
    q_BKGTH = jnp.moveaxis(q_BTNH.reshape(B, T, K, N // K, H), 1, 3)
    k_BKSH, v_BKSH = jnp.swapaxes(k_BSKH, 1, 2), jnp.swapaxes(v_BSKH, 1, 2)
    bias_KG, sinks_KG = jax.tree.map(lambda x: x.reshape(K, N // K, *x.shape[1:]), (bias, sinks_N))
    head = partial(_head, scale=scale, softcap=softcap, chunk=chunk)

    def sequence(q_KGTH: Array, k_KSH: Array, v_KSH: Array, mask: Mask | None) -> Array:
        def library(each: Any) -> Array:
            q_GTH, k_SH, v_SH, bias_G, sinks_G = each
            return jax.lax.map(lambda reader: head(reader[0], k_SH, v_SH, mask, *reader[1:]), (q_GTH, bias_G, sinks_G))

        return jax.lax.map(library, (q_KGTH, k_KSH, v_KSH, bias_KG, sinks_KG))

    # What differs from sequence to sequence is looped over, and what all share stays as it is.
    leaves, structure = jax.tree.flatten(mask)
    axes = [] if mask is None else jax.tree.leaves(mask.batch_axes(), is_leaf=lambda axis: axis is None)
    own = [None if axis is None else leaf for axis, leaf in zip(axes, leaves, strict=True)]

    def each_sequence(each: Any) -> Array:
        q_KGTH, k_KSH, v_KSH, own = each
        parts = [shared if one is None else one for shared, one in zip(leaves, own, strict=True)]
        return sequence(q_KGTH, k_KSH, v_KSH, jax.tree.unflatten(structure, parts))

    o_BKGTW = jax.lax.map(each_sequence, (q_BKGTH, k_BKSH, v_BKSH, own))
    return jnp.moveaxis(o_BKGTW, 3, 1).reshape(B, T, N, -1)


def _head(
    q_TH: Array,
    k_SH: Array,
    v_SH: Array,
    mask: Mask | None,
    bias: Bias | None,
    sink: Array | None,
    *,
    scale: float | None,
    softcap: float | None,
    chunk: int,
) -> Array:
    """One head of one sequence, chunk after chunk."""
    T, S = q_TH.shape[0], k_SH.shape[0]

    def read_by(start: int, stop: int) -> Array:
        first, last = (0, S) if mask is None else mask.reach(start, stop, S)
        t_T, s_S = jnp.arange(start, stop), jnp.arange(first, last)

        @jax.checkpoint
        def read(q_TH: Array, k_SH: Array, v_SH: Array, mask: Mask | None, bias: Bias | None, sink: Any) -> Array:
            mask_TS = None if mask is None else mask.table(t_T, s_S)
            bias_TS = None if bias is None else bias(t_T[:, None], s_S[None, :])
            part = slice(first, last)
            return attend(
                q_TH[start:stop], k_SH[part], v_SH[part], mask_TS, bias_TS, sink, scale=scale, softcap=softcap
            )[0]

        return read(q_TH, k_SH, v_SH, mask, bias, sink)

    return jnp.concatenate([read_by(start, min(start + chunk, T)) for start in range(0, T, chunk)])
