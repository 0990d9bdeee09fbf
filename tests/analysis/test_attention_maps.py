"""Attention maps are distributions over what may be read, and padding is no part of them."""

from functools import partial

import flax.linen as nn
import jax
import numpy as np
import pytest

from jaxformer.analysis.attention_maps import (
    attention_maps,
    distance_profile,
    distances,
    entropy,
    mean_distance,
    sentence_maps,
)
from jaxformer.analysis.parameters import abstract_parameters
from jaxformer.config.blocks import Block, FeedForward, Group, MultiHead
from jaxformer.config.model import (
    Bahdanau,
    DecoderConfig,
    EncoderConfig,
    NoAttention,
    NoPosition,
    RnnConfig,
    TransformerConfig,
)
from jaxformer.config.positions import Alibi
from jaxformer.models.classifier import Classifier
from jaxformer.models.decoder import Decoder
from jaxformer.models.encoder import Encoder
from jaxformer.models.rnn import Rnn
from jaxformer.models.seq2seq import Transformer
from tests.parity.compare import assert_close, normal

V, S, T = 53, 7, 11
SOURCE, TARGET = list(range(3, 3 + S)), list(range(20, 20 + T))
TRANSFORMER = Transformer(
    TransformerConfig(width=26, encoder_layers=3, decoder_layers=2, heads=13, feed_forward=19, dropout=0.5), V
)
RNN = Rnn(RnnConfig(embedding=17, width=22, attention=Bahdanau(width=5)), V)


SHAPE = jax.ShapeDtypeStruct((1, 2), np.int32)
"""Of the input of a model that reads one sequence."""


def random_parameters(model, *inputs, seed=0):
    """Parameters of a model without compiling its initialisation."""
    rng = np.random.default_rng(seed)
    shapes = abstract_parameters(model, *inputs)
    return jax.tree.map(lambda leaf: rng.normal(0, 0.3, leaf.shape).astype(leaf.dtype), shapes)


@pytest.fixture(scope="module", params=[TRANSFORMER, RNN], ids=["transformer", "rnn"])
def trained(request):
    return request.param, random_parameters(request.param)


@pytest.fixture(scope="module")
def maps(trained):
    return sentence_maps(*trained, SOURCE, TARGET)


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
    padded = sentence_maps(*trained, [*SOURCE, 0, 0, 0], [*TARGET, 0, 0])
    assert padded.keys() == maps.keys()
    for kind, weights in padded.items():
        np.testing.assert_array_equal(weights, maps[kind])


def test_a_row_does_not_depend_on_what_comes_after_it(trained, maps):
    changed = sentence_maps(*trained, SOURCE, [*TARGET[:-3], 50, 51, 52])["cross"]
    np.testing.assert_allclose(changed[:, :, :-3], maps["cross"][:, :, :-3], atol=1e-6)
    assert not np.allclose(changed[:, :, -3:], maps["cross"][:, :, -3:], atol=1e-6)


def test_a_model_without_attention_has_no_maps():
    model = Rnn(RnnConfig(embedding=17, width=22, attention=NoAttention()), V)
    assert sentence_maps(model, random_parameters(model), SOURCE, TARGET) == {}


def test_an_empty_sentence_is_refused(trained):
    with pytest.raises(ValueError, match="at least one token besides padding"):
        sentence_maps(*trained, [0, 0], TARGET)


def test_a_model_without_padding_shows_the_whole_sentence():
    config = DecoderConfig(14, (Group((Block(MultiHead(2, 1, 5), FeedForward(3)),), 3),))
    model = Decoder(config, V)
    assert sentence_maps(model, random_parameters(model, SHAPE), [0, 4, 0])["decoder"].shape == (3, 2, 3, 3)


def test_grouped_heads_sinks_window_bias_and_cap_in_float64():
    """One layer of a decoder, by hand."""
    N, K, H, D, window, cap = 6, 2, 5, 14, 4, 1.5
    attention = MultiHead(N, K, H, bias=False, window=window, softcap=cap, sinks=True)
    config = DecoderConfig(D, (Group((Block(attention, FeedForward(3)),)),), norm=None, relative=Alibi())
    model = Decoder(config, V)
    params = random_parameters(model, SHAPE)
    found = jax.jit(partial(attention_maps, model))(params, np.array([TARGET]))["decoder"]

    p = jax.tree.map(lambda leaf: np.asarray(leaf, float), nn.meta.unbox(params)["params"])
    x = p["embedding"]["table"][TARGET]
    block = jax.tree.map(lambda leaf: leaf[0], p["layers"]["rows_0"]["blocks_0"])
    norm, a = block["around_attention"]["norm"], block["attention"]
    x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5) * norm["scale"] + norm["bias"]
    q, k = np.einsum("td,dnh->nth", x, a["query"]), np.repeat(np.einsum("sd,dkh->ksh", x, a["key"]), N // K, axis=0)
    behind = np.arange(T)[:, None] - np.arange(T)
    # Press et al. 2022: a power of two of heads has slopes 2^(-8i/n); others take every second one of twice as many.
    slopes = np.array([2 ** (-2 * i) for i in (1, 2, 3, 4)] + [2**-1, 2**-3])
    scores = cap * np.tanh(q @ k.swapaxes(1, 2) / np.sqrt(H) / cap) - slopes[:, None, None] * np.abs(behind)
    exps = np.where((behind >= 0) & (behind < window), np.exp(scores), 0)
    expected = exps / (exps.sum(-1, keepdims=True) + np.exp(a["sinks"])[:, None, None])
    assert expected.sum(-1).max() < 0.95
    assert_close(found[0, 0], expected, 1e-5)


@pytest.mark.parametrize("model", [pytest.param(TRANSFORMER, marks=pytest.mark.slow), RNN], ids=["transformer", "rnn"])
def test_what_each_layer_makes_of_its_weights_is_what_all_of_them_give(model):
    params, tokens = random_parameters(model), (np.array([SOURCE]), np.array([TARGET]))
    maps, entropies = jax.jit(
        lambda params: (
            attention_maps(model, params, *tokens),
            attention_maps(model, params, *tokens, each=entropy),
        )
    )(params)
    assert_close(entropies, jax.tree.map(entropy, maps), 1e-6)


@pytest.mark.slow
def test_maps_of_a_classifier_are_those_of_its_encoder():
    config = EncoderConfig(
        14, (Group((Block(MultiHead(2, 2, 5), FeedForward(3)),), 3),), NoPosition(), masked_head=False
    )
    model = Classifier(config, V, 3)
    params, tokens = random_parameters(model, SHAPE), np.array([SOURCE])
    encoder = {"params": nn.meta.unbox(params)["params"]["encoder"]}
    expected = jax.jit(partial(attention_maps, Encoder(config, V)))(encoder, tokens)
    assert_close(jax.jit(partial(attention_maps, model))(params, tokens), expected, 1e-6)
    assert expected["encoder"].shape == (3, 1, 2, S, S)


@pytest.mark.slow
def test_several_seeds_are_mapped_over():
    seeds = [random_parameters(TRANSFORMER, seed=seed) for seed in range(2)]
    stacked = jax.tree.map(lambda *leaves: np.stack(leaves), *seeds)
    tokens = np.array([SOURCE]), np.array([TARGET])
    of_one = partial(attention_maps, TRANSFORMER)
    together = jax.jit(lambda stacked: jax.lax.map(lambda params: of_one(params, *tokens), stacked))(stacked)
    apart = [jax.jit(of_one)(params, *tokens) for params in seeds]
    assert_close(together, jax.tree.map(lambda *maps: np.stack(maps), *apart), 1e-6)


def test_layers_that_differ_in_their_heads_are_refused():
    blocks = [Block(MultiHead(heads, 1, 5), FeedForward(3)) for heads in (2, 3)]
    model = Decoder(DecoderConfig(14, tuple(Group((block,)) for block in blocks)), V)
    with pytest.raises(ValueError, match="layers must leave arrays of one shape to be stacked"):
        jax.eval_shape(partial(attention_maps, model), random_parameters(model, SHAPE), np.array([TARGET]))


def test_entropy_counts_in_nats():
    weights = np.array([[1, 0, 0, 0], [0.25] * 4, [0.5, 0.5, 0, 0], [0] * 4], np.float32)
    np.testing.assert_allclose(entropy(weights), [0, np.log(4), np.log(2), 0], rtol=1e-6)


def test_a_profile_is_the_mean_over_the_pairs_of_each_distance():
    weights_BTS, counted_BT = np.abs(normal(0, 2, T, S)), normal(1, 2, T) > 0
    place = {int(d): i for i, d in enumerate(distances(T, S))}
    assert sorted(place) == list(range(1 - S, T))
    expected = np.zeros((2, len(place)))
    for b in range(2):
        for d, i in place.items():
            pairs = [weights_BTS[b, s + d, s] for s in range(S) if 0 <= s + d < T and counted_BT[b, s + d]]
            expected[b, i] = np.mean(pairs) if pairs else 0
    assert_close(jax.jit(distance_profile)(weights_BTS, counted_BT), expected, 1e-6)
    assert_close(distance_profile(np.tile(np.eye(S, dtype=np.float32), (3, 1, 1)))[:, S - 1], np.ones(3), 1e-6)


def test_the_mean_distance_of_a_head_that_reads_the_last_token_but_one():
    weights_TS = np.eye(T, k=-2, dtype=np.float32)
    np.testing.assert_array_equal(mean_distance(weights_TS), [0, 0, *[2] * (T - 2)])
