"""An encoder alone: BERT, RoBERTa, DistilBERT."""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jax import Array

from jaxformer.config.blocks import LayerNorm
from jaxformer.config.model import EncoderConfig
from jaxformer.nn.attention import Where
from jaxformer.nn.block import Context
from jaxformer.nn.dropout import Dropout
from jaxformer.nn.embedding import Embedding, Positions
from jaxformer.nn.norm import Norm
from jaxformer.nn.recorder import Recorded, Recorder
from jaxformer.nn.stack import Left, Stack, recorded
from jaxformer.nn.weight import constant, normal, weight
from jaxformer.ops.activations import ACTIVATIONS
from jaxformer.ops.attention.masks import Valid
from jaxformer.ops.linear import logits, plus_bias, project


class Encoder(nn.Module):
    """Tokens → a vector for each, which knows the whole text (Devlin et al. 2019).

    Sequences are int32 [B, T], padded with `pad` anywhere. Call it with `rngs={"dropout": key}` to train.
    """

    config: EncoderConfig
    vocabulary: int
    pad: int = 0
    recorder: Recorder | None = None

    def setup(self):
        c = self.config
        self.embedding = Embedding(self.vocabulary, c.width, jnp.dtype(c.dtype))
        self.position = Positions(c.position)
        self.dropout = Dropout(c.dropout)
        self.layers = Stack(c.groups, c.width, c.dropout, c.layers, self.recorder or Recorder(c.layers.attention))
        if c.segments:
            self.segments_SD = normal(self, "segments", 0.02, (c.segments, c.width), ("segment", "embed"))
        if c.embedding_norm is not None:
            self.embedding_norm = Norm(c.embedding_norm)
        if c.norm is not None:
            self.norm = Norm(c.norm)
        if c.masked_head:
            self.head = MaskedHead(c, self.vocabulary)
        if c.pooler:
            self.pooler = Pooler(c.width)

    def __call__(self, tokens_BT: Array, segments_BT: Array | None = None) -> Array:
        """Logits float32 [B, T, V] of the token at each place where there is a head for masked tokens, else the vectors
        [B, T, D].
        """
        x_BTD = self.encode(tokens_BT, segments_BT)
        if self.config.pooler and self.is_initializing():
            self.pooler(x_BTD[:, 0])  # its weights are a part of the model, although no logits need them
        return self._logits(x_BTD) if self.config.masked_head else x_BTD

    def encode(self, tokens_BT: Array, segments_BT: Array | None = None) -> Array:
        """The vectors [B, T, D]. `segments_BT` are the kinds of segment, all 0 unless given."""
        return self._forward(tokens_BT, segments_BT)[0]

    def pooled(self, tokens_BT: Array, segments_BT: Array | None = None) -> Array:
        """One vector for each text, [B, D]: the pooler's, or the first token's where there is none."""
        first_BD = self.encode(tokens_BT, segments_BT)[:, 0]
        return self.pooler(first_BD) if self.config.pooler else first_BD

    def masked_features(self, tokens_BT: Array, places_BM: Array) -> tuple[Array, Array, Array]:
        """x [B, M, D], w [V, D] and b [V]: the logits of the tokens at some places alone are x wᵀ + b."""
        x_BMD = jnp.take_along_axis(self.encode(tokens_BT), places_BM[..., None], axis=1)
        return *self._predicting(x_BMD), self.head.bias()

    def masked_logits(self, tokens_BT: Array, places_BM: Array) -> Array:
        """Logits float32 [B, M, V] of the tokens at some places alone."""
        x_BMD, w_VD, bias_V = self.masked_features(tokens_BT, places_BM)
        return logits(x_BMD, w_VD) + bias_V

    def recorded(self, tokens_BT: Array, segments_BT: Array | None = None) -> dict[str, Recorded]:
        """What a `recording` model kept of its layers, the "encoder"."""
        _, left = self._forward(tokens_BT, segments_BT)
        return {"encoder": recorded(self.config.groups, left)}

    def recording(self, recorder: Recorder) -> "Encoder":
        """The same model, keeping what the recorder does; `recorded` hands it out."""
        return self.clone(recorder=recorder)

    def unembed(self, x_BTD: Array) -> Array:
        """Logits float32 [B, T, V] of vectors of the residual stream: the final norm, where there is one, then the head
        for masked tokens.
        """
        return self._logits(self._normed(x_BTD))

    def _normed(self, x_BTD: Array) -> Array:
        return self.norm(x_BTD) if self.config.norm is not None else x_BTD

    def _logits(self, x_BTD: Array) -> Array:
        return logits(*self._predicting(x_BTD)) + self.head.bias()

    def _predicting(self, x_BTD: Array) -> tuple[Array, Array]:
        return self.head(x_BTD), self.embedding.table_VD

    def _forward(self, tokens_BT: Array, segments_BT: Array | None) -> tuple[Array, Left]:
        c = self.config
        counted_BT = tokens_BT != self.pad
        x_BTD = self.position(self.embedding(tokens_BT), jnp.arange(tokens_BT.shape[1]))
        if c.segments:
            kinds_BT = jnp.zeros_like(tokens_BT) if segments_BT is None else segments_BT
            x_BTD = x_BTD + jnp.take(self.segments_SD, kinds_BT, axis=0).astype(x_BTD.dtype)
        if c.embedding_norm is not None:
            x_BTD = self.embedding_norm(x_BTD)
        context = Context(Where(Valid(counted_BT)), counted=counted_BT)
        x_BTD, left = self.layers(self.dropout(x_BTD), None, context)
        return self._normed(x_BTD), left


class MaskedHead(nn.Module):
    """norm(activation(x W + b)), to be multiplied by the embeddings, and the bias of that product (Devlin et al. 2019,
    §3.1 and the authors' code).
    """

    config: EncoderConfig
    vocabulary: int

    def setup(self):
        D = self.config.width
        self.w_DD = weight(self, "dense", (D, D), ("embed", "embed_out"))
        self.b_D = constant(self, "dense_bias", 0.0, (D,), ("embed",))
        self.norm = Norm(self.config.embedding_norm or LayerNorm())
        self.bias_V = constant(self, "output_bias", 0.0, (self.vocabulary,), ("vocabulary",))

    def __call__(self, x_BTD: Array) -> Array:
        y_BTD = plus_bias(project("btd,de->bte", x_BTD, self.w_DD), self.b_D)
        return self.norm(ACTIVATIONS[self.config.activation](y_BTD))

    def bias(self) -> Array:
        """Added to the logits, float32 [V]."""
        return self.bias_V


class Pooler(nn.Module):
    """tanh(x W + b)."""

    width: int

    @nn.compact
    def __call__(self, x_BD: Array) -> Array:
        w_DD = weight(self, "dense", (x_BD.shape[-1], self.width), ("embed", "embed_out"))
        b_D = constant(self, "dense_bias", 0.0, (self.width,), ("embed",))
        return jnp.tanh(plus_bias(project("bd,de->be", x_BD, w_DD), b_D))


def mean_of(x_BTD: Array, counted_BT: Any) -> Array:
    """The mean of the vectors of true tokens, float32 [B, D]; 0 for a row that has none.

    Source: Reimers & Gurevych 2019, §3.
    """
    weights_BT1 = jnp.asarray(counted_BT, jnp.float32)[..., None]
    return jnp.sum(x_BTD.astype(jnp.float32) * weights_BT1, axis=1) / jnp.maximum(jnp.sum(weights_BT1, axis=1), 1e-9)


def mean_pooled(x_BTD: Array, counted_BT: Any) -> Array:
    """`mean_of`, divided by its length: one unit vector [B, D] for each text, float32."""
    mean_BD = mean_of(x_BTD, counted_BT)
    return mean_BD / jnp.maximum(jnp.linalg.norm(mean_BD, axis=-1, keepdims=True), 1e-12)
