"""One layer of a Transformer: attention and feed-forward around a residual stream."""

from collections.abc import Callable
from functools import singledispatch
from typing import Any, NamedTuple

import flax.linen as nn
from jax import Array

from jaxformer.config import blocks
from jaxformer.nn.attention import EVERYWHERE, Attention, Where
from jaxformer.nn.cache import Chunk, LayerCache
from jaxformer.nn.dropout import Dropout
from jaxformer.nn.experts import Experts, Report
from jaxformer.nn.ffn import FeedForward
from jaxformer.nn.latent_attention import LatentAttention
from jaxformer.nn.norm import Norm
from jaxformer.nn.recorder import SILENT, Read, Recorder

Added = tuple[Array, Any]
"""The stream with something added, and a by-product."""

Sublayer = Callable[[Array], tuple[Array, Any]]
"""x → (what is added to the stream, a by-product)."""


class Context(NamedTuple):
    """What every layer of a stack is told."""

    own: Where = EVERYWHERE
    """Who reads whom within the sequence."""
    positions: Array | None = None
    """What queries and keys turn by, [T] or [B, T]; 0, 1, 2, … where none are given."""
    chunk: Chunk | None = None
    """Where x stands in a cache; None without one."""
    memory: Array | None = None
    """Another sequence's vectors [B, S, D], to be read by cross-attention where no cache has read them."""
    source: Where = EVERYWHERE
    """Who reads whom in it."""
    counted: Array | None = None
    """The tokens that are no padding, bool [B, T]; all where it is None."""


class Beside(NamedTuple):
    """What a layer leaves beside its output; each is None where it was not asked for."""

    cache: LayerCache | None
    read: Read
    """What was kept of its attention."""
    cross_read: Read | None
    report: Report | None
    """Of a mixture of experts."""
    stream: Array | None = None
    """What was kept of the residual stream after it."""


@singledispatch
def attention_module(config: Any, width: int, recorder: Recorder = SILENT) -> nn.Module:
    """The module that an attention's config names, with `rows`, `queries_and_rows`, `read` and `__call__` as
    `Attention` has them. A new kind of attention is a config class registered here.
    """
    raise TypeError(f"no attention for {type(config).__name__}")


@attention_module.register
def _(config: blocks.MultiHead, width: int, recorder: Recorder = SILENT) -> nn.Module:
    return Attention(config, width, recorder)


@attention_module.register
def _(config: blocks.Latent, width: int, recorder: Recorder = SILENT) -> nn.Module:
    return LatentAttention(config, width, recorder)


@singledispatch
def feed_forward(config: Any, dropout: float) -> nn.Module:
    """The module (x [B, T, D], counted bool [B, T] or None) → (y [B, T, D], `Report` or None) that a config names. A
    new kind of layer is a config class registered here.
    """
    raise TypeError(f"no feed-forward layer for {type(config).__name__}")


@feed_forward.register(blocks.FeedForward)
@feed_forward.register(blocks.Gated)
def _(config: blocks.FeedForward | blocks.Gated, dropout: float) -> nn.Module:
    return FeedForward(config, dropout)


@feed_forward.register
def _(config: blocks.MixtureOfExperts, dropout: float) -> nn.Module:
    return Experts(config)


@singledispatch
def around(placement: Any, sublayer: Sublayer, norm: Callable[[str], Norm], drop: Dropout, x_BTD: Array) -> Added:
    """(x with what a sublayer makes of it added, the by-product); `norm` makes the norm of that name. A new placement
    is a new config class registered here.
    """
    raise TypeError(f"no rule for norm placement {type(placement).__name__}")


@around.register
def _(placement: blocks.PreNorm, sublayer: Sublayer, norm: Callable[[str], Norm], drop: Dropout, x_BTD: Array) -> Added:
    y_BTD, extra = sublayer(norm("norm")(x_BTD))
    return x_BTD + drop(y_BTD), extra


@around.register
def _(
    placement: blocks.PostNorm, sublayer: Sublayer, norm: Callable[[str], Norm], drop: Dropout, x_BTD: Array
) -> Added:
    y_BTD, extra = sublayer(x_BTD)
    return norm("norm")(x_BTD + drop(y_BTD)), extra


@around.register
def _(
    placement: blocks.SandwichNorm, sublayer: Sublayer, norm: Callable[[str], Norm], drop: Dropout, x_BTD: Array
) -> Added:
    y_BTD, extra = sublayer(norm("norm")(x_BTD))
    return x_BTD + drop(norm("after")(y_BTD)), extra


class Residual(nn.Module):
    """A sublayer around which the placement puts its norms."""

    placement: blocks.Placement
    norm: blocks.Norm = blocks.LayerNorm()
    dropout: float = 0.0

    @nn.compact
    def __call__(self, sublayer: Sublayer, x_BTD: Array) -> tuple[Array, Any]:
        return around(self.placement, sublayer, lambda name: Norm(self.norm, name=name), Dropout(self.dropout), x_BTD)


class Block(nn.Module):
    """Attention to its own sequence, to another one where the config has `cross`, then feed-forward (Vaswani et al.
    2017, fig. 1; Radford et al. 2018 without the middle part).
    """

    config: blocks.Block
    width: int
    dropout: float = 0.0
    recorder: Recorder = SILENT

    def setup(self):
        c = self.config
        self.attention = attention_module(c.attention, self.width, self.recorder)
        self.feed_forward = feed_forward(c.feed_forward, self.dropout)
        if c.cross is not None:
            self.cross = attention_module(c.cross, self.width, self.recorder)
            self.around_cross = Residual(c.placement, c.norm, self.dropout)
        if isinstance(c.placement, blocks.Parallel):
            self.norms = [Norm(c.norm) for _ in range(c.placement.norms)]
            self.drop = Dropout(self.dropout)
        else:
            self.around_attention = Residual(c.placement, c.norm, self.dropout)
            self.around_feed_forward = Residual(c.placement, c.norm, self.dropout)

    def __call__(self, x_BTD: Array, cache: LayerCache | None, context: Context) -> tuple[Array, Beside]:
        """x after this layer. The tokens of x are read together with those that a cache holds, and added to it."""

        def read_own(h_BTD: Array) -> tuple[Array, Any]:
            (queries, rows), where, own = self.attention.queries_and_rows(h_BTD, context.positions), context.own, None
            if cache is not None and context.chunk is not None:
                rows, keys, own = cache.own.extend(rows, context.chunk)
                where = where._replace(keys=keys)
            y_BTD, read = self.attention.read(h_BTD, queries, rows, where)
            return y_BTD, (own, read)

        def think(h_BTD: Array) -> tuple[Array, Any]:
            return self.feed_forward(h_BTD, context.counted)

        if isinstance(self.config.placement, blocks.Parallel):
            read_BTD, (own, read) = read_own(self.norms[0](x_BTD))
            thought_BTD, report = think(self.norms[-1](x_BTD))
            x_BTD = x_BTD + self.drop(read_BTD) + self.drop(thought_BTD)
            return x_BTD, Beside(None if own is None else LayerCache(own), read, None, report)

        x_BTD, (own, read) = self.around_attention(read_own, x_BTD)
        source = cross_read = None
        if self.config.cross is not None:
            x_BTD, (source, cross_read) = self.around_cross(lambda h: self._read_source(h, cache, context), x_BTD)
        x_BTD, report = self.around_feed_forward(think, x_BTD)
        return x_BTD, Beside(None if own is None else LayerCache(own, source), read, cross_read, report)

    def _read_source(self, h_BTD: Array, cache: LayerCache | None, context: Context) -> tuple[Array, Any]:
        source = None if cache is None else cache.source
        if source is None:
            if context.memory is None:
                raise ValueError("a decoder needs the source's vectors, or a cache that has read them; got neither")
            source = self.cross.rows(context.memory)
        y_BTD, read = self.cross(h_BTD, source, context.source)
        return y_BTD, (source, read)
