"""Encoder and decoder blocks: attention and feed-forward around a residual stream."""

from collections.abc import Callable
from functools import singledispatch
from typing import Any

import flax.linen as nn
from jax import Array

from jaxformer.config.model import PostNorm, PreNorm, TransformerConfig
from jaxformer.nn.attention import Attend, Attention, unrecorded
from jaxformer.nn.cache import LayerCache, append
from jaxformer.nn.dropout import Dropout
from jaxformer.nn.ffn import FeedForward
from jaxformer.nn.norm import LayerNorm
from jaxformer.ops.attention.masks import Mask

Sublayer = Callable[[Array], tuple[Array, Any]]
"""x → (what is added to the stream, a by-product)."""


@singledispatch
def around(placement: Any, sublayer: Sublayer, norm: LayerNorm, dropout: Dropout, x_BTD: Array) -> tuple[Array, Any]:
    """A sublayer with its residual connection and norm. A new placement is a new config class registered here."""
    raise TypeError(f"no rule for norm placement {type(placement).__name__}")


@around.register
def _(placement: PreNorm, sublayer: Sublayer, norm: LayerNorm, dropout: Dropout, x_BTD: Array) -> tuple[Array, Any]:
    y_BTD, extra = sublayer(norm(x_BTD))
    return x_BTD + dropout(y_BTD), extra


@around.register
def _(placement: PostNorm, sublayer: Sublayer, norm: LayerNorm, dropout: Dropout, x_BTD: Array) -> tuple[Array, Any]:
    y_BTD, extra = sublayer(x_BTD)
    return norm(x_BTD + dropout(y_BTD)), extra


def final_norm(placement: PreNorm | PostNorm) -> Callable[[Array], Array]:
    """What stands after the last layer: a norm where the stream itself was never normalised."""
    return LayerNorm() if isinstance(placement, PreNorm) else lambda x_BTD: x_BTD


class EncoderBlock(nn.Module):
    """Self-attention, then feed-forward (Vaswani et al. 2017, fig. 1 left). Returns x and the attention's record."""

    config: TransformerConfig
    attend: Attend = unrecorded

    def setup(self):
        c = self.config
        self.attention = Attention(c.attention, c.width, self.attend)
        self.feed_forward = FeedForward(c.feed_forward, c.bias, c.dropout)
        self.norms = [LayerNorm(), LayerNorm()]
        self.dropout = Dropout(c.dropout)

    def __call__(self, x_BTD: Array, mask: Mask | None = None) -> tuple[Array, Any]:
        def read(h_BTD: Array) -> tuple[Array, Any]:
            return self.attention(h_BTD, self.attention.keys_values(h_BTD), mask)

        x_BTD, record = around(self.config.norm, read, self.norms[0], self.dropout, x_BTD)
        x_BTD, _ = around(self.config.norm, lambda h: (self.feed_forward(h), None), self.norms[1], self.dropout, x_BTD)
        return x_BTD, record


class DecoderBlock(nn.Module):
    """Causal self-attention, attention to the source, feed-forward (Vaswani et al. 2017, fig. 1 right)."""

    config: TransformerConfig
    attend: Attend = unrecorded

    def setup(self):
        c = self.config
        self.self_attention = Attention(c.attention, c.width, self.attend)
        self.cross_attention = Attention(c.attention, c.width, self.attend)
        self.feed_forward = FeedForward(c.feed_forward, c.bias, c.dropout)
        self.norms = [LayerNorm(), LayerNorm(), LayerNorm()]
        self.dropout = Dropout(c.dropout)

    def __call__(
        self,
        x_BTD: Array,
        cache: LayerCache | None,
        memory_BSD: Array | None,
        masks: tuple[Mask | None, Mask | None],
        positions_T: Array,
    ) -> tuple[Array, tuple[LayerCache | None, Any]]:
        """x, then the cache with x's tokens added (None where none was given) and the records of both attentions.

        `masks` are for the target itself and for the source. x's tokens stand at `positions_T`; a cache holds what
        stood before them. The source's keys and values are read from the cache, or computed from `memory_BSD` and
        cached where it has none yet.
        """

        def read_self(h_BTD: Array) -> tuple[Array, Any]:
            own = self.self_attention.keys_values(h_BTD)
            if cache is not None:
                own = append(cache.own, own, positions_T[0])
            y_BTD, record = self.self_attention(h_BTD, own, masks[0], positions_T)
            return y_BTD, (own, record)

        def read_source(h_BTD: Array) -> tuple[Array, Any]:
            source = cache.source if cache is not None else None
            if source is None:
                if memory_BSD is None:
                    raise ValueError("a decoder needs the source's vectors, or a cache that has read them; got neither")
                source = self.cross_attention.keys_values(memory_BSD)
            y_BTD, record = self.cross_attention(h_BTD, source, masks[1])
            return y_BTD, (source, record)

        norm, drop = self.config.norm, self.dropout
        x_BTD, (own, own_record) = around(norm, read_self, self.norms[0], drop, x_BTD)
        x_BTD, (source, source_record) = around(norm, read_source, self.norms[1], drop, x_BTD)
        x_BTD, _ = around(norm, lambda h: (self.feed_forward(h), None), self.norms[2], drop, x_BTD)
        return x_BTD, (None if cache is None else LayerCache(own, source), (own_record, source_record))
