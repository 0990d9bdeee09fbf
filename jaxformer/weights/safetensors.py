"""Reading safetensors: one file, or the shards that an index names. A header is checked before anything is believed.

Format: https://github.com/huggingface/safetensors#format. The library itself is not needed.
"""

import json
import math
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import ml_dtypes
import numpy as np

from jaxformer.config.errors import UserError
from jaxformer.weights.tensors import Tensors, read_into, shown

WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
HEADER_LIMIT = 100_000_000
"""Bytes of JSON that are read at most, as in the reference implementation."""

DTYPES = {
    name: np.dtype(scalar)
    for name, scalar in {
        "F64": np.float64,
        "F32": np.float32,
        "F16": np.float16,
        "BF16": ml_dtypes.bfloat16,
        "F8_E4M3": ml_dtypes.float8_e4m3fn,
        "F8_E5M2": ml_dtypes.float8_e5m2,
        "F8_E8M0": ml_dtypes.float8_e8m0fnu,
        "I64": np.int64,
        "I32": np.int32,
        "I16": np.int16,
        "I8": np.int8,
        "U64": np.uint64,
        "U32": np.uint32,
        "U16": np.uint16,
        "U8": np.uint8,
        "BOOL": np.bool_,
    }.items()
}
"""The file's name of each dtype that is read and written."""

_PICKLES = {".bin", ".pt", ".pth", ".ckpt", ".pkl"}
_PLAIN = re.compile(r"[\w.-]{1,220}", re.ASCII)
"""File names that lead nowhere else and that mean nothing to a shell."""
_FIELDS = ("dtype", "shape", "data_offsets")
_DIMENSIONS = 32
"""More than any tensor has, and not more than NumPy can hold."""


class TensorFolder(Tensors):
    """The tensors of one safetensors file, or of all shards of a folder."""


@dataclass(frozen=True)
class _Stored:
    path: Path
    name: str
    start: int
    shape: tuple[int, ...]
    dtype: np.dtype

    def read(self) -> np.ndarray:
        array = np.empty(self.shape, self.dtype)
        read_into(array, self.path, self.start)
        if self.dtype == np.bool_ and array.view(np.uint8).max(initial=0) > 1:
            raise UserError(f"{self.path}: tensor {shown(self.name)} is BOOL, but has bytes other than 0 and 1")
        return array


def open_tensors(path: str | Path) -> TensorFolder:
    """The tensors of a .safetensors file, or of a folder with model.safetensors or model.safetensors.index.json.

    Only headers are read. Raises UserError, one line that names file and tensor, if anything is missing or malformed,
    if the index leads out of the folder, or if the weights are pickled.
    """
    path = Path(path).expanduser()
    if path.is_dir():
        return _open_folder(path)
    if not path.is_file():
        raise UserError(f"no file or folder {path}; weights are a .safetensors file, or a folder with {WEIGHTS}")
    if path.suffix in _PICKLES:
        raise UserError(_pickled(path.parent, [path.name]))
    return TensorFolder(path, _read_file(path))


def _open_folder(folder: Path) -> TensorFolder:
    if (folder / WEIGHTS).is_file():
        return TensorFolder(folder, _read_file(folder / WEIGHTS))
    if (folder / INDEX).is_file():
        return TensorFolder(folder, _read_shards(folder))
    pickles = sorted(path.name for path in folder.iterdir() if path.suffix in _PICKLES)
    if pickles:
        raise UserError(_pickled(folder, [name for name in pickles if name.startswith("pytorch_model")] or pickles))
    raise UserError(f"no weights in {folder}; expected {WEIGHTS}, or {INDEX} and the files that it names")


def _pickled(folder: Path, names: list[str]) -> str:
    names = [name for name in names if _PLAIN.fullmatch(name)] or ["pytorch_model.bin"]
    return (
        f"{folder} has its weights pickled ({', '.join(names)}), which is never opened because it can run any code; "
        f"convert it in that folder, if you trust it: "
        f'python -c "import torch; from safetensors.torch import save_file; '
        f"save_file({{k: v.contiguous().clone() for f in {names} "
        f"for k, v in torch.load(f, map_location='cpu', weights_only=True).items()}}, "
        f"'{WEIGHTS}', {{'format': 'pt'}})\""
    )


# Shards


def _read_shards(folder: Path) -> dict[str, _Stored]:
    """All tensors that the index names, which must be exactly those that its files hold."""
    shard_of = _read_index(folder / INDEX)
    found = {}
    for shard in sorted(set(shard_of.values())):
        for name, stored in _read_file(_inside(folder, shard)).items():
            if shard_of.get(name) != shard:
                raise UserError(f"{folder / shard}: tensor {shown(name)} is not listed for this file in {INDEX}")
            found[name] = stored
    for name, shard in shard_of.items():
        if name not in found:
            raise UserError(f"{folder / shard}: tensor {shown(name)} is missing, which {INDEX} lists for this file")
    return found


def _read_index(path: Path) -> dict[str, str]:
    """Tensor name → file name."""
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size > HEADER_LIMIT:
                raise ValueError(f"it has {size} bytes, at most {HEADER_LIMIT} are read")
            index = _parse(file.read(size))
        shard_of = index.get("weight_map")
        if not isinstance(shard_of, dict) or not shard_of or not all(isinstance(s, str) for s in shard_of.values()):
            raise ValueError("weight_map must name a file for each tensor")
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is not a sound index: {error}") from None
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from None
    return shard_of


def _inside(folder: Path, shard: str) -> Path:
    """The shard's path, which may be a link only to a neighbour or to the blobs of the cache of Hugging Face's hub."""
    if not (_PLAIN.fullmatch(shard) and shard.endswith(".safetensors")):
        raise UserError(f"{folder / INDEX}: a shard must be a .safetensors file of the same folder, got {shown(shard)}")
    path, home = folder / shard, Path(os.path.realpath(folder))
    target = Path(os.path.realpath(path))
    blobs = home.parent.parent / "blobs" if home.parent.name == "snapshots" else home
    if target.parent not in (home, blobs):
        raise UserError(f"{path} is a link that leads out of its folder, to {target}; put the file itself there")
    return path


# One file


def _read_file(path: Path) -> dict[str, _Stored]:
    """All tensors of one file, after every check that its header allows."""
    # Opening something else, such as a pipe, might wait for ever.
    if not path.is_file():
        raise UserError(f"the file {path} is missing")
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            header, start = _read_header(file, size)
        return _read_tensors(path, header, start, size - start)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is not a sound safetensors file: {error}") from None
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from None


def _read_header(file: BinaryIO, size: int) -> tuple[dict[str, Any], int]:
    """The header of a file of `size` bytes, without its metadata, and where the data begins. Raises ValueError."""
    if size < 8:
        raise ValueError(f"it has {size} bytes, the length of the header alone takes 8")
    length = int.from_bytes(file.read(8), "little")
    if length > min(size - 8, HEADER_LIMIT):
        raise ValueError(
            f"its header claims {length} bytes, but {size - 8} follow, and at most {HEADER_LIMIT} are read"
        )
    text = file.read(length)
    if not text.startswith(b"{"):
        raise ValueError(f"its header must begin with {{, got {shown(text[:8])}")
    header = _parse(text)
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise ValueError(f"__metadata__ must map names to strings, got {shown(metadata)}")
    return header, 8 + length


def _read_tensors(path: Path, header: dict[str, Any], start: int, data: int) -> dict[str, _Stored]:
    """The tensors of a header, whose `data` bytes begin at `start`. Raises ValueError."""
    tensors, spans = {}, []
    for name, entry in header.items():
        try:
            shape, dtype, (begin, end) = _read_entry(entry)
            if end > data:
                raise ValueError(f"its data end at byte {end} of {data}")
        except ValueError as error:
            raise ValueError(f"tensor {shown(name)}: {error}") from None
        tensors[name] = _Stored(path, name, start + begin, shape, dtype)
        spans.append((begin, end, name))
    _check_covered(spans, data)
    return tensors


def _read_entry(entry: Any) -> tuple[tuple[int, ...], np.dtype, tuple[int, int]]:
    """Shape, dtype and span of one tensor, which must agree. Raises ValueError."""
    if not isinstance(entry, dict) or sorted(entry) != sorted(_FIELDS):
        raise ValueError(f"it must have {', '.join(_FIELDS)}, got {shown(entry)}")
    name, shape, span = (entry[field] for field in _FIELDS)
    if not isinstance(name, str) or name not in DTYPES:
        raise ValueError(f"its dtype must be one of {', '.join(DTYPES)}, got {shown(name)}")
    if not _are_sizes(shape) or len(shape) > _DIMENSIONS:
        raise ValueError(f"its shape must be at most {_DIMENSIONS} whole numbers, got {shown(shape)}")
    if not _are_sizes(span) or len(span) != 2 or span[0] > span[1]:
        raise ValueError(f"its data_offsets must be a begin and an end, got {shown(span)}")
    itemsize = DTYPES[name].itemsize
    # An empty tensor takes no bytes, yet NumPy refuses one whose other dimensions overflow.
    if math.prod(max(size, 1) for size in shape) * itemsize > np.iinfo(np.int64).max:
        raise ValueError(f"its shape is too large, got {shown(shape)}")
    if math.prod(shape) * itemsize != span[1] - span[0]:
        raise ValueError(
            f"its data_offsets {span} span {span[1] - span[0]} bytes, "
            f"but {name} of shape {shape} takes {math.prod(shape) * itemsize}"
        )
    return tuple(shape), DTYPES[name], (span[0], span[1])


def _are_sizes(value: Any) -> bool:
    """Whether this is a list of whole numbers that a file could speak of."""
    return isinstance(value, list) and all(type(size) is int and 0 <= size < 1 << 63 for size in value)


def _check_covered(spans: list[tuple[int, int, str]], data: int) -> None:
    """Raise ValueError unless the spans follow one another from byte 0 to byte `data`."""
    position = 0
    for begin, end, name in sorted(spans):
        if begin != position:
            fault = "overlaps the tensor before it" if begin < position else "leaves a hole before it"
            raise ValueError(f"tensor {shown(name)} {fault}: it begins at byte {begin}, expected {position}")
        position = end
    if position != data:
        raise ValueError(f"its tensors take {position} bytes, but {data} follow the header")


def _parse(text: bytes) -> dict[str, Any]:
    """A JSON object in which no name stands twice. Raises ValueError, or RecursionError for a very deep one."""
    parsed = json.loads(text.decode(), object_pairs_hook=_without_repetition)
    if not isinstance(parsed, dict):
        raise ValueError(f"expected a JSON object, got {shown(parsed)}")
    return parsed


def _without_repetition(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        name.encode()  # half a surrogate pair is not text, yet JSON can spell it
        if name in found:
            raise ValueError(f"{shown(name)} stands twice in it")
        found[name] = value
    return found
