"""Writing checkpoints in the background through Orbax.

A step is written to a folder of another name, with a manifest at last. It becomes a checkpoint by being renamed, and
only then are older ones removed: whenever a process dies, what has the name of a step is whole.
"""

import contextlib
import functools
import logging
import re
import shutil
import sys
import warnings
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jax
from orbax.checkpoint import v1 as ocp

from jaxformer.training.manifest import sync, write_manifest

SET_ASIDE = re.compile(r"([0-9]+)-set-aside")
"""Names of checkpoints that a run went back behind."""


class Saver:
    """Writes states into a folder, one at a time, and removes those that are neither new nor best."""

    def __init__(self, folder: Path, keep: int) -> None:
        """Makes the folder, and clears away what was left half written there. `keep` is how many new ones stay."""
        self._folder, self._keep = folder.resolve(), keep
        self._folder.mkdir(parents=True, exist_ok=True)
        self._clear()
        self._thread = ThreadPoolExecutor(1, "checkpoint")
        _ignore_stragglers()
        self._closing = contextlib.ExitStack()
        self._closing.enter_context(quiet())
        self._under_way: Future[None] | None = None

    def save(self, step: int, best: int, items: dict[str, Any]) -> None:
        """Begin to write the items of a step; step `best` stays besides it and the newest ones.

        The arrays may be donated as soon as this returns.
        """
        with context():
            response = ocp.save_checkpointables_async(str(self._unfinished(step)), items)
        self._under_way = self._thread.submit(self._finish, response, step, best)

    def wait(self) -> None:
        """Wait for what was begun. Raises what went wrong with it, as Orbax has it; the next one may go well."""
        if self._under_way is not None:
            try:
                self._under_way.result()
            finally:
                if self._under_way.done():
                    self._under_way = None

    def close(self) -> None:
        """Wait for what was begun, however it ends."""
        with self._closing:
            self._thread.shutdown()

    def _finish(self, response: Any, step: int, best: int) -> None:
        try:
            response.result()
            if jax.process_index() == 0:
                write_manifest(self._unfinished(step))
                self._unfinished(step).rename(self._folder / str(step))
                sync(self._folder)
                self._remove_old(best)
        except BaseException:
            self._clear()
            raise

    def _unfinished(self, step: int) -> Path:
        return self._folder / f"{step}.unfinished"

    def _remove_old(self, best: int) -> None:
        steps = step_folders(self._folder)
        for step in steps.keys() - {best, *list(steps)[-self._keep :]}:
            _remove(steps[step])
        for path in self._folder.iterdir():
            if (aside := SET_ASIDE.fullmatch(path.name)) and int(aside[1]) <= max(steps):
                _delete(path)

    def _clear(self) -> None:
        if jax.process_index() == 0:
            for path in self._folder.iterdir():
                if re.match(r"[0-9]+\.", path.name):
                    shutil.rmtree(path, ignore_errors=True)


def step_folders(folder: Path) -> dict[int, Path]:
    """The folders of steps in a folder, ascending; none where there is no such folder."""
    there = folder.iterdir() if folder.is_dir() else ()
    return dict(sorted((int(path.name), path) for path in there if re.fullmatch("0|[1-9][0-9]*", path.name)))


def set_aside(folder: Path) -> None:
    """Give the folder of a step a name that no step has, because a run goes on from before it.

    Its files stay until that run has saved a step as late: they may be whole, and only could not be read just now.
    """
    aside = folder.with_name(f"{folder.name}-set-aside")
    _delete(aside)
    folder.rename(aside)


def _remove(folder: Path) -> None:
    """Remove the folder of a step, which stops to be a checkpoint before any file of it is gone."""
    _delete(folder.rename(folder.with_name(f"{folder.name}.removed")))


def _delete(path: Path) -> None:
    """Delete a folder, or the link that stands in its place."""
    if path.is_symlink():
        path.unlink()
    elif path.exists():
        shutil.rmtree(path)


def context() -> ocp.Context:
    """How Orbax is to work: items are what they are by name, whatever a checkpoint says of them; and no record is kept
    of devices, which may be others next time.
    """
    registry = ocp.handlers.local_registry()
    registry.add(ocp.handlers.JsonHandler, checkpointable_name="progress")
    for item in ("model", "rest"):
        registry.add(ocp.handlers.PyTreeHandler, checkpointable_name=item)
    made = ocp.Context()
    made.checkpointables.registry = registry
    made.array.saving.enable_write_sharding_file = False
    return made


@functools.cache
def _ignore_stragglers() -> None:
    """Keep TensorStore from printing a traceback for each write that ends after one before it has failed, and Python
    from warning of those that Orbax has never begun.

    They do so whenever they come to them, so that this is done once and stays.
    """
    warnings.filterwarnings("ignore", "coroutine .* was never awaited", RuntimeWarning)
    before = sys.unraisablehook

    def hook(unraisable: Any) -> None:
        if str(unraisable.exc_value) != "Event loop is closed":
            before(unraisable)

    sys.unraisablehook = hook


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keeps Orbax from printing tracebacks of what it raises, which is told in one line."""

    def unsaid(record: logging.LogRecord) -> bool:
        return "orbax" not in record.pathname

    logger = logging.getLogger("absl")
    logger.addFilter(unsaid)
    try:
        yield
    finally:
        logger.removeFilter(unsaid)


def reason(error: BaseException) -> str:
    """What an error of Orbax or TensorStore comes down to: the system's word, or the last part of its first line."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    first, *_ = str(error).strip().splitlines() or [type(error).__name__]
    return re.sub(r"\s*\[[^]]*\]$", "", first).rpartition(": ")[2]
