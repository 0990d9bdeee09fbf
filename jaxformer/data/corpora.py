"""Parallel corpora: pairs of a sentence and its translation, from a folder, the `datasets` library, or built in."""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, overload

from jaxformer.config.errors import UserError

SPLITS = {"train": ("train",), "valid": ("valid", "val", "dev", "validation"), "test": ("test",)}
"""The names under which each split may be found."""


class Pair(NamedTuple):
    """A sentence and its translation."""

    source: str
    target: str


@dataclass(frozen=True)
class Split:
    """The pairs of one split, in the order of the corpus. A source may be repeated with another translation."""

    pairs: tuple[Pair, ...]

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

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of languages and all sentences, in hexadecimal."""
        digest = hashlib.sha256(f"{self.source_language}\0{self.target_language}".encode())
        for split in (self.train, self.valid, self.test):
            digest.update(f"\0{len(split)}".encode())
            for sentence in (sentence for pair in split for sentence in pair):
                encoded = sentence.encode()
                digest.update(len(encoded).to_bytes(8, "little") + encoded)
        return digest.hexdigest()


def load_corpus(spec: str, source: str, target: str) -> ParallelCorpus:
    """The corpus that `spec` names, read from language `source` to language `target`.

    Args:
        spec: "builtin", the English–Chinese grammar; "hf:NAME" or "hf:NAME:CONFIG", through the `datasets` library; or
            a folder that holds train, valid (or val, dev, validation) and test, each as NAME.en-zh.tsv (English, tab,
            Chinese), as two aligned files NAME.en and NAME.de, or as NAME.tsv. The last does not say its languages:
            column 1 is the source, unless one language is Chinese and the characters show it in the other column.
        source, target: language codes as they stand in file or column names.

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
    return lambda name: Split(tuple(_read_split(folder, name, source, target)))


def _read_split(folder: Path, split: str, source: str, target: str) -> list[Pair]:
    """The first layout that is there, those that name the languages before the one that does not."""
    for name in SPLITS[split]:
        if (path := folder / f"{name}.{source}-{target}.tsv").is_file():
            return _read_tsv(path)
        if (path := folder / f"{name}.{target}-{source}.tsv").is_file():
            return _swapped(_read_tsv(path))
        if (left := folder / f"{name}.{source}").is_file() and (right := folder / f"{name}.{target}").is_file():
            return _read_aligned(left, right)
        if (path := folder / f"{name}.tsv").is_file():
            pairs = _read_tsv(path)
            return pairs if _in_order(pairs, source, target) else _swapped(pairs)
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


def _swapped(pairs: list[Pair]) -> list[Pair]:
    return [Pair(second, first) for first, second in pairs]


def _in_order(pairs: list[Pair], source: str, target: str) -> bool:
    """False if just one of the languages is Chinese and most Chinese characters stand in the column of the other."""
    chinese = [language.lower().startswith("zh") for language in (source, target)]
    if all(chinese) or not any(chinese):
        return True
    first, second = (sum("\u4e00" <= c <= "\u9fff" for c in "".join(column)) for column in zip(*pairs, strict=True))
    return first >= second if chinese[0] else second >= first


def _read_tsv(path: Path) -> list[Pair]:
    pairs = []
    for number, line in enumerate(_read_lines(path), start=1):
        columns = line.split("\t")
        if len(columns) != 2:
            raise UserError(
                f"{path}, line {number}: a line must be source, one tab, target; "
                f"got {len(columns) - 1} tabs in {_cut(line)}"
            )
        pairs.append(Pair(*columns))
    return pairs


def _read_aligned(left: Path, right: Path) -> list[Pair]:
    sources, targets = _read_lines(left), _read_lines(right)
    if len(sources) != len(targets):
        raise UserError(
            f"aligned files must have equally many lines, got {len(sources)} in {left} and {len(targets)} in {right}"
        )
    return [Pair(*both) for both in zip(sources, targets, strict=True)]


def _read_lines(path: Path) -> list[str]:
    """Lines of a UTF-8 file, ended by LF or CR LF and by nothing else: U+2028 and its like may stand in a sentence."""
    data = path.read_bytes().removeprefix(b"\xef\xbb\xbf")
    lines = data.removesuffix(b"\n").split(b"\n")
    if not data.strip():
        raise UserError(f"{path} is empty; it needs one sentence a line")
    decoded = []
    for number, line in enumerate(lines, start=1):
        try:
            decoded.append(line.removesuffix(b"\r").decode("utf-8"))
        except UnicodeDecodeError as error:
            raise UserError(
                f"{path}, line {number}: not UTF-8 (byte 0x{line[error.start]:02X} at column {error.start + 1}); "
                "convert the file with iconv -t utf-8"
            ) from None
    return decoded


def _from_hub(spec: str, source: str, target: str) -> Reader:
    try:
        # An extra that most people do without.
        from datasets import load_dataset  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise UserError(f"{spec} needs the datasets library, which is not installed; pip install datasets") from None
    name, _, config = spec.removeprefix("hf:").partition(":")
    try:
        loaded = load_dataset(name, config or None)
    except Exception as error:  # whatever the library or the network raises, its first line is what helps
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(f"{spec} could not be loaded: {reason}") from None
    return lambda name: Split(tuple(_hub_pairs(spec, loaded, name, source, target)))


def _hub_pairs(
    spec: str, loaded: Mapping[str, Iterable[Mapping[str, Any]]], split: str, source: str, target: str
) -> Iterator[Pair]:
    name = next((name for name in SPLITS[split] if name in loaded), None)
    if name is None:
        raise UserError(f"{spec} has no {split} split; splits there: {', '.join(loaded)}")
    number = 0
    for number, row in enumerate(loaded[name], start=1):
        languages = row.get("translation", row)
        for language in (source, target):
            if not isinstance(languages.get(language), str):
                raise UserError(
                    f"{spec}, {name}, row {number}: no text in language {language}; there are {', '.join(languages)}"
                )
        yield Pair(languages[source], languages[target])
    if not number:
        raise UserError(f"{spec} has an empty {name} split")


def _cut(line: str, width: int = 60) -> str:
    return repr(line if len(line) <= width else line[:width] + "…")
