"""The recurrence that looks between its steps: against a plain loop in float64, one sequence and a batch of them."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxformer.ops.attentive import Scoring, attentive_scan
from jaxformer.ops.recurrence import TANH_RNN, Recurrent
from tests.parity.compare import assert_all_close, normal

B, T, S, D, M, H, A = 2, 7, 11, 5, 13, 17, 19
CELL = Recurrent(normal(0, D + M, H) / 4, normal(1, H, H) / 4, normal(2, H), normal(3, H))
SCORING = Scoring(normal(4, H, A) / 4, normal(5, M, A) / 4, normal(6, A))
VALID_BS = np.arange(S) < np.array([[S], [3]])


def inputs():
    return normal(7, B, T, D), (normal(8, B, H),), normal(9, B, S, M), VALID_BS


def loop(x_TD, h_H, memory_SM, valid_S):
    """The paper's equations, a step and a place at a time."""
    u, w, b, c = (np.float64(part) for part in CELL)
    wq, wk, v = (np.float64(part) for part in SCORING)
    outputs, seen, weights = [], [], []
    for x_D in np.float64(x_TD):
        scores = [v @ np.tanh(h_H @ wq + m_M @ wk) for m_M in memory_SM]
        weights.append(np.exp(scores) * valid_S / (np.exp(scores) * valid_S).sum())
        seen.append(sum(weight * m_M for weight, m_M in zip(weights[-1], memory_SM, strict=True)))
        h_H = np.tanh(np.concatenate([x_D, seen[-1]]) @ u + b + h_H @ w + c)
        outputs.append(h_H)
    return np.stack(outputs), np.stack(seen), np.stack(weights), (h_H,)


@pytest.fixture(scope="module")
def lifted():
    return jax.jit(jax.vmap(partial(attentive_scan, TANH_RNN), in_axes=(None, None, 0, 0, 0, 0)))


@pytest.mark.parametrize("row", range(B))
def test_it_is_the_loop_over_steps_and_places(lifted, row):
    x_BTD, (h_BH,), memory_BSM, valid_BS = inputs()
    ours = jax.tree.map(lambda leaf: leaf[row], lifted(CELL, SCORING, *inputs()))
    assert_all_close(ours, loop(x_BTD[row], h_BH[row], np.float64(memory_BSM[row]), valid_BS[row]), 1e-5)


def test_half_precision_rounds_its_parts_and_keeps_state_and_weights_of_reading_whole(lifted):
    x_BTD, state, memory_BSM, valid_BS = inputs()
    half = partial(jnp.asarray, dtype=jnp.bfloat16)
    cell = Recurrent(*(half(part) for part in CELL))
    ours = lifted(cell, SCORING, half(x_BTD), state, half(memory_BSM), valid_BS)
    h_BTH, seen_BTM, weights_BTS, (last_BH,) = ours
    assert (h_BTH.dtype, seen_BTM.dtype) == (jnp.bfloat16, jnp.bfloat16)
    assert (weights_BTS.dtype, last_BH.dtype) == (jnp.float32, jnp.float32)
    assert_all_close(jax.tree.map(np.float32, ours), lifted(CELL, SCORING, *inputs()), 16 * 2.0**-8)
