"""What is guessed is 15% of the tokens, hidden as published, and drawn anew for each batch: a function of its index."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxformer.config.data import Batching
from jaxformer.config.errors import UserError
from jaxformer.config.text_data import Packed, TokenMasking, WholeWordMasking
from jaxformer.data.masking import MaskedBatches, marked_rows, mask_tokens, most_guessed, number_words

PAD, UNK, CLS, SEP, MASK, VOCABULARY = 0, 1, 2, 3, 4, 499
SPECIAL = (PAD, CLS, SEP)
MARKS = {"pad": PAD, "cls": CLS, "sep": SEP, "vocabulary": VOCABULARY}
CONTINUES_V = np.arange(VOCABULARY) % 3 == 2
CONTINUES_V[:5] = False
KINDS = [TokenMasking(), WholeWordMasking()]


def some_sentences(count=113, longest=17, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.integers(5, VOCABULARY, rng.integers(1, longest)).tolist() for _ in range(count)]


PACKED = Packed(13, 7)


def masked(masking=KINDS[0], config=PACKED, seed=0, sentences=None, **changes):
    rows = marked_rows(config, some_sentences() if sentences is None else sentences, seed, **MARKS)
    others = {"mask": MASK, "special": SPECIAL, "vocabulary": VOCABULARY, "continues_V": CONTINUES_V} | changes
    return MaskedBatches(masking, rows, seed, **others)


def many(masking, tokens_BT, seed=0):
    words_BT = number_words(tokens_BT, CONTINUES_V)
    others = np.arange(5, VOCABULARY)
    return mask_tokens(masking, tokens_BT, tokens_BT > 4, words_BT, (seed, 3), mask=MASK, others=others)


def guessed(batch):
    """Where tokens are to be guessed, bool [B, T]."""
    guessed_BT = np.zeros(batch.inputs_BT.shape, bool)
    np.put_along_axis(guessed_BT, batch.places_BM, batch.counted_BM, axis=1)
    return guessed_BT


def restored(batch):
    """What stood in the rows before they were masked."""
    tokens_BT = batch.inputs_BT.copy()
    np.put_along_axis(tokens_BT, batch.places_BM, batch.labels_BM, axis=1)
    return tokens_BT


@pytest.mark.smoke
@pytest.mark.parametrize("kind", [TokenMasking, WholeWordMasking])
@pytest.mark.parametrize("rate", [0.15, 0.4])
def test_the_parts_are_those_of_the_paper(kind, rate):
    tokens_BT = np.random.default_rng(0).integers(5, VOCABULARY, (1009, 101)).astype(np.int32)
    batch = many(kind(rate), tokens_BT)
    assert [part.dtype for part in batch] == [np.int32] * 3 + [bool]
    np.testing.assert_array_equal(restored(batch), tokens_BT)
    guessed_BT = guessed(batch)
    assert guessed_BT.sum() == batch.counted_BM.sum(), "no place is there twice"
    shown, label = batch.inputs_BT[guessed_BT], tokens_BT[guessed_BT]
    kept, hidden = shown == label, shown == MASK
    parts = [guessed_BT.mean(), hidden.mean(), kept.mean(), (~kept & ~hidden).mean()]
    # A token drawn at random is the token itself once in 494 times.
    np.testing.assert_allclose(parts, [rate, 0.8, 0.1 + 0.1 / 494, 0.1 - 0.1 / 494], atol=0.008)


def test_those_swapped_are_drawn_evenly_from_the_ordinary_ids():
    tokens_BT = np.full((1009, 101), 7, np.int32)
    inputs_BT = many(TokenMasking(0.9), tokens_BT).inputs_BT
    swapped = inputs_BT[(inputs_BT != MASK) & (inputs_BT != 7)]
    assert swapped.min() == 5 and swapped.max() == VOCABULARY - 1
    counts = np.delete(np.bincount(swapped, minlength=VOCABULARY)[5:], 2)
    expected = counts.mean()
    # χ² with 492 degrees of freedom exceeds 595 once in a thousand seeds.
    assert ((counts - expected) ** 2 / expected).sum() < 595


def words_by_hand(tokens_T):
    numbers = []
    for i, token in enumerate(tokens_T):
        numbers.append(0 if i == 0 else numbers[-1] + (not CONTINUES_V[token]))
    return numbers


def test_words_are_numbered_by_row():
    tokens_BT = np.random.default_rng(0).integers(5, VOCABULARY, (53, 11))
    assert CONTINUES_V[tokens_BT[:, 0]].any()
    assert number_words(tokens_BT, CONTINUES_V).tolist() == [words_by_hand(tokens_T) for tokens_T in tokens_BT]


def test_a_word_is_guessed_whole_or_not_at_all():
    tokens_BT = np.random.default_rng(0).integers(5, VOCABULARY, (211, 31)).astype(np.int32)
    words_BT = number_words(tokens_BT, CONTINUES_V)
    both = {}
    for kind in (TokenMasking, WholeWordMasking):
        guessed_BT = guessed(many(kind(0.5), tokens_BT))
        words = [{bool(c) for c in guessed_BT[b][words_BT[b] == w]} for b in range(211) for w in range(words_BT[b, -1])]
        both[kind] = any(len(word) == 2 for word in words)
    assert both == {TokenMasking: True, WholeWordMasking: False}


@pytest.mark.parametrize("kind", [TokenMasking, WholeWordMasking])
def test_of_too_many_those_with_the_lowest_draws_are_guessed(kind, monkeypatch):
    """Without a limit, a lower rate chooses those with lower draws."""
    tokens_BT = np.random.default_rng(0).integers(5, VOCABULARY, (211, 31)).astype(np.int32)
    most = most_guessed(kind(0.2), 31)
    limited = guessed(many(kind(0.2), tokens_BT))
    monkeypatch.setattr("jaxformer.data.masking.most_guessed", lambda masking, length: length - 1)
    by_rate = [guessed(many(kind(rate), tokens_BT)) for rate in np.linspace(0, 0.2, 101)[1:]]
    below = np.max([each * (each.sum(axis=1, keepdims=True) <= most) for each in by_rate], axis=0)
    counts_B = by_rate[-1].sum(axis=1)
    assert (below <= limited).all() and (limited <= by_rate[-1]).all()
    assert most == 11 and counts_B.max() > most >= limited.sum(axis=1).max()
    np.testing.assert_array_equal(limited[counts_B <= most], by_rate[-1][counts_B <= most])
    if kind is TokenMasking:
        assert set(limited[counts_B > most].sum(axis=1)) == {most}


def test_choices_differ_from_word_to_word_and_row_to_row():
    tokens_BT = np.tile(np.array([CLS, 6, 6, SEP], np.int32), (1009, 1))
    for masking in (TokenMasking(0.5), WholeWordMasking(0.5)):
        both = guessed(many(masking, tokens_BT))[:, 1:3].all(axis=1).mean()
        assert 0.2 < both < 0.3, "neighbours are chosen independently"


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.lists(st.integers(5, VOCABULARY - 1), max_size=11), min_size=3, max_size=23),
    st.sampled_from([Packed(3, 5), Packed(3, 2), Batching(tokens=39, buckets=3)]),
    st.sampled_from(KINDS),
    st.integers(0, 3),
)
def test_marks_and_padding_are_never_chosen_and_never_shown_for_another(sentences, config, masking, index):
    batches = masked(masking, config, sentences=sentences)
    batch = batches[index]
    assert not np.isin(batch.labels_BM[batch.counted_BM], [PAD, CLS, SEP, MASK]).any()
    assert not np.isin(batch.inputs_BT[guessed(batch)], [PAD, CLS, SEP]).any()
    assert batch.places_BM.shape == (len(batch.inputs_BT), most_guessed(masking, batch.inputs_BT.shape[1]))


def test_a_mask_that_stands_in_the_text_is_not_guessed():
    assert not masked(TokenMasking(0.9), Packed(13, 7), sentences=[[MASK] * 97])[0].counted_BM.any()


@pytest.mark.parametrize("config", [Packed(13, 7), Batching(tokens=91, buckets=3)])
@pytest.mark.parametrize("masking", KINDS)
def test_a_batch_depends_on_its_index_and_not_on_what_was_asked_before(config, masking):
    forward, anyhow = masked(masking, config), masked(masking, config)
    ordered = [forward[i] for i in range(23)]
    for i in np.random.default_rng(1).permutation(23):
        for one, other in zip(anyhow[int(i)], ordered[i], strict=True):
            np.testing.assert_array_equal(one, other)


def test_the_same_sentence_is_masked_anew_every_epoch():
    sentences = [list(range(5, 105))]
    batches = masked(TokenMasking(), Packed(103, 1), sentences=sentences)
    assert batches.per_epoch == 1
    seen = [tuple(guessed(batches[i])[0].tolist()) for i in range(5)]
    assert len(set(seen)) == 5 and len({tuple(restored(batches[i])[0].tolist()) for i in range(5)}) == 1


def test_the_fingerprint_sees_all_that_decides_the_stream():
    batches = [
        masked(),
        masked(KINDS[1]),
        masked(TokenMasking(0.2)),
        masked(seed=1),
        masked(config=Packed(13, 5)),
        masked(config=Batching(tokens=91)),
        masked(sentences=some_sentences(seed=1)),
        masked(mask=UNK),
        masked(special=(*SPECIAL, UNK)),
        masked(continues_V=None),
    ]
    assert masked().fingerprint == batches[0].fingerprint
    assert all(one.fingerprint != other.fingerprint for one, other in combinations(batches, 2))
    shown = [batches[i][0].inputs_BT.tolist() for i in (0, 1, 2, 3)]
    assert all(one != other for one, other in combinations(shown, 2))


def test_packed_rows_hold_all_sentences_with_marks_between_them():
    sentences = some_sentences(29)
    rows = marked_rows(Packed(11, 3), sentences, 0, **MARKS)
    assert rows.shapes == ((3, 11),)
    total = sum(map(len, sentences)) + len(sentences)
    count = total // 9
    assert (rows.per_epoch, rows.lost) == (count / 3, total % 9)
    read = np.concatenate([rows[i] for i in range(-(-count // 3))])[:count]
    assert set(read[:, 0]) == {CLS} and set(read[:, -1]) == {SEP} and read.dtype == np.int32
    inside = read[:, 1:-1].ravel().tolist()
    *whole, last = " ".join("|" if token == SEP else str(token) for token in inside).split("|")
    rest = [" ".join(map(str, sentence)) for sentence in sentences]
    for sentence in whole:
        rest.remove(sentence.strip())
    assert any(sentence.startswith(last.strip()) for sentence in [*rest, ""])
    assert len(inside) + rows.lost == total


def test_bucketed_rows_hold_one_sentence_each():
    sentences = some_sentences(53)
    rows = marked_rows(Batching(tokens=91, buckets=3), sentences, 0, **MARKS)
    seen = [row for i in range(int(rows.per_epoch)) for row in rows[i].tolist() if row[0] != PAD]
    assert all(row[0] == CLS for row in seen)
    assert sorted(row[1 : row.index(SEP)] for row in seen) == sorted(sentences)
    assert not any(any(row[row.index(SEP) + 1 :]) for row in seen)
    assert {rows[i].shape for i in range(int(rows.per_epoch))} <= set(rows.shapes)


def test_bad_input():
    with pytest.raises(ValueError, match="ids inside a word must be known, got no continues_V"):
        masked(WholeWordMasking(), continues_V=None)
    with pytest.raises(ValueError, match="numbered by word, got no words_BT"):
        tokens_BT = np.full((2, 3), 7, np.int32)
        mask_tokens(WholeWordMasking(), tokens_BT, tokens_BT > 4, None, (0,), mask=MASK, others=np.arange(5, 7))
    for config, sentences, message in [
        (Packed(2, 1), [[5]], "must hold two marks and a token, got length=2"),
        (Packed(13, 1), [[5]], "must fill a row of 11 tokens, got 2"),
        (Packed(13, 1), [[5], [VOCABULARY]], "in sentence 2 is outside the vocabulary"),
        (Batching(), [], "there are no sentences"),
    ]:
        with pytest.raises(UserError, match=message):
            marked_rows(config, sentences, 0, **MARKS)
    with pytest.raises(TypeError, match="no rule to make rows by int"):
        marked_rows(3, [[5]], 0, **MARKS)
    with pytest.raises(IndexError, match="at least 0, got -1"):
        masked()[-1]
