"""Probes are the minima that they promise, found by other means in float64."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize

from jaxformer.analysis.probes import Probe, accuracy, logistic, probe_layers, ridge
from tests.parity.compare import assert_close, normal

N, D, C, PENALTY = 83, 7, 3, 0.05
LABELS = np.where(np.arange(N) % 11 == 0, -1, np.random.default_rng(0).integers(0, C, N)).astype(np.int32)
X = (5 * normal(1, N, D) * np.arange(1, D + 1) + 3 + LABELS[:, None] * normal(2, D)).astype(np.float32)
X[:, 4] = 2.0
"""Features of unlike size, one of which does not vary."""


def standard():
    """The vectors that count, standardised, and their labels, float64."""
    x, labels = X[LABELS >= 0].astype(float), LABELS[LABELS >= 0]
    deviation = x.std(0)
    return (x - x.mean(0)) / np.where(deviation > 0, deviation, 1), labels


def test_ridge_is_least_squares_with_rows_added_for_the_penalty():
    z, labels = standard()
    y = np.eye(C)[labels]
    rows = np.concatenate([z / np.sqrt(len(z)), np.sqrt(PENALTY) * np.eye(D)])
    targets = np.concatenate([(y - y.mean(0)) / np.sqrt(len(z)), np.zeros((D, C))])
    weights = np.linalg.lstsq(rows, targets, rcond=None)[0]
    probe = jax.jit(partial(ridge, classes=C, penalty=PENALTY))(X, LABELS)
    assert_close(probe.scores(X[LABELS >= 0]), z @ weights + y.mean(0), 1e-5)


def test_newton_finds_the_minimum():
    z, labels = standard()
    z = np.concatenate([z, np.ones((len(z), 1))], axis=1)

    def loss(w):
        scores = z @ w.reshape(-1, C)
        log_p = scores - np.log(np.exp(scores).sum(1, keepdims=True))
        return -log_p[np.arange(len(z)), labels].mean() + PENALTY / 2 * (w**2).sum()

    best = scipy.optimize.minimize(loss, np.zeros(z.shape[1] * C), tol=1e-10)
    probe = jax.jit(partial(logistic, classes=C, penalty=PENALTY))(X, LABELS)
    assert_close(probe.scores(X[LABELS >= 0]), z @ best.x.reshape(-1, C), 1e-4)


@pytest.mark.parametrize("fit", [ridge, logistic])
def test_what_does_not_count_changes_nothing(fit):
    fitted = jax.jit(partial(fit, classes=C))
    other = np.where(LABELS[:, None] < 0, 99, X).astype(np.float32)
    assert_close(fitted(other, LABELS), fitted(X, LABELS), 1e-4)


@pytest.mark.parametrize("fit", [ridge, logistic])
def test_separate_classes_are_told_apart(fit):
    """A probe without a penalty to speak of, of vectors that a line separates."""
    x = normal(5, 31, D)
    labels = (x[:, 2] > 0.1).astype(np.int32)
    x[:, 2] += np.where(labels, 3, -3)
    assert accuracy(jax.jit(partial(fit, classes=2, penalty=1e-6))(x, labels), x, labels) == 1


def test_accuracy_counts_what_counts():
    probe = Probe(jnp.eye(2), jnp.zeros(2))
    x = np.array([[1, 0], [0, 1], [1, 0], [0, 1]], np.float32)
    assert accuracy(probe, x, np.array([0, 1, 1, -1])) == pytest.approx(2 / 3)
    assert np.isnan(accuracy(probe, x, np.full(4, -1)))


@pytest.mark.parametrize("fit", [pytest.param(ridge, marks=pytest.mark.slow), logistic])
def test_every_layer_and_seed_has_its_own_probe(fit):
    L, B, T, seeds = 3, 5, 13, 2
    states, held_out = normal(1, seeds, L, B, T, D), normal(2, seeds, L, B, T, D)
    labels = np.random.default_rng(3).integers(-1, C, (2, B, T)).astype(np.int32)
    states[1, 2, ..., :C] += 5 * np.eye(C)[labels[0]]
    held_out[1, 2, ..., :C] += 5 * np.eye(C)[labels[1]]
    fit = partial(fit, classes=C, penalty=0.1)

    def of_seed(states, held_out):
        return probe_layers(states, labels[0], held_out, labels[1], fit)

    found = jax.jit(jax.vmap(of_seed))(states, held_out)
    assert found.shape == (seeds, L) and found[1, 2] > 0.9 and np.delete(found.ravel(), 5).max() < 0.7
    one = fit(states[0, 1].reshape(-1, D), labels[0].ravel())
    assert found[0, 1] == pytest.approx(float(accuracy(one, held_out[0, 1].reshape(-1, D), labels[1].ravel())))
