"""Gaps in sentences: what each way to fill them may read, and that whole sentences are weighed by their probability."""

from dataclasses import replace

import jax
import numpy as np
import pytest

from jaxformer.config.blocks import Block, FeedForward, Group, LayerNorm, MultiHead
from jaxformer.config.model import DecoderConfig, EncoderConfig, Learned
from jaxformer.models.decoder import Decoder
from jaxformer.training import sentence_study
from jaxformer.training.sentence_study import (
    BEGIN,
    FIRST,
    MASK,
    PAD,
    Gaps,
    Sentences,
    SentenceStudyConfig,
    builtin_sentences,
    by_sentence,
    causal_arm,
    filled,
    held_out_gaps,
    masked_arm,
)

LAYERS, PLACES = (Group((Block(MultiHead(1, 1, 6), FeedForward(7)),), 1),), Learned(8, deviation=1.0)
DECODER = DecoderConfig(6, LAYERS, LayerNorm(), PLACES, context=8)
ENCODER = EncoderConfig(6, LAYERS, PLACES, 0, embedding_norm=None, norm=LayerNorm(), context=8, dropout=0.0)
CONFIG = SentenceStudyConfig(shortest=3, longest=5, gaps=11, steps=2, look_every=1, batch=3)
WORDS = 5
ROWS = np.array([[BEGIN, 4, 5, 6, 7, 3], [BEGIN, 7, 4, 5, 3, PAD], [BEGIN, 5, 5, 3, PAD, PAD]], np.int32)


@pytest.fixture(autouse=True)
def sentences(monkeypatch):
    monkeypatch.setattr(sentence_study, "builtin_sentences", lambda *of: Sentences(ROWS, ROWS, FIRST + WORDS))


def randomised(params):
    leaves, tree = jax.tree.flatten(params)
    rng = np.random.default_rng(5)
    return jax.tree.unflatten(tree, [rng.normal(scale=0.5, size=leaf.shape).astype(np.float32) for leaf in leaves])


ARMS = {"encoder": lambda: masked_arm(CONFIG, ENCODER), "decoder": lambda: causal_arm(CONFIG, DECODER)}


@pytest.mark.parametrize("name, reads", [("encoder", {1, 2, 4, 5}), ("decoder", {1, 2})])
def test_a_gap_is_filled_from_what_may_be_read_and_never_from_the_word_that_it_lacks(name, reads):
    arm = ARMS[name]()
    params, look = randomised(arm.init(jax.random.key(0))), jax.jit(arm.look)
    gap = Gaps(ROWS[:1], np.array([3], np.int32))

    def costs(row_T):
        """Of each word, were it the right one: the row's own word at the gap is all that may decide which is asked."""
        rows_WT = np.repeat(row_T[None], WORDS, 0)
        rows_WT[:, 3] = np.arange(FIRST, FIRST + WORDS)
        return np.array(look(params, Gaps(rows_WT, np.full(WORDS, 3, np.int32)))["nll"])

    before = costs(ROWS[0])
    np.testing.assert_allclose(np.exp(-before).sum(), 1.0, rtol=1e-5)
    assert look(params, gap)["nll"] == pytest.approx(before[ROWS[0, 3] - FIRST], rel=1e-5)
    for place in (1, 2, 4, 5):
        changed = ROWS[0].copy()
        changed[place] = 6 if changed[place] != 6 else 4
        assert (np.abs(costs(changed) - before).max() > 1e-5) == (place in reads), place


def test_whole_sentences_are_weighed_by_their_probability():
    """By brute force: the decoder's probability of each sentence, word by word, over the sum for all words."""
    model, fill = Decoder(DECODER, FIRST + WORDS), by_sentence(CONFIG, DECODER)
    params, gaps = randomised(causal_arm(CONFIG, DECODER).init(jax.random.key(0))), Gaps(ROWS, np.array([2, 1, 2]))
    found = jax.jit(lambda params, gaps: filled(fill(params, gaps), gaps))(params, gaps)
    words_W, logits = np.arange(FIRST, FIRST + WORDS), jax.jit(model.apply)
    for row_T, place, nll, right in zip(*gaps, found["nll"], found["right"], strict=True):
        length, log_p = (row_T != PAD).sum(), []
        for word in words_W:
            one_T = row_T.copy()
            one_T[place] = word
            logits_TV = np.asarray(logits(params, one_T[None, :-1])[0], np.float64)[: length - 1]
            chosen_T = logits_TV[range(length - 1), one_T[1:length]]
            log_p.append((chosen_T - np.log(np.exp(logits_TV).sum(1))).sum())
        assert float(nll) == pytest.approx(np.log(np.exp(log_p).sum()) - log_p[row_T[place] - FIRST], abs=1e-4)
        assert right == (np.argmax(log_p) == row_T[place] - FIRST)


def test_gaps_are_words_but_never_the_mark_at_the_end():
    gaps = held_out_gaps(replace(CONFIG, gaps=997), 3)
    asked = {(tuple(row), place) for row, place in zip(gaps.rows_GT.tolist(), gaps.place_G.tolist(), strict=True)}
    lengths = (ROWS != PAD).sum(1)
    assert asked == {(tuple(row), p) for row, n in zip(ROWS.tolist(), lengths, strict=True) for p in range(1, n - 1)}
    np.testing.assert_array_equal(gaps.word_G, [row[p] - FIRST for row, p in zip(*gaps, strict=True)])


def test_both_arms_learn_the_same_sentences_in_the_same_order():
    encoder, decoder = (list(ARMS[name]().batches(7)) for name in ("encoder", "decoder"))
    assert len(encoder) == len(decoder) == CONFIG.steps
    for hidden, plain in zip(encoder, decoder, strict=True):
        shown_BT, rows_BT = hidden.inputs_BT.copy(), plain.tokens_BT
        for row, places, labels, counted in zip(
            shown_BT, hidden.places_BM, hidden.labels_BM, hidden.counted_BM, strict=True
        ):
            row[places[counted]] = labels[counted]
        np.testing.assert_array_equal(shown_BT, rows_BT)
        np.testing.assert_array_equal(plain.counted_BT, rows_BT[:, 1:] != PAD)
    assert any((batch.inputs_BT == MASK).any() for batch in encoder)


def test_the_built_in_sentences_are_words_by_number_and_none_is_in_both_halves():
    known_NT, held_out_NT, vocabulary = builtin_sentences(5, 12)
    both = np.concatenate([known_NT, held_out_NT])
    lengths = (both != PAD).sum(1) - 1
    assert known_NT.shape[1] == 13 and lengths.min() == 5 and lengths.max() == 12
    assert (both[:, 0] == BEGIN).all() and both.max() == vocabulary - 1 and not (both == MASK).any()
    known = set(map(tuple, known_NT))
    assert not any(tuple(row) in known for row in held_out_NT)
    ends = {row[n] for row, n in zip(both, lengths, strict=True)}
    assert len(ends) == 2  # A full stop or a question mark.


@pytest.mark.parametrize(
    "change, message",
    [
        ({"shortest": 2}, "shortest must be at least 3, got shortest=2"),
        ({"longest": 2}, "longest must be at least shortest, got 2 and 3"),
        ({"gaps": 0}, "gaps must be at least 1, got gaps=0"),
    ],
)
def test_a_config_that_cannot_be_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        replace(CONFIG, **change)
