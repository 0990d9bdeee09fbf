"""Dropout as a random variable: its rate, its mean, what it multiplies by, and its independence."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxformer.ops.dropout import dropout

SHAPE = (101, 103, 7)
ELEMENTS = 101 * 103 * 7
RATES = [0.1, 0.3, 0.5]


def dropped(key, rate, shape=SHAPE):
    return np.asarray(dropout(key, jnp.ones(shape), rate)) == 0


@pytest.mark.parametrize("rate", RATES)
def test_the_rate_is_the_one_asked_for_to_a_byte(rate):
    """A rate is a multiple of 1/256; five standard deviations of a binomial variable are allowed."""
    actual = round(rate * 256) / 256
    assert abs(actual - rate) <= 1 / 512
    observed = dropped(jax.random.key(0), rate).mean()
    assert abs(observed - actual) < 5 * np.sqrt(actual * (1 - actual) / ELEMENTS)


@pytest.mark.parametrize("rate", RATES)
def test_what_is_kept_is_divided_by_the_part_that_is_kept(rate):
    x = jnp.arange(1.0, 1 + ELEMENTS).reshape(SHAPE)
    y = np.asarray(dropout(jax.random.key(1), x, rate))
    kept = y != 0
    np.testing.assert_allclose(y[kept], np.asarray(x)[kept] / (1 - round(rate * 256) / 256), rtol=1e-6)


@pytest.mark.parametrize("rate", RATES)
def test_the_mean_over_keys_is_x(rate):
    """Of 1009 keys, everywhere: the standard error of each mean is √(r / (1-r) / 1009)."""
    x = jnp.array([2.0, -3.0, 5.0])
    means = jax.vmap(lambda key: dropout(key, x, rate))(jax.random.split(jax.random.key(2), 1009)).mean(0)
    np.testing.assert_allclose(means / x, 1, atol=5 * np.sqrt(rate / (1 - rate) / 1009))


def test_places_and_keys_are_independent():
    """Neighbours, which share a random word, agree as often as strangers do."""
    one, other = dropped(jax.random.key(3), 0.5), dropped(jax.random.key(4), 0.5)
    flat = one.reshape(-1)
    for agreement in [(one == other).mean(), *((flat[:-shift] == flat[shift:]).mean() for shift in (1, 2, 3, 4))]:
        assert abs(agreement - 0.5) < 5 * 0.5 / np.sqrt(ELEMENTS - 4)


def test_the_same_key_forgets_the_same():
    np.testing.assert_array_equal(dropped(jax.random.key(5), 0.3), dropped(jax.random.key(5), 0.3))


def test_the_gradient_passes_through_what_is_kept():
    key, x = jax.random.key(6), jnp.ones((5, 3))
    np.testing.assert_array_equal(jax.grad(lambda x: dropout(key, x, 0.3).sum())(x), dropout(key, x, 0.3))


def test_rates_that_round_to_0_drop_nothing():
    x = jnp.ones((5, 3))
    assert dropout(jax.random.key(7), x, 0.0) is x and dropout(jax.random.key(7), x, 0.001) is x


def test_a_rate_just_below_1_drops_nearly_everything():
    """The configs allow every rate below 1."""
    assert 0.99 < dropped(jax.random.key(8), 0.999).mean() < 1


def test_half_precision_stays_half_precision():
    assert dropout(jax.random.key(9), jnp.ones((5, 3), jnp.bfloat16), 0.3).dtype == jnp.bfloat16
