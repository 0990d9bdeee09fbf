"""The loop around the step: batches in, records and checkpoints out, until the run is done or told to stop."""

import contextlib
import math
import signal
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import FrameType
from typing import Any, Protocol

import jax

from jaxformer.config.training import WatchConfig
from jaxformer.data.batches import prefetch
from jaxformer.training.checkpoint import Checkpoints, Progress
from jaxformer.training.journal import Display, Journal, Speed
from jaxformer.training.state import TrainState
from jaxformer.training.step import Metrics


class Interrupted(Exception):
    """The run was told to stop. What it had done is saved."""

    def __init__(self, step: int) -> None:
        super().__init__(f"interrupted after step {step}, which is saved")
        self.step = step


class Diverged(Exception):
    """A number of a step is no longer finite. Neither that step nor a later one is recorded or saved."""

    def __init__(self, step: int, name: str, value: float, saved: int | None) -> None:
        """`saved` is the step of the newest checkpoint, None where there is none."""
        kept = "there is no checkpoint" if saved is None else f"the last checkpoint is of step {saved}"
        super().__init__(
            f"{name} is {value} at step {step}, {kept}; start another run with a lower learning rate, a longer "
            "warm-up or a smaller clip"
        )


@dataclass(frozen=True)
class Validation:
    """What a look at held-out data gave."""

    metrics: dict[str, float]
    score: float
    """Higher is better; decides which checkpoint is the best one, and when patience ends."""
    summary: str
    """One line for a person."""


class Task(Protocol):
    """What the loop runs, from the state it is given: how to step, on what, and how to look at the result."""

    batches: Any
    place: Callable[[Any], Any]
    step: Callable[[TrainState, Any], tuple[TrainState, Metrics]]

    def validate(self, step: int, params: Any) -> Validation: ...


class StopRequest:
    """Ctrl-C or SIGTERM, or another reason to stop, noticed between two steps. A second signal interrupts at once."""

    _signals = (signal.SIGINT, signal.SIGTERM)

    def __init__(self) -> None:
        self.asked = self._signalled = False

    def __enter__(self) -> "StopRequest":
        # Python delivers signals to the main thread alone, and lets no other one set a handler.
        self._main = threading.current_thread() is threading.main_thread()
        if self._main:
            self._before = {number: signal.signal(number, self._ask) for number in self._signals}
        return self

    def __exit__(self, *exception: object) -> None:
        if self._main:
            for number, handler in self._before.items():
                signal.signal(number, handler)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        if self._signalled:
            raise KeyboardInterrupt
        self.asked = self._signalled = True


class _Audience:
    """Shows progress while anybody reads it. A reader who leaves, as `| head` does, asks the run to stop."""

    def __init__(self, display: Display, stop: StopRequest) -> None:
        self._display, self._stop = display, stop

    def step(self, step: int, text: str) -> None:
        self._show(self._display.step, step, text)

    def line(self, text: str) -> None:
        self._show(self._display.line, text)

    def _show(self, show: Callable[..., None], *what: Any) -> None:
        try:
            show(*what)
        except BrokenPipeError:
            self._stop.asked = True


class _Records:
    """The record of each step, read from the device one step late, so that it always has the next one to work on.

    Used in a `with`, it leaves out no step that was taken, however that ends.
    """

    def __init__(self, journal: Journal, audience: _Audience, speed: Speed, checkpoints: Checkpoints) -> None:
        self._journal, self._audience, self._speed, self._checkpoints = journal, audience, speed, checkpoints
        self._step = 0
        self._metrics: Metrics | None = None
        self._values: dict[str, float] = {}

    def __enter__(self) -> "_Records":
        return self

    def __exit__(self, *exception: object) -> None:
        # A step that was read already was about to be validated: without that its record would not be whole.
        if self._metrics is not None:
            self.write()

    def take(self, step: int, metrics: Metrics) -> None:
        """A step was dispatched; what the one before it gave is written down."""
        self.write()
        self._step, self._metrics = step, metrics

    def read(self) -> None:
        """Wait for the step and show how it went. Raises Diverged where a number is not finite."""
        if self._metrics is not None:
            values = {name: float(value) for name, value in jax.device_get(self._metrics).items()}
            self._metrics = None
            self.add(values)
            self._speed.step(values["tokens"])
            self._audience.step(self._step, f"loss {values['loss']:.4f}  {self._speed}")

    def add(self, values: Mapping[str, float]) -> None:
        """Further numbers of the step. Raises Diverged where one is not finite."""
        for name, value in values.items():
            if not math.isfinite(value):
                self._values = {}
                raise Diverged(self._step, name, value, max(self._checkpoints.steps, default=None))
        self._values |= values

    def write(self) -> None:
        """Write the step down, once."""
        self.read()
        if self._values:
            values, self._values = self._values, {}
            self._journal.write(self._step, values)


def fit(
    task: Task,
    state: TrainState,
    progress: Progress,
    *,
    steps: int,
    until: int,
    checkpoint_every: int,
    watch: WatchConfig,
    checkpoints: Checkpoints,
    journal: Journal,
    display: Display,
    speed: Speed,
) -> tuple[TrainState, Progress]:
    """Take steps up to number `until`, of a run of `steps`; validate and record as `watch` says, save every
    `checkpoint_every` steps.

    Ends early when patience runs out, at once where it had run out before. Raises Interrupted, with everything saved,
    on Ctrl-C or SIGTERM, and when nobody reads the display any more; NotSaved where that cannot be saved; Diverged at
    the first number that is not finite, before it is saved. The state given is consumed.
    """
    start = int(state.step)
    until = start if _out_of_patience(progress, watch) else until
    stream = prefetch(task.batches, progress.next_batch)
    with StopRequest() as stop, contextlib.closing(stream):
        audience = _Audience(display, stop)
        with _Records(journal, audience, speed, checkpoints) as records:
            for done, batch in zip(range(start + 1, until + 1), stream, strict=False):
                state, metrics = task.step(state, task.place(batch))
                progress = replace(progress, next_batch=progress.next_batch + 1)
                records.take(done, metrics)

                if done % watch.validate_every == 0 or done == steps:
                    records.read()
                    validation = task.validate(done, state.best_params)
                    audience.line(f"step {done}: {validation.summary}")
                    records.add(validation.metrics)
                    progress = _judged(progress, done, validation.score)
                    speed.skip()
                ended, stopped = _out_of_patience(progress, watch), stop.asked
                if progress.best_step == done or stopped or ended or done % checkpoint_every == 0 or done == until:
                    records.write()
                    checkpoints.save(state, progress)
                if ended:
                    audience.line(
                        f"no better score in {watch.patience} validations, the best was at step {progress.best_step}"
                    )
                    break
                if stopped and done < until:
                    checkpoints.finish()
                    raise Interrupted(done)
    return state, progress


def _out_of_patience(progress: Progress, watch: WatchConfig) -> bool:
    return 0 < watch.patience <= progress.validations_since_best


def _judged(progress: Progress, step: int, score: float) -> Progress:
    if progress.best_score is None or score > progress.best_score:
        return replace(progress, best_score=score, best_step=step, validations_since_best=0)
    return replace(progress, validations_since_best=progress.validations_since_best + 1)
