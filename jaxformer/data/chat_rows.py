"""Chats as rows of a language model, of which some tokens count: a pure function of ids, settings, seed and index."""

from collections.abc import Sequence
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


def short_enough(examples: Sequence[Any], lengths: Sequence[int], longest: int, name: str) -> Kept:
    """The examples of at most `longest` tokens. Raises UserError where there are none; `name` says what they are."""
    kept = [example for example, length in zip(examples, lengths, strict=True) if length <= longest]
    if not kept:
        raise UserError(
            f"all {len(examples)} {name} are longer than batches.max_length={longest} tokens, the shortest has "
            f"{min(lengths, default=0)}; raise it"
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
        self.counted = int(self._flags.flat.sum() - self._flags.flat[self._flags.starts].sum())
        """Tokens that are to be predicted."""

    def batch(self, rows_B: np.ndarray, length: int) -> TextBatch:
        """The rows of these numbers, padded to `length` tokens; row -1 is all padding."""
        # Padding lies behind what counts and is never read by it, so any id will do.
        tokens_BT, flags_BT = self._ids.padded(rows_B, length, 0), self._flags.padded(rows_B, length, 0)
        return TextBatch(tokens_BT, None, None, flags_BT[:, 1:] == 1)

    def fingerprint(self, *settings: Any) -> str:
        """SHA-256 of the rows, of what counts in them, and of the `repr` of the settings, in hexadecimal."""
        return self._ids.fingerprint(self._flags.fingerprint(*settings))


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
