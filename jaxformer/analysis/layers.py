"""Layers of equal parameters to be compared as programs: attention, recurrences, and linear recurrences in two forms.

All read x of one sequence and of width D, float32, and have as many parameters as four projections of attention, 4 D².
Their weights are random and not trained: what is compared is what a device has to do.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxformer.ops.attention import attention, attention_with_weights
from jaxformer.ops.attention.masks import Causal
from jaxformer.ops.linear import project
from jaxformer.ops.linear_recurrence import MinGru, in_parallel, in_sequence, min_gru
from jaxformer.ops.recurrence import GRU, LSTM, PROJECTED, TANH_RNN, Cell, Formulation, Recurrent, scan

CELLS = (TANH_RNN, GRU, LSTM)
LINEAR = {"minGRU, scan": in_sequence, "minGRU, associative": in_parallel}

Program = Callable[[Any, jax.Array], jax.Array]
"""(weights, x_TD) → the layer's output for one sequence."""


@dataclass(frozen=True)
class Layer:
    """One contestant."""

    name: str
    weights: Any
    counted: Program
    """What a parallel device computes: attention by its formula, all heads and positions at once."""
    timed: Program
    """What the device at hand computes: attention as `jaxformer.attention` chooses for it."""
    products: Callable[[int], int]
    """FLOPs of the matrix products of `counted`, by the length of the sequence."""

    def lowered(self, program: Program, x_TD: jax.ShapeDtypeStruct) -> jax.stages.Lowered:
        """Traced for x and where x lies."""
        placed = partial(jax.ShapeDtypeStruct, sharding=x_TD.sharding)
        return jax.jit(program).lower(jax.tree.map(lambda w: placed(w.shape, w.dtype), self.weights), x_TD)


def layers(width: int, heads: int, seed: int = 0) -> list[Layer]:
    """All contestants, attention first. A recurrent layer reads its input before the loop, where that need not wait."""
    D = width
    of_attention = attention_weights(D, heads, seed)
    found = [
        Layer("attention", of_attention, alone(formula), alone(ours), lambda T: 8 * T * D * D + 4 * T * T * D),
    ]
    for cell in CELLS:
        weights = recurrent_weights(cell, D, seed)
        per_token = 2 * (weights.input_DgH.size + weights.hidden_HgH.size)
        scanned = partial(recurrent_layer, cell, PROJECTED, 1)
        found.append(Layer(cell.name, weights, scanned, scanned, partial(int.__mul__, per_token)))
    weights = min_gru_weights(D, seed)
    per_token = 2 * (weights.update_DH.size + weights.new_DH.size)
    for name, form in LINEAR.items():
        linear = partial(min_gru, form=form)
        found.append(Layer(name, weights, linear, linear, partial(int.__mul__, per_token)))
    return found


class Projections(NamedTuple):
    """The parameters of an attention layer; N heads of width H, N H = D."""

    query_DNH: jax.Array
    key_DNH: jax.Array
    value_DNH: jax.Array
    out_NHD: jax.Array


def attention_layer(attend: Callable[..., jax.Array], weights: Projections, x_BTD: jax.Array) -> jax.Array:
    """Four projections around attention of q, k, v [B, T, N, H]."""
    q_BTNH, k_BTNH, v_BTNH = (project("btd,dnh->btnh", x_BTD, w_DNH) for w_DNH in weights[:3])
    return project("btnh,nhd->btd", attend(q_BTNH, k_BTNH, v_BTNH), weights.out_NHD)


ours = partial(attention, mask=Causal())


def formula(q_BTNH: jax.Array, k_BTNH: jax.Array, v_BTNH: jax.Array) -> jax.Array:
    """Causal attention, all scores at once."""
    return attention_with_weights(q_BTNH, k_BTNH, v_BTNH, mask=Causal())[0]


def alone(attend: Callable[..., jax.Array]) -> Program:
    """An attention layer of one sequence."""
    return lambda weights, x_TD: attention_layer(attend, weights, x_TD[None])[0]


def recurrent_layer(
    cell: Cell, formulation: Formulation, unroll: int, weights: Recurrent, x_TBD: jax.Array
) -> jax.Array:
    """The outputs of all steps."""
    return scan(cell, weights, x_TBD, formulation=formulation, unroll=unroll)[0]


def attention_weights(width: int, heads: int, seed: int) -> Projections:
    """Of deviation 1/√D."""
    D, N = width, heads
    keys = jax.random.split(jax.random.key(seed), 4)
    shapes = [(D, N, D // N)] * 3 + [(N, D // N, D)]
    return Projections(*(jax.random.normal(key, shape) * D**-0.5 for key, shape in zip(keys, shapes, strict=True)))


def recurrent_weights(cell: Cell, width: int, seed: int) -> Recurrent:
    """As many as attention has, or nearly."""
    return random_weights(cell, width, equal_hidden_width(cell, width, 4 * width * width), seed)


def random_weights(cell: Cell, D: int, hidden: int, seed: int) -> Recurrent:
    """Of deviation one over the root of what they sum over, biases zero."""
    gH = cell.gates * hidden
    of_input, of_hidden = jax.random.split(jax.random.key(seed))
    return Recurrent(
        jax.random.normal(of_input, (D, gH)) * D**-0.5,
        jax.random.normal(of_hidden, (hidden, gH)) * hidden**-0.5,
        jnp.zeros(gH),
        jnp.zeros(gH),
    )


def min_gru_weights(width: int, seed: int) -> MinGru:
    """2 D hidden units: two products of as many parameters as the four of attention."""
    D, H = width, 2 * width
    keys = jax.random.split(jax.random.key(seed))
    update_DH, new_DH = (jax.random.normal(key, (D, H)) * D**-0.5 for key in keys)
    return MinGru(update_DH, jnp.zeros(H), new_DH, jnp.zeros(H))


def recurrent_parameters(cell: Cell, width: int, hidden: int) -> int:
    """Parameters of a recurrent layer: two products and two biases for each gate."""
    return cell.gates * hidden * (width + hidden + 2)


def equal_hidden_width(cell: Cell, width: int, parameters: int) -> int:
    """The multiple of 16 whose parameter count comes nearest, so that no layer pays for a ragged vector."""
    candidates = range(16, max(32, 4 * width), 16)
    return min(candidates, key=lambda hidden: abs(recurrent_parameters(cell, width, hidden) - parameters))
