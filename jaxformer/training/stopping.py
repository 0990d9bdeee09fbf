"""How a run is told to stop: signals, and the notice of a cluster that takes its machines back."""

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator
from types import FrameType

import jax
from jax.experimental import multihost_utils

from jaxformer.config.errors import INTERRUPTED

GRACE = 2.0
"""Seconds that a process gets to leave by itself once it is told to at once."""


class StopRequest:
    """Ctrl-C or SIGTERM, or another reason to stop. Used in a `with`, it interrupts at once; inside `between_steps`,
    the first signal is only noticed, and the second one interrupts.

    Where that finds the main thread in a computation, which Python cannot break off, or the interruption is lost, as in
    a callback of the garbage collector, another thread ends the process. Among several processes a signal to one of
    them stops all at the same step; SIGTERM is then jax's to notice.
    """

    def __init__(self) -> None:
        self.asked = self._signalled = self._announced = self._patient = False
        self._group = jax.process_count() > 1
        self._signals = (signal.SIGINT,) if self._group else (signal.SIGINT, signal.SIGTERM)

    def __enter__(self) -> "StopRequest":
        # Python delivers signals to the main thread alone, and lets no other one set a handler.
        self._main = threading.current_thread() is threading.main_thread()
        if self._main:
            self._before = {number: signal.signal(number, self._ask) for number in self._signals}
            self._listen()
        return self

    def __exit__(self, *exception: object) -> None:
        if self._main:
            signal.set_wakeup_fd(self._wakeup_before)
            os.close(self._wakeup)
            self._left.set()
            self._listener.join()
            for number, handler in self._before.items():
                signal.signal(number, handler)

    @contextlib.contextmanager
    def between_steps(self) -> Iterator[None]:
        """The first signal is answered when the step is done, by who asks `reached`."""
        self._patient = True
        try:
            yield
        finally:
            self._patient = False

    def reached(self, step: int) -> bool:
        """Whether to stop after this step, of which every process must ask in turn; the same in all of them."""
        if not self._group:
            return self.asked
        if self.asked and not self._announced:
            self._announced = True
            signal.raise_signal(signal.SIGTERM)
        return multihost_utils.reached_preemption_sync_point(step)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        again, self.asked, self._signalled = self._signalled, True, True
        if again or not self._patient:
            raise KeyboardInterrupt

    def _listen(self) -> None:
        """Have the numbers of signals written to a pipe as they arrive, whatever the main thread does."""
        signals, self._wakeup = os.pipe()
        os.set_blocking(self._wakeup, False)
        self._wakeup_before = signal.set_wakeup_fd(self._wakeup, warn_on_full_buffer=False)
        self._left = threading.Event()
        self._listener = threading.Thread(target=self._end_if_stuck, args=(signals,), daemon=True)
        self._listener.start()

    def _end_if_stuck(self, signals: int) -> None:
        heard = 0
        with open(signals, "rb", buffering=0) as pipe:
            while number := pipe.read(1):
                heard += number[0] in self._signals
                # What begins to take steps in the meantime notices the first signal by itself.
                if self._enough(heard) and not self._left.wait(GRACE) and self._enough(heard):
                    print("\nstopped    at once; the last checkpoint is whole", file=sys.stderr, flush=True)
                    os._exit(INTERRUPTED)

    def _enough(self, heard: int) -> bool:
        return heard >= (2 if self._patient else 1)
