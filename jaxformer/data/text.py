"""Text to train a language model on: documents of a train and a valid split, from files, a library, or built in."""

import hashlib
import os
import re
import sysconfig
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import NamedTuple

from jaxformer.config.errors import UserError
from jaxformer.data.reading import first_line, load_hub, read_objects, read_text, text_in
from jaxformer.data.splits import SPLITS, hold_out, named_splits

_TEXT = (".txt", ".md", ".py")
_NAMED = (".txt", ".md", ".jsonl", ".parquet", "")
"""What a split may be called after its name; "" is a folder."""

_FIELD = re.compile(r"(?P<path>.+\.(?:jsonl|parquet)):(?P<field>[^/\\]+)", re.DOTALL)

_HIDDEN = re.compile(r"\..*")

# Left out of the standard library: tests and what they read, what is installed beside it, files that describe the
# machine on which this Python was built, code pages, which are long tables of bytes, and help texts written as code.
_NO_SOURCE = re.compile(
    r"tests?|idle_test|lib2to3|encodings|pydoc_data|(site|dist)-packages|(site|user)customize\.py"
    r"|config-.*|_sysconfigdata.*|\..*"
)


class _Document(NamedTuple):
    """A text, and the key by whose hash it may be held out."""

    key: str
    text: str


_Texts = tuple[str, ...]


@dataclass(frozen=True)
class TextCorpus:
    """The documents of two splits, in a fixed order."""

    train: tuple[str, ...]
    valid: tuple[str, ...]

    @cached_property
    def bytes(self) -> int:
        """Size of all documents as UTF-8."""
        return sum(len(text.encode()) for text in (*self.train, *self.valid))

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of all documents, in hexadecimal."""
        digest = hashlib.sha256()
        for split in (self.train, self.valid):
            digest.update(f"\0{len(split)}".encode())
            for text in split:
                encoded = text.encode()
                digest.update(len(encoded).to_bytes(8, "little") + encoded)
        return digest.hexdigest()


def load_text(spec: str, held_out: float = 0.1) -> TextCorpus:
    """The text that `spec` names.

    Args:
        spec: one of
            "builtin": the sources of this Python's standard library, one document a file, and the help texts of its
            `pydoc_data/topics.py`, one a topic. They change with the version of Python, and so does the fingerprint;
            a text file, or a folder of them (.txt, .md and .py, at any depth), one document a file;
            FILE.jsonl or FILE.parquet, one document a row, in the field "text" or in the one that is named as
            FILE.jsonl:FIELD;
            a folder that holds train and valid (or val, dev, validation), each as NAME.txt, NAME.md, NAME.jsonl,
            NAME.parquet or a folder NAME;
            "hf:NAME" or "hf:NAME:CONFIG": the field "text" of a train and, if there is one, a validation split,
            through the `datasets` library.
        held_out: the part that becomes the valid split where the data name none. Of a single document it is the last
            part of the characters (0.1 gives the split of nanoGPT); of several, the documents with the smallest
            SHA-256 of their relative path, or of their text where they are rows.

    Blank documents are left out, and lines ended by CR LF are ended by LF. Raises UserError for anything that is
    missing, empty or malformed.
    """
    if not 0 < held_out < 1:
        raise ValueError(f"held_out must lie between 0 and 1, got {held_out}")
    if spec == "builtin":
        train, valid = _divided("the standard library", _standard_library(), held_out)
    elif spec.startswith("hf:"):
        train, valid = _from_hub(spec, held_out)
    else:
        train, valid = _from_path(spec, held_out)
    return TextCorpus(train, valid)


def _divided(name: str, documents: Iterable[_Document], part: float) -> tuple[_Texts, _Texts]:
    documents = _not_blank(name, documents)
    keys = [document.key for document in documents]
    if len(set(keys)) > 1:
        held = hold_out(keys, part)
        train, valid = (
            tuple(d.text for d, out in zip(documents, held, strict=True) if out == wanted) for wanted in (False, True)
        )
        return train, valid
    text = documents[0].text
    end = int(len(text) * (1 - part))
    if not text[:end].strip() or not text[end:].strip():
        raise UserError(f"{name} holds {len(text)} characters, too few for a train and a valid split")
    return (text[:end],), (text[end:],)


def _not_blank(name: str, documents: Iterable[_Document]) -> list[_Document]:
    kept = [document for document in documents if document.text.strip()]
    if not kept:
        raise UserError(f"{name} is empty; it needs text")
    return kept


def _texts(path: Path, field: str) -> _Texts:
    """A split that has a place of its own."""
    return tuple(document.text for document in _not_blank(str(path), _documents(path, field)))


def _from_path(spec: str, held_out: float) -> tuple[_Texts, _Texts]:
    match = _FIELD.fullmatch(spec)
    name, field = (match["path"], match["field"]) if match else (spec, "text")
    path = Path(name).expanduser()
    if not name or not path.exists():
        raise UserError(
            f"no file or folder {name}; a text is builtin, hf:NAME, a text file, FILE.jsonl, FILE.parquet, or a folder"
        )
    splits = named_splits(path, _NAMED) if path.is_dir() else None
    if splits:
        train, valid = (_texts(split, field) for split in splits)
        return train, valid
    return _divided(name, _documents(path, field), held_out)


def _documents(path: Path, field: str) -> Iterator[_Document]:
    if path.is_dir():
        paths = list(_files(path, _TEXT, _HIDDEN))
        if not paths:
            raise UserError(f"{path} has no text; it needs {', '.join(_TEXT)} files, or train and valid")
        yield from (_Document(relative, read_text(path / relative)) for relative in paths)
    elif path.suffix == ".jsonl":
        rows = (text_in(record, field, where) for where, record in read_objects(path, "one JSON object a line"))
        yield from (_Document(text, text) for text in rows)
    elif path.suffix == ".parquet":
        yield from (_Document(text, text) for text in _parquet(path, field))
    else:
        yield _Document(path.name, read_text(path))


def _files(root: Path, suffixes: tuple[str, ...], left_out: re.Pattern[str]) -> list[str]:
    """Files under a folder by their relative path, sorted; names that match `left_out` are, and folders with them."""
    found = []
    for folder, folders, names in os.walk(root):
        folders[:] = [name for name in folders if not left_out.fullmatch(name)]
        wanted = (name for name in names if name.endswith(suffixes) and not left_out.fullmatch(name))
        found += [(Path(folder) / name).relative_to(root).as_posix() for name in wanted]
    return sorted(found)


def _standard_library() -> list[_Document]:
    # Half a megabyte of English, which only this corpus needs.
    from pydoc_data.topics import topics

    root = Path(sysconfig.get_path("stdlib"))
    paths = _files(root, (".py",), _NO_SOURCE)
    if not paths:
        raise UserError(f"this Python has no sources of its standard library in {root}; name a text file or a folder")
    # Help is cut by topic, or a single document of this size would lie in one split, and its kind in no other.
    help_texts = [_Document(f"pydoc_data/topics.py:{topic}", text) for topic, text in sorted(topics.items())]
    return [_Document(relative, read_text(root / relative)) for relative in paths] + help_texts


def _parquet(path: Path, field: str) -> Iterator[str]:
    try:
        # An extra that most people do without.
        import pyarrow  # pyright: ignore[reportMissingImports]
        from pyarrow import parquet  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise UserError(f"{path} needs the pyarrow library, which is not installed; pip install pyarrow") from None
    try:
        with parquet.ParquetFile(path) as file:
            names = file.schema_arrow.names
            if field not in names:
                raise UserError(f"{path} has no column {field}; columns there: {', '.join(names)}")
            rows = chain.from_iterable(batch.to_pylist() for batch in file.iter_batches(columns=[field]))
            for number, row in enumerate(rows, start=1):
                yield text_in(row, field, f"{path}, row {number}")
    except (pyarrow.ArrowException, OSError) as error:
        raise UserError(f"{path} could not be read as parquet: {first_line(error)}") from None


def _from_hub(spec: str, held_out: float) -> tuple[_Texts, _Texts]:
    loaded = load_hub(spec)

    def documents(name: str) -> Iterator[_Document]:
        for number, row in enumerate(loaded[name], start=1):
            text = text_in(row, "text", f"{spec}, {name}, row {number}")
            yield _Document(text, text)

    if "train" not in loaded:
        raise UserError(f"{spec} has no train split; splits there: {', '.join(loaded)}")
    valid = next((name for name in SPLITS["valid"] if name in loaded), None)
    if valid is None:
        return _divided(f"{spec}, train", documents("train"), held_out)
    train, valid = (
        tuple(document.text for document in _not_blank(f"{spec}, {name}", documents(name))) for name in ("train", valid)
    )
    return train, valid
