"""Dropout is on exactly when a key is given."""

from dataclasses import replace

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxformer.config.model import Layers
from jaxformer.nn.dropout import Dropout
from jaxformer.nn.stack import repeated
from tests.laws.cases import PAD, PRE_NORM, RNN_ATTENTION, B, S, T, case, every_model, pairs
from tests.parity.compare import normal

RATE = 64 / 256


def logits(config, key=None):
    """Of the model with dropout, whose weights are those of the one without."""
    return case(replace(config, dropout=RATE)).logits(*pairs(), rngs=None if key is None else {"dropout": key})


@every_model
def test_without_a_key_nothing_is_forgotten(model):
    np.testing.assert_array_equal(logits(model), case(model).logits(*pairs()))


@every_model
def test_a_key_decides_what_is_forgotten(model):
    first, again, other = (logits(model, jax.random.key(seed)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other) and not np.array_equal(first, logits(model))


class Forget(nn.Module):
    """A layer that shows which of its ones it forgets, at two places."""

    @nn.compact
    def __call__(self, x):
        return x, (Dropout(RATE)(jnp.ones((B, T))), Dropout(RATE)(jnp.ones((B, T))))


@pytest.mark.parametrize("layout", [Layers(), Layers(unroll=True), Layers(remat=True)], ids=str)
def test_every_layer_and_place_forgets_on_its_own(layout):
    """Two independent patterns agree in a place with probability (1-r)² + r²; five deviations are allowed."""
    L = 7
    layers = repeated(Forget, L, layout, [])()
    _, both_LBT = layers.apply({}, jnp.zeros(()), rngs={"dropout": jax.random.key(3)})
    patterns = np.concatenate(both_LBT).reshape(2 * L, B * T) == 0
    agreement = (patterns[:, None] == patterns).mean(-1)[~np.eye(2 * L, dtype=bool)]
    expected = (1 - RATE) ** 2 + RATE**2
    assert np.abs(agreement - expected).max() < 5 * np.sqrt(expected * (1 - expected) / (B * T))


@pytest.mark.parametrize("config", [PRE_NORM, RNN_ATTENTION], ids=["pre-norm", "rnn with attention"])
def test_embeddings_are_forgotten_too(config):
    """Where an element of an embedding was dropped, the gradient of its token's vector is exactly 0."""
    subject = case(replace(config, dropout=RATE))
    table_VD = subject.params["params"]["embedding"]["table"]
    # Every token stands in one place only, so that its row of the table is that one vector.
    source_BS, target_BT = np.full((1, S), PAD, np.int32), np.arange(1, T + 1, dtype=np.int32)[None]

    def felt(table_VD):
        params = {"params": {**subject.params["params"], "embedding": {"table": table_VD}}}
        rngs = {"dropout": jax.random.key(5)}
        x_BTD, *_ = subject.model.apply(params, source_BS, target_BT, method="features", rngs=rngs)
        return (x_BTD * normal(6, *x_BTD.shape)).sum()

    forgotten_TD = np.asarray(jax.jit(jax.grad(felt))(table_VD))[target_BT[0]] == 0
    assert abs(forgotten_TD.mean() - RATE) < 5 * np.sqrt(RATE * (1 - RATE) / forgotten_TD.size)
