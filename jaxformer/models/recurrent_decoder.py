"""The recurrent language model: what a decoder was before attention."""

import flax.linen as nn
import jax.numpy as jnp
from jax import Array

from jaxformer.config.model import RecurrentDecoderConfig
from jaxformer.nn.dropout import Dropout
from jaxformer.nn.embedding import Embedding
from jaxformer.nn.recurrent import Readout, recurrent_layer
from jaxformer.ops.linear import logits
from jaxformer.ops.recurrence import State


class RecurrentDecoder(nn.Module):
    """Tokens so far → logits of the next one (Mikolov et al. 2010). Call it with `rngs={"dropout": key}` to train.

    Sequences are int32 [B, T]; each begins with an empty state.
    """

    config: RecurrentDecoderConfig
    vocabulary: int

    def setup(self):
        c = self.config
        self.embedding = Embedding(self.vocabulary, c.embedding, jnp.dtype(c.dtype), c.embedding**0.5)
        self.dropout = Dropout(c.dropout)
        self.layers = [recurrent_layer(c.recurrence, c.width) for _ in range(c.layers)]
        self.readout = Readout(c.embedding)

    def __call__(self, tokens_BT: Array) -> Array:
        """Logits float32 [B, T, V] of the token after each."""
        return self.decode(tokens_BT)[0]

    def decode(self, tokens_BT: Array, states: tuple[State, ...] | None = None) -> tuple[Array, tuple[State, ...]]:
        """Logits [B, T, V] after each of the next tokens, and every layer's state with them read; `states` are those
        after the tokens before, empty unless given.
        """
        x_BTD = self.dropout(self.embedding(tokens_BT))
        after = []
        for layer, state in zip(self.layers, states or [None] * len(self.layers), strict=True):
            x_BTD, state = layer(x_BTD, state)
            x_BTD = self.dropout(x_BTD)
            after.append(state)
        return logits(self.dropout(self.readout(x_BTD)), self.embedding.table_VD), tuple(after)
