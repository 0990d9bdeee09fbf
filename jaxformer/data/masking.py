"""Tokens to be guessed by a masked language model, drawn anew for every batch (Devlin et al. 2019, §3.1; dynamically as
in Liu et al. 2019, §4.1): a pure function of the rows, the settings, a seed and an index.
"""

import hashlib
import math
from collections.abc import Sequence
from functools import singledispatch
from typing import Any, NamedTuple

import numpy as np

from jaxformer.config.data import Batching
from jaxformer.config.errors import UserError
from jaxformer.config.text_data import Masking, Packed, TokenMasking, WholeWordMasking
from jaxformer.data.buckets import Buckets, Shape
from jaxformer.data.packing import JoinedEpochs
from jaxformer.data.rows import Ids, Rows, random_keys

HIDDEN, SWAPPED = 0.8, 0.1
"""Of the tokens to be guessed: the part shown as the mask, and the part shown as some other token; the rest is shown
as it is (Devlin et al. 2019, §3.1).
"""

_STREAM = 1
"""Keeps the numbers that mask batch i apart from those that put epoch i in order."""


class MaskedBatch(NamedTuple):
    """Rows of a masked language model, each [CLS] … [SEP] and padding, and the places M of each that are guessed."""

    inputs_BT: np.ndarray
    """int32 [B, T], what the model reads."""
    places_BM: np.ndarray
    """int32 [B, M], where a token is to be guessed."""
    labels_BM: np.ndarray
    """int32 [B, M], what stood there."""
    counted_BM: np.ndarray
    """bool [B, M], False for a place that only fills up."""


@singledispatch
def shared(masking: Any, draws_BT: np.ndarray, words_BT: np.ndarray | None) -> np.ndarray:
    """The draw that decides whether each token is guessed, [B, T], from one of its own. A new way is a new config
    class.

    words_BT int [B, T] is the number of each token's word in its row, between 0 and T-1.
    """
    raise TypeError(f"no rule to choose tokens by {type(masking).__name__}")


@shared.register
def _(masking: TokenMasking, draws_BT: np.ndarray, words_BT: np.ndarray | None) -> np.ndarray:
    return draws_BT


@shared.register
def _(masking: WholeWordMasking, draws_BT: np.ndarray, words_BT: np.ndarray | None) -> np.ndarray:
    if words_BT is None:
        raise ValueError("to mask whole words the tokens must be numbered by word, got no words_BT")
    return np.take_along_axis(draws_BT, words_BT, axis=1)


def most_guessed(masking: Masking, length: int) -> int:
    """The most tokens that are guessed in a row of this length: two deviations above what is expected of all but its
    two marks.

    A limit lets a model compute logits at few places, and of a number that is known when it is compiled. It is reached
    by one row in forty. Devlin et al. 2019 have it as `max_predictions_per_seq`.
    """
    expected = masking.rate * (length - 2)
    return max(1, min(length - 2, math.ceil(expected + 2 * math.sqrt(expected * (1 - masking.rate)))))


def mask_tokens(
    masking: Masking,
    tokens_BT: np.ndarray,
    maskable_BT: np.ndarray,
    words_BT: np.ndarray | None,
    entropy: Sequence[int],
    *,
    mask: int,
    others: np.ndarray,
) -> MaskedBatch:
    """Tokens with some of them hidden: those whose draw is below the rate. Where these are more than `most_guessed`,
    the ones with the highest draws are spared, a word as a whole.

    Args:
        masking: which are chosen.
        tokens_BT: int32 tokens.
        maskable_BT: bool, False for marks and padding, which are never chosen.
        words_BT: the number of each token's word in its row; only whole-word masking needs it.
        entropy: integers ≥ 0 that the choice is a function of.
        mask: the id shown for most of those chosen.
        others: the ids from which those are drawn that are shown as some other token.
    """
    draws_BT, kinds_BT, swaps_BT = (
        keys.reshape(tokens_BT.shape) for keys in random_keys(entropy, *[tokens_BT.size] * 3)
    )
    most = most_guessed(masking, tokens_BT.shape[1])
    counted_BT = _lowest(shared(masking, _uniform(draws_BT), words_BT), maskable_BT, masking.rate, most)
    kinds_BT = _uniform(kinds_BT)
    shown_BT = np.where(kinds_BT < HIDDEN + SWAPPED, others[swaps_BT % np.uint64(len(others))], tokens_BT)
    shown_BT = np.where(kinds_BT < HIDDEN, mask, shown_BT)
    inputs_BT = np.where(counted_BT, shown_BT, tokens_BT).astype(np.int32)
    places_BM = np.argsort(~counted_BT, axis=1, kind="stable")[:, :most]
    labels_BM, counted_BM = (np.take_along_axis(each, places_BM, axis=1) for each in (tokens_BT, counted_BT))
    return MaskedBatch(inputs_BT, places_BM.astype(np.int32), labels_BM, counted_BM)


def number_words(tokens_BT: np.ndarray, continues_V: np.ndarray) -> np.ndarray:
    """The number of each token's word in its row, int [B, T], where continues_V is True for the ids inside a word."""
    begins_BT = ~continues_V[tokens_BT]
    # A row that was cut out of a text may begin inside a word.
    begins_BT[:, 0] = True
    return np.cumsum(begins_BT, axis=1) - 1


class PackedSentences:
    """Rows of equal length without padding, filled with all sentences one after the other and [SEP] between them.

    Every epoch has its own order, and its `lost` last tokens do not fill a row, as in `PackedBatches`. Source:
    FULL-SENTENCES in Liu et al. 2019, §4.2.
    """

    def __init__(
        self, config: Packed, sentences: Sequence[Ids], seed: int, *, cls: int, sep: int, vocabulary: int
    ) -> None:
        if config.length < 3:
            raise UserError(f"a row must hold two marks and a token, got length={config.length}")
        self._settings = (config, seed, cls, sep)
        self._cls, self._sep, self._inside = cls, sep, np.arange(config.length - 2)
        self._sentences = Rows(sentences, "sentence", vocabulary, after=(sep,))
        self._epochs = JoinedEpochs(self._sentences, Shape(config.rows, config.length - 2), seed)
        self.shapes, self.mean_length = (Shape(config.rows, config.length),), float(config.length)
        self.per_epoch, self.lost, self.notice = self._epochs.per_epoch, self._epochs.lost, None

    def __getitem__(self, index: int) -> np.ndarray:
        parts = self._epochs.rows(index)
        inside_BT = np.concatenate([joined.tokens(places_B[:, None] + self._inside) for joined, places_B in parts])
        return np.pad(inside_BT, [(0, 0), (1, 1)], constant_values=[(0, 0), (self._cls, self._sep)])

    @property
    def fingerprint(self) -> str:
        """SHA-256 of all that decides the rows, in hexadecimal."""
        return self._sentences.fingerprint(*self._settings)


class BucketedSentences:
    """One sentence a row, rows of similar length in a batch; the plan is that of `Buckets`."""

    def __init__(
        self, config: Batching, sentences: Sequence[Ids], seed: int, *, pad: int, cls: int, sep: int, vocabulary: int
    ) -> None:
        self._settings, self._pad = (config, seed, pad), pad
        self._sentences = Rows(sentences, "sentence", vocabulary, before=(cls,), after=(sep,))
        self._plan = Buckets(self._sentences.lengths, config, seed, "sentences")
        self.shapes, self.per_epoch, self.notice = self._plan.shapes, self._plan.per_epoch, self._plan.notice
        self.mean_length = float(self._sentences.lengths[self._plan.kept].mean())

    def __getitem__(self, index: int) -> np.ndarray:
        return self._sentences.padded(*self._plan[index], self._pad)

    @property
    def fingerprint(self) -> str:
        """SHA-256 of all that decides the rows, in hexadecimal."""
        return self._sentences.fingerprint(*self._settings)


@singledispatch
def marked_rows(
    config: Any, sentences: Sequence[Ids], seed: int, *, pad: int, cls: int, sep: int, vocabulary: int
) -> PackedSentences | BucketedSentences:
    """The rows that a config asks for, from the ids of sentences or documents without marks.

    Raises UserError for ids outside the vocabulary, and for sentences that are too few or too long.
    """
    raise TypeError(f"no rule to make rows by {type(config).__name__}")


@marked_rows.register
def _(config: Packed, sentences: Sequence[Ids], seed: int, *, pad: int, cls: int, sep: int, vocabulary: int):
    return PackedSentences(config, sentences, seed, cls=cls, sep=sep, vocabulary=vocabulary)


@marked_rows.register
def _(config: Batching, sentences: Sequence[Ids], seed: int, *, pad: int, cls: int, sep: int, vocabulary: int):
    return BucketedSentences(config, sentences, seed, pad=pad, cls=cls, sep=sep, vocabulary=vocabulary)


class MaskedBatches:
    """An endless stream of batches for a masked language model, `batches[i]` for any i ≥ 0.

    Args:
        masking: which tokens are chosen.
        rows: what they are chosen from, by `marked_rows`.
        seed: any integer ≥ 0.
        mask: the id that hides a token.
        special: ids that are never chosen and never shown for another: padding, marks, the mask itself.
        vocabulary: number of ids.
        continues_V: True for the ids that go on with a word, such as "##ing"; only whole-word masking needs it.
    """

    def __init__(
        self,
        masking: Masking,
        rows: PackedSentences | BucketedSentences,
        seed: int,
        *,
        mask: int,
        special: Sequence[int],
        vocabulary: int,
        continues_V: np.ndarray | None = None,
    ) -> None:
        if isinstance(masking, WholeWordMasking) and continues_V is None:
            raise ValueError("to mask whole words the ids inside a word must be known, got no continues_V")
        self._masking, self._rows, self._seed, self._mask = masking, rows, seed, mask
        self._ordinary_V = ~np.isin(np.arange(vocabulary), [mask, *special])
        self._others = np.flatnonzero(self._ordinary_V)
        self._continues_V = continues_V
        self.shapes, self.per_epoch, self.notice = rows.shapes, rows.per_epoch, rows.notice
        self.mean_length = rows.mean_length
        """Tokens of a row, marks among them and padding not."""

    def __getitem__(self, index: int) -> MaskedBatch:
        """Batch number `index`."""
        tokens_BT = self._rows[index]
        words_BT = None if self._continues_V is None else number_words(tokens_BT, self._continues_V)
        entropy = (self._seed, index, _STREAM)
        maskable_BT = self._ordinary_V[tokens_BT]
        return mask_tokens(
            self._masking, tokens_BT, maskable_BT, words_BT, entropy, mask=self._mask, others=self._others
        )

    @property
    def fingerprint(self) -> str:
        """SHA-256 of all that decides the stream, in hexadecimal: equal fingerprints, equal batches."""
        digest = hashlib.sha256(repr((self._masking, self._seed, self._mask, self._rows.fingerprint)).encode())
        for flags_V in (self._ordinary_V, self._continues_V):
            digest.update(b"" if flags_V is None else np.packbits(flags_V).tobytes())
        return digest.hexdigest()


def _lowest(draws_BT: np.ndarray, maskable_BT: np.ndarray, rate: float, most: int) -> np.ndarray:
    """Which draws are below the rate and among the `most` lowest of their row; equal ones all or none."""
    draws_BT = np.where(maskable_BT, draws_BT, 1.0)
    first_spared_B1 = np.partition(draws_BT, most, axis=1)[:, most, None]
    return draws_BT < np.minimum(first_spared_B1, rate)


def _uniform(keys: np.ndarray) -> np.ndarray:
    """64 random bits as float64 in [0, 1)."""
    return (keys >> np.uint64(11)) * 2.0**-53
