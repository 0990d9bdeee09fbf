"""What a process keeps, which must be told before jax begins: freed memory, and compiled programs."""

import hashlib
import os
import platform
import sys
from pathlib import Path

TUNABLES = "GLIBC_TUNABLES"
KEEP_MEMORY = (
    "glibc.malloc.hugetlb=1",
    "glibc.malloc.mmap_max=0",
    f"glibc.malloc.trim_threshold={2**33}",
    f"glibc.malloc.top_pad={2**27}",
)
"""Large pages; large arrays from a heap, not from a mapping that goes with them; 8 GiB may lie free, and so may a whole
heap of a thread's own.
"""


def keep_memory() -> None:
    """Starts this process over with glibc asking for huge pages and keeping what is freed, where nobody has told
    it what to do.

    XLA on a CPU takes its temporaries from malloc and gives them back at every step, and the kernel then clears
    thousands of small pages again; without that, the steps of two GPTs were measured to take 0.7 to 0.85 of the time.
    glibc reads the settings only as a process begins.
    """
    given = os.environ.get(TUNABLES, "")
    missing = [setting for setting in KEEP_MEMORY if setting.partition("=")[0] not in given]
    if not sys.platform.startswith("linux") or not missing:
        return
    os.environ[TUNABLES] = ":".join(filter(None, [given, *missing]))
    os.execv(sys.executable, sys.orig_argv)


def compute_here() -> None:
    """Has programs for one CPU device run in the thread that calls them, where jax has not found its devices yet.

    XLA asks for the temporaries of a program in one piece, at every run, and otherwise in a thread of its own. What
    does not fit the 64 MiB of such a thread's heap is mapped anew whatever glibc is told, and cleared by the kernel;
    the heap of the main thread has no such limit. One heap for all threads (glibc.malloc.arena_max=1) would do too, but
    then every thread waits for one lock and searches what the compiler has left: small steps were seen to take up to
    two thirds longer. The thread that calls suits the steps of a training: programs of less than 5 ms take up to
    a quarter longer in it on two cores.
    """
    import jax

    jax.config.update("jax_cpu_enable_async_dispatch", False)


CACHE = "JAX_COMPILATION_CACHE_DIR"
CACHE_SIZE = "JAX_COMPILATION_CACHE_MAX_SIZE"
CACHE_LIMIT = 2**30
"""Bytes of compiled programs that are kept; what was used longest ago goes first."""


def keep_compiled() -> None:
    """Has jax keep the programs that it compiles in the user's cache folder, where nobody has told it another.

    What takes less than a second to compile it never keeps. An empty JAX_COMPILATION_CACHE_DIR keeps nothing.
    """
    if CACHE in os.environ:
        return
    from platformdirs import user_cache_path

    folder = user_cache_path("jaxformer") / "compiled" / _processor()
    if not os.access(next(parent for parent in folder.parents if parent.exists()), os.W_OK):
        return
    os.environ[CACHE] = str(folder)
    os.environ.setdefault(CACHE_SIZE, str(CACHE_LIMIT))


def _processor() -> str:
    """A name for what this processor can do: a program for another one that shares the folder may not run here."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.machine()
    flags = next((line for line in lines if line.lower().startswith(("flags", "features"))), "")
    return f"{platform.machine()}-{hashlib.sha256(flags.encode()).hexdigest()[:8]}"
