"""Other people's text: files and the `datasets` library, decoded strictly; what is wrong is said in one line."""

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from jaxformer.config.errors import UserError
from jaxformer.config.io import parse_json


def read_text(path: Path) -> str:
    """The text of a UTF-8 file, its lines ended by LF where they were ended by CR LF, without a byte-order mark."""
    return _decoded(path).replace("\r\n", "\n")


def read_lines(path: Path, holds: str) -> list[str]:
    """Lines of a UTF-8 file, ended by LF or CR LF and by nothing else: U+2028 and its like may stand in a sentence.

    Raises UserError for an empty file, which says that the file needs what it `holds`.
    """
    text = _decoded(path)
    if not text.strip():
        raise UserError(f"{path} is empty; it needs {holds}")
    return [line.removesuffix("\r") for line in text.removesuffix("\n").split("\n")]


def read_objects(path: Path, holds: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """The objects of a JSONL file, one a line, each with its place for messages; blank lines are passed over."""
    for number, line in enumerate(read_lines(path, holds), start=1):
        where = f"{path}, line {number}"
        if not line.strip():
            continue
        try:
            value = parse_json(line)
        except ValueError as error:
            raise UserError(f"{where}: not JSON ({error}) in {excerpt(line)}") from None
        if not isinstance(value, dict):
            raise UserError(f"{where}: a line must be a JSON object, got {excerpt(line)}")
        yield where, value


def text_in(record: Mapping[str, Any], field: str, where: str) -> str:
    """The text in a field of a record; UserError, with `where` the record stands, for anything else."""
    if field not in record:
        raise UserError(f"{where}: no field {field}; there are {', '.join(map(str, record)) or 'none'}")
    text = record[field]
    if not isinstance(text, str):
        raise UserError(f"{where}: {field} must be a text, got {excerpt(json.dumps(text, default=str))}")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise UserError(
            f"{where}: {field} holds half a surrogate pair, \\u{ord(text[error.start]):04x}, which is no character"
        ) from None
    return text


def load_hub(spec: str) -> Mapping[str, Iterable[Mapping[str, Any]]]:
    """The splits of "hf:NAME" or "hf:NAME:CONFIG", through the `datasets` library."""
    try:
        # An extra that most people do without.
        from datasets import load_dataset  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise UserError(f"{spec} needs the datasets library, which is not installed; pip install datasets") from None
    name, _, config = spec.removeprefix("hf:").partition(":")
    try:
        return load_dataset(name, config or None)
    except Exception as error:  # whatever the library or the network raises, its first line is what helps
        raise UserError(f"{spec} could not be loaded: {first_line(error)}") from None


def first_line(error: Exception) -> str:
    """What a person can use of a library's error."""
    return str(error).splitlines()[0] if str(error) else type(error).__name__


def excerpt(line: str, width: int = 60) -> str:
    """The beginning of a line, quoted."""
    return repr(line if len(line) <= width else line[:width] + "…")


def _decoded(path: Path) -> str:
    data = path.read_bytes().removeprefix(b"\xef\xbb\xbf")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        column = error.start - data.rfind(b"\n", 0, error.start)
        raise UserError(
            f"{path}, line {line}: not UTF-8 (byte 0x{data[error.start]:02X} at column {column}); "
            "convert the file with iconv -t utf-8"
        ) from None
