"""The loop around the step: batches in, records and checkpoints out, until the run is done or told to stop."""

import signal
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from types import FrameType
from typing import Any, Protocol

import jax

from jaxformer.config.translate import WatchConfig
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
    """Ctrl-C or SIGTERM, noticed between two steps. A second one interrupts at once."""

    _signals = (signal.SIGINT, signal.SIGTERM)

    def __init__(self) -> None:
        self.asked = False

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
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True


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
    on Ctrl-C or SIGTERM. The state given is consumed.
    """
    start = int(state.step)
    until = start if _out_of_patience(progress, watch) else until
    stream = prefetch(task.batches, progress.next_batch)
    with StopRequest() as stop:
        for done, batch in zip(range(start + 1, until + 1), stream, strict=False):
            state, metrics = task.step(state, task.place(batch))
            values = {name: float(value) for name, value in jax.device_get(metrics).items()}
            speed.step(values["tokens"])
            display.step(done, f"loss {values['loss']:.4f}  {speed}")
            progress = replace(progress, next_batch=progress.next_batch + 1)

            if done % watch.validate_every == 0 or done == steps:
                validation = task.validate(done, state.best_params)
                values |= validation.metrics
                display.line(f"step {done}: {validation.summary}")
                progress = _judged(progress, done, validation.score)
                speed.skip()
            journal.write(done, values)
            ended = _out_of_patience(progress, watch)
            if progress.best_step == done or stop.asked or ended or done % checkpoint_every == 0 or done == until:
                checkpoints.save(state, progress)
            if ended:
                display.line(
                    f"no better score in {watch.patience} validations, the best was at step {progress.best_step}"
                )
                break
            if stop.asked and done < until:
                stream.close()
                raise Interrupted(done)
    stream.close()
    return state, progress


def _out_of_patience(progress: Progress, watch: WatchConfig) -> bool:
    return 0 < watch.patience <= progress.validations_since_best


def _judged(progress: Progress, step: int, score: float) -> Progress:
    if progress.best_score is None or score > progress.best_score:
        return replace(progress, best_score=score, best_step=step, validations_since_best=0)
    return replace(progress, validations_since_best=progress.validations_since_best + 1)
