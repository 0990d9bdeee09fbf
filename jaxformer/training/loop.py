"""The loop around the step: batches in, records and checkpoints out, until the run is done or told to stop."""

import contextlib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

import jax

from jaxformer.config.training import RollBack, Stop, WatchConfig
from jaxformer.data.batches import prefetch
from jaxformer.training.checkpoint import Checkpoints, Progress
from jaxformer.training.journal import Display, Journal, Speed, Unwritten
from jaxformer.training.state import TrainState
from jaxformer.training.step import Metrics
from jaxformer.training.stopping import StopRequest
from jaxformer.training.watchdog import Watchdog


class Interrupted(Exception):
    """The run was told to stop. What it had done is saved."""

    def __init__(self, step: int) -> None:
        super().__init__(f"interrupted after step {step}, which is saved")
        self.step = step


class Diverged(Exception):
    """The run cannot go on: too many steps were left out, or a validation is not finite. Nothing later is saved."""

    def __init__(self, what: str, saved: int | None) -> None:
        """`saved` is the step of the newest checkpoint, None where there is none."""
        kept = "there is no checkpoint" if saved is None else f"the last checkpoint is of step {saved}"
        super().__init__(
            f"{what}, {kept}; start another run with a lower learning rate, a longer warm-up or a smaller clip"
        )


class TooManyLeftOut(Exception):
    """So many steps one after the other were left out that something must be done about it."""

    def __init__(self, state: TrainState, progress: Progress, first: int, last: int) -> None:
        """`state` and `progress` as the steps from `first` to `last` left them: `progress` with the batch after that of
        `last` as the next one.
        """
        super().__init__(f"steps {first} to {last} were left out")
        self.state, self.progress, self.first, self.last = state, progress, first, last


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
    """The record of each step, read one step late, so that a device with a queue always has the next one to work on.

    Used in a `with`, it misses no step that was taken, however that ends.
    """

    def __init__(
        self, journal: Journal | Unwritten, audience: _Audience, speed: Speed, checkpoints: Checkpoints
    ) -> None:
        self._journal, self._audience, self._speed, self._checkpoints = journal, audience, speed, checkpoints
        self.last_read = 0
        """The last step whose numbers are known."""
        self.in_a_row = 0
        """Steps left out up to that one, one after the other."""
        self._step = self._left_out = 0
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
        """Wait for the step and show how it went. Raises Diverged where it was applied with a number that is not
        finite.
        """
        if self._metrics is None:
            return
        values = {name: float(value) for name, value in jax.device_get(self._metrics).items()}
        self._metrics, self.last_read = None, self._step
        loss, skipped = values["loss"], values["skipped"]
        self.in_a_row = self.in_a_row + 1 if skipped else 0
        if skipped:
            self._left_out += 1
            # JSON has no word for the others.
            values = {name: value for name, value in values.items() if math.isfinite(value)}
        self.add(values)
        self._speed.step(values["tokens"])
        left_out = f"  {self._left_out} left out" if self._left_out else ""
        self._audience.step(self._step, f"loss {loss:.4f}  {self._speed}{left_out}")

    def add(self, values: Mapping[str, float]) -> None:
        """More numbers of the step. Raises Diverged where one is not finite."""
        for name, value in values.items():
            if not math.isfinite(value):
                self._values = {}
                raise Diverged(f"{name} is {value} at step {self._step}", max(self._checkpoints.steps, default=None))
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
    bad_numbers: Stop | RollBack,
    checkpoints: Checkpoints,
    journal: Journal | Unwritten,
    display: Display,
    speed: Speed,
    watchdog: Watchdog,
    stop: StopRequest,
) -> tuple[TrainState, Progress]:
    """Take steps up to number `until`, of a run of `steps`; validate and record as `watch` says, save every
    `checkpoint_every` steps, or after the first one from there on that is not left out.

    Ends early when patience runs out, at once where it had run out before. Raises Interrupted, with everything saved,
    when `stop` is asked for, and when nobody reads the display any more; NotSaved where that cannot be saved;
    TooManyLeftOut as `bad_numbers` says; Diverged at the first number of another step that is not finite, before it is
    saved. The state given is consumed.
    """
    start = int(state.step)
    until = start if _out_of_patience(progress, watch) else until
    stream = prefetch(task.batches, progress.next_batch)
    with stop.between_steps(), contextlib.closing(stream):
        audience, due = _Audience(display, stop), False
        with _Records(journal, audience, speed, checkpoints) as records:
            watchdog.begin(start + 1)
            for done, batch in zip(range(start + 1, until + 1), stream, strict=False):
                state, metrics = task.step(state, task.place(batch))
                progress = replace(progress, next_batch=progress.next_batch + 1)
                records.take(done, metrics)
                watchdog.end()

                if done % watch.validate_every == 0 or done == steps:
                    records.read()
                    validation = task.validate(done, state.best_params)
                    audience.line(f"step {done}: {validation.summary}")
                    records.add(validation.metrics)
                    # A checkpoint among steps that are left out would be no place to go back to, so none is the best.
                    progress = progress if records.in_a_row else _judged(progress, done, validation.score)
                    speed.skip()
                ended, stopped = _out_of_patience(progress, watch), stop.reached(done)
                due = due or done % checkpoint_every == 0 or progress.best_step == done
                last = ended or stopped or done == until
                if due or last:
                    records.write()
                if records.in_a_row >= bad_numbers.after:
                    trouble = _too_many(state, progress, done, records)
                    records.write()
                    raise trouble
                if last or (due and not records.in_a_row):
                    checkpoints.save(state, progress)
                    due = False
                if ended:
                    audience.line(
                        f"no better score in {watch.patience} validations, the best was at step {progress.best_step}"
                    )
                    break
                if stopped and done < until:
                    checkpoints.finish()
                    raise Interrupted(done)
                watchdog.begin(done + 1)
    return state, progress


def _too_many(state: TrainState, progress: Progress, done: int, records: _Records) -> TooManyLeftOut:
    last = records.last_read
    unread = done - last
    return TooManyLeftOut(
        state, replace(progress, next_batch=progress.next_batch - unread), last - records.in_a_row + 1, last
    )


def _out_of_patience(progress: Progress, watch: WatchConfig) -> bool:
    return 0 < watch.patience <= progress.validations_since_best


def _judged(progress: Progress, step: int, score: float) -> Progress:
    if progress.best_score is None or score > progress.best_score:
        return replace(progress, best_score=score, best_step=step, validations_since_best=0)
    return replace(progress, validations_since_best=progress.validations_since_best + 1)
