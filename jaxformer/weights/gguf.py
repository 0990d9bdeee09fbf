"""Reading GGUF, the files of llama.cpp: weights in blocks of few bits, which the `gguf` package turns into float32.

Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md. The header is read here and not by the package,
because nothing in it may be believed before it has been held against the size of the file.
"""

import importlib
import math
import os
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from jaxformer.config.errors import UserError
from jaxformer.weights.tensors import Tensors, read_into, shown

HEADER_LIMIT = 100_000_000
"""Bytes of header that are read at most; the longest vocabularies take a tenth of it."""
ARRAY_LIMIT = 1 << 22
"""Values of one array in the metadata at most."""


class _Kind(NamedTuple):
    """How numbers are stored: so many of them in so many bytes."""

    name: str
    numbers: int
    bytes: int


_KINDS = {
    0: _Kind("F32", 1, 4),
    1: _Kind("F16", 1, 2),
    2: _Kind("Q4_0", 32, 18),
    3: _Kind("Q4_1", 32, 20),
    8: _Kind("Q8_0", 32, 34),
    12: _Kind("Q4_K", 256, 144),
    14: _Kind("Q6_K", 256, 210),
    30: _Kind("BF16", 1, 2),
}

_SCALARS = {
    number: np.dtype(code)
    for number, code in {
        0: "<u1", 1: "<i1", 2: "<u2", 3: "<i2", 4: "<u4", 5: "<i4", 6: "<f4", 7: "?", 10: "<u8", 11: "<i8", 12: "<f8",
    }.items()
}  # fmt: skip
_STRING, _ARRAY = 8, 9


class GgufFile(Tensors):
    """The tensors of a GGUF file, as float32 in the order of PyTorch (rows first), and what the file says of them.

    `metadata` maps keys such as "llama.block_count" to int, float, bool, str, or a list of these. A lone float32 is
    given as the shortest decimal that means it: 1e-05 and not 9.999999747378752e-06.
    """

    def __init__(self, path: Path, stored: dict[str, "_Stored"], metadata: dict[str, Any]) -> None:
        super().__init__(path, stored)
        self.metadata = metadata


@dataclass(frozen=True)
class _Stored:
    path: Path
    start: int
    shape: tuple[int, ...]
    kind: _Kind

    @property
    def dtype(self) -> np.dtype:
        return np.dtype(np.float32)

    @property
    def row_bytes(self) -> int:
        return self.shape[-1] // self.kind.numbers * self.kind.bytes

    @property
    def size(self) -> int:
        """Bytes in the file."""
        return math.prod(self.shape[:-1]) * self.row_bytes

    def read(self) -> np.ndarray:
        gguf = _library(self.path)
        kind = gguf.GGMLQuantizationType[self.kind.name]
        rows = np.empty((math.prod(self.shape[:-1]), self.shape[-1]), np.float32)
        # A few rows at a time, because the package holds what it works on several times.
        step = max(1, (1 << 20) // self.shape[-1])
        for first in range(0, len(rows), step):
            part = rows[first : first + step]
            packed = np.empty((len(part), self.row_bytes), np.uint8)
            read_into(packed, self.path, self.start + first * self.row_bytes)
            part[:] = gguf.dequantize(packed, kind)
        return rows.reshape(self.shape)


def open_gguf(path: str | Path) -> GgufFile:
    """The tensors and metadata of a GGUF file (version 2 or 3, little-endian). Only the header is read.

    Raises UserError, one line that names the file and, where it is about one, the tensor, if the file is missing, cut
    short or malformed, or is a part of a split model; if a tensor is stored in another way than F32, F16, BF16, Q8_0,
    Q4_0, Q4_1, Q4_K or Q6_K; and if the package `gguf` is not installed.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise UserError(f"no file {path}")
    _library(path)
    try:
        with path.open("rb") as file:
            return _read(path, _Header(file, os.fstat(file.fileno()).st_size))
    except ValueError as error:
        raise UserError(f"{path} is not a sound GGUF file: {error}") from None
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from None


def _library(path: Path) -> ModuleType:
    try:
        return importlib.import_module("gguf")
    except ImportError:
        raise UserError(f"reading {path} needs the package gguf: pip install gguf") from None


class _Header:
    """A cursor over the beginning of a file. All that it gives has been seen to be there; else it raises ValueError."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self.size = size
        self.position = 0
        self._file = file

    def expect(self, count: int, what: str) -> None:
        """Raise ValueError if `count` bytes for `what` cannot follow."""
        if count > min(self.size, HEADER_LIMIT) - self.position:
            raise ValueError(
                f"{what} at byte {self.position} should take at least {count} bytes, "
                f"but the file has {self.size}, of which at most {HEADER_LIMIT} may be header"
            )

    def take(self, count: int, what: str) -> bytes:
        self.expect(count, what)
        self.position += count
        return self._file.read(count)

    def integer(self, size: int, what: str) -> int:
        return int.from_bytes(self.take(size, what), "little")

    def string(self, what: str) -> str:
        return self.take(self.integer(8, what), what).decode()

    def value(self, kind: int, what: str) -> Any:
        """A metadata value of this type."""
        if kind == _STRING:
            return self.string(what)
        if kind == _ARRAY:
            return self._array(what)
        scalar = self._scalars(kind, 1, what)[0]
        return float(str(scalar)) if scalar.dtype == np.float32 else scalar.item()

    def _array(self, what: str) -> list[Any]:
        kind, count = self.integer(4, what), self.integer(8, what)
        if count > ARRAY_LIMIT:
            raise ValueError(f"{what} claims {count} values, at most {ARRAY_LIMIT} are read")
        if kind == _STRING:
            self.expect(8 * count, what)
            return [self.string(what) for _ in range(count)]
        return self._scalars(kind, count, what).tolist()

    def _scalars(self, kind: int, count: int, what: str) -> np.ndarray:
        if kind not in _SCALARS:
            raise ValueError(f"{what} has an unknown type {kind}")
        raw = self.take(count * _SCALARS[kind].itemsize, what)
        if _SCALARS[kind] == np.bool_ and max(raw, default=0) > 1:
            raise ValueError(f"{what} should be true or false, got {max(raw)}")
        return np.frombuffer(raw, _SCALARS[kind])


def _read(path: Path, header: _Header) -> GgufFile:
    """Everything that the header says. Raises ValueError."""
    if header.take(4, "the mark GGUF") != b"GGUF":
        raise ValueError("it does not begin with GGUF")
    version = header.integer(4, "the version")
    if version not in (2, 3):
        raise ValueError(f"its version must be 2 or 3, little-endian, got {version}")
    tensors, entries = header.integer(8, "the number of tensors"), header.integer(8, "the number of entries")
    # The least that each can take: 13 bytes an entry, 32 a tensor.
    header.expect(13 * entries + 32 * tensors, f"{entries} entries and {tensors} tensors")
    metadata = _read_metadata(header, entries)
    if metadata.get("split.count", 0) not in (0, 1):
        raise ValueError("it is a part of a split model; join the parts with: llama-gguf-split --merge")
    alignment = _alignment(metadata)
    infos = [_read_info(header) for _ in range(tensors)]
    start = header.position + -header.position % alignment
    return GgufFile(path, _place(path, infos, start, header.size, alignment), metadata)


def _read_metadata(header: _Header, count: int) -> dict[str, Any]:
    metadata: dict[str, Any] = {}
    for _ in range(count):
        key = header.string("a metadata key")
        if key in metadata:
            raise ValueError(f"its metadata has {shown(key)} twice")
        metadata[key] = header.value(header.integer(4, shown(key)), shown(key))
    return metadata


def _alignment(metadata: dict[str, Any]) -> int:
    alignment = metadata.get("general.alignment", 32)
    if type(alignment) is not int or alignment < 1 or alignment & (alignment - 1):
        raise ValueError(f"general.alignment must be a power of two, got {shown(alignment)}")
    return alignment


class _Info(NamedTuple):
    """What the header says of a tensor; `offset` counts from where the data begins."""

    name: str
    shape: tuple[int, ...]
    kind: _Kind
    offset: int


def _read_info(header: _Header) -> _Info:
    name = header.string("a tensor's name")
    what = f"tensor {shown(name)}"
    dimensions = header.integer(4, what)
    if not 1 <= dimensions <= 4:
        raise ValueError(f"{what} must have 1 to 4 dimensions, got {dimensions}")
    # The file counts from the innermost dimension.
    shape = tuple(header.integer(8, what) for _ in range(dimensions))[::-1]
    kind, offset = header.integer(4, what), header.integer(8, what)
    if kind not in _KINDS:
        known = ", ".join(known.name for known in _KINDS.values())
        raise ValueError(f"{what} is stored as {_kind_name(kind)}, but only {known} are supported")
    if min(shape) < 1 or shape[-1] % _KINDS[kind].numbers:
        raise ValueError(
            f"{what} of shape {list(shape)} must have positive dimensions, "
            f"the last a multiple of {_KINDS[kind].numbers} for {_KINDS[kind].name}"
        )
    return _Info(name, shape, _KINDS[kind], offset)


def _kind_name(number: int) -> str:
    kinds = importlib.import_module("gguf").GGMLQuantizationType
    return kinds(number).name if number in kinds.__members__.values() else f"unknown type {number}"


def _place(path: Path, infos: list[_Info], start: int, size: int, alignment: int) -> dict[str, _Stored]:
    """The tensors in a file of `size` bytes whose data begin at `start`. They must follow one another, as they do for
    llama.cpp, so none overlaps another. Raises ValueError."""
    stored: dict[str, _Stored] = {}
    expected = 0
    for info in infos:
        tensor = _Stored(path, start + info.offset, info.shape, info.kind)
        if info.name in stored:
            raise ValueError(f"it has a tensor {shown(info.name)} twice")
        if info.offset != expected:
            raise ValueError(f"tensor {shown(info.name)} begins at byte {info.offset} of the data, expected {expected}")
        if tensor.start + tensor.size > size:
            raise ValueError(
                f"tensor {shown(info.name)} ends at byte {tensor.start + tensor.size}, but the file has {size}"
            )
        stored[info.name] = tensor
        expected += tensor.size + -tensor.size % alignment
    return stored
