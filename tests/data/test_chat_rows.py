"""Chats in rows: what counts stays where it was, whatever is padded, and every chat is seen once an epoch."""

from itertools import chain

import numpy as np
import pytest

from jaxformer.config.data import Batching
from jaxformer.config.errors import UserError
from jaxformer.data.chat_rows import ChatRows, PreferenceRows, ShuffledRows, every_row, short_enough

V = 97
CONFIG = Batching(tokens=64, buckets=2, max_length=17)


def chats(count=23, seed=0):
    """Random ids behind a number of their own, from 2 to 17 of them, and random flags."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(2, 18, count)
    return [([i, *rng.integers(0, V, n - 1)], list(rng.random(n) < 0.4)) for i, n in enumerate(lengths)]


def told(chat):
    """What is to be predicted in a chat: each label and all that stands before it."""
    ids, answers = chat
    return sorted((tuple(map(int, ids[:at])), int(ids[at])) for at in range(1, len(ids)) if answers[at])


def predicted(batch):
    """The same of a batch."""
    tokens_BT, _, _, counted_BT = batch
    assert tokens_BT.shape[1] == counted_BT.shape[1] + 1
    at = zip(*np.nonzero(counted_BT), strict=True)
    return sorted((tuple(map(int, tokens_BT[row, : t + 1])), int(tokens_BT[row, t + 1])) for row, t in at)


def test_an_epoch_predicts_every_flagged_token_once_from_all_before_it():
    every = chats()
    rows = ChatRows(every, V)
    batches = ShuffledRows(rows, CONFIG, seed=3, name="chats")
    expected = sorted(chain.from_iterable(map(told, every)))
    for epoch in range(2):
        of_epoch = [batches[epoch * batches.per_epoch + i] for i in range(batches.per_epoch)]
        assert sorted(chain.from_iterable(map(predicted, of_epoch))) == expected
        assert {batch.tokens_BT.shape for batch in of_epoch} <= set(batches.shapes)
    assert len(expected) == rows.counted and rows.read == sum(len(ids) - 1 for ids, _ in every)
    assert any((batches[i].tokens_BT != batches[i + batches.per_epoch].tokens_BT).any() for i in range(2))


def test_every_row_comes_once_with_its_number():
    every = chats(11)
    rows = ChatRows(every, V)
    found = {}
    for rows_B, batch in every_row(rows, (7, 17), 64):
        for at, row in enumerate(rows_B):
            one = predicted([array if array is None else array[at : at + 1] for array in batch])
            assert row >= 0 or not one
            found[int(row)] = one
    found.pop(-1, None)
    assert found == {row: told(chat) for row, chat in enumerate(every)}


def test_the_fingerprint_knows_ids_flags_and_settings():
    def fingerprint(every, config=CONFIG, seed=0):
        return ShuffledRows(ChatRows(every, V), config, seed, "chats").fingerprint

    other_flag, other_id = chats(), chats()
    other_flag[5][1][1] ^= True
    other_id[5][0][1] = (other_id[5][0][1] + 1) % V
    marks = [fingerprint(chats()), fingerprint(other_flag), fingerprint(other_id), fingerprint(chats(), seed=1)]
    marks.append(fingerprint(chats(), Batching(tokens=65, buckets=2, max_length=17)))
    assert len(set(marks)) == 5 and fingerprint(chats()) == marks[0]


def test_what_is_too_long_is_left_out_and_counted():
    def kept(longest):
        return short_enough(["abc", "abcde", "abcd"], len, longest, "train chats")

    assert kept(4) == (
        ["abc", "abcd"],
        "dropped 1 of 3 train chats, longer than batches.max_length=4 tokens",
    )
    assert kept(5).notice is None
    with pytest.raises(UserError, match=r"all 3 train chats are longer than batches.max_length=2 tokens, .* has 3"):
        kept(2)


def test_both_answers_of_a_pair_stay_together_with_their_reference():
    pairs = list(zip(chats(11, seed=1), chats(11, seed=2), strict=True))
    reference_N2 = np.random.default_rng(4).normal(size=(11, 2)).astype(np.float32)
    rows = PreferenceRows(pairs, V)
    batches, found = ShuffledRows(rows.referring(reference_N2), CONFIG, 0, "pairs"), {}
    for i in range(batches.per_epoch):
        batch = batches[i]
        for tokens_2T, counted_2T, reference_2 in zip(*batch, strict=True):
            if not counted_2T.any():
                continue
            sides = [predicted((tokens_2T[s : s + 1], None, None, counted_2T[s : s + 1])) for s in (0, 1)]
            found[int(tokens_2T[0, 0])] = sides
            number = int(tokens_2T[0, 0])
            assert tokens_2T[1, 0] == number
            np.testing.assert_array_equal(reference_2, reference_N2[number])
    assert found == {i: [told(side) for side in pair] for i, pair in enumerate(pairs) if any(map(told, pair))}
    assert not rows.batch(np.array([3, -1]), 17).reference_B2.any()
    assert rows.fingerprint() != PreferenceRows([pair[::-1] for pair in pairs], V).fingerprint()
