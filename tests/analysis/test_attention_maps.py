"""Attention maps are distributions over what may be read, and padding is no part of them."""

import jax
import numpy as np
import pytest

from jaxformer.analysis.attention_maps import attention_maps
from jaxformer.analysis.parameters import abstract_parameters
from jaxformer.config.model import Bahdanau, NoAttention, RnnConfig, TransformerConfig
from jaxformer.models.rnn import Rnn
from jaxformer.models.seq2seq import Transformer

V, S, T = 53, 7, 11
SOURCE, TARGET = list(range(3, 3 + S)), list(range(20, 20 + T))
TRANSFORMER = Transformer(
    TransformerConfig(width=26, encoder_layers=3, decoder_layers=2, heads=13, feed_forward=19, dropout=0.5), V
)
RNN = Rnn(RnnConfig(embedding=17, width=22, attention=Bahdanau(width=5)), V)


def random_parameters(model):
    """Parameters of a model without compiling its initialisation."""
    rng = np.random.default_rng(0)
    return jax.tree.map(lambda leaf: rng.normal(0, 0.3, leaf.shape).astype(leaf.dtype), abstract_parameters(model))


@pytest.fixture(scope="module", params=[TRANSFORMER, RNN], ids=["transformer", "rnn"])
def trained(request):
    return request.param, random_parameters(request.param)


@pytest.fixture(scope="module")
def maps(trained):
    return attention_maps(*trained, SOURCE, TARGET)


def test_every_row_is_a_distribution(maps):
    for weights in maps.values():
        assert weights.dtype == np.float32 and weights.min() >= 0
        np.testing.assert_allclose(weights.sum(-1), 1.0, atol=1e-5)


def test_shapes_are_layers_heads_queries_keys(trained, maps):
    shapes = {kind: weights.shape for kind, weights in maps.items()}
    if trained[0] is RNN:
        assert shapes == {"cross": (1, 1, T, S)}
    else:
        assert shapes == {"encoder": (3, 13, S, S), "decoder": (2, 13, T, T), "cross": (2, 13, T, S)}
        assert not np.triu(maps["decoder"], 1).any()


def test_padding_is_cut_off_and_changes_nothing(trained, maps):
    padded = attention_maps(*trained, [*SOURCE, 0, 0, 0], [*TARGET, 0, 0])
    assert padded.keys() == maps.keys()
    for kind, weights in padded.items():
        np.testing.assert_array_equal(weights, maps[kind])


def test_a_row_does_not_depend_on_what_comes_after_it(trained, maps):
    changed = attention_maps(*trained, SOURCE, [*TARGET[:-3], 50, 51, 52])["cross"]
    np.testing.assert_allclose(changed[:, :, :-3], maps["cross"][:, :, :-3], atol=1e-6)
    assert not np.allclose(changed[:, :, -3:], maps["cross"][:, :, -3:], atol=1e-6)


def test_a_model_without_attention_has_no_maps():
    model = Rnn(RnnConfig(embedding=17, width=22, attention=NoAttention()), V)
    assert attention_maps(model, random_parameters(model), SOURCE, TARGET) == {}


def test_an_empty_sentence_is_refused(trained):
    with pytest.raises(ValueError, match="at least one token besides padding"):
        attention_maps(*trained, [0, 0], TARGET)
