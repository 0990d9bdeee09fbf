"""Parallel corpora: pairs of a sentence and its translation, from a folder, the `datasets` library, or built in."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, overload

from jaxformer.config.errors import UserError
from jaxformer.data.reading import excerpt, load_hub, read_lines
from jaxformer.data.splits import SPLITS

_HOLDS = "one sentence a line"


class Pair(NamedTuple):
    """A sentence and its translation."""

    source: str
    target: str


@dataclass(frozen=True)
class Split:
    """The pairs of one split, in the order of the corpus. A source may be repeated with another translation."""

    pairs: tuple[Pair, ...]
    blank: int = 0
    """Pairs that were left out because one side, or both, has no text."""

    def __len__(self) -> int:
        return len(self.pairs)

    def __iter__(self) -> Iterator[Pair]:
        return iter(self.pairs)

    @overload
    def __getitem__(self, index: int) -> Pair: ...
    @overload
    def __getitem__(self, index: slice) -> "Split": ...
    def __getitem__(self, index: int | slice) -> "Pair | Split":
        return Split(self.pairs[index]) if isinstance(index, slice) else self.pairs[index]

    @property
    def sources(self) -> list[str]:
        return [pair.source for pair in self.pairs]

    @property
    def targets(self) -> list[str]:
        return [pair.target for pair in self.pairs]

    def references(self) -> tuple[list[str], list[list[str]]]:
        """Each different source once, in order of first appearance, and beside it all of its targets in order."""
        grouped: dict[str, list[str]] = {}
        for source, target in self.pairs:
            grouped.setdefault(source, []).append(target)
        return list(grouped), list(grouped.values())


@dataclass(frozen=True)
class ParallelCorpus:
    """Three splits of sentence pairs between two languages, named by codes such as "en" and "zh"."""

    source_language: str
    target_language: str
    train: Split
    valid: Split
    test: Split

    @property
    def notice(self) -> str | None:
        """One line on the pairs that were left out because a side is blank, or None if there were none."""
        splits = {name: getattr(self, name) for name in SPLITS}
        counts = [f"{s.blank} of {len(s) + s.blank} {name} pairs" for name, s in splits.items() if s.blank]
        return f"dropped {' and '.join(counts)} with a blank side" if counts else None


def load_corpus(spec: str, source: str, target: str) -> ParallelCorpus:
    """The corpus that `spec` names, read from language `source` to language `target`.

    Args:
        spec: "builtin", the English–Chinese grammar; "hf:NAME" or "hf:NAME:CONFIG", through the `datasets` library; or
            a folder that holds train, valid (or val, dev, validation) and test, each as NAME.en-zh.tsv (English, tab,
            Chinese), as two aligned files NAME.en and NAME.de, or as NAME.tsv. The last does not say its languages:
            column 1 is the source, unless one language is Chinese and the characters show it in the other column.
        source, target: language codes as they stand in file or column names.

    A pair with a blank side teaches nothing: train and valid go without it and count it (`ParallelCorpus.notice`). The
    test split is to be scored as it stands, so there it is an error.

    Raises UserError for anything that is missing, empty or malformed.
    """
    read = _reader(spec, source, target)
    return ParallelCorpus(source, target, **{name: read(name) for name in SPLITS})


def load_split(spec: str, source: str, target: str, name: str) -> Split:
    """One split, "train", "valid" or "test", of the corpus that `spec` names; the others need not be there.

    Arguments and errors as in `load_corpus`.
    """
    return _reader(spec, source, target)(name)


Reader = Callable[[str], Split]
"""The name of a split → its pairs."""


def _reader(spec: str, source: str, target: str) -> Reader:
    if source == target:
        raise UserError(f"source and target must be two languages, got {source!r} for both")
    if spec == "builtin":
        return _builtin(source, target)
    if spec.startswith("hf:"):
        return _from_hub(spec, source, target)
    return _from_folder(spec, source, target)


def _builtin(source: str, target: str) -> Reader:
    if {source, target} != {"en", "zh"}:
        raise UserError(f"the built-in corpus is between en and zh, got source {source!r} and target {target!r}")
    from jaxformer.data.english_chinese import english_chinese

    examples = english_chinese()
    forward = source == "en"
    return lambda name: Split(
        tuple(Pair(e.source, e.target) if forward else Pair(e.target, e.source) for e in getattr(examples, name))
    )


def _from_folder(spec: str, source: str, target: str) -> Reader:
    folder = Path(spec).expanduser()
    if not folder.exists():
        raise UserError(f"no folder {spec}; a corpus is builtin, hf:NAME, or a folder with train, valid and test")
    if not folder.is_dir():
        raise UserError(f"{spec} is a file; a corpus is the folder that holds train, valid and test")
    return lambda name: _without_blanks(name, _read_split(folder, name, source, target))


class _Table(NamedTuple):
    """Pairs as they stand in a file, or in two, and where: pair number i is at "PLACE i", from 1 on, on each side."""

    pairs: list[Pair]
    places: tuple[str, str]


def _without_blanks(split: str, table: _Table) -> Split:
    """The pairs that have text on both sides. Raises UserError where there are none, and for any other of a test."""
    blank = [number for number, pair in enumerate(table.pairs, 1) if not all(side.strip() for side in pair)]
    if len(blank) == len(table.pairs):
        raise UserError(f"{_blank_side(table, blank[0])}, and so is every pair of the {split} split")
    if blank and split == "test":
        raise UserError(
            f"{_blank_side(table, blank[0])}, but the test split is scored as it stands; "
            "write the sentence or remove the pair"
        )
    left_out = set(blank)
    return Split(tuple(pair for n, pair in enumerate(table.pairs, 1) if n not in left_out), len(blank))


def _blank_side(table: _Table, number: int) -> str:
    """Where a pair has a side without text, the source's if both have none."""
    side = 1 if table.pairs[number - 1].source.strip() else 0
    return f"{table.places[side]} {number}: the {('source', 'target')[side]} sentence is blank"


def _read_split(folder: Path, split: str, source: str, target: str) -> _Table:
    """The first layout that is there, those that name the languages before the one that does not."""
    for name in SPLITS[split]:
        if (path := folder / f"{name}.{source}-{target}.tsv").is_file():
            return _read_tsv(path)
        if (path := folder / f"{name}.{target}-{source}.tsv").is_file():
            return _swapped(_read_tsv(path))
        if (left := folder / f"{name}.{source}").is_file() and (right := folder / f"{name}.{target}").is_file():
            return _read_aligned(left, right)
        if (path := folder / f"{name}.tsv").is_file():
            table = _read_tsv(path)
            return table if _in_order(table.pairs, source, target) else _swapped(table)
    raise UserError(_nothing_for(folder, split, source, target))


def _nothing_for(folder: Path, split: str, source: str, target: str) -> str:
    """Why a split was not found: no such language, or no such split at all."""
    there = set[str]()
    for path in folder.iterdir():
        stem, _, rest = path.name.partition(".")
        if stem in SPLITS[split] and rest:
            there.update(rest.removesuffix(".tsv").split("-"))
    if there:
        absent = " and ".join(language for language in (source, target) if language not in there)
        wanted = f"no {absent}" if absent else f"no file that pairs {source} with {target}"
        return f"{folder} has {wanted} for the {split} split; languages there: {', '.join(sorted(there))}"
    name = " or ".join(SPLITS[split])
    return f"{folder} has no {split} split; it needs NAME.tsv, or NAME.{source} beside NAME.{target}, with NAME {name}"


def _swapped(table: _Table) -> _Table:
    """The columns of one file in the other order, whose lines remain the places of both."""
    return table._replace(pairs=[Pair(second, first) for first, second in table.pairs])


def _in_order(pairs: list[Pair], source: str, target: str) -> bool:
    """False if just one of the languages is Chinese and most Chinese characters stand in the column of the other."""
    chinese = [language.lower().startswith("zh") for language in (source, target)]
    if all(chinese) or not any(chinese):
        return True
    first, second = (sum("\u4e00" <= c <= "\u9fff" for c in "".join(column)) for column in zip(*pairs, strict=True))
    return first >= second if chinese[0] else second >= first


def _read_tsv(path: Path) -> _Table:
    pairs, place = [], f"{path}, line"
    for number, line in enumerate(read_lines(path, _HOLDS), start=1):
        columns = line.split("\t")
        if len(columns) != 2:
            raise UserError(
                f"{place} {number}: a line must be source, one tab, target; "
                f"got {len(columns) - 1} tabs in {excerpt(line)}"
            )
        pairs.append(Pair(*columns))
    return _Table(pairs, (place, place))


def _read_aligned(left: Path, right: Path) -> _Table:
    sources, targets = read_lines(left, _HOLDS), read_lines(right, _HOLDS)
    if len(sources) != len(targets):
        raise UserError(
            f"aligned files must have equally many lines, got {len(sources)} in {left} and {len(targets)} in {right}"
        )
    pairs = [Pair(*both) for both in zip(sources, targets, strict=True)]
    return _Table(pairs, (f"{left}, line", f"{right}, line"))


def _from_hub(spec: str, source: str, target: str) -> Reader:
    loaded = load_hub(spec)
    return lambda name: _without_blanks(name, _hub_table(spec, loaded, name, source, target))


def _hub_table(
    spec: str, loaded: Mapping[str, Iterable[Mapping[str, Any]]], split: str, source: str, target: str
) -> _Table:
    name = next((name for name in SPLITS[split] if name in loaded), None)
    if name is None:
        raise UserError(f"{spec} has no {split} split; splits there: {', '.join(loaded)}")
    pairs, place = [], f"{spec}, {name}, row"
    for number, row in enumerate(loaded[name], start=1):
        languages = row.get("translation", row)
        for language in (source, target):
            if not isinstance(languages.get(language), str):
                raise UserError(f"{place} {number}: no text in language {language}; there are {', '.join(languages)}")
        pairs.append(Pair(languages[source], languages[target]))
    if not pairs:
        raise UserError(f"{spec} has an empty {name} split")
    return _Table(pairs, (place, place))
