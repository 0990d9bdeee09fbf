"""Which rows share a batch: rows of similar length, so that few shapes are compiled and little is padding."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from jaxformer.config.data import Batching
from jaxformer.config.errors import UserError
from jaxformer.data.rows import random_keys

ROWS = 8
"""A batch has a multiple of this many rows where its budget allows, so that it splits evenly over devices."""


class Shape(NamedTuple):
    """The shape of a bucket's batches: rows, and the longest sentence they take, in tokens with its end mark."""

    rows: int
    length: int


class Buckets:
    """The rows of batch number `index`, for any index ≥ 0, in epochs that each show every row once.

    Each epoch has its own order, drawn from the seed: rows are shuffled, dealt to their length buckets, cut into
    batches of the bucket's shape (the last one filled up), and the batches of all buckets shuffled. Rows longer than
    `config.max_length` are left out; `dropped` counts them.

    Args:
        lengths: of each row, in tokens.
        config: token budget, number of buckets, longest row.
        seed: any integer ≥ 0.
        name: what the rows are, in the plural, for messages.

    Raises UserError for no rows, only over-long rows, and a budget smaller than the longest kept row.
    """

    def __init__(self, lengths: np.ndarray, config: Batching, seed: int, name: str) -> None:
        self._config, self._seed, self._name = config, seed, name
        kept = _short_enough(lengths, config, name)
        self.rows, self.dropped = len(lengths), len(lengths) - len(kept)
        self.bounds = choose_bounds(lengths[kept], config.buckets)
        if config.tokens < self.bounds[-1]:
            raise UserError(
                f"the token budget must hold the longest kept sentence, got tokens={config.tokens} for a sentence of "
                f"{self.bounds[-1]} tokens; raise tokens to at least {self.bounds[-1]}, "
                f"or lower max_length to {config.tokens}"
            )
        bucket = np.searchsorted(self.bounds, lengths[kept])
        self._members = [kept[bucket == b] for b in range(len(self.bounds))]
        sizes = [len(members) for members in self._members]
        self.shapes = tuple(
            _shape(length, config.tokens, size) for length, size in zip(self.bounds, sizes, strict=True)
        )
        self.counts = [-(-size // shape.rows) for size, shape in zip(sizes, self.shapes, strict=True)]
        self.per_epoch = sum(self.counts)
        self._latest: tuple[int, list[tuple[np.ndarray, int]]] = (-1, [])

    def __getitem__(self, index: int) -> tuple[np.ndarray, int]:
        """Row numbers of batch `index`, -1 for a row that only fills up, and the length to pad them to."""
        if index < 0:
            raise IndexError(f"a batch index must be at least 0, got {index}")
        return self._epoch(index // self.per_epoch)[index % self.per_epoch]

    @property
    def kept(self) -> np.ndarray:
        """Numbers of the rows that are not left out."""
        return np.concatenate(self._members)

    @property
    def notice(self) -> str | None:
        """One line on the rows that were left out, or None if all were kept."""
        if not self.dropped:
            return None
        return (
            f"dropped {self.dropped} of {self.rows} {self._name} ({self.dropped / self.rows:.2%}) "
            f"longer than max_length={self._config.max_length} tokens"
        )

    def _epoch(self, epoch: int) -> list[tuple[np.ndarray, int]]:
        """Rows and length of each batch of an epoch, in order."""
        at, plan = self._latest
        if at != epoch:
            row_keys, batch_keys = random_keys((self._seed, epoch), self.rows, self.per_epoch)
            plan = [
                (rows_B, shape.length)
                for shape, members in zip(self.shapes, self._members, strict=True)
                for rows_B in _cut(members[np.argsort(row_keys[members], kind="stable")], shape.rows)
            ]
            plan = [plan[i] for i in np.argsort(batch_keys, kind="stable")]
            # Two threads may both come here; they then write the same thing.
            self._latest = (epoch, plan)
        return plan


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


def each_once(lengths: np.ndarray, bounds: Sequence[int], tokens: int) -> Iterator[tuple[np.ndarray, int]]:
    """Rows and length of batches that take every row once; longest first, so that memory fails early or never.

    For rows longer than the last of `bounds`, that bound is doubled as often as needed.
    """
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


def _short_enough(lengths: np.ndarray, config: Batching, name: str) -> np.ndarray:
    """Numbers of the rows that are short enough; UserError if there are none."""
    if not len(lengths):
        raise UserError(f"there are no {name} to make batches of; the training split is empty")
    kept = np.flatnonzero(lengths <= config.max_length)
    if not len(kept):
        raise UserError(
            f"all {len(lengths)} {name} are longer than max_length={config.max_length} tokens "
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
