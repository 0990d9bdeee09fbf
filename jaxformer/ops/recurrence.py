"""Recurrent networks of one sequence: tanh-RNN, GRU and LSTM as scans over time.

A step of each is two products and two rules without weights:

    gates_pH = join(x W + b, h U + c)      how the two products enter the gates: a linear map, mostly a sum
    state'   = advance(state, gates_pH)    elementwise

A `Cell` is these two rules, and a new cell is a new small object. A `Formulation` says where the products are taken,
and any of them computes any cell. They agree in values and gradients and differ in speed and memory alone.

Letters: T steps, D input width, H hidden width; gH and pH are g or p blocks of width H side by side, what the products
yield and what the gates read. Gate order and both biases are those of torch.nn.RNN, GRU and LSTM (and of cuDNN), the
matrices are torch's transposed.

Arrays may carry batch axes between time and width: x is then [T, B, D], a state [B, H]. `jax.vmap` over one sequence
gives the same values and gradients, but multiplies the weight gradients of a summed formulation per sequence and adds
them afterwards, where explicit axes make them one product for the batch: several times slower where the batch is
larger than the sequence is long.
"""

import operator
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

State = tuple[jax.Array, ...]
"""What a cell remembers: arrays of [..., H], the first of which is the output h."""


@dataclass(frozen=True)
class Cell:
    """One rule of recurrence; `gates` blocks come from each product, `memories` arrays make the state."""

    name: str
    gates: int
    memories: int
    join: Callable[[jax.Array, jax.Array], jax.Array]
    advance: Callable[[State, jax.Array], State]

    def initial(self, shape: tuple[int, ...], dtype: jax.typing.DTypeLike = jnp.float32) -> State:
        """The state before the first step: zeros of `shape`, (H,) or (B, H)."""
        return (jnp.zeros(shape, dtype),) * self.memories


class Recurrent(NamedTuple):
    """The parameters of one layer: torch's weight_ih and weight_hh, both transposed, bias_ih and bias_hh."""

    input_DgH: jax.Array
    hidden_HgH: jax.Array
    input_bias_gH: jax.Array
    hidden_bias_gH: jax.Array


def _tanh_rnn(state: State, gate_H: jax.Array) -> State:
    return (jnp.tanh(gate_H),)


def _join_gru(input_3H: jax.Array, recurrent_3H: jax.Array) -> jax.Array:
    input_gates_2H, input_new_H = _split_last(input_3H, 3)
    recurrent_gates_2H, recurrent_new_H = _split_last(recurrent_3H, 3)
    return jnp.concatenate([input_gates_2H + recurrent_gates_2H, input_new_H, recurrent_new_H], axis=-1)


def _gru(state: State, gates_4H: jax.Array) -> State:
    (h_H,) = state
    reset_H, update_H, input_new_H, recurrent_new_H = jnp.split(gates_4H, 4, axis=-1)
    new_H = jnp.tanh(input_new_H + jax.nn.sigmoid(reset_H) * recurrent_new_H)
    return (new_H + jax.nn.sigmoid(update_H) * (h_H - new_H),)


def _lstm(state: State, gates_4H: jax.Array) -> State:
    _, c_H = state
    enter_H, forget_H, new_H, leave_H = jnp.split(gates_4H, 4, axis=-1)
    c_H = jax.nn.sigmoid(forget_H) * c_H + jax.nn.sigmoid(enter_H) * jnp.tanh(new_H)
    return (jax.nn.sigmoid(leave_H) * jnp.tanh(c_H), c_H)


def _split_last(blocks_gH: jax.Array, gates: int) -> list[jax.Array]:
    return jnp.split(blocks_gH, [blocks_gH.shape[-1] // gates * (gates - 1)], axis=-1)


TANH_RNN = Cell("tanh-RNN", gates=1, memories=1, join=operator.add, advance=_tanh_rnn)
"""h' = tanh(x W + b + h U + c). Source: Elman 1990."""

GRU = Cell("GRU", gates=3, memories=1, join=_join_gru, advance=_gru)
"""Gates reset, update, new; h' = (1 - update) new + update h. Source: Cho et al. 2014, the reset applied after the
recurrent product as in torch and cuDNN, so that the product need not wait for the gate."""

LSTM = Cell("LSTM", gates=4, memories=2, join=operator.add, advance=_lstm)
"""Gates enter, forget, new, leave (i, f, g, o); state (h, c). Source: Hochreiter and Schmidhuber 1997, with the forget
gate of Gers et al. 2000."""


Projection = Callable[[jax.Array, jax.Array], tuple[jax.Array, Callable[[jax.Array], jax.Array]]]
"""(x_TD, input_DgH) → what the loop reads at each step, and how it becomes the input's product of that step."""


@dataclass(frozen=True)
class Loop:
    """What is static about one scan over time."""

    cell: Cell
    project: Projection
    reverse: bool
    unroll: int

    def run(self, body: Callable[[State, Any], tuple[State, Any]], state: State, xs: Any) -> tuple[State, Any]:
        return jax.lax.scan(body, state, xs, reverse=self.reverse, unroll=self.unroll)

    def run_back(self, body: Callable[[State, Any], tuple[State, Any]], state: State, xs: Any) -> tuple[State, Any]:
        return jax.lax.scan(body, state, xs, reverse=not self.reverse, unroll=self.unroll)


@dataclass(frozen=True)
class Formulation:
    """Where the products are taken: `project` the input's, `states` those that make the gradients of the weights."""

    name: str
    project: Projection
    states: Callable[[Loop, Recurrent, jax.Array, State, jax.Array | None], tuple[jax.Array, State]]


def step(
    cell: Cell, parameters: Recurrent, x_D: jax.Array, state: State, valid: jax.Array | None = None
) -> tuple[jax.Array, State]:
    """One step, as in decoding: (output h_H in x's dtype, next state). Where `valid` is False the state stays."""
    gates_pH = _gates(cell, parameters, _product(x_D, parameters.input_DgH), state)
    state = _move(cell, valid, state, gates_pH)
    return _outputs(state[0], valid, x_D.dtype), state


def scan(
    cell: Cell,
    parameters: Recurrent,
    x_TD: jax.Array,
    state: State | None = None,
    valid_T: jax.Array | None = None,
    *,
    reverse: bool = False,
    formulation: Formulation | None = None,
    unroll: int = 1,
) -> tuple[jax.Array, State]:
    """The outputs h_TH of all steps, in x's dtype, and the final state, in float32 or wider.

    x_TD may carry batch axes after time ([T, B, D]); `valid_T` and `state` then carry them too. A step where
    `valid_T` is False passes the state on unchanged and puts out zeros, so the final state of a padded sequence is
    that of its last true token. `reverse` runs from the last step to the first and leaves the outputs in place; its
    final state is that of the first token. `formulation` (SUMMED unless given) and `unroll`, the steps per turn of the
    loop, change speed alone.
    """
    width = parameters.hidden_HgH.shape[0]
    if parameters.hidden_HgH.shape[1] != cell.gates * width:
        shape = tuple(parameters.hidden_HgH.shape)
        raise ValueError(f"hidden_HgH of {cell.name} must be [H, {cell.gates} H], got {shape}")
    dtype = _accumulator(x_TD)
    state = cell.initial((*x_TD.shape[1:-1], width), dtype) if state is None else state
    if len(state) != cell.memories:
        raise ValueError(f"the state of {cell.name} must hold {cell.memories} arrays, got {len(state)}")
    state = tuple(memory.astype(dtype) for memory in state)
    formulation = SUMMED if formulation is None else formulation
    loop = Loop(cell, formulation.project, reverse, unroll)
    h_TH, final = formulation.states(loop, parameters, x_TD, state, valid_T)
    return _outputs(h_TH, valid_T, x_TD.dtype), final


def _inside(x_TD: jax.Array, input_DgH: jax.Array) -> tuple[jax.Array, Callable[[jax.Array], jax.Array]]:
    """Multiply x step by step: the loop reads x, and nothing of [T, gH] is written."""
    return x_TD, lambda x_D: _product(x_D, input_DgH)


def _before(x_TD: jax.Array, input_DgH: jax.Array) -> tuple[jax.Array, Callable[[jax.Array], jax.Array]]:
    """Multiply x once for all steps: the loop reads its product."""
    return _product(x_TD, input_DgH), lambda product_gH: product_gH


def _automatic(
    loop: Loop, parameters: Recurrent, x_TD: jax.Array, state: State, valid_T: jax.Array | None
) -> tuple[jax.Array, State]:
    """The states by a plain scan; automatic differentiation adds up the gradient of U step by step."""
    source_T, product_of = loop.project(x_TD, parameters.input_DgH)

    def body(state: State, xs: Any) -> tuple[State, jax.Array]:
        source, valid = xs
        state = _move(loop.cell, valid, state, _gates(loop.cell, parameters, product_of(source), state))
        return state, state[0]

    final, h_TH = loop.run(body, state, (source_T, valid_T))
    return h_TH, final


def _summed_primal(
    loop: Loop, parameters: Recurrent, x_TD: jax.Array, state: State, valid_T: jax.Array | None
) -> tuple[jax.Array, State]:
    """The states with a gradient of its own: the loop backwards carries the adjoint of the state and writes those of
    the gates; every weight gradient is then one product for all steps.

    The gates are saved before their nonlinearities, which are cheaper to compute again than to keep. Differentiable
    in reverse mode and anything on top of it; forward mode alone needs `_automatic`.
    """
    return _summed_forward(loop, parameters, x_TD, state, valid_T)[0]


def _summed_forward(loop, parameters, x_TD, state, valid_T):
    source_T, product_of = loop.project(x_TD, parameters.input_DgH)

    def body(state: State, xs: Any):
        source, valid = xs
        gates_pH = _gates(loop.cell, parameters, product_of(source), state)
        state = _move(loop.cell, valid, state, gates_pH)
        return state, (state, gates_pH)

    final, (states, gates_TpH) = loop.run(body, state, (source_T, valid_T))
    before = tuple(_shift(first, later_TH, loop.reverse) for first, later_TH in zip(state, states, strict=True))
    return (states[0], final), (parameters, x_TD, before, gates_TpH, valid_T)


def _summed_backward(loop, saved, cotangent):
    parameters, x_TD, before, gates_TpH, valid_T = saved
    dh_TH, dfinal = cotangent
    width = parameters.hidden_HgH.shape[0]

    def body(dafter: State, xs: Any) -> tuple[State, jax.Array]:
        dh_H, before, gates_pH, valid = xs
        dafter = (dafter[0] + dh_H, *dafter[1:])
        dbefore, dgates_pH = jax.vjp(partial(_move, loop.cell, valid), before, gates_pH)[1](dafter)
        _, drecurrent_gH = _unjoin(loop.cell, width, dgates_pH)
        dbefore = (dbefore[0] + _product(drecurrent_gH, parameters.hidden_HgH.T), *dbefore[1:])
        return dbefore, dgates_pH

    dstate, dgates_TpH = loop.run_back(body, dfinal, (dh_TH, before, gates_TpH, valid_T))
    dinput_TgH, drecurrent_TgH = _unjoin(loop.cell, width, dgates_TpH)
    dparameters = Recurrent(
        _weight_gradient(x_TD, dinput_TgH, parameters.input_DgH.dtype),
        _weight_gradient(before[0], drecurrent_TgH, parameters.hidden_HgH.dtype),
        _bias_gradient(dinput_TgH, parameters.input_bias_gH.dtype),
        _bias_gradient(drecurrent_TgH, parameters.hidden_bias_gH.dtype),
    )
    return dparameters, _product(dinput_TgH, parameters.input_DgH.T).astype(x_TD.dtype), dstate, None


_summed = jax.custom_vjp(_summed_primal, nondiff_argnums=(0,))
_summed.defvjp(_summed_forward, _summed_backward)

CELL_IN_SCAN = Formulation("cell in scan", _inside, _automatic)
"""The definition as it stands: both products in the loop, gradients by automatic differentiation."""

PROJECTED = Formulation("projected", _before, _automatic)
"""The input's product taken once for all steps."""

SUMMED = Formulation("summed", _inside, _summed)
"""Both products in the loop forwards, no weight gradient in the loop backwards."""

PROJECTED_SUMMED = Formulation("projected, summed", _before, _summed)
"""Nothing in either loop but what depends on the step before it."""

FORMULATIONS = (CELL_IN_SCAN, PROJECTED, SUMMED, PROJECTED_SUMMED)


def _gates(cell: Cell, parameters: Recurrent, product_gH: jax.Array, state: State) -> jax.Array:
    recurrent_gH = _product(state[0], parameters.hidden_HgH)
    # Both biases are added here, in the loop, where they fuse with the gates: over [T, gH] they would be a pass of
    # their own.
    return cell.join(product_gH + parameters.input_bias_gH, recurrent_gH + parameters.hidden_bias_gH)


def _unjoin(cell: Cell, width: int, dgates_pH: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The adjoints of the two products, from that of the gates."""
    product_gH = jax.ShapeDtypeStruct((*dgates_pH.shape[:-1], cell.gates * width), dgates_pH.dtype)
    return jax.linear_transpose(cell.join, product_gH, product_gH)(dgates_pH)


def _move(cell: Cell, valid: jax.Array | None, before: State, gates_pH: jax.Array) -> State:
    """The next state where the step is valid, else the one before."""
    after = cell.advance(before, gates_pH)
    if valid is None:
        return after
    return tuple(jnp.where(valid[..., None], new, old) for new, old in zip(after, before, strict=True))


def _outputs(h_TH: jax.Array, valid_T: jax.Array | None, dtype: jax.typing.DTypeLike) -> jax.Array:
    return (h_TH if valid_T is None else jnp.where(valid_T[..., None], h_TH, 0)).astype(dtype)


def _shift(first_H: jax.Array, later_TH: jax.Array, reverse: bool) -> jax.Array:
    """The memory before each step, from the initial one and those after each step."""
    if reverse:
        return jnp.concatenate([later_TH[1:], first_H[None]])
    return jnp.concatenate([first_H[None], later_TH[:-1]])


def _product(x_D: jax.Array, weight_DE: jax.Array) -> jax.Array:
    """x W, read in the weight's dtype and summed in float32 or wider, so that a long recurrence does not drift."""
    return jnp.matmul(x_D.astype(weight_DE.dtype), weight_DE, preferred_element_type=_accumulator(x_D))


def _weight_gradient(x_TD: jax.Array, dproduct_TE: jax.Array, dtype: jax.typing.DTypeLike) -> jax.Array:
    leading = tuple(range(x_TD.ndim - 1))
    gradient_DE = jnp.tensordot(
        x_TD.astype(dtype),
        dproduct_TE.astype(dtype),
        axes=(leading, leading),
        preferred_element_type=dproduct_TE.dtype,
    )
    return gradient_DE.astype(dtype)


def _bias_gradient(dproduct_TE: jax.Array, dtype: jax.typing.DTypeLike) -> jax.Array:
    return dproduct_TE.sum(tuple(range(dproduct_TE.ndim - 1))).astype(dtype)


def _accumulator(x: jax.Array) -> jnp.dtype:
    return jnp.promote_types(x.dtype, jnp.float32)
