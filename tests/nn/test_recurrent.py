"""Recurrent layers by themselves: direction, padding and the attention between the steps; parity is elsewhere."""

import flax.linen as nn
import jax
import numpy as np

from jaxformer.config.model import Lstm, RgLru
from jaxformer.nn.recurrent import KEPT, AttentiveLayer, LinearRecurrentLayer, RecurrentLayer, recurrent_layer
from jaxformer.ops.recurrence import GRU, LSTM
from tests.parity.compare import assert_close, normal, random_like

B, T, S, D, M, H, A = 3, 7, 11, 5, 13, 17, 19
LENGTHS = np.array([T, 2, 0])


def with_random_weights(module, *inputs, **kwargs):
    shapes = nn.meta.unbox(jax.eval_shape(lambda key: module.init(key, *inputs, **kwargs), jax.random.key(0)))
    return random_like(shapes, seed=1)


def test_a_layer_read_backwards_is_the_layer_of_each_reversed_sequence():
    x_BTD, valid_BT = normal(0, B, T, D), np.arange(T) < LENGTHS[:, None]
    layer = RecurrentLayer(LSTM, H)
    params = with_random_weights(layer, x_BTD)
    apply = jax.jit(layer.apply, static_argnames="reverse")
    h_BTH, final = apply(params, x_BTD, valid_BT=valid_BT, reverse=True)
    flipped = np.stack([np.concatenate([row[:n][::-1], row[n:]]) for row, n in zip(x_BTD, LENGTHS, strict=True)])
    flipped_h, flipped_final = apply(params, flipped, valid_BT=valid_BT)
    for row, n in enumerate(LENGTHS):
        assert_close(h_BTH[row, :n], flipped_h[row, :n][::-1], 1e-6)
        assert not h_BTH[row, n:].any()
    assert_close(final, flipped_final, 1e-6)


def test_what_a_layer_looks_at_depends_on_its_state_alone():
    """The first weights are the same for any input; the weights are a distribution over the keys that are there."""
    x_BTD, memory_BSM, valid_BS = normal(0, B, T, D), normal(2, B, S, M), np.arange(S) < np.array([[S], [2], [5]])
    layer, state = AttentiveLayer(GRU, H, A), (normal(3, B, H),)
    params = with_random_weights(layer, x_BTD, state, memory_BSM, valid_BS)
    apply = jax.jit(layer.apply)
    h_BTH, seen_BTM, weights_BTS, final = apply(params, x_BTD, state, memory_BSM, valid_BS)
    np.testing.assert_allclose(weights_BTS.sum(-1), np.ones((B, T)), rtol=1e-6)
    assert not np.any(np.where(valid_BS[:, None], 0, weights_BTS))
    assert_close(seen_BTM, np.einsum("bts,bsm->btm", weights_BTS, memory_BSM), 1e-6)
    np.testing.assert_array_equal(h_BTH[:, -1], final[0])
    _, _, other_BTS, _ = apply(params, normal(4, B, T, D), state, memory_BSM, valid_BS)
    np.testing.assert_array_equal(other_BTS[:, 0], weights_BTS[:, 0])
    assert np.abs(other_BTS[:, 1] - weights_BTS[:, 1])[0].max() > 1e-3


def test_a_linear_layer_is_the_paper_s_recurrence_of_its_projected_input():
    x_BTD, before_BH = normal(0, B, T, D), normal(1, B, H)
    layer = LinearRecurrentLayer(H)
    params = with_random_weights(layer, x_BTD)
    h_BTH, (final_BH,) = jax.jit(layer.apply)(params, x_BTD, (before_BH,))

    def sigmoid(x):
        return 1 / (1 + np.exp(-x))

    w = {name: np.asarray(value, np.float64) for name, value in params["params"].items()}
    wide_BTH, h_BH = x_BTD @ w["input"], before_BH.astype(np.float64)
    for t in range(T):
        x_BH = wide_BTH[:, t]
        a_BH = sigmoid(w["decay"]) ** (8 * sigmoid(x_BH @ w["recurrence_gate"] + w["recurrence_gate_bias"]))
        entered_BH = sigmoid(x_BH @ w["input_gate"] + w["input_gate_bias"]) * x_BH
        h_BH = a_BH * h_BH + np.sqrt(1 - a_BH**2) * entered_BH
        assert_close(h_BTH[:, t], h_BH, 1e-5)
    np.testing.assert_array_equal(final_BH, h_BTH[:, -1])


def test_a_linear_layer_begins_by_keeping_nearly_all():
    width = 1009
    params = nn.meta.unbox(jax.jit(LinearRecurrentLayer(width).init)(jax.random.key(0), normal(0, 1, 2, D)))
    kept_H = 1 / (1 + np.exp(-np.asarray(params["params"]["decay"], np.float64))) ** 8
    assert KEPT[0] - 1e-4 <= kept_H.min() and kept_H.max() <= KEPT[1] + 1e-4
    assert abs(kept_H.mean() - np.mean(KEPT)) < 0.005


def test_a_config_names_its_layer():
    assert recurrent_layer(RgLru(), H) == LinearRecurrentLayer(H)
    assert recurrent_layer(Lstm(), H) == RecurrentLayer(LSTM, H)
