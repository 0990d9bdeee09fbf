"""Laws of the linear recurrences: a loop in float64 gives the values and gradients of both forms; sequences go on."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from jaxformer.ops.linear_recurrence import FORMS, MinGru, RgLru, min_gru, rg_lru

T, B, D, H = 7, 3, 5, 2

each_form = pytest.mark.parametrize("form", FORMS, ids=lambda form: form.__name__)


@partial(jax.jit, static_argnums=0)
def gradients(f, *args):
    """Of a function of arrays, given that of its result as the last of `args`."""
    return jax.vjp(f, *args[:-1])[1](args[-1])


@pytest.fixture(autouse=True)
def in_float64():
    with jax.enable_x64(True):
        yield


def normal(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape)


def looped(a_TH, b_TH, h_H):
    states_TH = np.empty_like(b_TH)
    for t in range(len(b_TH)):
        states_TH[t] = h_H = a_TH[t] * h_H + b_TH[t]
    return states_TH


def looped_gradients(a_TH, b_TH, h_H, d_TH):
    """Of a, b and the first state, given that of all states: the chain rule from the last step to the first."""
    before_TH = np.concatenate([h_H[None], looped(a_TH, b_TH, h_H)[:-1]])
    da_TH, db_TH, d_H = np.empty_like(a_TH), np.empty_like(b_TH), np.zeros_like(h_H)
    for t in reversed(range(len(b_TH))):
        d_H = d_H + d_TH[t]
        da_TH[t], db_TH[t] = d_H * before_TH[t], d_H
        d_H = d_H * a_TH[t]
    return da_TH, db_TH, d_H


@each_form
@pytest.mark.parametrize("length", [1, T])
def test_values_and_gradients_are_those_of_the_loop(form, length):
    # Factors of either sign and of any size, which no gate makes.
    a_TH, b_TH, h_H, d_TH = normal(0, length, H), normal(1, length, H), normal(2, H), normal(3, length, H)
    np.testing.assert_allclose(jax.jit(form)(a_TH, b_TH, h_H), looped(a_TH, b_TH, h_H), rtol=1e-12)
    for got, expected in zip(
        gradients(form, a_TH, b_TH, h_H, d_TH), looped_gradients(a_TH, b_TH, h_H, d_TH), strict=True
    ):
        np.testing.assert_allclose(got, expected, rtol=1e-11, atol=1e-12)


@each_form
def test_without_a_first_state_it_is_zero_and_batches_are_sequences(form):
    a_TBH, b_TBH = normal(0, T, B, H), normal(1, T, B, H)
    expected = np.stack([looped(a_TBH[:, i], b_TBH[:, i], np.zeros(H)) for i in range(B)], axis=1)
    for batched in (form, jax.vmap(form, in_axes=1, out_axes=1)):
        np.testing.assert_allclose(jax.jit(batched)(a_TBH, b_TBH), expected, rtol=1e-12)


@each_form
def test_a_long_sequence_of_factors_near_one_keeps_its_digits(form):
    a_TH, b_TH = (x.astype(np.float32) for x in (1 - 1e-3 * np.abs(normal(0, 256, 2)), normal(1, 256, 2)))
    expected = looped(a_TH.astype(np.float64), b_TH.astype(np.float64), np.zeros(2))
    np.testing.assert_allclose(jax.jit(form)(a_TH, b_TH), expected, atol=1e-5 * np.abs(expected).max())


def applied(layer, form):
    """The layer in one program."""
    return jax.jit(partial(layer, form=form))


def min_gru_parameters(dtype=np.float64):
    return MinGru(*(jnp.asarray(normal(i, *shape), dtype) for i, shape in enumerate([(D, H), (H,), (D, H), (H,)])))


def rg_lru_parameters(dtype=np.float64):
    shapes = [(D, D), (D,), (D, D), (D,), (D,)]
    return RgLru(*(jnp.asarray(normal(i, *shape), dtype) for i, shape in enumerate(shapes)))


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def looped_min_gru(p, x_TD, h_H):
    states = []
    for x_D in x_TD:
        z_H = sigmoid(x_D @ p.update_DH + p.update_bias_H)
        h_H = (1 - z_H) * h_H + z_H * (x_D @ p.new_DH + p.new_bias_H)
        states.append(h_H)
    return np.stack(states)


def looped_rg_lru(p, x_TD, h_D):
    states = []
    for x_D in x_TD:
        r_D, i_D = sigmoid(x_D @ p.recurrence_DD + p.recurrence_bias_D), sigmoid(x_D @ p.input_DD + p.input_bias_D)
        a_D = sigmoid(p.decay_D) ** (8 * r_D)
        h_D = a_D * h_D + np.sqrt(1 - a_D**2) * (i_D * x_D)
        states.append(h_D)
    return np.stack(states)


LAYERS = {
    "minGRU": (min_gru, min_gru_parameters, looped_min_gru, H),
    "RG-LRU": (rg_lru, rg_lru_parameters, looped_rg_lru, D),
}
each_layer = pytest.mark.parametrize("name", LAYERS)


@each_form
@each_layer
def test_a_layer_is_its_equations_step_by_step(name, form):
    layer, parameters, reference, width = LAYERS[name]
    p, x_TD, h = parameters(), normal(10, T, D), normal(11, width)
    expected = reference(jax.tree.map(np.asarray, p), x_TD, h)
    np.testing.assert_allclose(applied(layer, form)(p, x_TD, h), expected, rtol=1e-10, atol=1e-12)


@each_layer
def test_gradients_are_those_of_small_differences_and_alike_in_both_forms(name):
    layer, parameters, _, width = LAYERS[name]
    p, x_TD, h, d_T = parameters(), normal(10, T, D), normal(11, width), normal(12, T, width)
    one, other = (gradients(partial(layer, form=form), p, x_TD, h, d_T) for form in FORMS)
    for got, expected in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-9, atol=1e-12)
    check_grads(applied(layer, FORMS[0]), (p, x_TD, h), order=1, modes=("rev",), rtol=1e-6, atol=1e-6)


@each_form
@each_layer
def test_a_sequence_goes_on_where_it_stopped_and_never_reads_the_future(name, form):
    layer, parameters, _, _ = LAYERS[name]
    p, x_TD, run = parameters(), normal(10, T, D), applied(layer, form)
    whole, first = run(p, x_TD), run(p, x_TD[:4])
    np.testing.assert_allclose(first, whole[:4], rtol=1e-12)
    np.testing.assert_allclose(run(p, x_TD[4:], first[-1]), whole[4:], rtol=1e-10)


@each_form
@each_layer
def test_half_precision_is_near_full_precision(name, form):
    layer, parameters, _, _ = LAYERS[name]
    p, x_TD, run = parameters(jnp.bfloat16), jnp.asarray(normal(10, 64, D), jnp.bfloat16), applied(layer, form)
    got, full = run(p, x_TD), run(*jax.tree.map(lambda w: w.astype(jnp.float64), (p, x_TD)))
    assert got.dtype == jnp.bfloat16
    np.testing.assert_allclose(got.astype(jnp.float64), full, rtol=0.02, atol=0.02)


@each_layer
def test_states_are_computed_in_single_precision_or_better(name):
    layer, parameters, _, _ = LAYERS[name]

    def form(a_TH, b_TH, h_H):
        assert a_TH.dtype == b_TH.dtype == jnp.float32
        return b_TH

    layer(parameters(jnp.bfloat16), jnp.asarray(normal(10, T, D), jnp.bfloat16), form=form)


@each_form
def test_a_state_of_min_gru_stays_among_what_is_new(form):
    p, x_TD = min_gru_parameters(), normal(10, 64, D)
    new_TH = x_TD @ p.new_DH + p.new_bias_H
    assert (np.abs(applied(min_gru, form)(p, x_TD)) <= np.abs(new_TH).max(0)).all()


@each_form
def test_an_rg_lru_keeps_the_variance_of_white_noise(form):
    # All of x enters, and a = σ(2)^4 at every step.
    p = RgLru(jnp.zeros((D, D)), jnp.zeros(D), jnp.zeros((D, D)), jnp.full(D, 50.0), jnp.full(D, 2.0))
    h_TD = applied(rg_lru, form)(p, normal(10, 2048, D))
    np.testing.assert_allclose(h_TD.var(), 1, rtol=0.1)


@each_form
@pytest.mark.parametrize("decay", [30.0, 200.0, -1e4])
def test_an_rg_lru_that_forgets_nothing_or_all_has_finite_gradients(form, decay):
    p = rg_lru_parameters(np.float32)._replace(decay_D=jnp.full(D, decay, jnp.float32))
    x_TD = jnp.asarray(normal(10, T, D), jnp.float32)
    changes = gradients(partial(rg_lru, form=form), p, x_TD, x_TD)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(changes))


def test_near_one_the_root_has_all_its_digits():
    """Of 1 - a², which is about 1e-10, float32 would see nothing."""
    p, x_1D = rg_lru_parameters()._replace(decay_D=jnp.full(D, 25.0)), normal(10, 1, D)
    narrow = rg_lru(*jax.tree.map(lambda w: jnp.asarray(w, jnp.float32), (p, x_1D)))
    np.testing.assert_allclose(narrow, rg_lru(p, x_1D), rtol=1e-5)
