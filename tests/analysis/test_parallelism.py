"""Laws of work and depth: a loop is its unrolled twin, a chain is deep, a tree is not, attention is not recurrence."""

import doctest
from dataclasses import replace
from functools import reduce

import jax
import jax.numpy as jnp
import pytest
from jax import lax

from jaxformer.analysis import parallelism as module
from jaxformer.analysis.flops import forward_flops, training_flops
from jaxformer.analysis.parallelism import Parallelism, count, parallelism
from jaxformer.config.decoders import gpt2
from jaxformer.config.model import Layers
from jaxformer.models.decoder import Decoder
from jaxformer.ops.attention import attention_with_weights
from jaxformer.ops.attention.masks import Causal
from jaxformer.ops.recurrence import FORMULATIONS, GRU, LSTM, TANH_RNN, Recurrent, scan, step

T, D, H = 13, 5, 7


def shape(*dimensions, dtype=jnp.float32):
    return jax.ShapeDtypeStruct(dimensions, dtype)


def written(function, *args):
    return count(jax.jit(function).lower(*args))


def recurrent(cell):
    gH = cell.gates * H
    return Recurrent(shape(D, gH), shape(H, gH), shape(gH), shape(gH))


def looped(cell, formulation=None):
    return lambda weights, x_TD: scan(cell, weights, x_TD, formulation=formulation)[0]


def unrolled(cell):
    def states(weights, x_TD):
        outputs, state = [], cell.initial((H,))
        for x_D in x_TD:
            h_H, state = step(cell, weights, x_D, state)
            outputs.append(h_H)
        return jnp.stack(outputs)

    return states


each_cell = pytest.mark.parametrize("cell", [TANH_RNN, GRU, LSTM], ids=lambda cell: cell.name)


@each_cell
def test_a_scan_is_its_unrolled_twin_and_the_formula(cell):
    loop, twin = (written(form(cell), recurrent(cell), shape(T, D)) for form in (looped, unrolled))
    products = 2 * T * cell.gates * H * (D + H)
    assert loop.work == twin.work and loop.products == twin.products == products
    # A turn of the loop reads its input and writes its output, by a step each.
    assert loop.depth == twin.depth + 2 * T
    assert not loop.unread and not twin.unread


@each_cell
@pytest.mark.parametrize("formulation", FORMULATIONS, ids=lambda one: one.name)
def test_formulations_do_the_same_products_and_are_as_deep_as_the_sequence_is_long(cell, formulation):
    short, long = (written(looped(cell, formulation), recurrent(cell), shape(T * n, D)) for n in (1, 2))
    assert 2 * short.products == long.products == 4 * T * cell.gates * H * (D + H)
    assert 1.8 * short.depth < long.depth <= 2 * short.depth


@each_cell
def test_what_the_compiler_makes_of_it_has_the_same_products_and_nearly_the_depth(cell):
    lowered = jax.jit(looped(cell)).lower(recurrent(cell), shape(T, D))
    plain, compiled = count(lowered), count(lowered.compile())
    assert compiled.products == plain.products and compiled.kernels < plain.kernels
    assert compiled.work >= plain.work and plain.depth <= compiled.depth < 1.5 * plain.depth


def test_the_gradient_of_a_loop_is_that_of_its_twin():
    """Two more products for each; the first state is a constant, which has no gradient, and the twin knows it."""

    def gradient(form):
        return jax.grad(lambda weights, x_TD: jnp.sum(form(weights, x_TD)), argnums=(0, 1))

    loop = written(gradient(looped(LSTM, FORMULATIONS[0])), recurrent(LSTM), shape(T, D))
    twin = written(gradient(unrolled(LSTM)), recurrent(LSTM), shape(T, D))
    # Forwards, and the gradients of both factors backwards.
    assert loop.products == 3 * 2 * T * LSTM.gates * H * (D + H)
    assert loop.products - twin.products == 2 * LSTM.gates * H * H
    assert T * 20 < twin.depth < loop.depth < 2 * twin.depth


def chain(x):
    return reduce(lambda y, _: jnp.sin(y + x), range(T), x)


def test_a_chain_is_as_deep_as_long_and_loops_multiply():
    assert written(chain, shape(H)).depth == 2 * T
    nested = written(
        lambda x: lax.fori_loop(0, 11, lambda _, s: lax.fori_loop(0, 3, lambda _, z: chain(z), s), x), shape(H)
    )
    assert (nested.work, nested.depth) == (11 * 3 * 2 * T * H, 11 * 3 * 2 * T)


def test_what_does_not_wait_is_not_added_up():
    def both(x, y):
        early, late = chain(x), chain(chain(y))
        return jnp.where(early > 0, early, 0), late + 1

    @jax.jit
    def called(early, late):
        return early * 2, late + 1

    assert written(both, shape(H), shape(H)).depth == 2 * 2 * T + 1
    # The late argument of a call does not hold up what needs the early one alone.
    assert written(lambda x: chain(chain(called(x, chain(x))[0])), shape(H)).depth == 4 * T + 1
    assert written(lambda x: chain(called(x, chain(x))[1]), shape(H)).depth == 4 * T + 1


@pytest.mark.parametrize("levels", [6, 10, 15])
def test_a_sum_is_a_tree(levels):
    assert written(jnp.sum, shape(2**levels)).depth == levels
    assert parallelism(jnp.sum, shape(2**levels)).depth >= levels


def compose(earlier, later):
    return later[0] * earlier[0], later[0] * earlier[1] + later[1]


@pytest.mark.parametrize("levels", [4, 6, 9])
def test_an_associative_scan_is_logarithmic(levels):
    counted = written(lambda a, b: lax.associative_scan(compose, (a, b))[1], shape(2**levels, D), shape(2**levels, D))
    # Up the tree and down again, in each level a multiply-add, and downwards one more to put odd and even together.
    assert 2 * levels <= counted.depth <= 5 * levels
    assert counted.work < 8 * 2**levels * D


def attention(q_1TNH, k_1TNH, v_1TNH):
    return attention_with_weights(q_1TNH, k_1TNH, v_1TNH, mask=Causal())[0]


def test_attention_is_logarithmic_in_depth_and_quadratic_in_work():
    short, long = (written(attention, *[shape(1, length, 3, 8)] * 3) for length in (64, 64 * 2**9))
    # The greatest, the sum and the weighted sum of T numbers; nothing of [T, T] is made to know it.
    assert long.depth == short.depth + 3 * 9
    assert long.products == 4 * (64 * 2**9) ** 2 * 3 * 8


@pytest.mark.parametrize("form", ["written", "compiled"])
@pytest.mark.parametrize(
    "layers", [Layers(), Layers(unroll=True), Layers(remat=True)], ids=["scanned", "unrolled", "remat"]
)
def test_a_small_gpt_does_the_products_of_the_formula(layers, form):
    config = replace(gpt2(26, 3, 13, context=T), layers=layers)
    model = Decoder(config, 53)
    tokens = shape(1, T, dtype=jnp.int32)
    params = jax.eval_shape(model.init, jax.random.key(0), tokens)
    program = jax.jit(model.apply).lower(params, tokens)
    counted = count(program.compile() if form == "compiled" else program)
    assert counted.products == sum(forward_flops(config, 53, 0, T).values()) and not counted.unread


def test_training_a_small_gpt_costs_three_forward_passes():
    config, tokens = gpt2(26, 3, 13, context=T, dropout=0.0), shape(1, T, dtype=jnp.int32)
    model = Decoder(config, 53)
    params = jax.eval_shape(model.init, jax.random.key(0), tokens)
    loss = lambda params, tokens: jnp.square(model.apply(params, tokens)).sum()  # noqa: E731
    counted = parallelism(jax.grad(loss), params, tokens)
    assert counted.products == sum(training_flops(config, 53, 0, T).values())
    assert counted.depth > 1.5 * parallelism(loss, params, tokens).depth


def test_what_cannot_be_counted_is_named_and_leaves_a_lower_bound():
    until = written(lambda x: lax.while_loop(lambda s: jnp.sum(s) < 9, lambda s: s * 2, x), shape(H))
    assert until.work == H and len(until.unread) == 1
    assert "turns of the loop unknown, counted as one" in until.unread[0]
    library = parallelism(lambda x: jnp.linalg.cholesky(x + x.T), shape(H, H))
    assert library.unread == ("lapack_spotrf_ffi: operations unknown, counted as none",)


def test_a_choice_costs_its_dearest_branch():
    def choose(p, x):
        return lax.switch(p, [lambda x: x + 1, lambda x: x @ x @ x, chain], x)

    counted = written(choose, shape(dtype=jnp.int32), shape(H, H))
    assert counted.products == counted.work == 4 * H**3 > 2 * T * H * H
    # The choice is held within its bounds first.
    assert counted.depth == 2 * T + 1


def test_a_program_for_several_devices_is_counted_by_each_ones_share():
    mesh = jax.make_mesh((8,), ("data",))
    rows = jax.NamedSharding(mesh, jax.P("data"))
    x = jax.ShapeDtypeStruct((8 * T, D), jnp.float32, sharding=rows)
    assert parallelism(jnp.matmul, x, shape(D, H)).products == 2 * T * D * H


def test_the_bound_of_brent():
    counted = Parallelism(work=1000, products=0, bytes=0, depth=10, kernels=1)
    assert (counted.width, counted.steps(1), counted.steps(500)) == (100, 1010, 12)


def test_jitted_or_not_with_arrays_or_shapes():
    shapes, arrays = (shape(H), shape(H)), (jnp.ones(H), jnp.ones(H))
    function = lambda x, y: x * y + 1  # noqa: E731
    assert (
        parallelism(function, *shapes)
        == parallelism(jax.jit(function), *arrays)
        == parallelism(function, x=shapes[0], y=shapes[1])
    )
    compiled = jax.jit(function).lower(*shapes).compile()
    assert count(compiled) == count(compiled.as_text())


def test_the_example_of_the_docstring():
    assert doctest.testmod(module) == (0, 6)


# As a TPU's compiler writes it: the turns of the loop are unsaid, copies begin and end, kernels have estimates.
FOR_TPU = """\
HloModule m, is_scheduled=true

%scaled (p.1: f32[7]) -> f32[7] {
  %p.1 = f32[7]{0} parameter(0)
  ROOT %multiply.1 = f32[7]{0} multiply(%p.1, %p.1)
}

%body (t.1: (s32[], f32[7])) -> (s32[], f32[7]) {
  %t.1 = (s32[]{:T(128)}, f32[7]{0:T(128)S(1)}) parameter(0)
  %i.1 = s32[]{:T(128)} get-tuple-element(%t.1), index=0
  %one.1 = s32[]{:T(128)} constant(1)
  %next.1 = s32[]{:T(128)} add(%i.1, %one.1)
  %h.1 = f32[7]{0:T(128)S(1)} get-tuple-element(%t.1), index=1
  %new.1 = f32[7]{0:T(128)S(1)} fusion(%h.1), calls=%scaled, backend_config={"estimated_cycles":"1826"}
  ROOT %t.2 = (s32[]{:T(128)}, f32[7]{0:T(128)S(1)}) tuple(%next.1, %new.1)
}

%condition (t.3: (s32[], f32[7])) -> pred[] {
  %t.3 = (s32[]{:T(128)}, f32[7]{0:T(128)S(1)}) parameter(0)
  %i.2 = s32[]{:T(128)} get-tuple-element(%t.3), index=0
  %limit.1 = s32[]{:T(128)} constant(11)
  ROOT %less.1 = pred[]{:T(512)} compare(%i.2, %limit.1), direction=LT
}

%away (p.2: f32[7]) -> f32[3] {
  %p.2 = f32[7]{0} parameter(0)
  ROOT %slice.1 = f32[3]{0} slice(%p.2), slice={[0:3]}
}

ENTRY %main (x.1: f32[7]) -> f32[3] {
  %x.1 = f32[7]{0:T(128)} parameter(0)
  %copy-start.1 = (f32[7]{0:T(128)S(1)}, f32[7]{0:T(128)}, u32[]{:S(2)}) copy-start(%x.1)
  %copy-done.1 = f32[7]{0:T(128)S(1)} copy-done(%copy-start.1)
  %zero.1 = s32[]{:T(128)} constant(0)
  %t.4 = (s32[]{:T(128)}, f32[7]{0:T(128)S(1)}) tuple(%zero.1, %copy-done.1)
  %while.1 = (s32[]{:T(128)}, f32[7]{0:T(128)S(1)}) while(%t.4), condition=%condition, body=%body
  %h.2 = f32[7]{0:T(128)S(1)} get-tuple-element(%while.1), index=1
  %async-start.1 = ((f32[7]{0:T(128)S(1)}), f32[3]{0:T(128)}, u32[]{:S(2)}) async-start(%h.2), calls=%away
  ROOT %async-done.1 = f32[3]{0:T(128)} async-done(%async-start.1)
}
"""


def test_a_program_for_a_tpu_is_read_with_its_estimate():
    counter, copied, sliced = 2 * 4 + 4, 2 * 7 * 4, 2 * 3 * 4
    assert count(FOR_TPU) == Parallelism(
        work=11 * 7,
        products=0,
        bytes=11 * (counter + 2 * 7 * 4) + copied + sliced,
        depth=11,
        kernels=11 * 2 + 2,
        cycles=11 * 1826,
    )
