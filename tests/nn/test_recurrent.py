"""Recurrent layers by themselves: direction, padding and the attention between the steps; parity is elsewhere."""

import flax.linen as nn
import jax
import numpy as np

from jaxformer.nn.recurrent import AttentiveLayer, RecurrentLayer
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
