"""A thread that tells where a run hangs, while the one that trains cannot."""

import faulthandler
import statistics
import threading
import time
from collections import deque
from pathlib import Path

from jaxformer.config.training import Stall
from jaxformer.training.run import warn

REMEMBERED = 64
"""Steps whose times say how long one takes."""


class Watchdog:
    """Reports a step that takes far longer than those before it, once: a line on standard error, and the stacks of all
    threads at the end of a file. Used in a `with`.
    """

    def __init__(self, stall: Stall, path: Path) -> None:
        """`path` is that file; it is made when there is something to tell."""
        self._stall, self._path = stall, path
        self._seconds: deque[float] = deque(maxlen=REMEMBERED)
        # Number and start of the step that is being taken, in one value, since two threads look at it.
        self._current: tuple[int, float] | None = None
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)

    def __enter__(self) -> "Watchdog":
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._ended.set()
        self._thread.join()

    def begin(self, step: int) -> None:
        """A step begins, with the wait for its batch."""
        self._current = step, time.monotonic()

    def end(self) -> None:
        """The step has ended; what is done until the next one begins is not watched."""
        if self._current is not None:
            self._seconds.append(time.monotonic() - self._current[1])
        self._current = None

    def _watch(self) -> None:
        told = 0
        while not self._ended.wait(self._stall.seconds / 10):
            current = self._current
            if current is None or current[0] == told or not self._seconds or not self._stall.factor:
                continue
            (step, since), usual = current, statistics.median(self._seconds)
            taken = time.monotonic() - since
            if taken > max(self._stall.seconds, self._stall.factor * usual):
                told = step
                self._tell(step, taken, usual)

    def _tell(self, step: int, taken: float, usual: float) -> None:
        line = f"step {step} has taken {taken:.1f} s so far, those before it {usual:.2g} s"
        with self._path.open("a", encoding="utf-8") as file:
            print(line, file=file, flush=True)
            faulthandler.dump_traceback(file, all_threads=True)
        warn(f"{line}; where every thread is then is told in {self._path}")
