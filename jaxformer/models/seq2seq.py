"""Encoder-decoder Transformers: that of Vaswani et al. 2017, and those that came of it."""

from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array

from jaxformer.config.model import EncoderDecoderConfig, Learned, TransformerConfig
from jaxformer.nn.attention import Where
from jaxformer.nn.block import Context
from jaxformer.nn.cache import Chunk
from jaxformer.nn.dropout import Dropout
from jaxformer.nn.embedding import Embedding, Positions, RelativeBias
from jaxformer.nn.norm import Norm
from jaxformer.nn.recorder import Recorded, Recorder
from jaxformer.nn.stack import Left, Stack, Stacked, caches, recorded
from jaxformer.nn.weight import constant, normal
from jaxformer.ops.attention.masks import Causal, Valid
from jaxformer.ops.linear import logits


class TransformerCache(NamedTuple):
    """What decoding remembers: every layer's keys and values, stacked on a first axis, the source's padding, and the
    next token's position.
    """

    layers: Stacked
    source_mask: Valid
    position: Array

    def select(self, rows_R: Array) -> "TransformerCache":
        """The cache of these batch rows, in this order; a row may be asked for several times."""
        return TransformerCache(_of_rows(self.layers, rows_R), Valid(self.source_mask.flags_S[rows_R]), self.position)

    def reorder(self, rows_B: Array) -> "TransformerCache":
        """`select` among rows that share their source, which is left where it is."""
        layers = [[layer._replace(own=_of_rows(layer.own, rows_B)) for layer in group] for group in self.layers]
        return self._replace(layers=tuple(map(tuple, layers)))


def _of_rows(stacked: Any, rows_R: Array) -> Any:
    return jax.tree.map(lambda leaf: jnp.take(leaf, rows_R, axis=1), stacked)


class Transformer(nn.Module):
    """Source tokens and the target so far → logits of the next target token.

    Sequences are int32 [B, T], padded with `pad` at the end. Call it with `rngs={"dropout": key}` to train.
    """

    config: TransformerConfig | EncoderDecoderConfig
    vocabulary: int
    pad: int = 0
    recorder: Recorder | None = None

    def setup(self):
        self.parts = c = self.config.written_out() if isinstance(self.config, TransformerConfig) else self.config
        recorder = self.recorder or Recorder(c.layers.attention)
        self.embedding = Embedding(self.vocabulary, c.width, jnp.dtype(c.dtype), c.embedding_scale, c.output_scale)
        self.source_position, self.target_position = Positions(c.position), Positions(c.position)
        self.dropout = Dropout(c.dropout)
        self.encoder = Stack(c.encoder, c.width, c.dropout, c.layers, recorder)
        self.decoder = Stack(c.decoder, c.width, c.dropout, c.layers, recorder)
        if c.norm is not None:
            self.encoder_norm, self.decoder_norm = Norm(c.norm), Norm(c.norm)
        if c.relative is not None:
            self.encoder_bias = RelativeBias(c.relative, c.encoder[0].blocks[0].attention.heads, bidirectional=True)
            self.decoder_bias = RelativeBias(c.relative, c.decoder[0].blocks[0].attention.heads, bidirectional=False)
        if c.tied_output:
            self.output_VD = self.embedding.table_VD
        else:
            self.output_VD = normal(self, "output", c.width**-0.5, (self.vocabulary, c.width), ("vocabulary", "embed"))
        if c.output_bias:
            self.output_bias_V = constant(self, "output_bias", 0.0, (self.vocabulary,), ("vocabulary",))

    def __call__(self, source_BS: Array, target_BT: Array) -> Array:
        """Logits float32 [B, T, V] of the token after each of target_BT, which begins with the begin mark."""
        return self._logits(self._forward(source_BS, target_BT)[0])

    def features(self, source_BS: Array, target_BT: Array) -> tuple[Array, Array, Array | None]:
        """x [B, T, D], w [V, D] and, where there is a bias, b [V]: the logits are x wᵀ + b, and a loss need not hold
        them all.
        """
        return self._predicting(self._forward(source_BS, target_BT)[0])

    def recorded(self, source_BS: Array, target_BT: Array) -> dict[str, Recorded]:
        """What a `recording` model kept of the layers of its "encoder" and its "decoder"."""
        _, encoder, decoder = self._forward(source_BS, target_BT)
        return {"encoder": recorded(self.parts.encoder, encoder), "decoder": recorded(self.parts.decoder, decoder)}

    def recording(self, recorder: Recorder) -> "Transformer":
        """The same model, keeping what the recorder does; `recorded` hands it out."""
        return self.clone(recorder=recorder)

    def unembed(self, x_BTD: Array) -> Array:
        """Logits float32 [B, T, V] of vectors of the decoder's residual stream: the final norm, where there is one,
        then the output projection.
        """
        return self._logits(self._normed(x_BTD))

    def encode(self, source_BS: Array) -> Array:
        """The encoder's vectors [B, S, D]."""
        return self._encode(source_BS)[0]

    def prefill(self, source_BS: Array, target_BT: Array, length: int) -> tuple[Array, TransformerCache]:
        """Logits [B, T, V] of the target so far, and a cache with room for `length` target tokens."""
        c = self.parts
        if isinstance(c.position, Learned) and length > c.position.length:
            raise ValueError(f"a cache must fit the {c.position.length} learned positions, got length {length}")
        memory_BSD, mask, _ = self._encode(source_BS)
        layers = caches(c.decoder, source_BS.shape[0], length, jnp.dtype(c.dtype))
        return self.decode(target_BT, TransformerCache(layers, mask, jnp.zeros((), jnp.int32)), memory_BSD)

    def decode(
        self, target_BT: Array, cache: TransformerCache, memory_BSD: Array | None = None
    ) -> tuple[Array, TransformerCache]:
        """Logits [B, T, V] after each of the next tokens, and the cache with them added."""
        T = target_BT.shape[1]
        positions_T = cache.position + jnp.arange(T)
        chunk = Chunk(cache.position, T)
        x_BTD, left = self._decode(target_BT, cache.layers, memory_BSD, cache.source_mask, positions_T, chunk)
        layers = tuple(tuple(beside.cache for beside in group) for group in left.layers)
        return self._logits(x_BTD), cache._replace(layers=layers, position=cache.position + T)

    def _forward(self, source_BS: Array, target_BT: Array) -> tuple[Array, Left, Left]:
        memory_BSD, mask, encoder = self._encode(source_BS)
        x_BTD, decoder = self._decode(target_BT, None, memory_BSD, mask, jnp.arange(target_BT.shape[1]), None)
        return x_BTD, encoder, decoder

    def _encode(self, source_BS: Array) -> tuple[Array, Valid, Left]:
        mask, positions_S = Valid(source_BS != self.pad), jnp.arange(source_BS.shape[1])
        own = Where(mask, self.encoder_bias() if self.parts.relative else None)
        x_BSD = self._embed(self.source_position, source_BS, positions_S)
        x_BSD, left = self.encoder(x_BSD, None, Context(own))
        return self.encoder_norm(x_BSD) if self.parts.norm else x_BSD, mask, left

    def _decode(
        self,
        target_BT: Array,
        layers: Stacked | None,
        memory_BSD: Array | None,
        source_mask: Valid,
        positions_T: Array,
        chunk: Chunk | None,
    ) -> tuple[Array, Left]:
        own = Where(Causal(), self.decoder_bias() if self.parts.relative else None, positions_T)
        context = Context(own, positions_T, chunk, memory_BSD, Where(source_mask))
        x_BTD = self._embed(self.target_position, target_BT, positions_T)
        x_BTD, left = self.decoder(x_BTD, layers, context)
        return self._normed(x_BTD), left

    def _normed(self, x_BTD: Array) -> Array:
        return self.decoder_norm(x_BTD) if self.parts.norm else x_BTD

    def _embed(self, position: Positions, tokens_BT: Array, positions_T: Array) -> Array:
        return self.dropout(position(self.embedding(tokens_BT), positions_T))

    def _predicting(self, x_BTD: Array) -> tuple[Array, Array, Array | None]:
        c = self.parts
        x_BTD = x_BTD * c.output_scale if c.output_scale != 1 else x_BTD
        return x_BTD, self.output_VD, self.output_bias_V if c.output_bias else None

    def _logits(self, x_BTD: Array) -> Array:
        x_BTD, w_VD, bias_V = self._predicting(x_BTD)
        return logits(x_BTD, w_VD) if bias_V is None else logits(x_BTD, w_VD) + bias_V
