"""The recurrent encoder-decoder that the Transformer replaced, with and without attention."""

from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array

from jaxformer.config.model import Bahdanau, RnnConfig
from jaxformer.nn.dropout import Dropout
from jaxformer.nn.embedding import Embedding
from jaxformer.nn.recorder import SILENT, Read, Recorded, Recorder
from jaxformer.nn.recurrent import AttentiveLayer, Readout, RecurrentLayer, cell_of
from jaxformer.ops.linear import logits
from jaxformer.ops.recurrence import State


class RnnCache(NamedTuple):
    """What decoding remembers."""

    states: tuple[State, ...]
    """Every layer's, of arrays [B, H]."""
    source: tuple[Array, Array] | None
    """Where the decoder has attention, the source's vectors [B, S, M] and which of them are no padding, bool [B, S]."""

    def select(self, rows_R: Array) -> "RnnCache":
        """The cache of these batch rows, in this order; a row may be asked for several times."""
        return jax.tree.map(lambda leaf: jnp.take(leaf, rows_R, axis=0), self)

    def reorder(self, rows_B: Array) -> "RnnCache":
        """`select` among rows that share their source, which is left where it is."""
        return self._replace(states=jax.tree.map(lambda leaf: jnp.take(leaf, rows_B, axis=0), self.states))


class Rnn(nn.Module):
    """Source tokens and the target so far → logits of the next target token. The same contract as `Transformer`.

    Without attention the encoder reads the source backwards and hands over its last states (Sutskever et al. 2014).
    With attention it reads both ways and the decoder's first layer looks at all its vectors before each step (Bahdanau
    et al. 2015); the layers above see what was read there (Wu et al. 2016, §3).
    """

    config: RnnConfig
    vocabulary: int
    pad: int = 0
    recorder: Recorder = SILENT

    def setup(self):
        c, cell = self.config, cell_of(self.config.cell)
        self.embedding = Embedding(self.vocabulary, c.embedding, jnp.dtype(c.dtype), c.embedding**0.5)
        self.dropout = Dropout(c.dropout)
        if isinstance(c.attention, Bahdanau):
            self.forwards = [RecurrentLayer(cell, c.width // 2) for _ in range(c.layers)]
            self.backwards = [RecurrentLayer(cell, c.width // 2) for _ in range(c.layers)]
            first = AttentiveLayer(cell, c.width, c.attention.width)
        else:
            self.backwards = [RecurrentLayer(cell, c.width) for _ in range(c.layers)]
            first = RecurrentLayer(cell, c.width)
        self.decoders = [first, *(RecurrentLayer(cell, c.width) for _ in range(c.layers - 1))]
        self.readout = Readout(c.embedding)

    def __call__(self, source_BS: Array, target_BT: Array) -> Array:
        """Logits float32 [B, T, V] of the token after each of target_BT, which begins with the begin mark."""
        x_BTD, w_VD, _ = self.features(source_BS, target_BT)
        return logits(x_BTD, w_VD)

    def features(self, source_BS: Array, target_BT: Array) -> tuple[Array, Array, None]:
        """x [B, T, D], w [V, D] and no bias: the logits are x wᵀ, and a loss need not hold them all."""
        return self._decode(target_BT, self.encode(source_BS))[0], self.embedding.table_VD, None

    def recorded(self, source_BS: Array, target_BT: Array) -> dict[str, Recorded]:
        """What a `recording` model kept of its "encoder" and its "decoder".

        Of the decoder's attention, where it has any, the weights [1, B, 1, T, S]: one layer, one head. In place of a
        residual stream the outputs of each layer, [L, B, T, H].
        """
        cache, encoder = self._encode(source_BS)
        _, _, decoder, weights_BTS = self._decode(target_BT, cache)
        kept = None if weights_BTS is None else self.recorder.weights(weights_BTS[:, None])
        cross = Read(jax.tree.map(lambda only: only[None], kept))
        return {
            "encoder": Recorded(Read(), None, self._outputs(encoder)),
            "decoder": Recorded(Read(), cross, self._outputs(decoder)),
        }

    def recording(self, recorder: Recorder) -> "Rnn":
        """The same model, keeping what the recorder does; `recorded` hands it out."""
        return self.clone(recorder=recorder)

    def prefill(self, source_BS: Array, target_BT: Array, length: int) -> tuple[Array, RnnCache]:
        """Logits [B, T, V] of the target so far, and the cache; a recurrent state has room for any `length`."""
        return self.decode(target_BT, self.encode(source_BS))

    def decode(self, target_BT: Array, cache: RnnCache) -> tuple[Array, RnnCache]:
        """Logits [B, T, V] after each of the next tokens, and the cache with them read."""
        x_BTD, cache, _, _ = self._decode(target_BT, cache)
        return logits(x_BTD, self.embedding.table_VD), cache

    def encode(self, source_BS: Array) -> RnnCache:
        """The decoder's memory of a source before its first step."""
        return self._encode(source_BS)[0]

    def _encode(self, source_BS: Array) -> tuple[RnnCache, list[Array]]:
        """That, and the outputs of each layer [B, S, H]."""
        valid_BS = source_BS != self.pad
        x_BSD = self.dropout(self.embedding(source_BS))
        states, outputs = [], []
        for layer, backward in enumerate(self.backwards):
            h_BSH, state = backward(x_BSD, valid_BT=valid_BS, reverse=True)
            if isinstance(self.config.attention, Bahdanau):
                f_BSH, forward_state = self.forwards[layer](x_BSD, valid_BT=valid_BS)
                h_BSH = jnp.concatenate([f_BSH, h_BSH], axis=-1)
                state = tuple(jnp.concatenate(pair, axis=-1) for pair in zip(forward_state, state, strict=True))
            states.append(state)
            outputs.append(h_BSH)
            x_BSD = self.dropout(h_BSH)
        source = (x_BSD, valid_BS) if isinstance(self.config.attention, Bahdanau) else None
        return RnnCache(tuple(states), source), outputs

    def _decode(self, target_BT: Array, cache: RnnCache) -> tuple[Array, RnnCache, list[Array], Array | None]:
        """x [B, T, E], the cache, the outputs of each layer [B, T, H], and what the attention read [B, T, S]."""
        x_BTD = self.dropout(self.embedding(target_BT))
        seen, weights_BTS, states, outputs = [], None, [], []
        for decoder, state in zip(self.decoders, cache.states, strict=True):
            if isinstance(decoder, RecurrentLayer):
                h_BTH, state = decoder(jnp.concatenate([x_BTD, *seen], axis=-1), state)
            elif cache.source is not None:
                h_BTH, seen_BTM, weights_BTS, state = decoder(x_BTD, state, *cache.source)
                seen = [seen_BTM]
            else:
                raise ValueError("a decoder with attention needs a cache that has read the source, got one without it")
            states.append(state)
            outputs.append(h_BTH)
            x_BTD = self.dropout(h_BTH)
        x_BTD = self.dropout(self.readout(jnp.concatenate([x_BTD, *seen], axis=-1)))
        return x_BTD, cache._replace(states=tuple(states)), outputs, weights_BTS

    def _outputs(self, h_LBTH: list[Array]) -> Array | None:
        """What is kept of the layers' outputs, stacked."""
        return self.recorder.stream(jnp.stack(h_LBTH))
