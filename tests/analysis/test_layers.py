"""Layers that are compared have as many parameters."""

import jax
import pytest

from jaxformer.analysis.layers import (
    CELLS,
    attention_weights,
    equal_hidden_width,
    layers,
    recurrent_parameters,
    recurrent_weights,
)

D = 16


def count(weights):
    return sum(leaf.size for leaf in jax.tree.leaves(weights))


def test_parameters_are_equal_within_a_few_percent():
    found = layers(256, 4)
    names = ["attention", "tanh-RNN", "GRU", "LSTM", "minGRU, scan", "minGRU, associative"]
    assert [layer.name for layer in found] == names
    for layer in found:
        assert count(layer.weights) == pytest.approx(4 * 256**2, rel=0.03)


@pytest.mark.parametrize("width", [128, 256, 512])
@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: cell.name)
def test_hidden_widths_are_those_of_equal_parameters(cell, width):
    hidden = equal_hidden_width(cell, width, 4 * width**2)
    assert hidden % 16 == 0
    assert recurrent_parameters(cell, width, hidden) == pytest.approx(4 * width**2, rel=0.08)


@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: cell.name)
def test_the_counted_parameters_are_those_of_the_arrays(cell):
    weights = recurrent_weights(cell, D, 0)
    hidden = weights.hidden_HgH.shape[0]
    assert count(weights) == recurrent_parameters(cell, D, hidden)
    assert count(attention_weights(D, 2, 0)) == 4 * D**2
