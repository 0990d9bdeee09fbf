"""Token rows of unequal length as flat arrays, and the random numbers by which they are put in order."""

import hashlib
from collections.abc import Sequence
from itertools import chain
from typing import Any

import numpy as np

from jaxformer.config.errors import UserError

Ids = Sequence[int]


class Rows:
    """Token rows in one flat int32 array: small in memory, and padded without a loop over rows.

    Args:
        rows: the ids of each row.
        name: what a row is, for the error message.
        vocabulary: number of ids.
        before, after: ids that are added to every row.

    Raises UserError for an id outside the vocabulary.
    """

    def __init__(self, rows: Sequence[Ids], name: str, vocabulary: int, before: Ids = (), after: Ids = ()) -> None:
        self.lengths = np.fromiter((len(row) for row in rows), np.int64, len(rows)) + len(before) + len(after)
        self.starts = np.cumsum(self.lengths) - self.lengths
        marked = (token for row in rows for token in chain(before, row, after))
        self.flat = np.fromiter(marked, np.int64, int(self.lengths.sum()))
        outside = np.flatnonzero((self.flat < 0) | (self.flat >= vocabulary))
        if len(outside):
            row = int(np.searchsorted(self.starts, outside[0], side="right")) - 1
            raise UserError(
                f"token id {self.flat[outside[0]]} in {name} {row + 1} is outside the vocabulary "
                f"0 … {vocabulary - 1}; encode the corpus with the tokenizer that the model was made for"
            )
        self.flat = self.flat.astype(np.int32)

    def padded(self, rows_B: np.ndarray, width: int, pad: int) -> np.ndarray:
        """The rows numbered `rows_B`, padded to int32 [B, width]; row -1 is all pad. Every row must fit."""
        length_B = np.where(rows_B < 0, 0, self.lengths[rows_B])
        inside_BW = np.arange(width) < length_B[:, None]
        out_BW = np.full(inside_BW.shape, pad, np.int32)
        if inside_BW.any():
            from_BW = self.starts[rows_B][:, None] + np.arange(width)
            out_BW[inside_BW] = self.flat[from_BW[inside_BW]]
        return out_BW

    def digest_into(self, digest: Any) -> None:
        """Adds all rows to a `hashlib` digest, so that equal digests mean equal rows."""
        digest.update(self.lengths.astype("<i8").tobytes())
        digest.update(self.flat.astype("<i4").tobytes())

    def fingerprint(self, *settings: Any) -> str:
        """SHA-256 of the rows and the `repr` of the settings, in hexadecimal."""
        digest = hashlib.sha256(repr(settings).encode())
        self.digest_into(digest)
        return digest.hexdigest()


def random_keys(entropy: Sequence[int], *counts: int) -> list[np.ndarray]:
    """Arrays of random 64-bit integers, a pure function of `entropy` (integers ≥ 0) and the counts.

    Raw bits of a bit generator, because NumPy promises that these stay the same in later versions, which it does not
    promise of `Generator.permutation`; a resumed run must see the same order.
    """
    bits = np.random.Philox(np.random.SeedSequence(list(entropy)))
    return [bits.random_raw(count) for count in counts]
