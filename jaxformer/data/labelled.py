"""Sentences and pairs of sentences with a class: read from a folder of tables, and put in batches by length."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jaxformer.config.data import Batching
from jaxformer.config.errors import UserError
from jaxformer.data.buckets import Buckets, each_once
from jaxformer.data.reading import excerpt, read_lines
from jaxformer.data.rows import Ids, Rows
from jaxformer.data.splits import SPLITS

_SINGLE, _PAIR = ("sentence",), ("sentence1", "sentence2")


class Example(NamedTuple):
    """One sentence or two, and the number of their class."""

    label: int
    sentences: tuple[str, ...]


@dataclass(frozen=True)
class LabelledCorpus:
    """Examples of two or three splits, with one sentence each or with two; `classes` are the names of their labels."""

    classes: tuple[str, ...]
    train: tuple[Example, ...]
    valid: tuple[Example, ...]
    test: tuple[Example, ...] = ()

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of the class names and all examples, in hexadecimal."""
        return hashlib.sha256(repr((self.classes, self.train, self.valid, self.test)).encode()).hexdigest()


class _Line(NamedTuple):
    """A line of a table, and where it stands."""

    where: str
    label: str
    sentences: tuple[str, ...]


def load_labelled(folder: str) -> LabelledCorpus:
    """The corpus in a folder that holds train.tsv, valid.tsv (or val, dev, validation) and, if there is one, test.tsv.

    The first line of each names its columns, in any order: label, and sentence or sentence1 and sentence2; others are
    passed over. Labels may be any text; the classes are those of the train split, sorted. Raises UserError for
    anything that is missing, empty or malformed, and for a label that the train split does not have.
    """
    path = Path(folder).expanduser()
    if not path.is_dir():
        raise UserError(f"no folder {folder}; a labelled corpus is a folder that holds train.tsv and valid.tsv")
    lines = {split: _read_split(path, split) for split in SPLITS}
    classes = sorted({line.label for line in lines["train"]})
    if len(classes) < 2:
        raise UserError(f"{path}: the train split must have two classes or more, got only {excerpt(classes[0])}")
    width = len(lines["train"][0].sentences)
    splits = {split: tuple(_example(line, classes, width) for line in lines[split]) for split in SPLITS}
    return LabelledCorpus(tuple(classes), **splits)


def _example(line: _Line, classes: list[str], width: int) -> Example:
    if line.label not in classes:
        raise UserError(
            f"{line.where}: label {excerpt(line.label)} does not stand in the train split; "
            f"classes there: {', '.join(classes)}"
        )
    if len(line.sentences) != width:
        raise UserError(f"{line.where}: an example must have {width} sentences as in the train split")
    return Example(classes.index(line.label), line.sentences)


def _read_split(folder: Path, split: str) -> list[_Line]:
    for name in SPLITS[split]:
        if (path := folder / f"{name}.tsv").is_file():
            return _read_table(path)
    if split == "test":
        return []
    raise UserError(f"{folder} has no {split} split; it needs NAME.tsv with NAME {' or '.join(SPLITS[split])}")


def _read_table(path: Path) -> list[_Line]:
    head, *lines = (line.split("\t") for line in read_lines(path, "a line that names its columns, and lines of them"))
    label, sentences = _columns(path, head)
    found = []
    for number, cells in enumerate(lines, start=2):
        where = f"{path}, line {number}"
        if len(cells) != len(head):
            raise UserError(
                f"{where}: a line must have the {len(head)} columns of the first line, "
                f"got {len(cells)} in {excerpt(' | '.join(cells))}"
            )
        if not cells[label]:
            raise UserError(f"{where}: the label is empty")
        found.append(_Line(where, cells[label], tuple(cells[column] for column in sentences)))
    if not found:
        raise UserError(f"{path} names its columns but has no lines below")
    return found


def _columns(path: Path, head: list[str]) -> tuple[int, list[int]]:
    """Where the label and the sentences stand."""
    kind = _PAIR if set(_PAIR) <= set(head) else _SINGLE
    wanted = ("label", *kind)
    for name in wanted:
        if head.count(name) != 1:
            raise UserError(
                f"{path}, line 1: the columns must be named label and sentence, or label, sentence1 and sentence2, "
                f"each once, got {excerpt(', '.join(head))}"
            )
    return head.index("label"), [head.index(name) for name in kind]


class EncodedExample(NamedTuple):
    """One or two sentences as ids, without marks, and the number of their class."""

    label: int
    sentences: tuple[Ids, ...]


def encode_examples(
    examples: Sequence[Example], encode_batch: Callable[[Sequence[str]], Sequence[Ids]]
) -> list[EncodedExample]:
    """Examples as ids, by a tokenizer's `encode_batch`."""
    encoded = iter(encode_batch([sentence for example in examples for sentence in example.sentences]))
    return [EncodedExample(example.label, tuple(next(encoded) for _ in example.sentences)) for example in examples]


class LabelledBatch(NamedTuple):
    """Rows [CLS] first [SEP], or [CLS] first [SEP] second [SEP], then padding."""

    tokens_BT: np.ndarray
    """int32 [B, T]."""
    types_BT: np.ndarray
    """int32 [B, T], 1 in the second sentence and its [SEP], else 0."""
    labels_B: np.ndarray
    """int32 [B], -1 for a row that only fills up, which is all padding."""


class IndexedLabelled(NamedTuple):
    """A batch of an evaluation, and the place of each row in the split; -1 for a row that only fills up."""

    indices_B: np.ndarray
    batch: LabelledBatch


class _Examples:
    """Examples cut to a length, ready to be padded; `cut` counts those that were longer."""

    def __init__(
        self, examples: Sequence[EncodedExample], longest: int, pad: int, cls: int, sep: int, vocabulary: int
    ) -> None:
        self._pad = pad
        rows, firsts = [], []
        self.cut = 0
        for _, sentences in examples:
            kept = _shortened(sentences, max(0, longest - 1 - len(sentences)))
            self.cut += sum(map(len, kept)) < sum(map(len, sentences))
            parts = [[*sentence, sep] for sentence in kept]
            rows.append([cls, *(token for part in parts for token in part)])
            firsts.append(1 + len(parts[0]))
        self.rows = Rows(rows, "example", vocabulary)
        self._firsts_N = np.array(firsts, np.int64)
        self.labels_N = np.array([label for label, _ in examples], np.int32)

    def batch(self, rows_B: np.ndarray, length: int) -> LabelledBatch:
        at_T, fills_B = np.arange(length), rows_B < 0
        inside_BT = at_T < np.where(fills_B, 0, self.rows.lengths[rows_B])[:, None]
        types_BT = inside_BT & (at_T >= self._firsts_N[rows_B][:, None])
        labels_B = np.where(fills_B, np.int32(-1), self.labels_N[rows_B])
        return LabelledBatch(self.rows.padded(rows_B, length, self._pad), types_BT.astype(np.int32), labels_B)


class LabelledBatches:
    """An endless stream of training batches, `batches[i]` for any i ≥ 0, in epochs that each show every example once.

    The plan is that of `Buckets`. Examples longer than `config.max_length` are cut at the end, of two sentences the
    longer one; `cut` counts them.

    Args:
        examples: ids and classes.
        config: token budget, number of buckets, longest row.
        seed: any integer ≥ 0.
        pad, cls, sep: special ids.
        vocabulary: number of ids.

    Raises UserError for no examples, a budget smaller than the longest row, and ids outside the vocabulary.
    """

    def __init__(
        self,
        examples: Sequence[EncodedExample],
        config: Batching,
        seed: int,
        *,
        pad: int,
        cls: int,
        sep: int,
        vocabulary: int,
    ) -> None:
        self._settings = (config, seed, pad)
        self._examples = _Examples(examples, config.max_length, pad, cls, sep, vocabulary)
        self._plan = Buckets(self._examples.rows.lengths, config, seed, "examples")
        self.cut, self.bounds, self.shapes = self._examples.cut, self._plan.bounds, self._plan.shapes
        self.per_epoch = self._plan.per_epoch
        self.mean_length = float(self._examples.rows.lengths.mean())
        """Tokens of an example, marks among them."""

    def __getitem__(self, index: int) -> LabelledBatch:
        """Batch number `index`, which belongs to epoch `index // per_epoch`."""
        return self._examples.batch(*self._plan[index])

    @property
    def fingerprint(self) -> str:
        """SHA-256 of all that decides the stream, in hexadecimal: equal fingerprints, equal batches."""
        return self._examples.rows.fingerprint(*self._settings, self._examples.labels_N.tolist())


def labelled_batches(
    examples: Sequence[EncodedExample],
    bounds: Sequence[int],
    config: Batching,
    *,
    pad: int,
    cls: int,
    sep: int,
    vocabulary: int,
) -> list[IndexedLabelled]:
    """Every example once, cut as in training, sorted by length into batches of about `config.tokens` tokens.

    `bounds` are the bucket lengths, as a rule those of training, so that few shapes are compiled.
    """
    rows = _Examples(examples, config.max_length, pad, cls, sep, vocabulary)
    planned = each_once(rows.rows.lengths, bounds, config.tokens)
    return [IndexedLabelled(rows_B, rows.batch(rows_B, length)) for rows_B, length in planned]


def _shortened(sentences: tuple[Ids, ...], room: int) -> list[Ids]:
    """Sentences cut to `room` ids in all: the longer one first, then both alike."""
    if len(sentences) == 1:
        return [sentences[0][:room]]
    first, second = sentences
    half = room // 2
    at_most = max(room - len(second), room - half)
    return [first[:at_most], second[: room - min(len(first), at_most)]]
