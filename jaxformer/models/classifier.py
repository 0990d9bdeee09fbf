"""An encoder that tells the class of a text."""

from functools import singledispatch
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jax import Array

from jaxformer.config.classify import First, Mean, Pooling
from jaxformer.config.model import EncoderConfig
from jaxformer.models.encoder import Encoder, mean_of
from jaxformer.nn.dropout import Dropout
from jaxformer.nn.recorder import Recorded, Recorder
from jaxformer.nn.weight import constant, weight
from jaxformer.ops.linear import logits


class Classifier(nn.Module):
    """One text or two → how likely each class is (Devlin et al. 2019, §4.1).

    The parameters below `encoder` are those of an `Encoder` of the same config, without the heads that are of no use
    here. Call it with `rngs={"dropout": key}` to train.
    """

    config: EncoderConfig
    vocabulary: int
    classes: int
    pooling: Pooling = Mean()
    pad: int = 0
    recorder: Recorder | None = None

    def setup(self):
        self.encoder = Encoder(self.config, self.vocabulary, self.pad, self.recorder)
        self.dropout = Dropout(self.config.dropout)
        self.head = Head(self.classes)

    def __call__(self, tokens_BT: Array, types_BT: Array | None = None) -> Array:
        """Logits float32 [B, C]. `types_BT` is 1 in the second of two texts; a model that knows no kinds of segment, or
        one alone, does without.
        """
        return self.head(self.dropout(pooled(self.pooling, self.encoder, tokens_BT, self._segments(types_BT))))

    def recorded(self, tokens_BT: Array, types_BT: Array | None = None) -> dict[str, Recorded]:
        """What a `recording` model kept of its layers, the "encoder"."""
        return self.encoder.recorded(tokens_BT, self._segments(types_BT))

    def recording(self, recorder: Recorder) -> "Classifier":
        """The same model, keeping what the recorder does; `recorded` hands it out."""
        return self.clone(recorder=recorder)

    def _segments(self, types_BT: Array | None) -> Array | None:
        return None if types_BT is None else jnp.minimum(types_BT, max(self.config.segments, 1) - 1)


@singledispatch
def pooled(pooling: Any, encoder: Encoder, tokens_BT: Array, segments_BT: Array | None) -> Array:
    """One vector for each text, [B, D]. A new way is a config class registered here."""
    raise TypeError(f"no rule to pool by {type(pooling).__name__}")


@pooled.register
def _(pooling: First, encoder: Encoder, tokens_BT: Array, segments_BT: Array | None) -> Array:
    return encoder.pooled(tokens_BT, segments_BT)


@pooled.register
def _(pooling: Mean, encoder: Encoder, tokens_BT: Array, segments_BT: Array | None) -> Array:
    return mean_of(encoder.encode(tokens_BT, segments_BT), tokens_BT != encoder.pad)


class Head(nn.Module):
    """x Wᵀ + b."""

    classes: int

    @nn.compact
    def __call__(self, x_BD: Array) -> Array:
        w_CD = weight(self, "dense", (self.classes, x_BD.shape[-1]), ("class", "embed"))
        return logits(x_BD, w_CD) + constant(self, "dense_bias", 0.0, (self.classes,), ("class",))
