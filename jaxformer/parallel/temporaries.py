"""How a compiled program lays out the memory that it works in."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import jax

PART = 2**26 - 2**16
"""Bytes; glibc gives a thread heaps of 64 MiB."""


def in_parts(platform: str) -> dict[str, int] | None:
    """What `jax.jit` is to be told, as `compiler_options`, of a program that runs many times on such devices.

    XLA works in one piece of memory, and on a CPU asks malloc for it and frees it at every run. The thread that it runs
    in has heaps of its own, and what does not fit there is mapped anew each time, to be cleared page by page by the
    kernel. Pieces of at most `PART`, where no single array is larger, are kept for the next run instead, if the process
    keeps what is freed, as `jaxformer` commands do. Other devices have allocators of their own: None.
    """
    return {"xla_multiheap_size_constraint_per_heap": PART} if platform == "cpu" else None


@contextmanager
def quiet(platform: str) -> Iterator[None]:
    """While programs in parts are compiled: XLA would warn of every array larger than `PART`, many times."""
    if platform != "cpu":
        yield
        return
    level = jax.config.jax_logging_level  # pyright: ignore[reportAttributeAccessIssue]
    jax.config.update("jax_logging_level", "ERROR")
    try:
        yield
    finally:
        # For XLA the level is lowered by name alone: a logger that has none leaves it as it is.
        before = {"0": "INFO", "2": "ERROR", "3": "CRITICAL"}.get(os.environ.get("TF_CPP_MIN_LOG_LEVEL", ""), "WARNING")
        jax.config.update("jax_logging_level", before)
        jax.config.update("jax_logging_level", level)
