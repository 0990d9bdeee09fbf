"""The recurrent language model: what was read in parts is what was read at once, and nobody reads the future."""

from functools import cache, partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxformer.config.model import Lstm, RecurrentDecoderConfig, RgLru
from jaxformer.models.recurrent_decoder import RecurrentDecoder
from tests.parity.compare import assert_close, random_like

B, T, V, E, H = 3, 11, 23, 5, 7
TOKENS = np.random.default_rng(0).integers(V, size=(B, T)).astype(np.int32)
every_recurrence = pytest.mark.parametrize("recurrence", [Lstm(), RgLru()], ids=["LSTM", "RG-LRU"])


@cache
def case(recurrence):
    model = RecurrentDecoder(RecurrentDecoderConfig(recurrence, E, H, layers=2), V)
    shapes = jax.eval_shape(model.init, jax.random.key(0), TOKENS)
    return model, random_like(nn.meta.unbox(shapes), seed=1)


@every_recurrence
def test_parts_read_one_after_the_other_are_the_whole(recurrence):
    model, params = case(recurrence)
    whole_BTV = jax.jit(model.apply)(params, TOKENS)
    assert whole_BTV.shape == (B, T, V) and whole_BTV.dtype == np.float32
    decode = jax.jit(partial(model.apply, method="decode"))
    first_BTV, states = decode(params, TOKENS[:, :4])
    rest_BTV, _ = decode(params, TOKENS[:, 4:], states)
    assert_close(np.concatenate([first_BTV, rest_BTV], axis=1), whole_BTV, 1e-5)


@every_recurrence
def test_a_token_changes_what_is_predicted_from_there_on_and_nothing_before(recurrence):
    model, params = case(recurrence)
    other = TOKENS.copy()
    other[1, 6] = (other[1, 6] + 1) % V
    apart_BT = np.abs(jax.jit(model.apply)(params, other) - jax.jit(model.apply)(params, TOKENS)).max(-1)
    expected_BT = np.zeros((B, T), bool)
    expected_BT[1, 6:] = True
    np.testing.assert_array_equal(apart_BT > 0, expected_BT)


@every_recurrence
def test_every_parameter_has_a_gradient(recurrence):
    model, params = case(recurrence)
    gradients = jax.jit(jax.grad(lambda params: jnp.sum(jnp.square(model.apply(params, TOKENS)))))(params)
    assert all(np.abs(g).max() > 0 for g in jax.tree.leaves(gradients))


def test_impossible_configs_are_refused():
    with pytest.raises(ValueError, match="layers must be at least 1, got layers=0"):
        RecurrentDecoderConfig(layers=0)
    with pytest.raises(ValueError, match="dropout must lie in"):
        RecurrentDecoderConfig(dropout=1.0)
