"""Recurrent layers, and the readout above them, that own their weights."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array

from jaxformer.config.model import CellConfig, Gru, Lstm, Recurrence, RgLru, Tanh
from jaxformer.nn.weight import constant, declared, weight
from jaxformer.ops.attentive import Scoring, attentive_scan
from jaxformer.ops.linear import project, readout
from jaxformer.ops.linear_recurrence import SHARPNESS, rg_lru
from jaxformer.ops.linear_recurrence import RgLru as RgLruWeights
from jaxformer.ops.recurrence import GRU, LSTM, TANH_RNN, Cell, Recurrent, State, scan


def cell_of(config: CellConfig) -> Cell:
    """The rule that a config names."""
    match config:
        case Tanh():
            return TANH_RNN
        case Gru():
            return GRU
        case Lstm():
            return LSTM


def recurrent_weights(module: nn.Module, cell: Cell, inputs: int, width: int, dtype: Any) -> Recurrent:
    """Declares one layer's parameters, rounded to the compute type. Every gate is initialised as a matrix of its own
    size.
    """

    def gates(name: str, rows: int) -> Array:
        w_DgH = weight(module, name, (rows, cell.gates, width), ("embed", "gates", "hidden"), each=[1])
        return w_DgH.reshape(rows, cell.gates * width).astype(dtype)

    def bias(name: str) -> Array:
        return constant(module, name, 0.0, (cell.gates * width,), ("hidden",)).astype(dtype)

    return Recurrent(gates("input", inputs), gates("hidden", width), bias("input_bias"), bias("hidden_bias"))


class RecurrentLayer(nn.Module):
    """One layer over a batch: x [B, T, D] → outputs [B, T, H] and the final state."""

    cell: Cell
    width: int

    @nn.compact
    def __call__(
        self, x_BTD: Array, state: State | None = None, valid_BT: Array | None = None, reverse: bool = False
    ) -> tuple[Array, State]:
        """`state` and `valid_BT` as in `ops.recurrence.scan`; `reverse` reads from the last token to the first."""
        weights = recurrent_weights(self, self.cell, x_BTD.shape[-1], self.width, x_BTD.dtype)
        valid_TB = None if valid_BT is None else valid_BT.T
        h_TBH, final = scan(self.cell, weights, jnp.swapaxes(x_BTD, 0, 1), state, valid_TB, reverse=reverse)
        return jnp.swapaxes(h_TBH, 0, 1), final


KEPT = (0.9, 0.999)
"""Between these lies what a state of a linear recurrence keeps of itself a step before training, where its gate is
open (De et al. 2024, §2.4)."""


class LinearRecurrentLayer(nn.Module):
    """The same contract without waiting: x [B, T, D], projected to the width of the state, through an RG-LRU whose
    steps are taken in parallel (De et al. 2024, §2.3, without the convolution and the branch that gates the output).
    """

    width: int

    @nn.compact
    def __call__(self, x_BTD: Array, state: State | None = None) -> tuple[Array, State]:
        """`state` holds one array [B, H], zeros unless given."""
        H = self.width
        wide_BTH = project("btd,dh->bth", x_BTD, weight(self, "input", (x_BTD.shape[-1], H), ("embed", "hidden")))

        def gate(name: str) -> tuple[Array, Array]:
            w_HH = weight(self, name, (H, H), ("hidden", "hidden_out"))
            return w_HH.astype(x_BTD.dtype), constant(self, f"{name}_bias", 0.0, (H,), ("hidden",))

        decay_H = declared(self, "decay", _decays, (H,), ("hidden",))
        weights = RgLruWeights(*gate("recurrence_gate"), *gate("input_gate"), decay_H)
        h_TBH = rg_lru(weights, jnp.swapaxes(wide_BTH, 0, 1), None if state is None else state[0])
        return jnp.swapaxes(h_TBH, 0, 1), (h_TBH[-1],)


def _decays(key: Array, shape: Sequence[int], dtype: Any) -> Array:
    """Λ for which σ(Λ)^SHARPNESS is uniform in `KEPT`."""
    return jax.scipy.special.logit(jax.random.uniform(key, shape, dtype, *KEPT) ** (1 / SHARPNESS))


def recurrent_layer(config: Recurrence, width: int) -> RecurrentLayer | LinearRecurrentLayer:
    """The layer that a config names: x [B, T, D], state → outputs [B, T, H], state."""
    return LinearRecurrentLayer(width) if isinstance(config, RgLru) else RecurrentLayer(cell_of(config), width)


class AttentiveLayer(nn.Module):
    """A layer that before each step looks at a memory, guided by its state, and reads what it saw beside its input.

    x [B, T, D] and memory [B, S, M] → outputs [B, T, H], what was read [B, T, M], its weights [B, T, S], and the final
    state. Source: Bahdanau et al. 2015, §3.1.
    """

    cell: Cell
    width: int
    scoring_width: int

    @nn.compact
    def __call__(
        self, x_BTD: Array, state: State, memory_BSM: Array, valid_BS: Array
    ) -> tuple[Array, Array, Array, State]:
        """`state` and `valid_BS` as in `ops.attentive.attentive_scan`."""
        D, M, A = x_BTD.shape[-1], memory_BSM.shape[-1], self.scoring_width
        weights = recurrent_weights(self, self.cell, D + M, self.width, x_BTD.dtype)
        wq_HA = weight(self, "score_state", (self.width, A), ("hidden", "score"))
        wk_MA = weight(self, "score_memory", (M, A), ("embed", "score"))
        v_A = weight(self, "score", (A, 1), ("score", "one"))[:, 0]
        scan_batch = jax.vmap(partial(attentive_scan, self.cell, weights, Scoring(wq_HA, wk_MA, v_A)))
        return scan_batch(x_BTD, state, memory_BSM, valid_BS)


class Readout(nn.Module):
    """From the width of the states, [..., D], to that of the embeddings, which are the output projection: [..., E]."""

    width: int

    @nn.compact
    def __call__(self, x_BTD: Array) -> Array:
        w_DE = weight(self, "weight", (x_BTD.shape[-1], self.width), ("hidden", "embed"))
        return readout(x_BTD, w_DE, constant(self, "bias", 0.0, (self.width,), ("embed",)))
