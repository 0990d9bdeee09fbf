"""How parameters begin: of the size that keeps signals the same size, each with as many axis names as it has axes."""

from dataclasses import replace
from functools import partial

import flax.linen as nn
import jax
import numpy as np
import pytest

from jaxformer.config.blocks import FeedForward, MultiHead
from jaxformer.config.encoder_decoders import marian, t5
from jaxformer.config.model import Gru, Lstm, Tanh, TransformerConfig
from jaxformer.models.build import build
from jaxformer.models.seq2seq import Transformer
from jaxformer.nn.attention import Attention
from jaxformer.nn.recurrent import RecurrentLayer, cell_of
from jaxformer.ops.recurrence import GRU, LSTM, TANH_RNN
from tests.laws.cases import MODELS, V, case, pairs

D, F, N, W = 2 * 61, 53, 2, 67


def glorot(inputs, outputs):
    """The bound of the uniform distribution of variance 2 / (inputs + outputs)."""
    return np.sqrt(6 / (inputs + outputs))


def assert_uniform(values, bound):
    """Thousands of draws come close to the bound and never over it; their variance is a third of its square."""
    assert 0.99 * bound < np.abs(values).max() <= bound
    np.testing.assert_allclose(np.var(values), bound**2 / 3, rtol=0.06)


def test_queries_make_up_for_scores_that_are_multiplied_by_more():
    """As in T5: with scale 1 the queries begin 1/√H times as large, and the scores alike."""
    plain = MultiHead(N, N, D // N, bias=False)
    for scale in (1.0, 2.0):
        module = Attention(replace(plain, scale=scale), D)
        x_BTD = np.ones((1, 3, D), np.float32)
        own = lambda module, x_BTD: module(x_BTD, module.rows(x_BTD))  # noqa: E731
        drawn = nn.meta.unbox(jax.jit(partial(module.init, method=own))(jax.random.key(0), x_BTD))["params"]
        assert_uniform(drawn["query"], glorot(D, D) * (D // N) ** -0.5 / scale)
        assert_uniform(drawn["key"], glorot(D, D))


@pytest.fixture(scope="module")
def transformer():
    """Freshly initialised parameters."""
    config = TransformerConfig(width=D, heads=N, feed_forward=F, encoder_layers=3, decoder_layers=5)
    tokens = np.ones((1, 1), np.int32)
    return nn.meta.unbox(jax.jit(Transformer(config, 997).init)(jax.random.key(0), tokens, tokens))["params"]


def test_attention_is_glorot_as_a_matrix_of_the_whole_width(transformer):
    """Heads side by side make a square matrix, for the output with the heads as its inputs."""
    for name in ("query", "key", "value", "output"):
        for layer in transformer["decoder"]["rows_0"]["blocks_0"]["cross"][name]:
            assert_uniform(layer, glorot(D, D))


def test_feed_forward_is_glorot(transformer):
    layers = transformer["encoder"]["rows_0"]["blocks_0"]["feed_forward"]
    for layer_up, layer_down in zip(layers["up"], layers["down"], strict=True):
        assert_uniform(layer_up, glorot(D, F))
        assert_uniform(layer_down, glorot(F, D))


def test_layers_begin_differently(transformer):
    up_LDF = np.asarray(transformer["encoder"]["rows_0"]["blocks_0"]["feed_forward"]["up"])
    correlations = np.corrcoef(up_LDF.reshape(3, -1))[~np.eye(3, dtype=bool)]
    assert np.abs(correlations).max() < 5 / np.sqrt(D * F)


def test_the_embedding_has_variance_one_over_its_width(transformer):
    np.testing.assert_allclose(np.var(transformer["embedding"]["table"]) * D, 1, rtol=0.03)


def test_biases_begin_at_0_and_scales_at_1(transformer):
    for path, leaf in jax.tree_util.tree_leaves_with_path(transformer):
        name = path[-1].key
        if name.endswith("bias") or name == "scale":
            np.testing.assert_array_equal(leaf, np.full(leaf.shape, float(name == "scale")), err_msg=str(path))


@pytest.mark.parametrize("cell, gates", [(Tanh(), 1), (Gru(), 3), (Lstm(), 4)], ids=["tanh", "gru", "lstm"])
def test_every_gate_begins_as_a_matrix_of_its_own(cell, gates):
    """A gate reads D inputs and W states, however many gates stand beside it."""
    layer = RecurrentLayer(cell_of(cell), W)
    params = nn.meta.unbox(jax.jit(layer.init)(jax.random.key(1), np.zeros((1, 1, D), np.float32)))["params"]
    assert params["input"].shape == (D, gates, W) and params["hidden"].shape == (W, gates, W)
    for gate in range(gates):
        assert_uniform(params["input"][:, gate], glorot(D, W))
        assert_uniform(params["hidden"][:, gate], glorot(W, W))


def test_the_cells_are_those_the_configs_name():
    assert [cell_of(config) for config in (Tanh(), Gru(), Lstm())] == [TANH_RNN, GRU, LSTM]


@pytest.mark.parametrize("config", MODELS)
def test_every_axis_has_a_name_and_every_parameter_is_float32(config):
    shapes = jax.eval_shape(case(config).model.init, jax.random.key(0), *pairs())
    is_box = lambda leaf: isinstance(leaf, nn.LogicallyPartitioned)  # noqa: E731
    for path, box in jax.tree_util.tree_leaves_with_path(shapes, is_leaf=is_box):
        assert is_box(box), path
        assert len(box.names) == box.value.ndim and None not in box.names, (path, box.names)
        assert box.value.dtype == np.float32
        assert (box.names[0] == "layers") == (path[1].key in ("encoder", "decoder")), (path, box.names)
        assert ("vocabulary" in box.names) == (V in box.value.shape), (path, box.names)


@pytest.mark.parametrize(
    "config",
    [
        TransformerConfig(64, 2, 2, heads=4, feed_forward=64, dropout=0.0),
        t5(64, 2, 4, 16, FeedForward(64, "relu", bias=False), dropout=0.0),
        marian(64, 2, 4, 64, dropout=0.0),
    ],
    ids=["transformer", "t5", "marian"],
)
def test_tied_logits_begin_near_variance_one(config):
    model, tokens = build(config, 499), np.random.default_rng(0).integers(1, 499, (5, 7))
    params = jax.jit(model.init)(jax.random.key(0), tokens, tokens)
    assert 0.8 < np.std(jax.jit(model.apply)(params, tokens, tokens)) < 1.25
