"""A number that is not finite is traced to where it arises, not to where it arrives."""

from dataclasses import replace

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxformer.config.model import Layers
from jaxformer.models.build import build
from jaxformer.nn.stack import repeated
from jaxformer.objectives import Total, translation
from jaxformer.ops.losses import TokenLoss
from jaxformer.training.diagnosis import first_unsound
from tests.laws.cases import PAD, PRE_NORM, V, case, pairs

B, D, LAYERS = 2, 3, 5
SCANNED = Layers()


class Scale(nn.Module):
    @nn.compact
    def __call__(self, x_BD):
        return x_BD * self.param("weight", nn.initializers.ones, (D,))


class Root(nn.Module):
    """Its gradient is infinite where x is 0."""

    @nn.compact
    def __call__(self, x_BD):
        return jnp.sqrt(Scale()(x_BD))


class Layer(nn.Module):
    def setup(self):
        self.first, self.second = Scale(), Scale()

    def __call__(self, x_BD):
        return self.second(self.first(x_BD)), ()


class Net(nn.Module):
    layout: Layers = SCANNED

    def setup(self):
        self.below, self.layers, self.root = Scale(), repeated(Layer, LAYERS, self.layout, [])(), Root()

    def __call__(self, x_BD):
        return self.root(self.layers(self.below(x_BD))[0])


def looked_at(x=1.0, layout=SCANNED, loss=jnp.sum, **weights):
    """What is found where so many weights are multiplied by so much, while the program runs."""
    net = Net(layout)
    params = nn.unbox(net.init(jax.random.key(0), jnp.ones((B, D))))["params"]

    def objective(params, x_BD, key):
        for path, (turn, factor) in weights.items():
            *outer, name = path.split("_")
            params = jax.tree.map(jnp.asarray, params)
            inside = params[outer[0]][name] if outer else params[name]
            inside["weight"] = inside["weight"].at[turn].multiply(factor)
        cost = loss(net.apply({"params": params}, x_BD))
        return Total(TokenLoss(cost, cost, cost), jnp.float32(1))

    return first_unsound(objective, params, jnp.full((B, D), x), None)


def test_where_everything_is_finite_nothing_is_found():
    assert looked_at() is None


@pytest.mark.parametrize("layout", [SCANNED, Layers(remat=True), Layers(unroll=True)], ids=repr)
def test_the_innermost_module_is_named_and_its_layer(layout):
    assert looked_at(layout=layout, layers_second=(3, jnp.nan)) == "what layers/second (turn 4 of 5) gives"


def test_the_first_of_several_is_named():
    assert looked_at(layers_second=(1, jnp.inf), layers_first=(2, jnp.nan)) == "what layers/second (turn 2 of 5) gives"
    assert looked_at(below=(0, 1e38), layers_first=(0, 1e38)) == "what layers/first (turn 1 of 5) gives"


def test_a_module_that_makes_it_by_itself_is_named_rather_than_one_inside_it():
    assert looked_at(x=-1.0) == "what root gives"


def test_a_loss_and_a_gradient_may_be_where_it_begins():
    assert looked_at(loss=lambda x: jnp.log(jnp.sum(x) * 0)) == "the loss, of outputs that are finite"
    # All weights before the root get a bad gradient; the way back begins at the root's.
    assert looked_at(x=0.0) == "the gradient of root/Scale_0/weight"


def test_bad_weights_are_named_before_all_that_follows_from_them():
    def objective(params, x_BD, key):
        raise AssertionError("nothing need be run")

    params = {"a": {"w": np.ones(3, np.float32)}, "b": {"w": np.float32([1, np.inf])}}
    assert first_unsound(objective, params, None, None) == "the parameters b/w"


@pytest.mark.slow
def test_a_layer_of_a_model_is_named():
    config = replace(PRE_NORM, encoder_layers=3, decoder_layers=2, layers=Layers(remat=True))
    objective, params = translation(build(config, V, PAD)), jax.device_put(case(config).params, jax.devices()[0])

    def infected(params, batch, key):
        def infect(path, leaf):
            name = jax.tree_util.keystr(path, simple=True, separator="/")
            return leaf.at[1].multiply(jnp.nan) if "encoder" in name and "/feed_forward/" in name else leaf

        return objective(jax.tree_util.tree_map_with_path(infect, params), batch, key)

    found = first_unsound(infected, params, pairs(), jax.random.key(0))
    assert found is not None and found.endswith("feed_forward (turn 2 of 3) gives") and "encoder" in found
