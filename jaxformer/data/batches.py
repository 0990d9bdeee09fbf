"""Batches of sentence pairs: a pure function of the encoded corpus, the settings, a seed and an index.

Sentences of similar length share a batch, and a batch has one of a few shapes, so that a compiled program serves many
batches and little of it is padding. Nothing here has a position: to resume a stream is to ask for the next index.
"""

import hashlib
import sys
from collections.abc import Generator, Iterator, Sequence
from itertools import chain
from typing import NamedTuple, Protocol, TypeVar

import numpy as np

from jaxformer.config.data import Batching
from jaxformer.config.errors import UserError

ROWS = 8
"""A batch has a multiple of this many rows where its budget allows, so that it splits evenly over devices."""

Ids = Sequence[int]


class PairBatch(NamedTuple):
    """Sentence pairs as int32 arrays. The model reads `source_BS` and `target_BT[:, :-1]`, predicts `target_BT[:, 1:]`.

    In a bucket of length L, source_BS [B, L] is ids, eos, pad …; target_BT [B, L+1] is bos, ids, eos, pad …
    A row that only fills up the batch is all pad.
    """

    source_BS: np.ndarray
    target_BT: np.ndarray


class Shape(NamedTuple):
    """The shape of a bucket's batches: rows, and the longest sentence they take, in tokens with its end mark."""

    rows: int
    length: int


class _Rows:
    """Token rows of unequal length in one flat array: small in memory, and padded without a loop over rows."""

    def __init__(self, rows: Sequence[Ids], name: str, vocabulary: int, before: Ids, after: Ids) -> None:
        self.lengths = np.fromiter((len(row) for row in rows), np.int64, len(rows)) + len(before) + len(after)
        self._starts = np.cumsum(self.lengths) - self.lengths
        marked = (token for row in rows for token in chain(before, row, after))
        self.flat = np.fromiter(marked, np.int64, int(self.lengths.sum()))
        outside = np.flatnonzero((self.flat < 0) | (self.flat >= vocabulary))
        if len(outside):
            row = int(np.searchsorted(self._starts, outside[0], side="right")) - 1
            raise UserError(
                f"token id {self.flat[outside[0]]} in {name} sentence {row + 1} is outside the vocabulary "
                f"0 … {vocabulary - 1}; encode the corpus with the tokenizer that the model was made for"
            )
        self.flat = self.flat.astype(np.int32)

    def padded(self, rows_B: np.ndarray, width: int, pad: int) -> np.ndarray:
        """The rows numbered `rows_B`, padded to int32 [B, width]; row -1 is all pad. Every row must fit."""
        length_B = np.where(rows_B < 0, 0, self.lengths[rows_B])
        inside_BW = np.arange(width) < length_B[:, None]
        out_BW = np.full(inside_BW.shape, pad, np.int32)
        if inside_BW.any():
            from_BW = self._starts[rows_B][:, None] + np.arange(width)
            out_BW[inside_BW] = self.flat[from_BW[inside_BW]]
        return out_BW


class _Pairs:
    """Both sides of a corpus, ready to be padded."""

    def __init__(self, pairs: Sequence[tuple[Ids, Ids]], pad: int, bos: int, eos: int, vocabulary: int) -> None:
        self._pad = pad
        self.source = _Rows([source for source, _ in pairs], "source", vocabulary, before=(), after=(eos,))
        self.target = _Rows([target for _, target in pairs], "target", vocabulary, before=(bos,), after=(eos,))
        self.lengths = np.maximum(self.source.lengths, self.target.lengths - 1)

    def batch(self, rows_B: np.ndarray, length: int) -> PairBatch:
        return PairBatch(
            self.source.padded(rows_B, length, self._pad), self.target.padded(rows_B, length + 1, self._pad)
        )


class TranslationBatches:
    """An endless stream of training batches, `batches[i]` for any i ≥ 0, in epochs that each show every pair once.

    Each epoch has its own order, drawn from the seed: pairs are shuffled, dealt to their length buckets, cut into
    batches of the bucket's shape (the last one filled up with rows of pad), and the batches of all buckets shuffled.
    Pairs with a side longer than `config.max_length` are left out; `dropped` counts them and `notice` says so.

    Args:
        pairs: source and target ids of each pair, without begin or end mark.
        config: token budget, number of buckets, longest sentence.
        seed: any integer ≥ 0.
        pad, bos, eos: special ids.
        vocabulary: number of ids.

    Raises UserError for no pairs, only over-long pairs, a budget smaller than the longest kept sentence, and ids
    outside the vocabulary.
    """

    def __init__(
        self,
        pairs: Sequence[tuple[Ids, Ids]],
        config: Batching,
        seed: int,
        *,
        pad: int,
        bos: int,
        eos: int,
        vocabulary: int,
    ) -> None:
        self._pairs = _Pairs(pairs, pad, bos, eos, vocabulary)
        self._config, self._seed = config, seed
        kept = _kept(self._pairs.lengths, config)
        lengths = self._pairs.lengths[kept]
        self.pairs = len(pairs)
        self.dropped = len(pairs) - len(kept)
        self.bounds = choose_bounds(lengths, config.buckets)
        if config.tokens < self.bounds[-1]:
            raise UserError(
                f"the token budget must hold the longest kept sentence, got tokens={config.tokens} for a sentence of "
                f"{self.bounds[-1]} tokens; raise tokens to at least {self.bounds[-1]}, "
                f"or lower max_length to {config.tokens}"
            )
        bucket = np.searchsorted(self.bounds, lengths)
        self._members = [kept[bucket == b] for b in range(len(self.bounds))]
        sizes = [len(members) for members in self._members]
        self.shapes = tuple(
            _shape(length, config.tokens, size) for length, size in zip(self.bounds, sizes, strict=True)
        )
        self._counts = [-(-size // shape.rows) for size, shape in zip(sizes, self.shapes, strict=True)]
        self.per_epoch = sum(self._counts)
        self._latest: tuple[int, list[tuple[np.ndarray, int]]] = (-1, [])

    def __getitem__(self, index: int) -> PairBatch:
        """Batch number `index`, which belongs to epoch `index // per_epoch`."""
        if index < 0:
            raise IndexError(f"a batch index must be at least 0, got {index}")
        rows_B, length = self._epoch(index // self.per_epoch)[index % self.per_epoch]
        return self._pairs.batch(rows_B, length)

    @property
    def notice(self) -> str | None:
        """One line on the pairs that were left out, or None if all were kept."""
        if not self.dropped:
            return None
        return (
            f"dropped {self.dropped} of {self.pairs} sentence pairs ({self.dropped / self.pairs:.2%}) "
            f"longer than max_length={self._config.max_length} tokens"
        )

    @property
    def efficiency(self) -> float:
        """The part of all positions in an epoch, on both sides, that holds a token rather than padding."""
        kept = np.concatenate(self._members)
        real = self._pairs.source.lengths[kept].sum() + self._pairs.target.lengths[kept].sum()
        shaped = zip(self._counts, self.shapes, strict=True)
        positions = sum(count * rows * (2 * length + 1) for count, (rows, length) in shaped)
        return float(real / positions)

    @property
    def mean_lengths(self) -> tuple[float, float]:
        """Mean tokens of a kept source and target, end marks included."""
        kept = np.concatenate(self._members)
        return float(self._pairs.source.lengths[kept].mean()), float(self._pairs.target.lengths[kept].mean()) - 1

    @property
    def fingerprint(self) -> str:
        """SHA-256 of all that decides the stream, in hexadecimal: equal fingerprints, equal batches."""
        digest = hashlib.sha256(repr((self._config, self._seed, self.shapes)).encode())
        for rows in (self._pairs.source, self._pairs.target):
            digest.update(rows.lengths.astype("<i8").tobytes())
            digest.update(rows.flat.astype("<i4").tobytes())
        return digest.hexdigest()

    def _epoch(self, epoch: int) -> list[tuple[np.ndarray, int]]:
        """Rows and length of each batch of an epoch, in order."""
        at, plan = self._latest
        if at != epoch:
            pair_keys, batch_keys = _keys(self._seed, epoch, self.pairs, self.per_epoch)
            plan = [
                (rows_B, shape.length)
                for shape, members in zip(self.shapes, self._members, strict=True)
                for rows_B in _cut(members[np.argsort(pair_keys[members], kind="stable")], shape.rows)
            ]
            plan = [plan[i] for i in np.argsort(batch_keys, kind="stable")]
            # Two threads may both come here; they then write the same thing.
            self._latest = (epoch, plan)
        return plan


class IndexedPairs(NamedTuple):
    """A batch of an evaluation, and the place of each row in the split; -1 for a row that only fills up."""

    indices_B: np.ndarray
    batch: PairBatch


class IndexedSources(NamedTuple):
    """Sources to be translated, int32 [B, S], and the place of each row in the split; -1 for a row that fills up."""

    indices_B: np.ndarray
    source_BS: np.ndarray


def pair_batches(
    pairs: Sequence[tuple[Ids, Ids]],
    bounds: Sequence[int],
    tokens: int,
    *,
    pad: int,
    bos: int,
    eos: int,
    vocabulary: int,
) -> list[IndexedPairs]:
    """Every pair once, however long, sorted by length into batches of about `tokens` tokens a side.

    `bounds` are the bucket lengths, as a rule those of training (`TranslationBatches.bounds`), so that few shapes are
    compiled; for longer sentences the last bound is doubled as often as needed.
    """
    rows = _Pairs(pairs, pad, bos, eos, vocabulary)
    return [IndexedPairs(rows_B, rows.batch(rows_B, length)) for rows_B, length in _once(rows.lengths, bounds, tokens)]


def source_batches(
    sources: Sequence[Ids], bounds: Sequence[int], tokens: int, *, pad: int, eos: int, vocabulary: int
) -> list[IndexedSources]:
    """Every source once, however long, sorted by length; see `pair_batches`."""
    rows = _Rows(sources, "source", vocabulary, before=(), after=(eos,))
    return [
        IndexedSources(rows_B, rows.padded(rows_B, length, pad))
        for rows_B, length in _once(rows.lengths, bounds, tokens)
    ]


def choose_bounds(lengths: np.ndarray, buckets: int) -> tuple[int, ...]:
    """The at most `buckets` bounds for which padding every length to the least bound not below it costs fewest tokens.

    Exact, by dynamic programming over the L distinct lengths in O(L² · buckets): the cheapest way to cover the first j
    lengths with k bounds is the cheapest way to cover the first i with k-1, and one bound at length j for the rest.
    """
    values, counts = np.unique(lengths, return_counts=True)
    below = np.concatenate([[0], np.cumsum(counts)])
    # join[i, j]: padded tokens of one bucket that takes lengths i … j-1.
    join = np.full((len(values) + 1, len(values) + 1), np.inf)
    for j, value in enumerate(values, start=1):
        join[:j, j] = value * (below[j] - below[:j])
    cost = join[0]
    choices = []
    for _ in range(min(buckets, len(values)) - 1):
        total = cost[:, None] + join
        choices.append(total.argmin(axis=0))
        cost = total.min(axis=0)
    bounds = [len(values)]
    for choice in reversed(choices):
        bounds.append(int(choice[bounds[-1]]))
    return tuple(int(values[j - 1]) for j in reversed(bounds))


Batch = TypeVar("Batch", covariant=True)


class Batches(Protocol[Batch]):
    """Anything with a batch for every index from 0 on."""

    def __getitem__(self, index: int, /) -> Batch: ...


def prefetch(batches: Batches[Batch], start: int = 0, *, ahead: int = 4) -> Generator[Batch, None, None]:
    """`batches[start]`, `batches[start + 1]`, …, each made in a thread while the ones before it are used.

    The order is that of the indices, so the stream may be left and taken up again at any of them. The thread ends when
    the iterator is closed or forgotten.
    """
    # Imported here because it brings in jax, which this floor is kept free of.
    import grain

    class Rest:
        def __len__(self) -> int:
            return sys.maxsize - start

        def __getitem__(self, index: int) -> Batch:
            return batches[start + index]

    options = grain.ReadOptions(num_threads=1, prefetch_buffer_size=ahead)
    stream = iter(grain.MapDataset.source(Rest()).to_iter_dataset(options))
    try:
        yield from stream
    finally:
        stream.close()


def _kept(lengths: np.ndarray, config: Batching) -> np.ndarray:
    """Numbers of the pairs that are short enough; UserError if there are none."""
    if not len(lengths):
        raise UserError("there are no sentence pairs to make batches of; the training split is empty")
    kept = np.flatnonzero(lengths <= config.max_length)
    if not len(kept):
        raise UserError(
            f"all {len(lengths)} sentence pairs are longer than max_length={config.max_length} tokens "
            f"(the shortest has {lengths.min()}); raise max_length"
        )
    return kept


def _shape(length: int, tokens: int, sentences: int) -> Shape:
    """As many rows as the budget allows, but no more than there are sentences to fill them."""
    rows = max(1, tokens // length)
    if rows >= ROWS:
        rows = min(rows // ROWS * ROWS, -(-sentences // ROWS) * ROWS)
    return Shape(rows, length)


def _cut(members: np.ndarray, rows: int) -> list[np.ndarray]:
    """Members in order, in groups of `rows`; the last group is filled up with -1."""
    groups = -(-len(members) // rows)
    filled = np.full(groups * rows, -1, np.int64)
    filled[: len(members)] = members
    return list(filled.reshape(groups, rows))


def _once(lengths: np.ndarray, bounds: Sequence[int], tokens: int) -> Iterator[tuple[np.ndarray, int]]:
    """Rows and length of batches that take every sentence once; longest first, so that memory fails early or never."""
    reach = list(bounds)
    while len(lengths) and reach[-1] < lengths.max():
        reach.append(2 * reach[-1])
    bucket = np.searchsorted(reach, lengths)
    for b in reversed(range(len(reach))):
        members = np.flatnonzero(bucket == b)
        members = members[np.argsort(-lengths[members], kind="stable")]
        if len(members):
            for rows_B in _cut(members, _shape(reach[b], tokens, len(members)).rows):
                yield rows_B, reach[b]


def _keys(seed: int, epoch: int, *counts: int) -> list[np.ndarray]:
    """Arrays of random 64-bit keys, to be sorted by.

    Raw bits of a bit generator, because NumPy promises that these stay the same in later versions, which it does not
    promise of `Generator.permutation`; a resumed run must see the same order.
    """
    bits = np.random.Philox(np.random.SeedSequence([seed, epoch]))
    return [bits.random_raw(count) for count in counts]
