"""The recurrent rivals: their parameters counted by hand, and what their decoder remembers."""

from dataclasses import replace

import flax.linen as nn
import jax
import numpy as np
import pytest

from jaxformer.config.model import Gru, Lstm, Tanh
from jaxformer.models.rnn import Rnn
from tests.laws.cases import RNN, RNN_ATTENTION, B, S, V, case, pairs

CELLS = [pytest.param(Tanh(), 1, id="tanh"), pytest.param(Gru(), 3, id="gru"), pytest.param(Lstm(), 4, id="lstm")]


def layer(gates, inputs, width):
    return gates * (inputs * width + width * width + 2 * width)


@pytest.mark.parametrize("cell, gates", CELLS)
def test_parameters_are_those_of_the_papers(cell, gates):
    def count(config):
        shapes = nn.meta.unbox(jax.eval_shape(Rnn(config, V).init, jax.random.key(0), *pairs()))
        return sum(leaf.size for leaf in jax.tree.leaves(shapes))

    E, H, A = RNN.embedding, RNN.width, RNN_ATTENTION.attention.width
    one_side = layer(gates, E, H) + layer(gates, H, H)
    assert count(replace(RNN, cell=cell)) == V * E + 2 * one_side + H * E + E
    encoder = 2 * (layer(gates, E, H // 2) + layer(gates, H, H // 2))
    decoder = layer(gates, E + H, H) + layer(gates, H + H, H) + H * A + H * A + A
    assert count(replace(RNN_ATTENTION, cell=cell)) == V * E + encoder + decoder + (H + H) * E + E


@pytest.mark.parametrize("config", [RNN, RNN_ATTENTION], ids=["plain", "attention"])
def test_the_source_is_remembered_only_where_it_is_attended_to(config):
    cache = jax.eval_shape(case(config).compiled("encode"), case(config).params, pairs().source_BS)
    memories = 2 if config.cell == Lstm() else 1
    assert [state.shape for state in jax.tree.leaves(cache.states)] == [(B, config.width)] * memories * config.layers
    source = [(B, S, config.width), (B, S)] if config is RNN_ATTENTION else []
    assert [leaf.shape for leaf in jax.tree.leaves(cache.source)] == source


@pytest.mark.parametrize("config", [RNN, RNN_ATTENTION], ids=["plain", "attention"])
def test_the_output_is_the_embedding(config):
    subject = case(config)
    _, w_VD, _ = subject.compiled("features")(subject.params, *pairs())
    np.testing.assert_array_equal(w_VD, subject.params["params"]["embedding"]["table"])
