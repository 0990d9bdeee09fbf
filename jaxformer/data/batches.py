"""Batches of sentence pairs: a pure function of the encoded corpus, the settings, a seed and an index.

Sentences of similar length share a batch, and a batch has one of a few shapes, so that a compiled program serves many
batches and little of it is padding. Nothing here has a position: to resume a stream is to ask for the next index.
"""

import hashlib
import sys
from collections.abc import Generator, Sequence
from typing import NamedTuple, Protocol, TypeVar

import numpy as np

from jaxformer.config.data import Batching
from jaxformer.data.buckets import ROWS as ROWS
from jaxformer.data.buckets import Buckets, each_once
from jaxformer.data.buckets import Shape as Shape
from jaxformer.data.buckets import choose_bounds as choose_bounds
from jaxformer.data.rows import Ids, Rows


class PairBatch(NamedTuple):
    """Sentence pairs as int32 arrays. The model reads `source_BS` and `target_BT[:, :-1]`, predicts `target_BT[:, 1:]`.

    In a bucket of length L, source_BS [B, L] is ids, eos, pad …; target_BT [B, L+1] is bos, ids, eos, pad …
    A row that only fills up the batch is all pad.
    """

    source_BS: np.ndarray
    target_BT: np.ndarray


class _Pairs:
    """Both sides of a corpus, ready to be padded."""

    def __init__(self, pairs: Sequence[tuple[Ids, Ids]], pad: int, bos: int, eos: int, vocabulary: int) -> None:
        self._pad = pad
        self.source = Rows([source for source, _ in pairs], "source sentence", vocabulary, after=(eos,))
        self.target = Rows([target for _, target in pairs], "target sentence", vocabulary, before=(bos,), after=(eos,))
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
        self._plan = Buckets(self._pairs.lengths, config, seed, "sentence pairs")
        self.pairs, self.dropped = len(pairs), self._plan.dropped
        self.bounds, self.shapes, self.per_epoch = self._plan.bounds, self._plan.shapes, self._plan.per_epoch

    def __getitem__(self, index: int) -> PairBatch:
        """Batch number `index`, which belongs to epoch `index // per_epoch`."""
        return self._pairs.batch(*self._plan[index])

    @property
    def notice(self) -> str | None:
        """One line on the pairs that were left out, or None if all were kept."""
        return self._plan.notice

    @property
    def efficiency(self) -> float:
        """The part of all positions in an epoch, on both sides, that holds a token rather than padding."""
        kept = self._plan.kept
        real = self._pairs.source.lengths[kept].sum() + self._pairs.target.lengths[kept].sum()
        shaped = zip(self._plan.counts, self.shapes, strict=True)
        positions = sum(count * rows * (2 * length + 1) for count, (rows, length) in shaped)
        return float(real / positions)

    @property
    def mean_lengths(self) -> tuple[float, float]:
        """Mean tokens of a kept source and target, end marks included."""
        kept = self._plan.kept
        return float(self._pairs.source.lengths[kept].mean()), float(self._pairs.target.lengths[kept].mean()) - 1

    @property
    def fingerprint(self) -> str:
        """SHA-256 of all that decides the stream, in hexadecimal: equal fingerprints, equal batches."""
        digest = hashlib.sha256(repr((self._config, self._seed, self.shapes)).encode())
        self._pairs.source.digest_into(digest)
        self._pairs.target.digest_into(digest)
        return digest.hexdigest()


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
    return [
        IndexedPairs(rows_B, rows.batch(rows_B, length)) for rows_B, length in each_once(rows.lengths, bounds, tokens)
    ]


def source_batches(
    sources: Sequence[Ids], bounds: Sequence[int], tokens: int, *, pad: int, eos: int, vocabulary: int
) -> list[IndexedSources]:
    """Every source once, however long, sorted by length; see `pair_batches`."""
    rows = Rows(sources, "source sentence", vocabulary, after=(eos,))
    return [
        IndexedSources(rows_B, rows.padded(rows_B, length, pad))
        for rows_B, length in each_once(rows.lengths, bounds, tokens)
    ]


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
