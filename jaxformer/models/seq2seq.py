"""The encoder-decoder Transformer of Vaswani et al. 2017."""

from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array

from jaxformer.config.model import Learned, TransformerConfig
from jaxformer.nn.attention import Attend, unrecorded
from jaxformer.nn.block import DecoderBlock, EncoderBlock, final_norm
from jaxformer.nn.cache import LayerCache, empty
from jaxformer.nn.dropout import Dropout
from jaxformer.nn.embedding import Embedding, Positions, logits
from jaxformer.nn.stack import stack
from jaxformer.nn.weight import normal
from jaxformer.ops.attention import attention_with_weights
from jaxformer.ops.attention.masks import Causal, Valid


class TransformerCache(NamedTuple):
    """What decoding remembers: every layer's keys and values [L, B, ...], the source's padding, and the next token's
    position.
    """

    layers: LayerCache
    source_mask: Valid
    position: Array

    def select(self, rows_R: Array) -> "TransformerCache":
        """The cache of these batch rows, in this order; a row may be asked for several times."""
        layers = jax.tree.map(lambda leaf: jnp.take(leaf, rows_R, axis=1), self.layers)
        return TransformerCache(layers, Valid(self.source_mask.flags_S[rows_R]), self.position)

    def reorder(self, rows_B: Array) -> "TransformerCache":
        """`select` among rows that share their source, which is left where it is."""
        own = jax.tree.map(lambda leaf: jnp.take(leaf, rows_B, axis=1), self.layers.own)
        return self._replace(layers=self.layers._replace(own=own))


class Transformer(nn.Module):
    """Source tokens and the target so far → logits of the next target token.

    Sequences are int32 [B, T], padded with `pad` at the end. Call it with `rngs={"dropout": key}` to train.
    """

    config: TransformerConfig
    vocabulary: int
    pad: int = 0
    attend: Attend = unrecorded

    def setup(self):
        c = self.config
        self.embedding = Embedding(self.vocabulary, c.width, jnp.dtype(c.dtype))
        self.source_position, self.target_position = Positions(c.position), Positions(c.position)
        self.dropout = Dropout(c.dropout)
        encoder = stack(EncoderBlock, c.encoder_layers, c.layers, [nn.broadcast])
        decoder = stack(DecoderBlock, c.decoder_layers, c.layers, [0] + [nn.broadcast] * 3)
        self.encoder, self.decoder = encoder(c, self.attend), decoder(c, self.attend)
        self.encoder_norm, self.decoder_norm = final_norm(c.norm), final_norm(c.norm)
        if c.tied_output:
            self.output_VD = self.embedding.table_VD
        else:
            self.output_VD = normal(self, "output", c.width**-0.5, (self.vocabulary, c.width), ("vocabulary", "embed"))

    def __call__(self, source_BS: Array, target_BT: Array) -> Array:
        """Logits float32 [B, T, V] of the token after each of target_BT, which begins with the begin mark."""
        return logits(*self.features(source_BS, target_BT))

    def features(self, source_BS: Array, target_BT: Array) -> tuple[Array, Array]:
        """The last vectors [B, T, D] and the output matrix [V, D], whose product the logits are: a loss need not hold
        them all.
        """
        return self._forward(source_BS, target_BT)[0], self.output_VD

    def attention_maps(self, source_BS: Array, target_BT: Array) -> dict[str, Array]:
        """Attention weights float32 [layers, batch, heads, query, key] of a `recording` model: "encoder", "decoder",
        "cross".
        """
        _, encoder_LBNSS, (decoder_LBNTT, cross_LBNTS) = self._forward(source_BS, target_BT)
        return {"encoder": encoder_LBNSS, "decoder": decoder_LBNTT, "cross": cross_LBNTS}

    def recording(self) -> "Transformer":
        """The same model, keeping its attention weights."""
        return self.clone(attend=attention_with_weights)

    def encode(self, source_BS: Array) -> Array:
        """The encoder's vectors [B, S, D]."""
        return self._encode(source_BS)[0]

    def prefill(self, source_BS: Array, target_BT: Array, length: int) -> tuple[Array, TransformerCache]:
        """Logits [B, T, V] of the target so far, and a cache with room for `length` target tokens."""
        position, c = self.config.position, self.config.attention
        if isinstance(position, Learned) and length > position.length:
            raise ValueError(f"a cache must fit the {position.length} learned positions, got length {length}")
        memory_BSD, mask, _ = self._encode(source_BS)
        dtype = jnp.dtype(self.config.dtype)
        own = empty(source_BS.shape[0], length, c.kv_heads, c.head_width, dtype)
        own = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (self.config.decoder_layers, *leaf.shape)), own)
        cache = TransformerCache(LayerCache(own), mask, jnp.zeros((), jnp.int32))
        return self.decode(target_BT, cache, memory_BSD)

    def decode(
        self, target_BT: Array, cache: TransformerCache, memory_BSD: Array | None = None
    ) -> tuple[Array, TransformerCache]:
        """Logits [B, T, V] after each of the next tokens, and the cache with them added."""
        positions_T = cache.position + jnp.arange(target_BT.shape[1])
        x_BTD = self._embed(self.target_position, target_BT, positions_T)
        masks = (Causal(), cache.source_mask)
        x_BTD, (layers, _) = self.decoder(x_BTD, cache.layers, memory_BSD, masks, positions_T)
        x_BTD = self.decoder_norm(x_BTD)
        return logits(x_BTD, self.output_VD), cache._replace(
            layers=layers, position=cache.position + target_BT.shape[1]
        )

    def _forward(self, source_BS: Array, target_BT: Array) -> tuple[Array, Any, Any]:
        memory_BSD, mask, encoder_record = self._encode(source_BS)
        positions_T = jnp.arange(target_BT.shape[1])
        x_BTD = self._embed(self.target_position, target_BT, positions_T)
        x_BTD, (_, decoder_record) = self.decoder(x_BTD, None, memory_BSD, (Causal(), mask), positions_T)
        return self.decoder_norm(x_BTD), encoder_record, decoder_record

    def _encode(self, source_BS: Array) -> tuple[Array, Valid, Any]:
        mask = Valid(source_BS != self.pad)
        x_BSD = self._embed(self.source_position, source_BS, jnp.arange(source_BS.shape[1]))
        x_BSD, record = self.encoder(x_BSD, mask)
        return self.encoder_norm(x_BSD), mask, record

    def _embed(self, position: Positions, tokens_BT: Array, positions_T: Array) -> Array:
        return self.dropout(position(self.embedding(tokens_BT), positions_T))
