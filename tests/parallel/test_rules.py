"""The table from logical axes to mesh axes."""

import re

import jax
import jax.numpy as jnp
import pytest
from flax import linen as nn
from jax.sharding import PartitionSpec as P

from jaxformer.config.model import Bahdanau, Learned, RnnConfig, TransformerConfig
from jaxformer.models.rnn import Rnn
from jaxformer.models.seq2seq import Transformer
from jaxformer.parallel.rules import RULES, in_use, partition

MESH = {"data": 2, "fsdp": 3, "tensor": 5}


@pytest.mark.parametrize(
    "axes, shape, expected",
    [
        (("vocabulary", "embed"), (35, 21), P("tensor", "fsdp")),
        (("embed", "heads", "head"), (21, 10, 7), P("fsdp", "tensor")),
        (("layers", "heads", "head", "embed"), (4, 10, 7, 21), P(None, "tensor", None, "fsdp")),
        (("embed", "gates", "hidden"), (21, 3, 25), P("fsdp", None, "tensor")),
        (("position", "embed"), (512, 6), P(None, "fsdp")),
        (("batch", None), (12, 7), P(("data", "fsdp"))),
        ((), (), P()),
    ],
)
def test_every_axis_goes_where_the_table_says(axes, shape, expected):
    assert partition(axes, shape, MESH) == expected


def test_what_does_not_divide_is_kept_whole():
    assert partition(("embed", "heads"), (22, 10), MESH) == P(None, "tensor")
    assert partition(("embed", "heads"), (21, 11), MESH) == P("fsdp")
    assert partition(("batch",), (4,), MESH) == P("data")
    assert partition(("batch",), (9,), MESH) == P("fsdp")
    assert partition(("batch",), (7,), MESH) == P()


def test_a_mesh_axis_splits_one_axis_only_and_the_first_has_it():
    rules = {**RULES, "head": "tensor", "embed": ("fsdp", "tensor")}
    assert partition(("heads", "head", "embed"), (10, 25, 15), MESH, rules) == P("tensor", None, "fsdp")
    assert partition(("embed", "heads"), (15, 10), MESH, rules) == P(("fsdp", "tensor"))


def test_an_axis_of_one_device_is_not_named():
    assert partition(("vocabulary", "embed"), (35, 21), {"data": 1, "fsdp": 1, "tensor": 1}) == P()


def test_weights_in_use_lie_whole_on_every_axis_that_divides_the_batch():
    assert partition(("embed", "heads", "head"), (21, 10, 7), MESH, in_use()) == P(None, "tensor")
    rules = {**RULES, "batch": ("data", "fsdp", "tensor")}
    assert partition(("embed", "heads", "head"), (21, 10, 7), MESH, in_use(rules)) == P()
    # Nothing is gathered where the batch is not divided.
    assert partition(("embed",), (21,), MESH, in_use({**RULES, "batch": "data"})) == P("fsdp")


@pytest.mark.parametrize(
    "axes, rules, words",
    [
        (("embed", "width"), RULES, "the rules must have an entry for each logical axis, got none for 'width'"),
        (("embed",), RULES, "each axis needs one logical name, got ('embed',) for shape (6, 5)"),
        (("embed", "head"), {"embed": "model", "head": None}, "must name axes of the mesh"),
    ],
)
def test_a_mistake_is_named(axes, rules, words):
    with pytest.raises(ValueError, match=re.escape(words)):
        partition(axes, (6, 5), MESH, rules)


@pytest.mark.parametrize(
    "model",
    [
        Transformer(TransformerConfig(width=6, heads=3, position=Learned(), tied_output=False), vocabulary=7),
        Rnn(RnnConfig(width=6, attention=Bahdanau()), vocabulary=7),
    ],
    ids=["transformer", "rnn"],
)
def test_the_table_knows_every_axis_of_the_models(model):
    tokens = jnp.zeros((1, 2), jnp.int32)
    boxed = jax.eval_shape(lambda: model.init(jax.random.key(0), tokens, tokens))
    leaves = jax.tree.leaves(boxed, is_leaf=lambda leaf: isinstance(leaf, nn.Partitioned))
    assert all(isinstance(leaf, nn.Partitioned) for leaf in leaves)
    assert {axis for leaf in leaves for axis in leaf.names} <= set(RULES)
