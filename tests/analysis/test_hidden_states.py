"""The stream after each layer is what the layers before it made; a lens shows what the model would say there."""

from dataclasses import replace
from functools import partial

import flax.linen as nn
import jax
import numpy as np
import pytest

from jaxformer.analysis.hidden_states import hidden_states, lens_of, logit_lens
from jaxformer.config.blocks import Group
from jaxformer.config.model import EncoderConfig
from jaxformer.config.presets import preset
from jaxformer.models.decoder import Decoder
from jaxformer.models.encoder import Encoder
from jaxformer.models.rnn import Rnn
from tests.laws.cases import POST_NORM, PRE_NORM, RNN, RNN_ATTENTION, B, S, T, V, case, pairs, tokens
from tests.parity.compare import assert_close, random_like

GEMMA = preset("gemma3-tiny")
DECODER = Decoder(replace(GEMMA, width=14, softcap=3.0), V)
TOKENS = tokens(0, 2, 7)


@pytest.fixture(scope="module")
def params():
    return random_like(nn.meta.unbox(jax.eval_shape(DECODER.init, jax.random.key(0), TOKENS)), seed=1)


def test_the_first_layers_are_a_shorter_model(params):
    """Gemma's six layers are a row of five and one; the stream of five is the row's alone."""
    states = jax.jit(partial(hidden_states, DECODER))(params, TOKENS)["decoder"]
    assert states.shape == (7, *TOKENS.shape, 14)
    five, *_ = DECODER.config.groups
    assert (five.times, len(DECODER.config.groups)) == (5, 2)
    shorter = Decoder(replace(DECODER.config, groups=(Group(five.blocks, 5),)), V)
    found = jax.jit(partial(hidden_states, shorter))(params, TOKENS)["decoder"]
    assert_close(states[:6], found, 1e-6)
    np.testing.assert_allclose(states[0], params["params"]["embedding"]["table"][TOKENS] * np.sqrt(128), rtol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("config", [PRE_NORM, POST_NORM], ids=["pre-norm", "post-norm"])
def test_the_last_stream_is_what_the_model_predicts_from(config):
    subject = case(config)

    @jax.jit
    def seen(params):
        states = hidden_states(subject.model, params, *pairs())
        return states, logit_lens(subject.model, params, *pairs())

    states, lens = seen(subject.params)
    assert states["encoder"].shape == (6, B, S, 14) and states["decoder"].shape == (4, B, T, 14)
    assert_close(lens[-1], subject.logits(*pairs()), 1e-5)
    if config is POST_NORM:
        assert_close(states["encoder"][-1], subject.compiled("encode")(subject.params, pairs().source_BS), 1e-5)


@pytest.mark.parametrize(
    "config", [RNN, pytest.param(RNN_ATTENTION, marks=pytest.mark.slow)], ids=["rnn", "rnn with attention"]
)
def test_a_recurrent_network_has_the_outputs_of_each_layer(config):
    subject, (source_BS, target_BT) = case(config), pairs()
    states = jax.jit(partial(hidden_states, subject.model))(subject.params, source_BS, target_BT)
    assert states["encoder"].shape == (2, B, S, 10) and states["decoder"].shape == (2, B, T, 10)
    cache = subject.compiled("encode")(subject.params, source_BS)
    # A layer that reads backwards ends at the first token, and its last state is its output there.
    backwards = slice(5, None) if config is RNN_ATTENTION else slice(None)
    for layer, state in enumerate(cache.states):
        assert_close(states["encoder"][layer, :, 0, backwards], state[0][:, backwards], 1e-6)


def test_the_lens_of_given_tokens_is_their_share_and_place(params):
    labels_BT = tokens(3, *TOKENS.shape)

    @jax.jit
    def seen(params):
        return logit_lens(DECODER, params, TOKENS), lens_of(labels_BT, DECODER, params, TOKENS)

    logits, (log_p, rank) = seen(params)
    logits = np.asarray(logits, np.float64)
    assert logits.shape == (7, *TOKENS.shape, V) and np.abs(logits).max() < 3
    labels = np.broadcast_to(labels_BT, logits.shape[:-1])[..., None]
    every_log_p = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    assert_close(log_p, np.take_along_axis(every_log_p, labels, -1)[..., 0], 1e-5)
    place = np.take_along_axis((-logits).argsort(-1).argsort(-1), labels, -1)[..., 0]
    np.testing.assert_array_equal(rank, place)


def test_a_lens_needs_an_output():
    headless = Encoder(EncoderConfig(14, GEMMA.groups, masked_head=False), V)
    with pytest.raises(ValueError, match="output over tokens, got Encoder without a head for masked tokens"):
        logit_lens(headless, {}, TOKENS)
    with pytest.raises(ValueError, match="output over tokens, got Rnn"):
        logit_lens(Rnn(RNN, V), {}, *pairs())
