"""Chats as rows of a language model, of which some tokens count: a pure function of ids, settings, seed and index."""

from collections.abc import Callable, Sequence
from copy import copy
from typing import Any, NamedTuple

import numpy as np

from jaxformer.config.data import Batching
from jaxformer.config.errors import UserError
from jaxformer.data.buckets import Buckets, each_once
from jaxformer.data.packing import TextBatch
from jaxformer.data.rows import Ids, Rows

Encoded = tuple[Ids, Sequence[bool]]
"""The ids of a chat, and which of them are to be predicted."""


class Kept(NamedTuple):
    """The examples that are short enough, and one line on the others, None where there are none."""

    examples: list[Any]
    notice: str | None


def short_enough(examples: Sequence[Any], length: Callable[[Any], int], longest: int, name: str) -> Kept:
    """The examples of at most `longest` tokens. Raises UserError where there are none; `name` says what they are."""
    kept = [example for example in examples if length(example) <= longest]
    if not kept:
        raise UserError(
            f"all {len(examples)} {name} are longer than batches.max_length={longest} tokens, the shortest has "
            f"{min(map(length, examples), default=0)}; raise it"
        )
    dropped = len(examples) - len(kept)
    notice = f"dropped {dropped} of {len(examples)} {name}, longer than batches.max_length={longest} tokens"
    return Kept(kept, notice if dropped else None)


class ChatRows:
    """Chats, each a row of its own.

    Raises UserError for an id outside the vocabulary.
    """

    def __init__(self, chats: Sequence[Encoded], vocabulary: int) -> None:
        self._ids = Rows([ids for ids, _ in chats], "chat", vocabulary)
        self._flags = Rows([answers for _, answers in chats], "chat", 2)
        self.lengths = self._ids.lengths
        # What nothing stands before cannot be predicted.
        self.read = int((self.lengths - 1).sum())
        """Tokens that are read, to predict the next."""
        first_N = self._flags.flat[self._flags.starts]
        self.counts = np.add.reduceat(self._flags.flat, self._flags.starts) - first_N
        """Tokens of each that are to be predicted."""
        self.counted = int(self.counts.sum())
        """All of them."""

    def batch(self, rows_B: np.ndarray, length: int) -> TextBatch:
        """The rows of these numbers, padded to `length` tokens; row -1 is all padding."""
        # Padding lies behind what counts and is never read by it, so any id will do.
        tokens_BT, flags_BT = self._ids.padded(rows_B, length, 0), self._flags.padded(rows_B, length, 0)
        return TextBatch(tokens_BT, None, None, flags_BT[:, 1:] == 1)

    def fingerprint(self, *settings: Any) -> str:
        """SHA-256 of the rows, of what counts in them, and of the `repr` of the settings, in hexadecimal."""
        return self._ids.fingerprint(self._flags.fingerprint(*settings))


class PreferenceBatch(NamedTuple):
    """Pairs of a chosen and a rejected answer, each read as `tokens_B2T[..., :-1]` to predict `tokens_B2T[..., 1:]`."""

    tokens_B2T: np.ndarray
    """int32 [B, 2, T+1]."""
    counted_B2T: np.ndarray
    """bool [B, 2, T], True where the next token is the answer's."""
    reference_B2: np.ndarray
    """float32, how likely the reference takes each answer to be, in logarithms."""


class PreferenceRows:
    """Pairs of a chosen and a rejected answer; the reference takes each to be certain until another is given.

    Raises UserError for an id outside the vocabulary.
    """

    def __init__(self, pairs: Sequence[tuple[Encoded, Encoded]], vocabulary: int) -> None:
        self.chosen, self.rejected = (ChatRows(side, vocabulary) for side in zip(*pairs, strict=True))
        self.lengths = np.maximum(self.chosen.lengths, self.rejected.lengths)
        self._reference_N2 = np.zeros((len(pairs), 2), np.float32)

    def referring(self, reference_N2: np.ndarray) -> "PreferenceRows":
        """The same pairs with another reference, whose log-probabilities these are."""
        other = copy(self)
        other._reference_N2 = reference_N2.astype(np.float32)
        return other

    def batch(self, rows_B: np.ndarray, length: int) -> PreferenceBatch:
        """The pairs of these numbers, padded to `length` tokens; row -1 is all padding."""
        sides = [side.batch(rows_B, length) for side in (self.chosen, self.rejected)]
        tokens_B2T, counted_B2T = (
            np.stack(parts, axis=1) for parts in zip(*((s[0], s[3]) for s in sides), strict=True)
        )
        return PreferenceBatch(tokens_B2T, counted_B2T, self._reference_N2[rows_B])

    def fingerprint(self, *settings: Any) -> str:
        """SHA-256 of the pairs, of what counts in them, and of the `repr` of the settings, in hexadecimal.

        The reference is left out: it is what a model makes of the pairs, up to rounding.
        """
        return self.chosen.fingerprint(self.rejected.fingerprint(*settings))


class ShuffledRows:
    """An endless stream of batches, `batches[i]` for any i ≥ 0, in epochs that each show every row once.

    The plan is that of `Buckets`. `rows` has `lengths`, `batch` and `fingerprint` as those of `ChatRows`.
    """

    def __init__(self, rows: Any, config: Batching, seed: int, name: str) -> None:
        self._rows, self._settings = rows, (config, seed)
        self._plan = Buckets(rows.lengths, config, seed, name)
        self.bounds, self.shapes, self.per_epoch = self._plan.bounds, self._plan.shapes, self._plan.per_epoch

    def __getitem__(self, index: int) -> Any:
        """Batch number `index`, which belongs to epoch `index // per_epoch`."""
        return self._rows.batch(*self._plan[index])

    @property
    def fingerprint(self) -> str:
        """SHA-256 of all that decides the stream, in hexadecimal: equal fingerprints, equal batches."""
        return self._rows.fingerprint(*self._settings)


class NumberedRows(NamedTuple):
    """A batch, and the number of each of its rows; -1 for a row that only fills up."""

    rows_B: np.ndarray
    batch: Any


def every_row(rows: Any, bounds: Sequence[int], tokens: int) -> list[NumberedRows]:
    """Every row once, in batches of about `tokens` tokens; `bounds` are the lengths they are padded to, as a rule those
    of training, so that few shapes are compiled.
    """
    plan = each_once(rows.lengths, bounds, tokens)
    return [NumberedRows(rows_B, rows.batch(rows_B, length)) for rows_B, length in plan]
