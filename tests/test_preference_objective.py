"""The objective of preferences against its definition, pair by pair, in double precision."""

from types import SimpleNamespace
from typing import Any

import jax
import numpy as np

from jaxformer.data.chat_rows import PreferenceBatch
from jaxformer.models.decoder import Features
from jaxformer.objectives import answer_log_probabilities, preference
from tests.parity.compare import assert_close, normal

B, T, D, V = 5, 7, 3, 11
BETA, SMOOTHING, IMITATION, SOFTCAP = 0.7, 0.2, 0.3, 1.5

X_RTD, W_VD = normal(0, 2 * B, T, D), normal(1, V, D)
GIVEN: Any = SimpleNamespace(
    config=SimpleNamespace(softcap=SOFTCAP), apply=lambda params, *arguments, **rest: Features(*params, (), {})
)
"""A model whose vectors are its parameters."""


def pairs():
    """Random pairs, the last two rows only filling."""
    rng = np.random.default_rng(2)
    counted_B2T = rng.random((B, 2, T)) < 0.5
    counted_B2T[:, :, 0], counted_B2T[3:] = True, False
    reference_B2 = np.float32(rng.normal(size=(B, 2)) - [[9, 14], [14, 9], [9, 9], [9, 9], [9, 9]])
    return PreferenceBatch(rng.integers(0, V, (B, 2, T + 1)), counted_B2T, reference_B2)


def log_p(batch):
    """Of both answers of every pair."""
    scores = np.einsum("btd,vd->btv", np.float64(X_RTD), np.float64(W_VD)).reshape(B, 2, T, V)
    scores = SOFTCAP * np.tanh(scores / SOFTCAP)
    each = scores - np.log(np.exp(scores).sum(-1, keepdims=True))
    labels = np.take_along_axis(each, batch.tokens_B2T[..., 1:, None], axis=-1)[..., 0]
    return (labels * batch.counted_B2T).sum(-1)


def test_an_answer_is_as_likely_as_its_tokens_together():
    batch = pairs()
    assert_close(answer_log_probabilities(GIVEN)((X_RTD, W_VD), batch, None), log_p(batch), 1e-6)


def test_every_pair_costs_what_the_formula_says_and_filling_nothing():
    batch = pairs()
    total = preference(GIVEN, BETA, SMOOTHING, IMITATION)((X_RTD, W_VD), batch, None)
    log_p_B2, expected = log_p(batch), np.zeros(4)
    for pair in range(3):
        gained = log_p_B2[pair] - batch.reference_B2[pair]
        right = 1 / (1 + np.exp(-BETA * (gained[0] - gained[1])))
        nll = -log_p_B2[pair, 0] / batch.counted_B2T[pair, 0].sum()
        loss = -(1 - SMOOTHING) * np.log(right) - SMOOTHING * np.log(1 - right) + IMITATION * nll
        expected += loss, nll, gained[0] > gained[1], 1
    assert_close((*total.costs, total.tokens), tuple(expected), 1e-5)
    assert 0 < total.costs.correct < 3


def test_a_small_step_makes_the_better_answer_likelier_and_the_other_less_so():
    """Of every pair that shares no vector with another."""
    batch, objective = pairs(), preference(GIVEN, BETA)
    gradient = jax.grad(lambda x: objective((x, W_VD), batch, None).costs.loss)(X_RTD)
    before, after = (answer_log_probabilities(GIVEN)((x, W_VD), batch, None) for x in (X_RTD, X_RTD - 0.1 * gradient))
    assert np.all(after[:3, 0] > before[:3, 0]) and np.all(after[:3, 1] < before[:3, 1])
    assert not np.any(gradient.reshape(B, 2, T, D)[~batch.counted_B2T])
