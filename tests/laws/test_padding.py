"""Padding and neighbours in the batch change nothing: not the loss, not a gradient, not a logit."""

import jax
import numpy as np

from tests.laws.cases import PAD, B, Pairs, S, T, case, every_model, pairs, tokens
from tests.parity.compare import assert_all_close


def only(rows, batch):
    """The batch with padding alone in all other rows."""
    kept = np.isin(np.arange(B), rows)[:, None]
    return Pairs(*(np.where(kept, part, PAD) for part in batch))


@every_model
def test_more_padding_changes_neither_loss_nor_gradients(model):
    """Longer rows and rows of nothing, as another bucket would give."""
    subject, batch = case(model), pairs()
    grown = Pairs(*(np.pad(part, [(0, 2), (0, more)]) for part, more in zip(batch, (2, 6), strict=True)))
    assert grown.source_BS.shape == (B + 2, S + 2) and grown.target_BT.shape == (B + 2, T + 6)
    assert_all_close(subject.loss_and_gradient(subject.params, grown), subject.loss_and_gradient(subject.params, batch))


@every_model
def test_losses_and_gradients_of_rows_add_up(model):
    """So no row feels another one, and a row of padding alone adds exactly nothing."""
    subject, batch = case(model), pairs()
    parts = [subject.loss_and_gradient(subject.params, only(rows, batch)) for rows in (range(5), range(5, B))]
    assert_all_close(jax.tree.map(np.add, *parts), subject.loss_and_gradient(subject.params, batch))


@every_model
def test_a_batch_of_padding_alone_has_loss_0_and_gradients_of_0(model):
    subject = case(model)
    results = subject.loss_and_gradient(subject.params, only([], pairs()))
    jax.tree.map(lambda leaf: np.testing.assert_array_equal(leaf, np.zeros_like(leaf)), results)


@every_model
def test_neighbours_do_not_change_a_bit_of_the_logits(model):
    subject, batch, others = case(model), pairs(), pairs(seed=7)
    mixed = Pairs(*(np.concatenate([mine[:5], theirs[5:]]) for mine, theirs in zip(batch, others, strict=True)))
    alone, among = subject.logits(*batch), subject.logits(*mixed)
    np.testing.assert_array_equal(alone[:5], among[:5])
    assert np.abs(alone[5:] - among[5:]).max() > 0.1


@every_model
def test_a_source_of_padding_alone_gives_finite_logits(model):
    subject = case(model)
    logits_BTV = subject.logits(np.full((B, S), PAD, np.int32), tokens(2, B, T))
    assert np.isfinite(logits_BTV).all()
