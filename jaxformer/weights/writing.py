"""Writing safetensors in the layout of Hugging Face: one file, or shards of bounded size and their index."""

import json
import math
import os
import re
import tempfile
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import BinaryIO, NamedTuple, cast

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from jaxformer.config.errors import UserError
from jaxformer.weights.safetensors import DTYPES, INDEX, WEIGHTS
from jaxformer.weights.tensors import Tensors

METADATA = MappingProxyType({"format": "pt"})
"""What the `transformers` library wants to find in a file before it loads it."""

_NAMES = {dtype: name for name, dtype in DTYPES.items()}
_OURS = re.compile(r"model(-\d{5}-of-\d{5})?\.safetensors|model\.safetensors\.index\.json")


class NewTensor(NamedTuple):
    """A tensor to be written, whose values are asked for when their turn comes."""

    name: str
    shape: tuple[int, ...]
    dtype: DTypeLike
    values: Callable[[], ArrayLike]

    @property
    def size(self) -> int:
        """Bytes that the values take."""
        return math.prod(self.shape) * np.dtype(self.dtype).itemsize


def write_tensors(
    folder: str | Path,
    tensors: Mapping[str, ArrayLike] | Iterable[tuple[str, tuple[int, ...], DTypeLike, Callable[[], ArrayLike]]],
    shard_bytes: int = 5_000_000_000,
    metadata: Mapping[str, str] = METADATA,
) -> None:
    """Write tensors into a folder, which is made if need be, in place of the weights that it had.

    Args:
        tensors: arrays by name, or (name, shape, dtype, function that gives the array) in any order. The arrays are
            asked for one at a time, each once, so memory holds one of them.
        shard_bytes: where all of it takes more than this, it goes into files model-0000i-of-0000n.safetensors with at
            most so many bytes of tensors each (a larger tensor has a file of its own), and an index.
        metadata: what each file says of itself.

    All files are written under other names first, so that an error leaves the folder as it was. Raises UserError where
    the folder cannot be written, ValueError for a name twice, a dtype that the format lacks, or an array that is not
    as announced.
    """
    folder = Path(folder).expanduser()
    planned = _plan(tensors)
    shards = _share(planned, shard_bytes)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".weights-", dir=folder) as temporary:
            names = _write_all(Path(temporary), shards, metadata)
            _replace(folder, Path(temporary), names)
    except OSError as error:
        raise UserError(f"cannot write weights into {folder}: {error.strerror or error}") from None


def _plan(tensors: Mapping[str, ArrayLike] | Iterable[tuple]) -> list[NewTensor]:
    if isinstance(tensors, Tensors):
        planned = [NewTensor(n, tensors.shape(n), tensors.dtype(n), partial(tensors.read, n)) for n in tensors]
    elif isinstance(tensors, Mapping):
        planned = [_announced(name, array) for name, array in cast(Mapping[str, ArrayLike], tensors).items()]
    else:
        planned = [NewTensor(*tensor) for tensor in tensors]
    seen = {"__metadata__"}
    for tensor in planned:
        if tensor.name in seen:
            raise ValueError(f"tensor names must differ from each other and from __metadata__, got {tensor.name!r}")
        if np.dtype(tensor.dtype) not in _NAMES:
            raise ValueError(
                f"tensor {tensor.name!r}: dtype must be one of {', '.join(_NAMES.values())}, "
                f"got {np.dtype(tensor.dtype)}"
            )
        seen.add(tensor.name)
    return planned


def _announced(name: str, array: ArrayLike) -> NewTensor:
    # An array of another library tells both without being fetched from its device.
    shape, dtype = (getattr(array, field, None) for field in ("shape", "dtype"))
    if shape is None or dtype is None:
        array = np.asarray(array)
        shape, dtype = array.shape, array.dtype
    return NewTensor(name, tuple(shape), dtype, lambda: array)


def _share(tensors: list[NewTensor], shard_bytes: int) -> list[list[NewTensor]]:
    """Share tensors out to files in their order; at least one file, and none is empty unless there is no tensor."""
    if shard_bytes < 1:
        raise ValueError(f"shard_bytes must be positive, got {shard_bytes}")
    shards: list[list[NewTensor]] = [[]]
    used = 0
    for tensor in tensors:
        if shards[-1] and used + tensor.size > shard_bytes:
            shards.append([])
            used = 0
        shards[-1].append(tensor)
        used += tensor.size
    return shards


def _write_all(folder: Path, shards: list[list[NewTensor]], metadata: Mapping[str, str]) -> list[str]:
    """Write all files; returns their names, the one last that makes the others readable."""
    if len(shards) == 1:
        _write_file(folder / WEIGHTS, shards[0], metadata)
        return [WEIGHTS]
    names = [f"model-{n:05}-of-{len(shards):05}.safetensors" for n in range(1, len(shards) + 1)]
    for name, shard in zip(names, shards, strict=True):
        _write_file(folder / name, shard, metadata)
    total = sum(tensor.size for shard in shards for tensor in shard)
    shard_of = {tensor.name: name for name, shard in zip(names, shards, strict=True) for tensor in shard}
    index = {"metadata": {"total_size": total}, "weight_map": shard_of}
    (folder / INDEX).write_text(json.dumps(index, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    return [*names, INDEX]


def _write_file(path: Path, tensors: list[NewTensor], metadata: Mapping[str, str]) -> None:
    # Wide numbers first: then each tensor begins at a multiple of its item size, which readers count on.
    tensors = sorted(tensors, key=lambda tensor: -np.dtype(tensor.dtype).itemsize)
    header: dict[str, object] = {"__metadata__": dict(metadata)} if metadata else {}
    position = 0
    for tensor in tensors:
        span = [position, position := position + tensor.size]
        header[tensor.name] = {"dtype": _NAMES[np.dtype(tensor.dtype)], "shape": tensor.shape, "data_offsets": span}
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for tensor in tensors:
            _write_values(file, tensor)


def _write_values(file: BinaryIO, tensor: NewTensor) -> None:
    array = np.asarray(tensor.values())
    if array.shape != tuple(tensor.shape) or array.dtype != np.dtype(tensor.dtype):
        raise ValueError(
            f"tensor {tensor.name!r} was announced as {np.dtype(tensor.dtype)} {tuple(tensor.shape)}, "
            f"got {array.dtype} {array.shape}"
        )
    file.write(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)


def _replace(folder: Path, temporary: Path, names: list[str]) -> None:
    """Put the new files in the place of the old.

    At no moment can a reader take files of both for one model: an index goes before the shards that it names.
    """
    if names[-1] == INDEX:
        (folder / INDEX).unlink(missing_ok=True)
    for name in names:
        os.replace(temporary / name, folder / name)
    for path in folder.iterdir():
        if _OURS.fullmatch(path.name) and path.name not in names:
            path.unlink()
