"""The stream of batches is a function of corpus, settings, seed and index, and shows every pair once an epoch."""

import subprocess
import sys
import threading
import time
from itertools import combinations, islice, pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxformer.config.data import Batching
from jaxformer.config.errors import UserError
from jaxformer.data.batches import (
    TranslationBatches,
    choose_bounds,
    pair_batches,
    prefetch,
    source_batches,
)

PAD, BOS, EOS, VOCABULARY = 0, 1, 2, 997
MARKS = {"pad": PAD, "bos": BOS, "eos": EOS, "vocabulary": VOCABULARY}
ids = st.lists(st.integers(3, VOCABULARY - 1), max_size=23)
corpora = st.lists(st.tuples(ids, ids), min_size=1, max_size=61)
configs = st.builds(
    Batching, tokens=st.integers(24, 300), buckets=st.integers(1, 5), max_length=st.sampled_from([13, 24, 128])
)


def some_pairs(count=113, longest=19, seed=0):
    rng = np.random.default_rng(seed)
    return [
        tuple(rng.integers(3, VOCABULARY, rng.integers(0, longest)).tolist() for _ in range(2)) for _ in range(count)
    ]


def stream(pairs, config, seed=0):
    return TranslationBatches(pairs, config, seed, **MARKS)


def read_back(batch):
    """The pairs of ids in a batch, by nothing but its marks; rows of pad are left out."""
    for source_S, target_T in zip(batch.source_BS.tolist(), batch.target_BT.tolist(), strict=True):
        if source_S[0] == PAD:
            assert not any(source_S) and not any(target_T)
            continue
        source_end, target_end = source_S.index(EOS), target_T.index(EOS)
        assert target_T[0] == BOS
        assert not any(source_S[source_end + 1 :]) and not any(target_T[target_end + 1 :])
        yield tuple(source_S[:source_end]), tuple(target_T[1:target_end])


def longest(pair):
    return max(len(pair[0]), len(pair[1])) + 1


@pytest.mark.smoke
@settings(max_examples=60, deadline=None)
@given(corpora, configs, st.integers(0, 5), st.integers(0, 3))
def test_every_kept_pair_once_an_epoch(pairs, config, seed, epoch):
    kept = sorted((tuple(s), tuple(t)) for s, t in pairs if longest((s, t)) <= config.max_length)
    if not kept:
        return
    batches = stream(pairs, config, seed)
    seen = [batches[i] for i in range(epoch * batches.per_epoch, (epoch + 1) * batches.per_epoch)]
    assert sorted(pair for batch in seen for pair in read_back(batch)) == kept
    assert batches.dropped == len(pairs) - len(kept)
    assert (batches.notice is None) == (batches.dropped == 0)
    real = sum(len(s) + len(t) + 3 for s, t in kept)
    assert batches.efficiency == real / sum(array.size for batch in seen for array in batch)


@settings(max_examples=60, deadline=None)
@given(corpora, configs)
def test_few_shapes_within_the_budget(pairs, config):
    if not any(longest(pair) <= config.max_length for pair in pairs):
        return
    batches = stream(pairs, config)
    assert 1 <= len(batches.shapes) <= config.buckets
    assert [shape.length for shape in batches.shapes] == list(batches.bounds) == sorted(set(batches.bounds))
    for rows, length in batches.shapes:
        assert rows * length <= config.tokens
        assert rows % 8 == 0 or rows == config.tokens // length < 8
    for i in range(batches.per_epoch):
        source_BS, target_BT = batches[i]
        assert source_BS.dtype == target_BT.dtype == np.int32
        assert source_BS.shape in batches.shapes
        assert target_BT.shape == (source_BS.shape[0], source_BS.shape[1] + 1)
        assert source_BS[:, 0].any(), "a batch of nothing but padding"


@pytest.mark.parametrize(
    ("tokens", "pairs", "rows"), [(69, 100, 8), (150, 100, 24), (150, 17, 24), (150, 9, 16), (150, 1, 8), (35, 100, 5)]
)
def test_rows_are_a_multiple_of_eight_and_few_more_than_the_pairs(tokens, pairs, rows):
    assert stream([([3] * 5, [4] * 4)] * pairs, Batching(tokens=tokens)).shapes == ((rows, 6),)


def test_a_batch_depends_on_its_index_and_not_on_what_was_asked_before():
    config = Batching(tokens=160, buckets=3)
    forward, anyhow = stream(some_pairs(), config, seed=7), stream(some_pairs(), config, seed=7)
    count = 3 * forward.per_epoch
    ordered = [forward[i] for i in range(count)]
    for i in np.random.default_rng(1).permutation(count):
        for one, other in zip(anyhow[int(i)], ordered[i], strict=True):
            np.testing.assert_array_equal(one, other)


def epoch_of(batches, epoch):
    return [batches[epoch * batches.per_epoch + i].source_BS.tolist() for i in range(batches.per_epoch)]


def test_the_seed_and_the_epoch_decide_the_order():
    config = Batching(tokens=160, buckets=3)
    first, again, other = (stream(some_pairs(), config, seed) for seed in (7, 7, 8))
    assert epoch_of(first, 0) == epoch_of(again, 0)
    orders = [epoch_of(first, 0), epoch_of(first, 1), epoch_of(other, 0), epoch_of(other, 1)]
    assert all(a != b for a, b in combinations(orders, 2))
    assert first.fingerprint == again.fingerprint != other.fingerprint


def test_who_shares_a_batch_changes_from_epoch_to_epoch_and_lengths_are_mixed():
    batches = stream(some_pairs(977), Batching(tokens=160, buckets=4))
    mates = [{tuple(sorted(map(tuple, batch))) for batch in epoch_of(batches, epoch)} for epoch in (0, 1)]
    assert len(mates[0] & mates[1]) < 0.05 * batches.per_epoch
    widths = [len(batch[0]) for batch in epoch_of(batches, 0)]
    changes = sum(a != b for a, b in pairwise(widths))
    assert changes > 0.4 * len(widths), "batches of a bucket stand together"


def test_the_order_is_pinned_so_that_old_runs_resume():
    batches = stream([([i], [i]) for i in range(3, 40)], Batching(tokens=16, buckets=1), seed=5)
    assert batches[0].source_BS[:, 0].tolist() == [37, 20, 19, 10, 39, 15, 3, 12]
    assert batches[batches.per_epoch].source_BS[:, 0].tolist() == [28, 23, 16, 6, 29, 0, 0, 0]


def test_the_fingerprint_sees_corpus_and_settings():
    pairs, config = some_pairs(), Batching(tokens=160, buckets=3)
    moved = [(pairs[0][0] + pairs[1][0][:1], pairs[0][1]), (pairs[1][0][1:], pairs[1][1]), *pairs[2:]]
    streams = [
        stream(pairs, config),
        stream(moved, config),
        stream(pairs[1:] + pairs[:1], config),
        stream(pairs, Batching(tokens=168, buckets=3)),
        stream(pairs, Batching(tokens=160, buckets=2)),
    ]
    assert len({each.fingerprint for each in streams}) == len(streams)
    assert (
        stream([([5, EOS], []), ([7], [])], config).fingerprint
        != stream([([5], []), ([EOS, 7], [])], config).fingerprint
    )


def padded_tokens(lengths, bounds):
    return sum(min(bound for bound in bounds if bound >= length) for length in lengths)


@given(st.lists(st.integers(1, 11), min_size=1, max_size=40), st.integers(1, 5))
def test_bounds_are_the_best_of_all(lengths, buckets):
    bounds = choose_bounds(np.array(lengths), buckets)
    assert len(bounds) <= buckets
    values = sorted(set(lengths))
    every = ((*inner, values[-1]) for k in range(min(buckets, len(values))) for inner in combinations(values[:-1], k))
    assert padded_tokens(lengths, bounds) == min(padded_tokens(lengths, each) for each in every)


def test_bounds_beat_quantiles_on_a_long_tail():
    lengths = np.random.default_rng(3).geometric(0.08, 5003)
    quantiles = np.quantile(lengths, [0.25, 0.5, 0.75, 1.0]).astype(int)
    assert padded_tokens(lengths, choose_bounds(lengths, 4)) < 0.95 * padded_tokens(lengths, quantiles)


def refusal(pairs, config) -> str:
    with pytest.raises(UserError) as caught:
        stream(pairs, config)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_budget_smaller_than_the_longest_kept_sentence():
    pairs = [([3] * 5, [4] * 10), ([3] * 40, [3])]
    assert stream(pairs, Batching(tokens=11, max_length=11)).dropped == 1
    line = refusal(pairs, Batching(tokens=10, max_length=11))
    assert "got tokens=10 for a sentence of 11 tokens; raise tokens to at least 11" in line


def test_over_long_pairs_are_counted():
    batches = stream([([3] * 9, [4]), ([3], [4] * 10), ([3], [4])], Batching(max_length=10))
    assert batches.notice == "dropped 1 of 3 sentence pairs (33.33%) longer than max_length=10 tokens"


def test_nothing_left():
    assert "all 2 sentence pairs are longer than max_length=3" in refusal([([3] * 7, [3])] * 2, Batching(max_length=3))
    assert "the training split is empty" in refusal([], Batching())


@pytest.mark.parametrize("outside", [-1, VOCABULARY, 2**31])
def test_ids_outside_the_vocabulary(outside):
    assert f"token id {outside} in source sentence 2 is outside" in refusal(
        [([5], [6]), ([5, outside], [6])], Batching()
    )
    assert "in source sentence 2 is" in refusal([([5], [6]), ([outside, 5], [6])], Batching())
    line = refusal([([], []), ([5], [6]), ([5], [outside]), ([5], [outside])], Batching())
    assert f"token id {outside} in target sentence 3 is outside the vocabulary 0 … {VOCABULARY - 1}" in line


@pytest.mark.parametrize("name", ["tokens", "buckets", "max_length"])
def test_settings_below_one_are_refused(name):
    with pytest.raises(ValueError, match=f"{name} must be at least 1, got {name}=0"):
        Batching(**{name: 0})


@settings(max_examples=60, deadline=None)
@given(corpora, st.sampled_from([(24,), (5, 9), (3, 7, 30)]), st.integers(1, 200))
def test_an_evaluation_takes_every_pair_once_at_its_place(pairs, bounds, tokens):
    places = []
    for indices_B, batch in pair_batches(pairs, bounds, tokens, **MARKS):
        real_B = indices_B >= 0
        assert (batch.source_BS[:, 0] != PAD).tolist() == real_B.tolist()
        assert list(read_back(batch)) == [tuple(map(tuple, pairs[i])) for i in indices_B[real_B]]
        assert batch.source_BS.size <= max(tokens, batch.source_BS.shape[1])
        assert batch.target_BT.shape[1] == batch.source_BS.shape[1] + 1
        length = batch.source_BS.shape[1]
        assert length in bounds or (length / bounds[-1]).is_integer()
        places += indices_B[real_B].tolist()
    assert sorted(places) == list(range(len(pairs)))


def test_sources_alone_are_batched_by_their_own_length_from_long_to_short():
    sources = [source for source, _ in some_pairs()]
    seen = {}
    batches = source_batches(sources, (6, 12, 20), 120, pad=PAD, eos=EOS, vocabulary=VOCABULARY)
    for indices_B, source_BS in batches:
        for i, row_S in zip(indices_B, source_BS.tolist(), strict=True):
            if i >= 0:
                seen[int(i)] = row_S[: row_S.index(EOS)]
    assert [seen[i] for i in range(len(sources))] == sources
    lengths = [len(seen[i]) for indices_B, _ in batches for i in indices_B.tolist() if i >= 0]
    assert lengths == sorted(lengths, reverse=True)
    widths = [source_BS.shape[1] for _, source_BS in batches]
    assert widths == sorted(widths, reverse=True) and set(widths) == {6, 12, 20}
    assert source_batches([], (6,), 120, pad=PAD, eos=EOS, vocabulary=VOCABULARY) == []


def grain_threads():
    return [thread for thread in threading.enumerate() if "grain" in thread.name]


def wait_until_gone():
    for _ in range(500):
        if not grain_threads():
            return
        time.sleep(0.01)
    raise AssertionError(f"left running: {grain_threads()}")


@pytest.mark.filterwarnings("error")
def test_prefetching_changes_nothing_and_leaves_no_thread():
    batches = stream(some_pairs(), Batching(tokens=160, buckets=3))
    for start in (0, 5, 2 * batches.per_epoch - 1):
        ahead = prefetch(batches, start)
        for i, batch in enumerate(islice(ahead, batches.per_epoch + 2), start=start):
            for one, other in zip(batch, batches[i], strict=True):
                np.testing.assert_array_equal(one, other)
        assert grain_threads()
        ahead.close()
        wait_until_gone()


def test_an_error_while_prefetching_reaches_the_reader():
    class Broken:
        def __getitem__(self, index):
            raise UserError(f"batch {index} is broken")

    with pytest.raises(UserError, match="batch 3 is broken"):
        next(prefetch(Broken(), 3))
    wait_until_gone()


def test_a_program_ends_though_its_prefetch_is_never_closed_and_the_leaf_needs_no_jax():
    code = """
import sys
from jaxformer.config.data import Batching
from jaxformer.data.batches import TranslationBatches, prefetch
import jaxformer.data.corpora, jaxformer.text.bpe
assert "jax" not in sys.modules
ahead = prefetch(TranslationBatches([([3], [4])], Batching(), 0, pad=0, bos=1, eos=2, vocabulary=5))
print(next(ahead).source_BS[0].tolist())
"""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", f"import sys; sys.path[:0] = {sys.path!r}\n{code}"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "[3, 2]\n", "")
