"""Products of activations with weights."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxformer.ops.dropout import dropout
from jaxformer.ops.linear import FEW, ByOutput, LowRank, as_declared, logits, plus_bias, project, readout
from tests.parity.compare import assert_close, normal

SIZES = dict(zip("bstdnhc", (2, 17, 3, 7, 5, 11, 13), strict=True))


def operands(equation):
    """Random arrays of the shapes that an equation names, with a size of its own for every letter."""
    named = equation.replace("...", "bs").split("->")[0].split(",")
    return tuple(normal(i, *(SIZES[axis] for axis in part)) for i, part in enumerate(named))


@pytest.mark.parametrize(
    "equation",
    ["btd,dnh->btnh", "btnh,nhd->btd", "...d,dc->...c", "d,dc->c", "btnh,cnh->btnc", "btc,cnh->btnh", "btnh,hnd->btd"],
)
def test_the_product_is_that_of_einsum_with_its_gradients(equation):
    """Whether it is one product of matrices or not."""
    x, w = operands(equation)
    y, pull = jax.vjp(lambda x, w: project(equation, x, w), x, w)
    assert_close(y, np.einsum(equation, np.float64(x), w), 1e-6)
    dy = normal(2, *y.shape)
    of_x, of_w, of_y = equation.replace("...", "bs").replace("->", ",").split(",")
    expected = np.einsum(f"{of_y},{of_w}->{of_x}", dy, np.float64(w)), np.einsum(f"{of_x},{of_y}->{of_w}", x, dy)
    assert_close(pull(dy), expected, 1e-5)


def test_the_gradient_of_a_tall_matrix_is_a_wide_product():
    """In the compiled program, whose compiler would turn it back; the derivative forwards is as ever."""
    x, w, dy = normal(0, 64, 48), normal(1, 48, 16), normal(2, 64, 16)
    gradient = jax.jit(lambda x, w, dy: jax.vjp(lambda w: project("ni,io->no", x, w), w)[1](dy)[0])
    compiled = gradient.lower(x, w, dy).compile().as_text()
    assert "f32[16,48]{1,0} dot(" in compiled and "f32[48,16]{1,0} dot(" not in compiled
    assert_close(gradient(x, w, dy), np.float64(x).T @ dy, 1e-6)
    moved = jax.jvp(lambda w: project("ni,io->no", x, w), (w,), (2 * w,))[1]
    assert_close(moved, 2 * np.float64(x) @ w, 1e-6)


def test_shapes_that_do_not_fit_are_refused():
    """Even where as many numbers would be summed."""
    for equation, x, w in (("btnh,nhd->btd", (1, 2, 4, 6), (6, 4, 5)), ("btd,de->bte", (2, 3), (3, 4))):
        with pytest.raises(ValueError):
            project(equation, normal(0, *x), normal(1, *w))


@pytest.mark.parametrize("rows", [1, 2, 5])
@pytest.mark.parametrize(("equation", "inputs"), [("bd,dnh->bnh", 1), ("bnh,nhd->bd", 2), ("...d,dc->...c", 1)])
def test_a_weight_by_outputs_multiplies_as_it_was_declared(equation, inputs, rows):
    x, w = operands(equation)
    x, layers = x[:rows], np.stack([w, -w])
    turned = ByOutput.of(jnp.asarray(layers), inputs, stacked=1)
    np.testing.assert_array_equal(as_declared({"kernel": turned, "bias": w})["kernel"], layers)
    for layer, rows_of in zip(layers, turned.rows, strict=True):
        y = jax.jit(project, static_argnums=0)(equation, x, ByOutput(rows_of, inputs))
        assert_close(y, np.einsum(equation, np.float64(x), layer), 1e-6)


def test_a_weight_by_outputs_is_refused_where_other_axes_are_summed():
    for equation, x in (("bnh,dnh->bd", (2, 3, 4)), ("bd,dnh->bnh", (2, 6)), ("bnh,nhd->bd", (2, 5, 3))):
        with pytest.raises(ValueError, match=r"no product of .* \(5,\) to \(3, 4\)"):
            project(equation, normal(0, *x), ByOutput(jnp.ones((3, 4, 5)), 1))
    with pytest.raises(ValueError, match="no product"):
        project("bd,dc->bc", normal(0, 2, 5), ByOutput(jnp.ones((3, 4, 5)), 1))  # a stack of layers


def test_the_product_of_few_vectors_has_the_weight_first():
    """In the compiled program, whose compiler would turn it round."""
    w = normal(0, 48, 16)
    for rows, first in ((1, "f32[1,48]"), (2, "f32[48,2]"), (FEW, f"f32[48,{FEW}]"), (FEW + 1, f"f32[{FEW + 1},48]")):
        x = normal(1, rows, 16)
        compiled = jax.jit(logits).lower(x, w).compile()
        assert f"{first}{{1,0}} dot(" in compiled.as_text()
        assert_close(compiled(x, w), np.float64(x) @ w.T, 1e-6)


def test_half_precision_rounds_the_weights_and_once_the_sum():
    x, w = jnp.asarray(normal(0, 3, 1009), jnp.bfloat16), 1 + normal(1, 1009, 5)
    y = project("bd,de->be", x, w)
    exact = np.float64(x) @ np.float64(jnp.asarray(w, jnp.bfloat16))
    assert y.dtype == jnp.bfloat16
    np.testing.assert_array_equal(np.float32(y), np.float32(jnp.asarray(exact, jnp.bfloat16)))


BF16 = jnp.bfloat16


def rounded(seed, *shape):
    """Numbers that bfloat16 can tell."""
    return jnp.asarray(normal(seed, *shape), BF16)


@pytest.mark.parametrize("equation", ["btd,dnh->btnh", "btnh,nhd->btd", "...d,dc->...c", "d,dc->c"])
def test_gradients_in_half_precision_are_sums_in_float32_of_what_is_rounded(equation):
    """That of the weights is not rounded at all, and that of the input once."""
    x, w = rounded(0, *operands(equation)[0].shape), operands(equation)[1]
    y, pull = jax.vjp(lambda x, w: project(equation, x, w), x, w)
    dy = rounded(2, *y.shape)
    dx, dw = pull(dy)
    of_x, of_w, of_y = equation.replace("...", "bs").replace("->", ",").split(",")
    wide_x, wide_w, wide_dy = (np.asarray(jnp.asarray(each, BF16), np.float64) for each in (x, w, dy))
    assert dx.dtype == BF16 and dw.dtype == jnp.float32
    assert_close(dw, np.einsum(f"{of_x},{of_y}->{of_w}", wide_x, wide_dy), 1e-6)
    assert_close(dx.astype(jnp.float32), np.einsum(f"{of_y},{of_w}->{of_x}", wide_dy, wide_w), 2**-8)


def test_the_gradients_of_logits_of_half_precision_round_what_comes_back_alone():
    x, w, g = rounded(0, 5, 16), normal(1, 12, 16), normal(2, 5, 12)
    dx, dw = jax.vjp(logits, x, w)[1](jnp.asarray(g))
    wide_g = np.asarray(jnp.asarray(g, BF16), np.float64)
    assert dx.dtype == BF16 and dw.dtype == jnp.float32
    assert_close(dw, wide_g.T @ np.asarray(x, np.float64), 1e-6)
    assert_close(dx.astype(jnp.float32), wide_g @ np.asarray(jnp.asarray(w, BF16), np.float64), 2**-8)


def test_no_product_of_half_precision_multiplies_float32():
    """Neither forwards nor backwards, on any platform; all sums are float32."""

    def loss(x, w, table, b):
        return logits(plus_bias(project("nd,df->nf", x, w), b), table).sum()

    arrays = rounded(0, 32, 8), normal(1, 8, 16), normal(2, 20, 16), normal(3, 16)
    traced = jax.jit(jax.grad(loss, argnums=(0, 1, 2, 3))).trace(*arrays)
    for platform in ("cpu", "cuda", "tpu"):
        text = traced.lower(lowering_platforms=(platform,)).as_text()
        types = re.findall(r"stablehlo\.dot_general .*: (.*)", text)
        assert len(types) == 6
        for each in types:
            assert re.fullmatch(r"\(tensor<\w+xbf16>, tensor<\w+xbf16>\) -> tensor<\w+xf32>", each), each


def test_the_compiled_gradients_of_half_precision_multiply_what_the_product_itself_does():
    """A matrix that is not turned over first is multiplied as float32 on CPUs, in spite of the program's types."""
    x, w, dy = rounded(0, 128, 64), normal(1, 64, 96), rounded(2, 128, 96)

    def forwards(x, w):
        return project("ni,io->no", x, w)

    def factors(function, *arrays):
        text = jax.jit(function).lower(*arrays).compile().as_text()
        types = dict(re.findall(r"%(\S+) = (\w+)\[", text))
        return [types[name] for pair in re.findall(r" dot\(%(\S+), %(\S+)\)", text) for name in pair]

    own = factors(forwards, x, w)
    gradients = factors(lambda x, w, dy: jax.vjp(forwards, x, w)[1](dy), x, w, dy)
    assert len(own) == 2 and gradients == own * 2


def test_the_gradient_of_a_bias_of_half_precision_is_summed_in_float32():
    """A sum in bfloat16 would stay at 256."""
    y, b = jnp.zeros((4, 1024, 2, 3), BF16), jnp.full((2, 3), 1 / 3)
    shifted, pull = jax.vjp(plus_bias, y, b)
    dy, db = pull(jnp.ones_like(shifted))
    assert shifted.dtype == BF16 and (shifted == b.astype(BF16)).all() and (dy == 1).all()
    assert db.dtype == jnp.float32 and (db == 4096).all()


def test_a_bias_in_float32_is_added_as_ever():
    y, b = normal(0, 5, 7), normal(1, 7)
    shifted, pull = jax.vjp(plus_bias, y, b)
    np.testing.assert_array_equal(shifted, y + b)
    assert_close(pull(y)[1], np.float64(y).sum(0), 1e-6)


def test_the_readout_is_luongs():
    x, w, b = normal(0, 3, 2, 7), normal(1, 7, 5), normal(2, 5)
    assert_close(readout(x, w, b), np.tanh(np.float64(x) @ w + b), 1e-6)


def test_logits_are_products_with_each_tokens_vector_in_float32():
    x, w = normal(0, 3, 2, 7), normal(1, 11, 7)
    assert_close(logits(x, w), np.einsum("btd,vd->btv", np.float64(x), w), 1e-6)
    assert_close(logits(x[0, 0], w), np.float64(w) @ x[0, 0], 1e-6)


def test_logits_of_half_precision_are_not_rounded_to_it():
    x, w = jnp.asarray(normal(0, 3, 1009), jnp.bfloat16), 1 + normal(1, 5, 1009)
    exact = np.float64(x) @ np.float64(jnp.asarray(w, jnp.bfloat16)).T
    y = logits(x, w)
    assert y.dtype == jnp.float32
    assert_close(y, exact, 1e-6)
    assert not np.array_equal(y, np.float32(jnp.asarray(y, jnp.bfloat16)))


@pytest.mark.parametrize("equation, inputs", [("btd,dnh->btnh", 1), ("btnh,nhd->btd", 2), ("btnh,cnh->btnc", 1)])
def test_a_weight_with_an_update_is_the_sum_of_both(equation, inputs):
    """Values, and the gradients of x and of both factors."""
    x, w = operands(equation)
    a, b = normal(2, *w.shape[:inputs], 3), normal(3, 3, *w.shape[inputs:])

    def apart(x, a, b):
        return project(equation, x, LowRank(w, a, b))

    def added(x, a, b):
        return project(equation, x, w + jnp.tensordot(a, b, 1))

    assert_close(apart(x, a, b), added(x, a, b), 1e-5)
    weight = normal(4, *added(x, a, b).shape)
    gradients = (jax.grad(lambda *args, f=f: (f(*args) * weight).sum(), (0, 1, 2))(x, a, b) for f in (apart, added))
    assert_close(*gradients, 1e-5)


def test_an_update_reads_what_its_dropout_leaves():
    x, w, a, b, key = normal(0, 3, 7), normal(1, 7, 5), normal(2, 7, 2), normal(3, 2, 5), jax.random.key(1)
    left = np.asarray(dropout(key, jnp.asarray(x), 0.5))
    assert 0 < (left == 0).sum() < x.size
    assert_close(project("bd,de->be", x, LowRank(w, a, b, key, 0.5)), x @ w + left @ a @ b, 1e-5)
