"""The loss of a preference against its closed form in double precision."""

import jax
import numpy as np
import pytest

from jaxformer.ops.preference import margin, preference_loss
from tests.parity.compare import assert_close, normal

BETA, SMOOTHING = 0.3, 0.1
MARGINS = np.float32(7 * normal(0, 23))


def sigmoid(x):
    return 1 / (1 + np.exp(-np.float64(x)))


def test_the_margin_is_what_the_first_answer_gained_more_than_the_second():
    log_p, reference = normal(1, 5, 2), normal(2, 5, 2)
    ratio = np.exp(np.float64(log_p) - reference)
    assert_close(margin(log_p, reference), np.log(ratio[:, 0] / ratio[:, 1]), 1e-6)
    np.testing.assert_array_equal(margin(log_p, log_p), np.zeros(5))


@pytest.mark.parametrize("smoothing", [0.0, SMOOTHING])
def test_the_loss_and_its_gradient_are_those_of_the_formula(smoothing):
    chosen, rejected = sigmoid(BETA * MARGINS), sigmoid(-BETA * MARGINS)
    expected = -(1 - smoothing) * np.log(chosen) - smoothing * np.log(rejected)
    assert_close(preference_loss(MARGINS, BETA, smoothing), expected, 1e-6)
    slope = jax.grad(lambda m: preference_loss(m, BETA, smoothing).sum())(MARGINS)
    assert_close(slope, BETA * (smoothing * chosen - (1 - smoothing) * rejected), 1e-6)


def test_without_a_margin_the_loss_is_that_of_a_coin():
    np.testing.assert_allclose(preference_loss(np.zeros(3, np.float32), BETA, SMOOTHING), np.log(2), rtol=1e-6)


def test_doubted_choices_have_a_best_margin():
    """Where the model takes the choice to be right as often as it is."""
    best = np.log((1 - SMOOTHING) / SMOOTHING) / BETA
    slopes = jax.vmap(jax.grad(lambda m: preference_loss(m, BETA, SMOOTHING)))(np.float32([best - 1, best, best + 1]))
    assert slopes[0] < -1e-3 and abs(slopes[1]) < 1e-6 and slopes[2] > 1e-3


def test_huge_margins_have_finite_losses_and_slopes():
    for m, loss, slope in ((1e4, 0.0, 0.0), (-1e4, 1e4 * BETA, -BETA)):
        value, gradient = jax.value_and_grad(lambda m: preference_loss(m, BETA))(np.float32(m))
        np.testing.assert_allclose([value, gradient], [loss, slope], rtol=1e-6)
