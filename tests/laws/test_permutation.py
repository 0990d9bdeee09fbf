"""Without positions the encoder knows a bag of words: permuted tokens give permuted vectors. With positions, not."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest

from jaxformer.config.positions import Alibi
from tests.laws.cases import NO_POSITION, PRE_NORM, B, S, case, pairs, tokens
from tests.parity.compare import assert_close

permutations_BS = np.random.default_rng(0).permuted(np.tile(np.arange(S), (B, 1)), axis=1)


def permuted(x_BS):
    index = permutations_BS.reshape(B, S, *[1] * (x_BS.ndim - 2))
    return np.take_along_axis(x_BS, index, axis=1)


def encodings(config):
    """The encoder's vectors of permuted tokens, padding among them, and the permuted vectors of the tokens in order."""
    subject, source_BS = case(config), pairs().source_BS
    encode = partial(subject.compiled("encode"), subject.params)
    return encode(permuted(source_BS)), permuted(np.asarray(encode(source_BS)))


@pytest.mark.smoke
def test_the_encoder_without_positions_is_equivariant():
    assert_close(*encodings(NO_POSITION), tolerance=2e-6)


def test_the_encoder_with_positions_is_not():
    of_permuted, permuted_of = encodings(PRE_NORM)
    long = (pairs().source_BS != 0).sum(1) > 1
    assert np.abs(of_permuted - permuted_of)[long].max((1, 2)).min() > 0.1


def test_an_encoder_that_knows_distance_alone_cannot_tell_a_text_from_its_mirror():
    """ALiBi's scores fall alike both ways. A permutation that changes distances it does tell."""
    config, source_BS = replace(NO_POSITION.written_out(), relative=Alibi()), tokens(1, B, S)
    encode = partial(case(config).compiled("encode"), case(config).params)
    assert_close(encode(source_BS[:, ::-1]), np.asarray(encode(source_BS))[:, ::-1], tolerance=2e-6)
    assert np.abs(encode(permuted(source_BS)) - permuted(np.asarray(encode(source_BS)))).max((1, 2)).min() > 0.1


def test_a_decoder_without_source_positions_cannot_tell_the_order():
    logits, source_BS, target_BT = case(NO_POSITION).logits, tokens(1, B, S), pairs().target_BT
    assert_close(logits(permuted(source_BS), target_BT), logits(source_BS, target_BT), tolerance=2e-6)
