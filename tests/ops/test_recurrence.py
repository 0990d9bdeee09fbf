"""Laws of the recurrences: torch's values and gradients, formulations agree, padding never leaks, step = scan."""

import functools
import operator
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxformer.ops.recurrence import (
    CELL_IN_SCAN,
    FORMULATIONS,
    GRU,
    LSTM,
    SUMMED,
    TANH_RNN,
    Cell,
    Recurrent,
    scan,
    step,
)

T, B, D, H = 7, 3, 5, 11
CELLS = (TANH_RNN, GRU, LSTM)
TORCH = {TANH_RNN: "RNN", GRU: "GRU", LSTM: "LSTM"}

each_cell = pytest.mark.parametrize("cell", CELLS, ids=lambda cell: cell.name)
with_either_gradient = pytest.mark.parametrize("formulation", [CELL_IN_SCAN, SUMMED], ids=lambda choice: choice.name)
# Direction and cell do not interact but in the number of memories, of which LSTM has the most.
each_cell_and_a_reversed_one = pytest.mark.parametrize(
    ("cell", "reverse"),
    [*((cell, False) for cell in CELLS), (LSTM, True)],
    ids=[*(cell.name for cell in CELLS), f"{LSTM.name} reversed"],
)


@pytest.fixture(autouse=True)
def in_float64():
    with jax.enable_x64(True):
        yield


def parameters(cell: Cell, dtype=np.float64) -> Recurrent:
    rng, gH = np.random.default_rng(0), cell.gates * H
    shapes = [(D, gH), (H, gH), (gH,), (gH,)]
    return Recurrent(*(jnp.asarray(rng.normal(size=shape, scale=0.4), dtype) for shape in shapes))


def normal(seed: int, shape: tuple[int, ...], dtype=np.float64) -> jax.Array:
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), dtype)


def start(cell: Cell, shape: tuple[int, ...] = (H,)) -> tuple[jax.Array, ...]:
    return tuple(0.5 * normal(20 + i, shape) for i in range(cell.memories))


def weigh(h, final):
    """A scalar in which every output and every memory of the final state has a weight of its own."""
    return sum((a * normal(30 + i, a.shape)).sum() for i, a in enumerate((h, *final)))


def loss(cell, parameters, x, state, valid=None, **choice):
    return weigh(*scan(cell, parameters, x, state, valid, **choice))


@functools.cache
def compiled(cell, formulation, reverse, unroll):
    of = partial(loss, cell, formulation=formulation, reverse=reverse, unroll=unroll)
    return jax.jit(jax.value_and_grad(of, argnums=(0, 1, 2)))


def value_and_gradients(cell, arguments, valid_TB=None, formulation=SUMMED, reverse=False, unroll=1):
    """One program serves many tests, so all of them come with a batch and a mask."""
    valid_TB = jnp.ones((T, B), bool) if valid_TB is None else valid_TB
    return compiled(cell, formulation, reverse, unroll)(*arguments, valid_TB)


def assert_trees_close(actual, expected, rtol=1e-10, atol=1e-12):
    jax.tree.map(partial(np.testing.assert_allclose, rtol=rtol, atol=atol), actual, expected)


@each_cell
def test_values_and_gradients_are_those_of_torch(torch, cell):
    p, x_TBD, state = parameters(cell), normal(1, (T, B, D)), start(cell, (B, H))
    h_TBH, final = scan(cell, p, x_TBD, state)
    _, (dp, dx_TBD, dstate) = value_and_gradients(cell, (p, x_TBD, state))

    theirs = getattr(torch.nn, TORCH[cell])(D, H, dtype=torch.float64)
    named = zip(("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0"), p, strict=True)
    theirs.load_state_dict({name: torch.tensor(np.asarray(a).T) for name, a in named})
    x, *first = (torch.tensor(np.asarray(a), requires_grad=True) for a in (x_TBD, *state))
    h, last = theirs(x, tuple(m[None] for m in first) if cell.memories > 1 else first[0][None])
    last = [m[0] for m in (last if cell.memories > 1 else (last,))]
    outputs = (h, *last)
    sum((a * torch.tensor(np.asarray(normal(30 + i, tuple(a.shape))))).sum() for i, a in enumerate(outputs)).backward()

    assert_trees_close([h_TBH, *final], [a.detach().numpy() for a in outputs])
    assert_trees_close(list(dp), [w.grad.numpy().T for w in theirs.parameters()])
    assert_trees_close([dx_TBD, *dstate], [a.grad.numpy() for a in (x, *first)])


@each_cell_and_a_reversed_one
def test_formulations_agree_in_values_and_gradients_with_padding(cell, reverse):
    arguments = parameters(cell), normal(1, (T, B, D)), start(cell, (B, H))
    valid_TB = jnp.arange(T)[:, None] < jnp.asarray([T, 4, 0])
    first, *others = (
        value_and_gradients(cell, arguments, valid_TB, formulation=formulation, reverse=reverse)
        for formulation in FORMULATIONS
    )
    for other in others:
        assert_trees_close(other, first)


@with_either_gradient
def test_unrolling_changes_nothing(formulation):
    arguments = parameters(GRU), normal(1, (T, B, D)), start(GRU, (B, H))
    looped, unrolled = (value_and_gradients(GRU, arguments, formulation=formulation, unroll=u) for u in (1, 3))
    assert_trees_close(unrolled, looped)


@each_cell
def test_gradient_is_that_of_finite_differences(cell):
    arguments = parameters(cell), normal(1, (T, B, D)), start(cell, (B, H))
    valid_TB = jnp.arange(T)[:, None] != jnp.asarray([0, 2, T - 1])
    direction = jax.tree.map(lambda a: normal(11, a.shape), arguments)

    def along(e):
        moved = jax.tree.map(lambda a, d: a + e * d, arguments, direction)
        return value_and_gradients(cell, moved, valid_TB)

    slope = sum(jax.tree.leaves(jax.tree.map(lambda g, d: (g * d).sum(), along(0.0)[1], direction)))
    np.testing.assert_allclose(slope, (along(1e-5)[0] - along(-1e-5)[0]) / 2e-5, rtol=1e-7)


@each_cell_and_a_reversed_one
def test_padding_reaches_neither_outputs_nor_final_state_nor_gradients(cell, reverse):
    p, x_TBD, state = parameters(cell), normal(1, (T, B, D)), start(cell, (B, H))
    lengths = (T, 4, 1)
    valid_TB = jnp.arange(T)[:, None] < jnp.asarray(lengths)
    run = jax.jit(partial(scan, cell, reverse=reverse))
    h_TBH, final = run(p, x_TBD, state, valid_TB)
    _, (_, dx_TBD, _) = value_and_gradients(cell, (p, x_TBD, state), valid_TB, reverse=reverse)
    alone = run(p, x_TBD[: lengths[1], 1], tuple(memory[1] for memory in state))
    assert_trees_close((h_TBH[: lengths[1], 1], tuple(memory[1] for memory in final)), alone)
    assert not h_TBH[~valid_TB].any() and not dx_TBD[~valid_TB].any()
    assert jnp.abs(dx_TBD[valid_TB]).min() > 0


@each_cell
def test_steps_one_by_one_are_the_scan(cell):
    p, x_TD, state = parameters(cell), normal(1, (T, D)), start(cell)
    valid_T = jnp.arange(T) != 3
    whole = scan(cell, p, x_TD, state, valid_T)
    outputs = []
    for x_D, valid in zip(x_TD, valid_T, strict=True):
        h_H, state = step(cell, p, x_D, state, valid)
        outputs.append(h_H)
    assert_trees_close((jnp.stack(outputs), state), whole)


@each_cell
def test_reverse_is_the_scan_of_the_reversed_sequence(cell):
    p, x_TD = parameters(cell), normal(1, (T, D))
    h_TH, final = scan(cell, p, x_TD, reverse=True)
    assert_trees_close((h_TH[::-1], final), scan(cell, p, x_TD[::-1]))


@each_cell
def test_batch_axis_is_vmap_over_sequences(cell):
    p, x_TBD, state = parameters(cell), normal(1, (T, B, D)), start(cell, (B, H))
    valid_TB = jnp.arange(T)[:, None] < jnp.asarray([T, 4, 1])
    native = partial(scan, cell)
    mapped = jax.vmap(native, in_axes=(None, 1, 0, 1), out_axes=(1, 0))
    both = [
        jax.jit(jax.value_and_grad(lambda p, run=run: weigh(*run(p, x_TBD, state, valid_TB))))(p)
        for run in (native, mapped)
    ]
    assert_trees_close(*both)


@pytest.mark.parametrize("cell", [GRU, LSTM], ids=lambda cell: cell.name)
def test_summed_gradients_can_be_differentiated_again(cell):
    x_TD, state = normal(1, (T, D)), start(cell)

    def curvature(formulation):
        slope = jax.grad(lambda p: loss(cell, p, x_TD, state, formulation=formulation))
        return jax.jit(jax.grad(lambda p: sum((g**2).sum() for g in slope(p))))(parameters(cell))

    assert_trees_close(curvature(SUMMED), curvature(CELL_IN_SCAN), rtol=1e-8)


@with_either_gradient
def test_half_precision_keeps_its_state_in_float32(formulation):
    p, x_TD = parameters(LSTM, jnp.bfloat16), normal(1, (T, D), jnp.bfloat16)
    run = jax.jit(partial(scan, LSTM, formulation=formulation))
    h_TH, final = run(p, x_TD)
    assert h_TH.dtype == jnp.bfloat16 and {memory.dtype for memory in final} == {jnp.dtype("float32")}
    widened = jax.tree.map(lambda a: a.astype(jnp.float32), (p, x_TD))
    np.testing.assert_allclose(h_TH.astype(jnp.float32), run(*widened)[0], atol=0.03)
    gradients = jax.jit(jax.grad(lambda p: run(p, x_TD)[0].astype(jnp.float32).sum()))(p)
    assert {g.dtype for g in gradients} == {jnp.dtype(jnp.bfloat16)}


def test_a_new_cell_is_a_new_object():
    """A leaky integrator h' = (h + xW + b + hU + c) / 2: no formulation knows it, each computes it."""
    leaky = Cell("leaky", gates=1, memories=1, join=operator.add, advance=lambda state, g: (0.5 * (state[0] + g),))
    p, x_TBD, state = parameters(leaky), normal(1, (T, B, D)), start(leaky, (B, H))
    first, *others = (value_and_gradients(leaky, (p, x_TBD, state), formulation=f) for f in FORMULATIONS)
    for other in others:
        assert_trees_close(other, first)
    h_BH, _ = step(leaky, p, x_TBD[0], state)
    by_hand = state[0] + x_TBD[0] @ p.input_DgH + state[0] @ p.hidden_HgH + p.input_bias_gH + p.hidden_bias_gH
    assert_trees_close(h_BH, 0.5 * by_hand)


def test_parameters_of_another_cell_are_refused():
    with pytest.raises(ValueError, match=r"hidden_HgH of LSTM must be \[H, 4 H\], got \(11, 33\)"):
        scan(LSTM, parameters(GRU), normal(1, (T, D)))


def test_a_state_of_another_cell_is_refused():
    with pytest.raises(ValueError, match="state of LSTM must hold 2 arrays, got 1"):
        scan(LSTM, parameters(LSTM), normal(1, (T, D)), start(GRU))
