"""How a compiled program lays out the memory that it works in."""

from jax import Device

PART = 2**25
"""Bytes; glibc gives a thread heaps of 64 MiB, which hold two such parts."""


def in_parts(device: Device) -> dict[str, int] | None:
    """What `jax.jit` is to be told, as `compiler_options`, of a program that runs on this device many times.

    XLA works in one piece of memory, and on a CPU asks malloc for it and frees it at every run. The thread that it runs
    in has a heap of its own, and what does not fit there is mapped anew each time, to be cleared page by page by the
    kernel. Pieces of at most `PART`, where no single array is larger, are kept for the next run instead, if the process
    keeps what is freed, as `jaxformer` commands do. Other devices have allocators of their own: None.
    """
    return {"xla_multiheap_size_constraint_per_heap": PART} if device.platform == "cpu" else None
