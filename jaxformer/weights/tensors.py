"""Named tensors in files: known by their headers, read one at a time when asked for."""

import reprlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Protocol

import numpy as np

from jaxformer.config.errors import UserError


class Stored(Protocol):
    """One tensor in a file whose header has been checked: shape and dtype of the array that `read` returns."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    @property
    def dtype(self) -> np.dtype: ...

    def read(self) -> np.ndarray: ...


class Tensors(Mapping[str, np.ndarray]):
    """A read-only mapping from name to tensor. Every access reads the file and nothing is kept.

    So whoever goes through `items()` has one tensor in memory at a time; `shape` and `dtype` read nothing at all.
    An unknown name is a KeyError.
    """

    def __init__(self, path: Path, stored: Mapping[str, Stored]) -> None:
        self.path = path
        self._stored = dict(stored)

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape of the array that `read(name)` returns."""
        return self._stored[name].shape

    def dtype(self, name: str) -> np.dtype:
        """Dtype of the array that `read(name)` returns."""
        return self._stored[name].dtype

    def read(self, name: str) -> np.ndarray:
        """The tensor, in memory of its own. Raises UserError if the file has changed or cannot be read."""
        return self._stored[name].read()

    def __getitem__(self, name: str) -> np.ndarray:
        return self.read(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._stored)

    def __len__(self) -> int:
        return len(self._stored)

    # A mapping would answer these two by reading tensors.

    def __contains__(self, name: object) -> bool:
        return name in self._stored

    def __eq__(self, other: object) -> bool:
        return self is other

    def __hash__(self) -> int:
        return id(self)

    def __repr__(self) -> str:
        return f"<{len(self)} tensors in {self.path}>"


def read_into(array: np.ndarray, path: Path, start: int) -> None:
    """Fill a C-contiguous array from the bytes of a file at `start`, without a second copy in memory.

    Raises UserError if the file has become shorter or cannot be read.
    """
    target = array.reshape(-1).view(np.uint8).data
    try:
        with path.open("rb") as file:
            file.seek(start)
            count = file.readinto(target)
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from None
    if count != len(target):
        raise UserError(f"{path} changed while it was open: {len(target)} bytes wanted at {start}, got {count}")


_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = 80


def shown(value: object) -> str:
    """Something that a file says, as it may stand in a message: on one line, and cut where it is long."""
    return _SHORT.repr(value)
