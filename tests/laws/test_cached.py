"""Decoding from a cache gives what the whole sequence at once gives, however it is cut."""

from dataclasses import replace

import jax
import numpy as np
import pytest

from jaxformer.config.positions import Alibi
from tests.laws.cases import (
    NO_POSITION,
    PRE_NORM,
    RNN_ATTENTION,
    SOURCE_LENGTHS,
    B,
    S,
    T,
    case,
    every_model,
    padded,
    tokens,
)
from tests.parity.compare import assert_close

ROOM = T + 6


def inputs():
    return padded(tokens(1, B, S), SOURCE_LENGTHS), tokens(2, B, T)


def in_pieces(config, widths, source_BS, target_BT):
    """Logits [B, T, V] of the target decoded in pieces of these widths, the first with the source."""
    subject = case(config)
    prefill, decode = subject.compiled("prefill", length=ROOM), subject.compiled("decode")
    first, *rest = np.split(target_BT, np.cumsum(widths)[:-1], axis=1)
    logits_BTV, cache = prefill(subject.params, source_BS, first)
    pieces = [logits_BTV]
    for piece in rest:
        logits_BTV, cache = decode(subject.params, piece, cache)
        pieces.append(logits_BTV)
    return np.concatenate(pieces, axis=1)


@pytest.mark.smoke
@pytest.mark.parametrize("widths", [[1] * T, [3, 5, 5]], ids=["token by token", "in chunks"])
@every_model
def test_cached_is_full(model, widths):
    source_BS, target_BT = inputs()
    full = case(model).logits(source_BS, target_BT)
    assert_close(in_pieces(model, widths, source_BS, target_BT), full, tolerance=3e-6)


def test_cached_is_full_where_scores_fall_with_distance():
    config, (source_BS, target_BT) = replace(NO_POSITION.written_out(), relative=Alibi()), inputs()
    full = case(config).logits(source_BS, target_BT)
    assert_close(in_pieces(config, [3, 5, 5], source_BS, target_BT), full, tolerance=3e-6)


@pytest.mark.parametrize("config", [PRE_NORM, RNN_ATTENTION], ids=["pre-norm", "rnn with attention"])
def test_cached_is_full_in_half_precision(config):
    """A step rounds to 8 bits, here and there in another order; 16 of them along the deepest path make 6 %."""
    config, (source_BS, target_BT) = replace(config, dtype="bfloat16"), inputs()
    full = case(config).logits(source_BS, target_BT)
    assert full.dtype == np.float32
    assert_close(in_pieces(config, [3, 5, 5], source_BS, target_BT), full, tolerance=16 * 2.0**-8)


@pytest.mark.parametrize("way", ["select", "reorder"])
@every_model
def test_rows_of_a_cache_are_the_caches_of_the_rows(model, way):
    """Some rows twice and some not at all, as in beam search; `reorder` among rows that share their source."""
    subject, (source_BS, target_BT) = case(model), inputs()
    rows = np.random.default_rng(3).integers(0, B, size=B)
    if way == "reorder":
        source_BS = np.tile(source_BS[:1], (B, 1))
    _, cache = subject.compiled("prefill", length=ROOM)(subject.params, source_BS, target_BT[:, :3])
    decode = subject.compiled("decode")
    chosen, later = decode(subject.params, target_BT[rows, 3:8], jax.jit(type(cache).__dict__[way])(cache, rows))
    every, _ = decode(subject.params, target_BT[:, 3:8], cache)
    assert_close(chosen, np.asarray(every)[rows], tolerance=2e-6)
    assert jax.tree.map(np.shape, later) == jax.tree.map(np.shape, cache)
