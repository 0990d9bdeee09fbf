"""Laws of the recurrences: parity with torch, formulations agree, padding never leaks, step = scan."""

import operator
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

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
CELLS = [TANH_RNN, GRU, LSTM]
TORCH = {TANH_RNN: torch.nn.RNN, GRU: torch.nn.GRU, LSTM: torch.nn.LSTM}

each_cell = pytest.mark.parametrize("cell", CELLS, ids=lambda cell: cell.name)
each_formulation = pytest.mark.parametrize("formulation", FORMULATIONS, ids=lambda formulation: formulation.name)
each_direction = pytest.mark.parametrize("reverse", [False, True], ids=["forward", "reverse"])


@pytest.fixture(autouse=True)
def in_float64():
    with jax.enable_x64(True):
        yield


def parameters(cell: Cell, seed: int = 0, dtype=np.float64) -> Recurrent:
    rng, gH = np.random.default_rng(seed), cell.gates * H
    shapes = [(D, gH), (H, gH), (gH,), (gH,)]
    return Recurrent(*(jnp.asarray(rng.normal(size=shape, scale=0.4), dtype) for shape in shapes))


def inputs(seed: int = 1, shape: tuple[int, ...] = (T, D), dtype=np.float64) -> jax.Array:
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), dtype)


def start(cell: Cell, shape: tuple[int, ...] = (H,), seed: int = 2) -> tuple[jax.Array, ...]:
    rng = np.random.default_rng(seed)
    return tuple(jnp.asarray(rng.normal(size=shape, scale=0.5)) for _ in range(cell.memories))


def loss(parameters, x_TD, state, valid_T=None, *, cell, **choice):
    """A scalar in which every output and every memory of the final state has a weight of its own."""
    h_TH, final = scan(cell, parameters, x_TD, state, valid_T, **choice)
    weigh = lambda a, seed: (a * inputs(seed, a.shape)).sum()  # noqa: E731
    return weigh(h_TH, 3) + sum(weigh(memory, 5 + i) for i, memory in enumerate(final))


def assert_trees_close(actual, expected, rtol=1e-10, atol=1e-12):
    jax.tree.map(partial(np.testing.assert_allclose, rtol=rtol, atol=atol), actual, expected)


def torch_twin(cell: Cell, p: Recurrent) -> torch.nn.RNNBase:
    twin = TORCH[cell](D, H, dtype=torch.float64)
    twin.weight_ih_l0.data = torch.tensor(np.asarray(p.input_DgH).T)
    twin.weight_hh_l0.data = torch.tensor(np.asarray(p.hidden_HgH).T)
    twin.bias_ih_l0.data = torch.tensor(np.asarray(p.input_bias_gH))
    twin.bias_hh_l0.data = torch.tensor(np.asarray(p.hidden_bias_gH))
    return twin


@each_formulation
@each_cell
def test_values_and_gradients_are_those_of_torch(cell, formulation):
    p, x_TBD, state = parameters(cell), inputs(shape=(T, B, D)), start(cell, (B, H))
    h_TBH, final = scan(cell, p, x_TBD, state, formulation=formulation)
    gradients = jax.grad(partial(loss, cell=cell, formulation=formulation), argnums=(0, 1, 2))(p, x_TBD, state)

    twin = torch_twin(cell, p)
    leaf = lambda a: torch.tensor(np.asarray(a), requires_grad=True)  # noqa: E731
    x, first = leaf(x_TBD), tuple(leaf(memory) for memory in state)
    packed = tuple(memory[None] for memory in first)
    h, last = twin(x, packed if cell.memories > 1 else packed[0])
    last = [memory[0] for memory in (last if cell.memories > 1 else (last,))]
    weigh = lambda a, seed: (a * torch.tensor(np.asarray(inputs(seed, tuple(a.shape))))).sum()  # noqa: E731
    (weigh(h, 3) + sum(weigh(memory, 5 + i) for i, memory in enumerate(last))).backward()

    assert_trees_close((h_TBH, list(final)), (h.detach().numpy(), [m.detach().numpy() for m in last]))
    of_weights = [twin.weight_ih_l0.grad.T, twin.weight_hh_l0.grad.T, twin.bias_ih_l0.grad, twin.bias_hh_l0.grad]
    assert_trees_close(list(gradients[0]), [g.numpy() for g in of_weights])
    assert_trees_close((gradients[1], list(gradients[2])), (x.grad.numpy(), [m.grad.numpy() for m in first]))


@each_direction
@each_cell
@pytest.mark.parametrize("unroll", [1, 3], ids="unroll {}".format)
def test_formulations_agree_with_padding_in_values_and_gradients(cell, reverse, unroll):
    p, x_TBD, state = parameters(cell), inputs(shape=(T, B, D)), start(cell, (B, H))
    valid_TB = jnp.arange(T)[:, None] < jnp.asarray([T, 4, 0])
    results = [
        jax.value_and_grad(partial(loss, cell=cell, formulation=f, reverse=reverse, unroll=unroll), argnums=(0, 1, 2))(
            p, x_TBD, state, valid_TB
        )
        for f in FORMULATIONS
    ]
    for other in results[1:]:
        assert_trees_close(other, results[0])


@each_formulation
@each_cell
def test_gradient_is_that_of_finite_differences(cell, formulation):
    p, x_TD, state = parameters(cell), inputs(), start(cell)
    valid_T = jnp.arange(T) != 2
    objective = jax.jit(lambda arguments: loss(*arguments, valid_T, cell=cell, formulation=formulation))
    arguments = (p, x_TD, state)
    direction = jax.tree.map(lambda a: inputs(11, a.shape), arguments)
    along = lambda e: objective(jax.tree.map(lambda a, d: a + e * d, arguments, direction))  # noqa: E731
    slope = sum(jnp.vdot(g, d) for g, d in zip(*map(jax.tree.leaves, (jax.grad(objective)(arguments), direction)), strict=True))
    np.testing.assert_allclose(slope, (along(1e-5) - along(-1e-5)) / 2e-5, rtol=1e-7)


@each_formulation
@each_direction
@each_cell
def test_padding_neither_reaches_outputs_nor_gradients_nor_final_state(cell, reverse, formulation):
    p, x_TD, state, length = parameters(cell), inputs(), start(cell), 4
    valid_T = jnp.arange(T) < length
    run = partial(scan, cell, p, state=state, reverse=reverse, formulation=formulation)
    h_TH, final = run(x_TD, valid_T=valid_T)
    short_TH, short_final = run(x_TD[:length])
    assert_trees_close((h_TH[:length], final), (short_TH, short_final))
    assert not h_TH[length:].any()

    of_loss = jax.grad(partial(loss, cell=cell, reverse=reverse, formulation=formulation), argnums=1)
    dx_TD = of_loss(p, x_TD, state, valid_T)
    assert not dx_TD[length:].any()
    assert jnp.abs(dx_TD[:length]).min() > 0


@each_cell
def test_steps_one_by_one_are_the_scan(cell):
    p, x_TD, state = parameters(cell), inputs(), start(cell)
    h_TH, final = scan(cell, p, x_TD, state)
    outputs = []
    for x_D in x_TD:
        h_H, state = step(cell, p, x_D, state)
        outputs.append(h_H)
    assert_trees_close((jnp.stack(outputs), state), (h_TH, final))


@each_cell
def test_reverse_is_the_scan_of_the_reversed_sequence(cell):
    p, x_TD = parameters(cell), inputs()
    h_TH, final = scan(cell, p, x_TD, reverse=True)
    flipped_TH, flipped_final = scan(cell, p, x_TD[::-1])
    assert_trees_close((h_TH, final), (flipped_TH[::-1], flipped_final))


@each_formulation
@each_cell
def test_vmap_over_sequences_is_the_batch_axis(cell, formulation):
    p, x_TBD, state = parameters(cell), inputs(shape=(T, B, D)), start(cell, (B, H))
    valid_TB = jnp.arange(T)[:, None] < jnp.asarray([T, 4, 1])
    run = partial(scan, cell, formulation=formulation)
    mapped = jax.vmap(run, in_axes=(None, 1, 0, 1), out_axes=(1, 0))
    weight = inputs(13, (T, B, H))

    def objective(way, p):
        h_TBH, final = way(p, x_TBD, state, valid_TB)
        return (h_TBH * weight).sum() + sum(memory.sum() for memory in final)

    assert_trees_close(
        *(jax.value_and_grad(partial(objective, way))(p) for way in (mapped, run)),
    )


@each_cell
def test_second_derivatives_of_the_summed_gradient(cell):
    p, x_TD, state = parameters(cell), inputs(), start(cell)

    def curvature(formulation):
        slope = jax.grad(partial(loss, cell=cell, formulation=formulation))
        return jax.grad(lambda p: sum((g**2).sum() for g in slope(p, x_TD, state)))(p)

    assert_trees_close(curvature(SUMMED), curvature(CELL_IN_SCAN), rtol=1e-8)


@each_formulation
@each_cell
def test_half_precision_keeps_its_state_in_float32(cell, formulation):
    p, x_TD = parameters(cell, dtype=jnp.bfloat16), inputs(dtype=jnp.bfloat16)
    run = partial(scan, cell, formulation=formulation)
    h_TH, final = run(p, x_TD)
    assert h_TH.dtype == jnp.bfloat16 and {memory.dtype for memory in final} == {jnp.dtype("float32")}
    widened = jax.tree.map(lambda a: a.astype(jnp.float32), (p, x_TD))
    np.testing.assert_allclose(h_TH.astype(jnp.float32), run(*widened)[0], atol=0.03)
    gradients = jax.grad(lambda p: run(p, x_TD)[0].astype(jnp.float32).sum())(p)
    assert {g.dtype for g in gradients} == {jnp.dtype(jnp.bfloat16)}


def test_a_new_cell_is_a_new_object():
    """A leaky integrator h' = λh + (1-λ)(xW + hU): no formulation knows it, each computes it."""
    leaky = Cell("leaky", gates=1, memories=1, join=operator.add, advance=lambda s, g: (0.5 * s[0] + 0.5 * g,))
    p, x_TD, state = parameters(leaky), inputs(), start(leaky)
    results = [jax.value_and_grad(partial(loss, cell=leaky, formulation=f))(p, x_TD, state) for f in FORMULATIONS]
    for other in results[1:]:
        assert_trees_close(other, results[0])


def test_parameters_of_another_cell_are_refused():
    with pytest.raises(ValueError, match=r"hidden_HgH of lstm must be \[H, 4 H\], got \(11, 33\)"):
        scan(LSTM, parameters(GRU), inputs())


def test_a_state_of_another_cell_is_refused():
    with pytest.raises(ValueError, match="state of lstm must hold 2 arrays, got 1"):
        scan(LSTM, parameters(LSTM), inputs(), start(GRU))
