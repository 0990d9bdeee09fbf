"""Tokens to vectors, and where they stand."""

from functools import singledispatch
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jax import Array

from jaxformer.config.model import Learned, NoPosition, Sinusoidal
from jaxformer.config.positions import Alibi, RelativeBuckets
from jaxformer.nn.weight import normal
from jaxformer.ops.attention.biases import Bias, Buckets, Slopes
from jaxformer.ops.linear import plus_bias
from jaxformer.ops.positions import alibi_slopes, sinusoid

UNSCALED = 0.02
"""Deviation that embeddings start with where they are not scaled when read (Radford et al. 2018, §4.1)."""


class Embedding(nn.Module):
    """One table of V vectors of width D, read as embeddings and, where tied, as the output projection (Press & Wolf
    2017).

    They are read times `scale`, and logits are x times them times `output_scale`. Where either is not 1 their entries
    start with deviation 1 / (√D output_scale), so that tied logits start near variance 1: with a scale of √D embeddings
    then have the size of the positions added to them (Vaswani et al. 2017, §3.4), and with an output scale of 1/√D that
    of unit vectors' entries times √D (Raffel et al. 2020, the authors' code).
    """

    vocabulary: int
    width: int
    dtype: Any
    scale: float = 1.0
    output_scale: float = 1.0

    def setup(self):
        scaled = self.scale != 1 or self.output_scale != 1
        deviation = self.width**-0.5 / self.output_scale if scaled else UNSCALED
        self.table_VD = normal(self, "table", deviation, (self.vocabulary, self.width), ("vocabulary", "embed"))

    def __call__(self, tokens_BT: Array) -> Array:
        """Embeddings [B, T, D] of int32 tokens [B, T]."""
        return (jnp.take(self.table_VD, tokens_BT, axis=0) * self.scale).astype(self.dtype)


@singledispatch
def add_position(position: Any, module: nn.Module, x_BTD: Array, positions_T: Array) -> Array:
    """x with its positions in the sequence added, [T] or [B, T]. A new kind of position is a config class registered
    here.
    """
    raise TypeError(f"no rule to add positions of type {type(position).__name__}")


@add_position.register
def _(position: NoPosition, module: nn.Module, x_BTD: Array, positions_T: Array) -> Array:
    return x_BTD


@add_position.register
def _(position: Sinusoidal, module: nn.Module, x_BTD: Array, positions_T: Array) -> Array:
    return x_BTD + sinusoid(positions_T, x_BTD.shape[-1], position.base, position.halves).astype(x_BTD.dtype)


@add_position.register
def _(position: Learned, module: nn.Module, x_BTD: Array, positions_T: Array) -> Array:
    if positions_T.shape[-1] > position.length:
        raise ValueError(
            f"a sequence must fit the {position.length} learned positions, got length {positions_T.shape[-1]}"
        )
    rows = position.first + position.length
    table_LD = normal(module, "position", position.deviation, (rows, x_BTD.shape[-1]), ("position", "embed"))
    return plus_bias(x_BTD, jnp.take(table_LD, position.first + positions_T, axis=0))


class Positions(nn.Module):
    """Adds what the config's position says."""

    position: Any

    @nn.compact
    def __call__(self, x_BTD: Array, positions_T: Array) -> Array:
        return add_position(self.position, self, x_BTD, positions_T)


class RelativeBias(nn.Module):
    """What is added to the scores for the distance of query and key, the same in every layer of a stack."""

    config: Alibi | RelativeBuckets
    heads: int
    bidirectional: bool = False

    @nn.compact
    def __call__(self) -> Bias:
        match self.config:
            case Alibi():
                return Slopes(jnp.asarray(alibi_slopes(self.heads)))
            case RelativeBuckets(buckets, reach):
                table_NR = normal(self, "table", UNSCALED, (self.heads, buckets), ("heads", "bucket"))
                return Buckets(table_NR, reach, self.bidirectional)
