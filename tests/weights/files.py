"""What is in a file of tensors, and files that are not as they should be."""

import tracemalloc
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import safetensors
from hypothesis import strategies as st

from jaxformer.config.errors import UserError
from jaxformer.weights.safetensors import DTYPES


class Stored(NamedTuple):
    """An array as safetensors keep it."""

    dtype: str
    shape: list[int]
    data: bytes


def stored(array: np.ndarray) -> Stored:
    """What a file should hold of an array; two are the same to the bit where this is."""
    dtype = next(name for name, dtype in DTYPES.items() if dtype == array.dtype)
    return Stored(dtype, list(array.shape), array.tobytes())


def all_stored(tensors: Mapping[str, np.ndarray]) -> dict[str, Stored]:
    """`stored` of every array."""
    return {name: stored(array) for name, array in tensors.items()}


def by_reference(content: bytes) -> dict[str, Stored]:
    """What the library safetensors reads in a file."""
    entries = dict(safetensors.deserialize(content))
    return {name: Stored(entry["dtype"], entry["shape"], bytes(entry["data"])) for name, entry in entries.items()}


@contextmanager
def memory_below(limit: int) -> Iterator[None]:
    """Fails where more bytes than this were allocated at once."""
    tracemalloc.start()
    try:
        yield
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < limit


def refusal(read: Callable[[Path], Any], path: Path, content: bytes, memory: int) -> str:
    """The line that a file of this content is refused with, before so many bytes are allocated."""
    path.write_bytes(content)
    with memory_below(memory), pytest.raises(UserError) as caught:
        read(path)
    line = str(caught.value)
    assert "\n" not in line and len(line) < 500 + len(str(path))
    return line


def damaged(content: bytes) -> st.SearchStrategy[bytes]:
    """The content after a few accidents: a few bytes of it overwritten, inserted, or all from there cut off."""
    accident = st.tuples(st.integers(0, 2), st.integers(0, len(content)), st.binary(max_size=4))
    return st.lists(accident, min_size=1, max_size=3).map(lambda accidents: _after(content, accidents))


def _after(content: bytes, accidents: list[tuple[int, int, bytes]]) -> bytes:
    for kind, place, new in accidents:
        content = content[:place] + new + content[[place + len(new), place, len(content)][kind] :]
    return content
