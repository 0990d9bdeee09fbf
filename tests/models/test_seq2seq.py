"""The Transformer: its parameters counted by hand, one table or two, and positions that end."""

from dataclasses import replace

import flax.linen as nn
import jax
import numpy as np
import pytest

from jaxformer.config.model import Learned
from jaxformer.models.seq2seq import Transformer
from tests.laws.cases import POST_NORM, PRE_NORM, B, Pairs, S, T, V, case, pairs, tokens


def count(config, vocabulary):
    model = Transformer(config, vocabulary)
    shapes = nn.meta.unbox(jax.eval_shape(model.init, jax.random.key(0), *pairs()))
    return sum(leaf.size for leaf in jax.tree.leaves(shapes))


@pytest.mark.parametrize("vocabulary", [V, 37])
def test_parameters_are_those_of_the_paper(vocabulary):
    D, F = PRE_NORM.width, PRE_NORM.feed_forward
    attention, feed_forward, norm = 4 * D * D + 4 * D, 2 * D * F + F + D, 2 * D
    encoder = PRE_NORM.encoder_layers * (attention + feed_forward + 2 * norm)
    decoder = PRE_NORM.decoder_layers * (2 * attention + feed_forward + 3 * norm)
    assert count(PRE_NORM, vocabulary) == vocabulary * D + encoder + decoder + 2 * norm

    attention, feed_forward = 4 * D * D, 2 * D * F
    encoder = POST_NORM.encoder_layers * (attention + feed_forward + 2 * norm)
    decoder = POST_NORM.decoder_layers * (2 * attention + feed_forward + 3 * norm)
    positions = 2 * POST_NORM.position.length * D
    assert count(POST_NORM, vocabulary) == 2 * vocabulary * D + encoder + decoder + positions


@pytest.mark.parametrize("config, tied", [(PRE_NORM, True), (POST_NORM, False)], ids=["tied", "untied"])
def test_the_output_is_the_embedding_exactly_where_it_is_tied(config, tied):
    """A token that is never read has a gradient through the softmax alone, which only a tied table feels."""
    subject = case(config)
    assert ("output" in subject.params["params"]) != tied
    unread = V - 1
    source_BS, target_BT = (np.where(part == unread, 1, part) for part in pairs())
    _, gradient = subject.loss_and_gradient(subject.params, Pairs(source_BS, target_BT))
    assert np.any(gradient["params"]["embedding"]["table"][unread]) == tied
    assert tied or np.any(gradient["params"]["output"][unread])


def test_a_sequence_longer_than_its_positions_is_refused():
    with pytest.raises(ValueError, match=f"must fit the {T} learned positions, got length {S}"):
        case(replace(POST_NORM, position=Learned(T))).logits(tokens(1, B, S), tokens(2, B, T))


def test_a_cache_with_more_room_than_positions_is_refused():
    """Else decoding would run past the last position, where there is nothing to look up but NaN."""
    short = case(replace(POST_NORM, position=Learned(S)))
    with pytest.raises(ValueError, match=f"must fit the {S} learned positions, got length {S + 1}"):
        short.compiled("prefill", length=S + 1)(short.params, tokens(1, B, S), tokens(2, B, 1))
