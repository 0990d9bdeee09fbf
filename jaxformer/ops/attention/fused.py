"""Kernels that come with jax, called so that they compute what `attention` says, of the masks that they know."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from jaxformer.ops.attention.asked import Asked
from jaxformer.ops.attention.masks import And, Causal, Mask, Segments, Window

NOT_IN_ORDER = "queries or keys do not stand at 0, 1, 2, …"


class Known(NamedTuple):
    """A mask that is the conjunction of these."""

    causal: bool = False
    window: int | None = None
    segments: Segments | None = None


def known(mask: Mask | None) -> Known | None:
    """A mask in words that kernels know, at most one of each kind; None where it has others."""
    if isinstance(mask, And):
        left, right = known(mask.left), known(mask.right)
        if left is None or right is None or any(a and b for a, b in zip(left, right, strict=True)):
            return None
        return Known(left.causal or right.causal, left.window or right.window, left.segments or right.segments)
    if isinstance(mask, Segments):
        return Known(segments=mask)
    if isinstance(mask, Window):
        return Known(window=mask.size)
    return Known(causal=isinstance(mask, Causal)) if mask is None or isinstance(mask, Causal) else None


def _common_refusal(asked: Asked) -> str | None:
    mask, (T, S) = known(asked.mask), (asked.q_BTNH.shape[1], asked.k_BSKH.shape[1])
    if not asked.in_order:
        return NOT_IN_ORDER
    if asked.bias is not None:
        return "scores have a bias"
    if mask is None:
        return "its mask knows no more than Causal, Window and Segments, each of them once"
    # What these kernels give a query that may read nothing is not zero.
    if mask.segments is not None and mask.segments.key_ids_S is not None:
        return "queries and keys have segments of their own, so that a query may read nothing"
    if asked.mask is not None and T > S:
        return f"there are more queries than keys, {T} and {S}, so that a query may read nothing"
    return None


def cudnn_refusal(asked: Asked) -> str | None:
    """What cuDNN's attention cannot do by way of jax."""
    H, W, dtype = asked.q_BTNH.shape[-1], asked.v_BSKW.shape[-1], asked.q_BTNH.dtype
    mask, (T, S) = known(asked.mask), (asked.q_BTNH.shape[1], asked.k_BSKH.shape[1])
    if reason := _common_refusal(asked):
        return reason
    if mask is not None and mask.segments is not None:
        return "it ignores segments"
    if mask is not None and mask.window is not None and not mask.causal:
        return "its window looks back alone"
    if asked.sinks_N is not None or asked.softcap is not None:
        return "it has neither sinks nor a soft-cap"
    if dtype not in (jnp.bfloat16, jnp.float16):
        return f"it computes in bfloat16 or float16, not in {dtype}"
    if H != W or H % 8 or H > 128:
        return f"heads must have one width, a multiple of 8 of at most 128, got {H} and {W}"
    if T != S and asked.mask is not None:
        return f"queries and keys must be as many, got {T} and {S}"
    return None


def by_jax(asked: Asked, implementation: Any) -> Array:
    """`jax.nn.dot_product_attention`: masks without segments."""
    mask = known(asked.mask) or Known()
    return jax.nn.dot_product_attention(
        asked.q_BTNH,
        asked.k_BSKH,
        asked.v_BSKW,
        scale=asked.scale,
        is_causal=mask.causal,
        # From how many before to how many after.
        local_window_size=None if mask.window is None else (mask.window - 1, 0),
        implementation=implementation,
    )


LANES = 128
"""Numbers side by side in a TPU's vector, by which splash attention cuts sequences."""


def splash_refusal(asked: Asked) -> str | None:
    """What splash attention cannot do."""
    T, S = asked.q_BTNH.shape[1], asked.k_BSKH.shape[1]
    if reason := _common_refusal(asked):
        return reason
    if T % LANES or S % LANES:
        return f"queries and keys must be multiples of {LANES}, got {T} and {S}"
    if jax.device_count() > 1:
        return f"a kernel is for one device, and here are {jax.device_count()}"
    return None


def by_splash(asked: Asked, block: int, interpret: bool) -> Array:
    """The splash attention of `jax.experimental.pallas`, lifted over the batch."""
    # It brings in all of Pallas.
    from jax.experimental.pallas.ops.tpu.splash_attention import splash_attention_kernel as kernels
    from jax.experimental.pallas.ops.tpu.splash_attention import splash_attention_mask as masks

    (_, T, N, H), S = asked.q_BTNH.shape, asked.k_BSKH.shape[1]
    mask = known(asked.mask) or Known()
    if mask.window is not None:
        # From how many before to how many after.
        looks = masks.LocalMask((T, S), (mask.window - 1, 0 if mask.causal else mask.window - 1), 0)
    else:
        looks = masks.CausalMask((T, S)) if mask.causal else masks.FullMask((T, S))
    queries, keys = _fitting(block, T), _fitting(block, S)
    sizes = kernels.BlockSizes(
        **dict.fromkeys(("block_q", "block_q_dkv", "block_q_dq"), queries),
        **dict.fromkeys(("block_kv", "block_kv_compute", "block_kv_dkv", "block_kv_dkv_compute", "block_kv_dq"), keys),
    )
    kernel = kernels.make_splash_mha_single_device(
        masks.MultiHeadMask([looks] * N),
        block_sizes=sizes,
        attn_logits_soft_cap=asked.softcap,
        interpret=interpret,
    )

    def sequence(q_TNH: Array, k_SKH: Array, v_SKW: Array, segments: Segments | None) -> Array:
        ids = None if segments is None else kernels.SegmentIds(segments.query_ids_T, segments.query_ids_T)
        o_NTW: Any = kernel(*(jnp.swapaxes(x, 0, 1) for x in (q_TNH, k_SKH, v_SKW)), ids, asked.sinks_N)
        return jnp.swapaxes(o_NTW, 0, 1)

    scale = H**-0.5 if asked.scale is None else asked.scale
    axes = (0, 0, 0, None if mask.segments is None else mask.segments.batch_axes())
    return jax.vmap(sequence, axes)(asked.q_BTNH * scale, asked.k_BSKH, asked.v_BSKW, mask.segments)


def _fitting(block: int, length: int) -> int:
    """The largest multiple of 128 up to `block` that divides the length."""
    return max(size for size in range(LANES, min(block, length) + 1, LANES) if length % size == 0)
