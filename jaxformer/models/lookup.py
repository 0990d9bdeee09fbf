"""The smallest model that must look something up: pairs of a key and a value, and questions that are keys."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import flax.linen as nn
import jax.numpy as jnp
from jax import Array

from jaxformer.config.blocks import MultiHead
from jaxformer.config.model import CellConfig, Gru
from jaxformer.nn.attention import Attention, Where
from jaxformer.nn.recorder import Weights
from jaxformer.nn.recurrent import Readout, RecurrentLayer, cell_of
from jaxformer.nn.weight import normal
from jaxformer.ops.attention.masks import Valid
from jaxformer.ops.linear import logits


@dataclass(frozen=True)
class RecurrentReader:
    """A recurrent layer that reads first the pairs, then the questions, and answers after each."""

    cell: CellConfig = Gru()
    width: int = 32
    """Width H of its state."""


Reader = MultiHead | RecurrentReader


class Shelf(NamedTuple):
    """Rows with room for K pairs, of which the first so many are there, and the places of the pairs that Q questions
    ask for; int32. Keys and values are numbered.
    """

    keys_BK: Any
    values_BK: Any
    pairs_B: Any
    asked_BQ: Any


class Lookup(nn.Module):
    """A shelf → logits of the value of every question, by one reader and nothing else: no residual, no feed-forward.

    A pair is the vector of its key plus that of its value, a question the vector of a key. A head reads the pairs with
    queries made of the questions, at no positions.
    """

    reader: Reader
    keys: int
    values: int
    width: int

    @nn.compact
    def __call__(self, shelf: Shelf) -> tuple[Array, Array]:
        """Logits float32 [B, Q, V], and the weights [B, Q, K] with which a head read the pairs, the mean of all heads;
        zeros where there is none.
        """
        D = self.width
        key_ND = normal(self, "key", 1.0, (self.keys, D), ("vocabulary", "embed"))
        value_VD = normal(self, "value", 1.0, (self.values, D), ("vocabulary", "embed"))
        pairs_BKD = key_ND[shelf.keys_BK] + value_VD[shelf.values_BK]
        questions_BQD = key_ND[jnp.take_along_axis(shelf.keys_BK, shelf.asked_BQ, axis=1)]
        there_BK = jnp.arange(pairs_BKD.shape[1]) < shelf.pairs_B[:, None]
        match self.reader:
            case MultiHead():
                head = Attention(self.reader, D, Weights(), name="head")
                found_BQD, read = head(questions_BQD, head.rows(pairs_BKD), Where(Valid(there_BK)))
                weights_BQK = jnp.mean(read.weights, axis=1)
            case RecurrentReader(cell, width):
                valid_BT = jnp.concatenate([there_BK, jnp.ones(shelf.asked_BQ.shape, bool)], axis=1)
                x_BTD = jnp.concatenate([pairs_BKD, questions_BQD], axis=1)
                h_BTH, _ = RecurrentLayer(cell_of(cell), width)(x_BTD, valid_BT=valid_BT)
                found_BQD = Readout(D, name="readout")(h_BTH[:, pairs_BKD.shape[1] :])
                weights_BQK = jnp.zeros((*shelf.asked_BQ.shape, pairs_BKD.shape[1]))
        return logits(found_BQD, value_VD) / D**0.5, weights_BQK
