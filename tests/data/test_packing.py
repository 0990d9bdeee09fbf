"""Rows show every token once an epoch, whatever is asked first, and know where their documents begin."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxformer.config.errors import UserError
from jaxformer.config.text_data import Packed, Windows
from jaxformer.data.packing import (
    EncodedText,
    PackedBatches,
    WindowBatches,
    encode_text,
    eval_windows,
    text_batches,
)

END, VOCABULARY = 1, 997
documents = st.lists(st.lists(st.integers(3, VOCABULARY - 1), max_size=17), min_size=1, max_size=13)


def encoded(docs) -> EncodedText:
    return EncodedText(tuple(docs), 7 * sum(map(len, docs)))


def stream(config, docs, seed=0, end=END):
    return text_batches(config, encoded(docs), seed, end=end, vocabulary=VOCABULARY)


def some_documents(count=29, longest=19, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.integers(3, VOCABULARY, rng.integers(1, longest)).tolist() for _ in range(count)]


def assert_same(one, other):
    for a, b in zip(one, other, strict=True):
        np.testing.assert_array_equal(a, b)


def rows_of(batches, count):
    """The first `count` rows of a stream as lists, one after the other."""
    rows = []
    while len(rows) < count:
        batch = batches[len(rows) // batches.shapes[0].rows]
        rows += list(zip(*(array.tolist() for array in batch), strict=True))
    return rows[:count]


def read_back(tokens):
    """The documents of a stream of tokens, each behind its mark."""
    found = []
    for token in tokens:
        if token == END:
            found.append([])
        else:
            found[-1].append(token)
    return found


def brute_force_places(tokens):
    """Segments and positions of the tokens of one row, token by token."""
    segments, positions = [], []
    for token in tokens:
        begins = token == END and segments
        segments.append(segments[-1] + 1 if begins else (segments[-1] if segments else 1))
        positions.append(0 if begins or not positions else positions[-1] + 1)
    return segments, positions


@pytest.mark.smoke
@settings(max_examples=60, deadline=None)
@given(documents, st.integers(1, 11), st.integers(1, 5), st.integers(0, 3), st.integers(0, 2))
def test_every_token_is_predicted_once_an_epoch(docs, length, rows, seed, epoch):
    total = sum(map(len, docs)) + len(docs)
    if total < length:
        return
    batches = stream(Packed(length, rows), docs, seed)
    per_epoch, lost = divmod(total, length)
    assert (batches.tokens, batches.lost, batches.per_epoch) == (total, lost, per_epoch / rows)
    read = rows_of(batches, (epoch + 1) * per_epoch)[epoch * per_epoch :]
    tokens = [token for row in read for token in row[0][:-1]]
    # Each row's last label is the first token of the next: the rows together are one stream.
    assert tokens[length::length] == [row[0][-1] for row in read[:-1]]
    found = read_back([*tokens, read[-1][0][-1]])
    # The lost tokens are the end of the last document or documents; all others are whole, and as often as they are.
    whole = [tuple(doc) for doc in found[:-1]]
    rest = sorted(map(tuple, docs))
    for doc in whole:
        rest.remove(doc)
    assert len(tokens) + lost == total
    assert lost or (not found[-1] and not rest)
    assert not found[-1] or any(doc[: len(found[-1])] == tuple(found[-1]) for doc in rest)


@settings(max_examples=60, deadline=None)
@given(documents, st.integers(1, 11))
def test_documents_are_numbered_in_a_row_and_positions_restart(docs, length):
    if sum(map(len, docs)) + len(docs) < length:
        return
    batch = stream(Packed(length, 3), docs)[0]
    assert [array.shape for array in batch] == [(3, length + 1)] + [(3, length)] * 3
    assert [array.dtype for array in batch] == [np.int32] * 3 + [bool]
    for tokens_T, segments_T, positions_T, counted_T in zip(*(array.tolist() for array in batch), strict=True):
        assert (segments_T, positions_T) == brute_force_places(tokens_T[:-1])
        assert all(counted_T)


@pytest.mark.parametrize("config", [Packed(11, 5), Windows(11, 5)])
def test_a_batch_depends_on_its_index_and_not_on_what_was_asked_before(config):
    forward, anyhow = (stream(config, some_documents(), seed=7) for _ in range(2))
    ordered = [forward[i] for i in range(23)]
    for i in np.random.default_rng(1).permutation(23):
        for one, other in zip(anyhow[int(i)], ordered[i], strict=True):
            np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("config", [Packed(11, 5), Windows(11, 5)])
def test_seed_and_epoch_decide_the_order_and_the_fingerprint_sees_all(config):
    docs = some_documents()
    base = stream(config, docs, seed=7)
    shown = [stream(config, docs, seed)[i].tokens_BT.tolist() for seed in (7, 8) for i in (0, 7)]
    assert all(a != b for a, b in combinations(shown, 2))
    moved = [docs[0] + docs[1][:1], docs[1][1:], *docs[2:]]
    others = [
        stream(config, docs, seed=8),
        stream(config, moved, seed=7),
        stream(config, docs[1:] + docs[:1], seed=7),
        stream(type(config)(11, 3), docs, seed=7),
        stream(config, docs, seed=7, end=2),
    ]
    assert stream(config, docs, seed=7).fingerprint == base.fingerprint
    assert len({each.fingerprint for each in (base, *others)}) == 6


def test_a_batch_is_filled_with_the_next_epoch():
    docs = [[3, 4], [5, 6], [7, 8]]
    batches = stream(Packed(3, 7), docs)
    assert batches.per_epoch == 3 / 7
    first = sorted(map(tuple, batches[0].tokens_BT[:, :-1].tolist()))
    assert first.count((END, 3, 4)) >= 2 and len(set(first)) == 3
    orders = {tuple(batches[i].tokens_BT[0:3, 1].tolist()) for i in (0, 3, 6, 9, 12)}
    assert len(orders) > 1 and all(sorted(order) == [3, 5, 7] for order in orders)


def test_the_order_is_pinned_so_that_old_runs_resume():
    docs = [[i] for i in range(3, 14)]
    packed, windows = stream(Packed(2, 11), docs, seed=5), stream(Windows(2, 11), docs, seed=5)
    assert packed[0].tokens_BT[:, 1].tolist() == [6, 13, 9, 5, 7, 8, 10, 3, 12, 11, 4]
    assert windows[0].tokens_BT[:, 0].tolist() == [6, 12, 4, 11, 1, 1, 1, 1, 6, 12, 1]


def test_windows_are_pieces_of_the_one_stream_and_reach_all_of_it():
    docs = [[3, 4, 5], [6], [7, 8]]
    joined = [3, 4, 5, END, 6, END, 7, 8]
    batches = stream(Windows(3, 5), docs)
    pieces = {tuple(joined[i : i + 4]) for i in range(5)}
    seen = {tuple(row) for i in range(40) for row in batches[i].tokens_BT.tolist()}
    assert seen == pieces
    batch = batches[0]
    assert batch.segments_BT is None and batch.positions_BT is None
    assert batch.counted_BT.all() and batch.counted_BT.shape == (5, 3) and batch.tokens_BT.dtype == np.int32
    assert (batches.tokens, batches.per_epoch) == (8, 8 / 15)


def test_windows_begin_anywhere_with_the_same_probability():
    batches = stream(Windows(3, 1009), [list(range(3, 14))])
    counts = np.bincount(batches[0].tokens_BT[:, 0], minlength=11)[3:11]
    expected = 1009 / 8
    # χ² with 7 degrees of freedom exceeds 24.3 once in a thousand seeds.
    assert ((counts - expected) ** 2 / expected).sum() < 24.3


@settings(max_examples=60, deadline=None)
@given(documents, st.sampled_from([Packed, Windows]), st.integers(1, 11), st.integers(1, 5))
def test_an_evaluation_predicts_every_token_once(docs, kind, length, rows):
    evaluation = eval_windows(kind(length, rows), encoded(docs), end=END, vocabulary=VOCABULARY)
    joined = [token for doc in docs for token in (END, *doc)] + [END]
    batches = evaluation.batches
    inputs = np.concatenate([batch.tokens_BT[:, :-1].ravel() for batch in batches])
    labels = np.concatenate([batch.tokens_BT[:, 1:].ravel() for batch in batches])
    counted = np.concatenate([batch.counted_BT.ravel() for batch in batches])
    assert (inputs[counted].tolist(), labels[counted].tolist()) == (joined[:-1], joined[1:])
    assert evaluation.tokens == counted.sum() == len(joined) - 1
    assert evaluation.bytes == 7 * sum(map(len, docs))
    assert all(batch.tokens_BT.shape == (rows, length + 1) for batch in batches)
    assert all(batch.counted_BT.any() for batch in batches)
    for batch in batches:
        assert (batch.segments_BT is None) == (batch.positions_BT is None) == (kind is Windows)
        if kind is Packed:
            for tokens_T, segments_T, positions_T, counted_T in zip(*(a.tolist() for a in batch), strict=True):
                real = sum(counted_T)
                expected = brute_force_places(tokens_T[:real])
                assert (segments_T[:real], positions_T[:real]) == expected
                assert not set(segments_T[:real]) & set(segments_T[real:])


def test_evaluation_and_training_read_a_document_alike():
    docs = [[3, 4, 5, 6]]
    config = Packed(5, 1)
    evaluation = eval_windows(config, encoded(docs), end=END, vocabulary=VOCABULARY)
    assert_same(evaluation.batches[0], stream(config, docs)[0])


def test_bytes_are_those_of_the_text():
    texts = ["ä日", "", "abc"]
    text = encode_text(texts, lambda batch: [[ord(c) % 100 + 3 for c in each] for each in batch])
    assert text.bytes == 2 + 3 + 3 and [len(doc) for doc in text.documents] == [2, 0, 3]
    batches = text_batches(Packed(2, 1), text, 0, end=END, vocabulary=VOCABULARY)
    assert (batches.bytes, batches.tokens) == (8, 5 + 3)


def test_kinds():
    assert isinstance(stream(Packed(2, 1), [[3, 4, 5]]), PackedBatches)
    assert isinstance(stream(Windows(2, 1), [[3, 4, 5]]), WindowBatches)
    with pytest.raises(TypeError, match="no rule to make text batches by int"):
        text_batches(3, encoded([[3]]), 0, end=END, vocabulary=VOCABULARY)


@pytest.mark.parametrize(
    ("config", "docs", "message"),
    [
        (Packed(7, 2), [[3, 4], [5]], "must fill a row of 7 tokens, got 5 tokens with their marks; lower length"),
        (Windows(7, 2), [[3, 4], [5]], "must hold a window of 7 tokens and one more, got 4; lower length"),
        (Windows(4, 2), [[3, 4], [5]], "got 4; lower length"),
        (Packed(2, 2), [], "no documents"),
        (Windows(2, 2), [[3, 4], [5, VOCABULARY]], f"token id {VOCABULARY} in document 2 is outside the vocabulary"),
    ],
)
def test_bad_input(config, docs, message):
    with pytest.raises(UserError) as caught:
        stream(config, docs)
    assert message in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("config", [Packed(2, 1), Windows(2, 1)])
def test_an_index_is_no_less_than_zero(config):
    with pytest.raises(IndexError, match="at least 0, got -1"):
        stream(config, [[3, 4, 5]])[-1]
