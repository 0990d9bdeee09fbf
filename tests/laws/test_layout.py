"""How layers are laid out for the compiler changes neither values nor gradients."""

from dataclasses import replace

import jax
import numpy as np
import pytest

from jaxformer.config.model import Layers
from tests.laws.cases import PRE_NORM, case, pairs
from tests.parity.compare import assert_all_close

SCANNED = replace(PRE_NORM, dropout=0.3, encoder_layers=3, decoder_layers=2)
LAYOUTS = [pytest.param(Layers(unroll=True), id="unrolled"), pytest.param(Layers(remat=True), id="remat")]


@pytest.fixture(scope="module")
def scanned():
    return loss_and_gradient(SCANNED)


def loss_and_gradient(config):
    """With dropout on: a layer must forget the same in every layout, and when it is computed again."""
    return case(config).loss_and_gradient(case(config).params, pairs(), jax.random.key(7))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_values_and_gradients_are_those_of_the_scan(layout, scanned):
    assert_all_close(loss_and_gradient(replace(SCANNED, layers=layout)), scanned)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_parameters_are_those_of_the_scan(layout):
    key = jax.random.key(5)
    models = (case(replace(PRE_NORM, layers=choice)).model for choice in (Layers(), layout))
    scanned, other = (jax.eval_shape(model.init, key, *pairs()) for model in models)
    assert jax.tree.structure(scanned) == jax.tree.structure(other)
    assert jax.tree.leaves(scanned) == jax.tree.leaves(other)


def test_rematerialised_layers_keep_only_their_inputs():
    """What the backward pass of a scan keeps are the outputs stacked by the forward pass; remat keeps far fewer."""

    def kept(config):
        subject, batch = case(config), pairs()
        residuals = jax.eval_shape(
            lambda params: jax.vjp(lambda params: subject.model.apply(params, *batch), params)[1], subject.params
        )
        return sum(np.prod(leaf.shape) for leaf in jax.tree.leaves(residuals))

    assert kept(replace(PRE_NORM, layers=Layers(remat=True))) < 0.5 * kept(PRE_NORM)
