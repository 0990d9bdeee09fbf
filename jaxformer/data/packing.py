"""Rows of tokens for a causal language model: a pure function of the encoded text, the settings, a seed and an index.

Documents stand one after the other, each behind an end mark: the mark is what the first token of a document is
predicted from, and as a label it ends the document before it. Nothing here has a position: to resume a stream is to
ask for the next index.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import singledispatch
from typing import Any, NamedTuple

import numpy as np

from jaxformer.config.errors import UserError
from jaxformer.config.text_data import Packed, TextRows, Windows
from jaxformer.data.buckets import Shape
from jaxformer.data.rows import Ids, Rows, random_keys


@dataclass(frozen=True)
class EncodedText:
    """The ids of each document, without marks, and how many bytes of text they stand for."""

    documents: tuple[Ids, ...]
    bytes: int


def encode_text(documents: Sequence[str], encode_batch: Callable[[Sequence[str]], Sequence[Ids]]) -> EncodedText:
    """Documents as ids, by a tokenizer's `encode_batch`."""
    return EncodedText(tuple(encode_batch(documents)), sum(len(text.encode()) for text in documents))


class TextBatch(NamedTuple):
    """Rows of a language model, which reads `tokens_BT[:, :-1]` and predicts `tokens_BT[:, 1:]`.

    tokens_BT int32 [B, T+1]. The others have a place for each token that is read, [B, T].
    """

    tokens_BT: np.ndarray
    segments_BT: np.ndarray | None
    """int32, the number of the document in its row, from 1 on; None where a row is read as one piece."""
    positions_BT: np.ndarray | None
    """int32, the place of a token in its document, or in the part of it that the row holds; None as above."""
    counted_BT: np.ndarray
    """bool, False where the next token is filling, which costs nothing."""


class Joined:
    """Documents in an order, one after the other, as one stream of `total` tokens that is never written out.

    Behind the last place lies the first token of document 0: the mark, where all documents begin with it.
    """

    def __init__(self, documents: Rows, order_N: np.ndarray) -> None:
        self._documents = documents
        self._order_N = np.append(order_N, 0)
        lengths_N = documents.lengths[order_N]
        self._begins_N = np.append(np.cumsum(lengths_N) - lengths_N, lengths_N.sum())

    @property
    def total(self) -> int:
        return int(self._begins_N[-1])

    def tokens(self, places: np.ndarray) -> np.ndarray:
        """int32 tokens at these places of the stream, 0 … total; any shape."""
        numbers, begins = self.documents(places)
        return self._documents.flat[self._documents.starts[self._order_N[numbers]] + places - begins]

    def documents(self, places: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The number in the order of the document at each place, and the place where that document begins."""
        numbers = np.searchsorted(self._begins_N, places, side="right") - 1
        return numbers, self._begins_N[numbers]


class JoinedEpochs:
    """An endless sequence of rows, `length` places of a stream apart, in batches; every epoch joins the documents anew.

    The `lost` last tokens of an epoch do not fill a row. Where its rows do not fill a batch, the first ones of the next
    epoch do. Raises UserError for documents that do not fill a single row.
    """

    def __init__(self, documents: Rows, shape: Shape, seed: int) -> None:
        self._documents, self._shape, self._seed = documents, shape, seed
        total = int(documents.lengths.sum())
        self._per_epoch, self.lost = divmod(total, shape.length)
        if not self._per_epoch:
            raise UserError(
                f"the training text must fill a row of {shape.length} tokens, got {total} tokens with their marks; "
                "lower length, or give it more text"
            )
        self._latest: tuple[int, Joined | None] = (-1, None)

    @property
    def per_epoch(self) -> float:
        """Batches of an epoch; a fraction, for a batch may hold the end of one and the beginning of the next."""
        return self._per_epoch / self._shape.rows

    def rows(self, index: int) -> list[tuple[Joined, np.ndarray]]:
        """The streams in which the rows of batch `index` lie, each with the places where rows begin."""
        epochs_B, rows_B = np.divmod(_numbers(index, self._shape.rows), self._per_epoch)
        lengths = self._shape.length
        return [(self._epoch(int(epoch)), rows_B[epochs_B == epoch] * lengths) for epoch in np.unique(epochs_B)]

    def _epoch(self, epoch: int) -> Joined:
        at, joined = self._latest
        if at != epoch or joined is None:
            (keys,) = random_keys((self._seed, epoch), len(self._documents.lengths))
            joined = Joined(self._documents, np.argsort(keys, kind="stable"))
            # Two threads may both come here; each goes on with its own.
            self._latest = (epoch, joined)
        return joined


class PackedBatches:
    """An endless stream of batches, `batches[i]` for any i ≥ 0, in epochs that show every document once.

    The documents of an epoch, in an order drawn from the seed and the epoch, are cut into rows of `config.length`
    tokens and the one after; that one begins the next row, so that every token is predicted, and once, but for the
    `lost` last ones. An epoch holds `tokens`, marks included, made of `bytes` of text.

    Args:
        config: length and number of rows.
        text: the documents.
        seed: any integer ≥ 0.
        end: id of the mark before and after each document.
        vocabulary: number of ids.

    Raises UserError for a text that does not fill a row, and for ids outside the vocabulary.
    """

    def __init__(self, config: Packed, text: EncodedText, seed: int, *, end: int, vocabulary: int) -> None:
        self._config, self._seed = config, seed
        self._documents = _marked(text, end, vocabulary)
        self.shapes = (Shape(config.rows, config.length),)
        self._epochs = JoinedEpochs(self._documents, self.shapes[0], seed)
        self.per_epoch, self.lost = self._epochs.per_epoch, self._epochs.lost
        self.bytes, self.tokens = text.bytes, len(self._documents.flat)

    def __getitem__(self, index: int) -> TextBatch:
        """Batch number `index`."""
        parts = [_packed(joined, places_B, self._config.length) for joined, places_B in self._epochs.rows(index)]
        return TextBatch(*(np.concatenate(arrays) for arrays in zip(*parts, strict=True)))

    @property
    def fingerprint(self) -> str:
        """SHA-256 of all that decides the stream, in hexadecimal: equal fingerprints, equal batches."""
        return self._documents.fingerprint(self._config, self._seed)


class WindowBatches:
    """An endless stream of batches, `batches[i]` for any i ≥ 0: windows at places drawn from the seed and the index.

    The text is one stream, its documents in order with the mark between them. Arguments, attributes and errors are
    those of `PackedBatches`; an epoch is as many batches as read `tokens` tokens.
    """

    def __init__(self, config: Windows, text: EncodedText, seed: int, *, end: int, vocabulary: int) -> None:
        self._config, self._seed = config, seed
        self._documents = _marked(text, end, vocabulary)
        self.shapes = (Shape(config.rows, config.length),)
        # Nothing stands before the text, so the mark before its first document is passed over.
        self.bytes, self.tokens = text.bytes, len(self._documents.flat) - 1
        if self.tokens <= config.length:
            raise UserError(
                f"the training text must hold a window of {config.length} tokens and one more, got {self.tokens}; "
                "lower length, or give it more text"
            )
        self.per_epoch = self.tokens / (config.rows * config.length)

    def __getitem__(self, index: int) -> TextBatch:
        """Batch number `index`."""
        rows, length = self._config.rows, self._config.length
        _numbers(index, rows)
        (keys_B,) = random_keys((self._seed, index), rows)
        begins_B = 1 + (keys_B % np.uint64(self.tokens - length)).astype(np.int64)
        tokens_BT = self._documents.flat[begins_B[:, None] + np.arange(length + 1)]
        return TextBatch(tokens_BT, None, None, np.ones((rows, length), bool))

    @property
    def fingerprint(self) -> str:
        """SHA-256 of all that decides the stream, in hexadecimal: equal fingerprints, equal batches."""
        return self._documents.fingerprint(self._config, self._seed)


@singledispatch
def text_batches(
    config: Any, text: EncodedText, seed: int, *, end: int, vocabulary: int
) -> PackedBatches | WindowBatches:
    """The stream of training batches that a config asks for; see `PackedBatches` and `WindowBatches`."""
    raise TypeError(f"no rule to make text batches by {type(config).__name__}")


text_batches.register(Packed, PackedBatches)
text_batches.register(Windows, WindowBatches)


class EvaluationText(NamedTuple):
    """Batches in which each token of a text is predicted exactly once, and what they are to be divided by.

    Bits per byte are the summed nll in nats / (ln 2 · bytes), perplexity is exp(nll / tokens).
    """

    batches: tuple[TextBatch, ...]
    tokens: int
    """Tokens predicted, the mark that ends each document among them."""
    bytes: int


def eval_windows(config: TextRows, text: EncodedText, *, end: int, vocabulary: int) -> EvaluationText:
    """All of a text, in order and in rows that do not overlap, read as in training with this config.

    The end of the last batch is filled with marks that do not count. Raises UserError for a text without documents and
    for ids outside the vocabulary.
    """
    documents = _marked(text, end, vocabulary)
    joined = Joined(documents, np.arange(len(documents.lengths)))
    count = -(-joined.total // (config.rows * config.length))
    batches = (_packed(joined, _numbers(i, config.rows) * config.length, config.length) for i in range(count))
    if isinstance(config, Windows):
        batches = (batch._replace(segments_BT=None, positions_BT=None) for batch in batches)
    return EvaluationText(tuple(batches), joined.total, text.bytes)


def _marked(text: EncodedText, end: int, vocabulary: int) -> Rows:
    if not text.documents:
        raise UserError("there are no documents to make batches of; the text is empty")
    return Rows(text.documents, "document", vocabulary, before=(end,))


def _numbers(index: int, rows: int) -> np.ndarray:
    """Numbers of the rows of batch `index`."""
    if index < 0:
        raise IndexError(f"a batch index must be at least 0, got {index}")
    return index * rows + np.arange(rows)


def _packed(joined: Joined, places_B: np.ndarray, length: int) -> TextBatch:
    """The rows that begin at these places; behind the end of the stream stand marks that do not count."""
    places_BT = places_B[:, None] + np.arange(length + 1)
    counted_BT = places_BT[:, 1:] <= joined.total
    places_BT = np.minimum(places_BT, joined.total)
    numbers_BT, begins_BT = joined.documents(places_BT[:, :-1])
    segments_BT = numbers_BT - numbers_BT[:, :1] + 1
    positions_BT = places_BT[:, :-1] - np.maximum(begins_BT, places_BT[:, :1])
    return TextBatch(joined.tokens(places_BT), segments_BT.astype(np.int32), positions_BT.astype(np.int32), counted_BT)
