"""Multi-head attention: the weights around the formula."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
from jax import Array

from jaxformer.config.model import AttentionConfig
from jaxformer.nn.weight import constant, weight
from jaxformer.ops.attention import attention
from jaxformer.ops.attention.masks import Mask
from jaxformer.ops.linear import project

KeysValues = tuple[Array, Array]
"""Keys and values, each [B, S, K, H]."""

Attend = Callable[..., tuple[Array, Any]]
"""(q, k, v, *, mask, query_positions_T) → (o, a record of what was read); `unrecorded` or `attention_with_weights`."""


def unrecorded(*args: Any, **kwargs: Any) -> tuple[Array, None]:
    """Attention that leaves no record."""
    return attention(*args, **kwargs), None


class Attention(nn.Module):
    """Queries from x read keys and values made of any sequence: x itself, an encoder's memory, or a cache of either.

    Source: Vaswani et al. 2017, §3.2.2.
    """

    config: AttentionConfig
    width: int
    attend: Attend = unrecorded

    def setup(self):
        c, D = self.config, self.width
        self.wq_DNH = weight(self, "query", (D, c.heads, c.head_width), ("embed", "heads", "head"))
        self.wk_DKH = weight(self, "key", (D, c.kv_heads, c.head_width), ("embed", "kv_heads", "head"))
        self.wv_DKH = weight(self, "value", (D, c.kv_heads, c.head_width), ("embed", "kv_heads", "head"))
        self.wo_NHD = weight(self, "output", (c.heads, c.head_width, D), ("heads", "head", "embed"), inputs=2)
        if c.bias:
            self.bq_NH = constant(self, "query_bias", 0.0, (c.heads, c.head_width), ("heads", "head"))
            self.bk_KH = constant(self, "key_bias", 0.0, (c.kv_heads, c.head_width), ("kv_heads", "head"))
            self.bv_KH = constant(self, "value_bias", 0.0, (c.kv_heads, c.head_width), ("kv_heads", "head"))
            self.bo_D = constant(self, "output_bias", 0.0, (D,), ("embed",))

    def keys_values(self, memory_BSD: Array) -> KeysValues:
        """Keys and values [B, S, K, H] of a sequence, to be read now or kept in a cache."""
        k_BSKH = project("bsd,dkh->bskh", memory_BSD, self.wk_DKH)
        v_BSKH = project("bsd,dkh->bskh", memory_BSD, self.wv_DKH)
        if self.config.bias:
            return k_BSKH + self.bk_KH.astype(k_BSKH.dtype), v_BSKH + self.bv_KH.astype(v_BSKH.dtype)
        return k_BSKH, v_BSKH

    def __call__(
        self, x_BTD: Array, keys_values: KeysValues, mask: Mask | None = None, query_positions_T: Array | None = None
    ) -> tuple[Array, Any]:
        """What each of x's vectors reads, [B, T, D], and the record that `attend` leaves."""
        q_BTNH = project("btd,dnh->btnh", x_BTD, self.wq_DNH)
        if self.config.bias:
            q_BTNH = q_BTNH + self.bq_NH.astype(q_BTNH.dtype)
        o_BTNH, record = self.attend(q_BTNH, *keys_values, mask=mask, query_positions_T=query_positions_T)
        o_BTD = project("btnh,nhd->btd", o_BTNH, self.wo_NHD)
        return (o_BTD + self.bo_D.astype(o_BTD.dtype) if self.config.bias else o_BTD), record
