"""What a run writes down and shows while it goes on."""

import json
import sys
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from jaxformer.training.run import RunFolder, warn


class Journal:
    """`metrics.jsonl` and TensorBoard: one record a step, with its validation, every number in full precision.

    Records that a full disk does not take are kept, and written when it takes them.
    """

    def __init__(self, run: RunFolder, step: int = 0) -> None:
        """`step` is the last one taken: what TensorBoard has of later ones is taken again."""
        self._path = run.metrics_path
        # Unbuffered, so that what was not taken is known to the byte.
        self._lines = self._path.open("ab", buffering=0)
        self._waiting = b""
        self._board = Board(run.tensorboard_path, purge_step=step + 1)

    def write(self, step: int, record: Mapping[str, Any]) -> None:
        """Append one record; numbers also go to TensorBoard under their names."""
        told = bool(self._waiting)
        self._waiting += (json.dumps({"step": step, **record}) + "\n").encode()
        try:
            self._append()
        except OSError as error:
            if not told:
                warn(f"{self._path} cannot be written: {error.strerror}; its records are kept until it can be")
        self._board.write(step, record)

    def close(self) -> None:
        try:
            self._append()
        except OSError as error:
            warn(f"{self._path} lacks its last {self._waiting.count(10)} records: {error.strerror}")
        self._lines.close()
        self._board.close()

    def _append(self) -> None:
        while self._waiting:
            self._waiting = self._waiting[self._lines.write(self._waiting) :]


class Board:
    """Numbers for TensorBoard.

    They are written at once, not in the thread of tensorboardX's `SummaryWriter`: a full disk ends that thread, and
    the run then waits for it forever.
    """

    def __init__(self, folder: Path, purge_step: int) -> None:
        """What is there of `purge_step` and later ones is not shown any more."""
        # Imported here because it takes longer to import than all that comes before the first step of a resumed run.
        from tensorboardX.event_file_writer import EventsWriter
        from tensorboardX.proto import event_pb2
        from tensorboardX.summary import scalar

        folder.mkdir(parents=True, exist_ok=True)
        messages: Any = event_pb2  # whose names are made at run time
        self._folder, self._event, self._scalar = folder, messages.Event, scalar
        self._writer: EventsWriter | None = EventsWriter(str(folder / "events"))
        start = messages.SessionLog(status=messages.SessionLog.START)
        self._write([self._event(step=purge_step, session_log=start)])

    def write(self, step: int, record: Mapping[str, float]) -> None:
        """Add the numbers of a step. After a failure, which is told, no more are added."""
        self._write([self._event(step=step, summary=self._scalar(name, value)) for name, value in record.items()])

    def close(self) -> None:
        self._write([], last=True)

    def _write(self, events: Iterable[Any], last: bool = False) -> None:
        if self._writer is None:
            return
        try:
            for event in events:
                event.wall_time = time.time()
                self._writer.write_event(event)
            self._writer.close() if last else self._writer.flush()
        except OSError as error:
            warn(
                f"{self._folder} cannot be written: {error.strerror}; TensorBoard shows no more of this part of the run"
            )
            self._writer = None


class Unwritten:
    """The journal of a process that leaves the writing to another."""

    def write(self, step: int, record: Mapping[str, Any]) -> None:
        pass

    def close(self) -> None:
        pass


class Display(Protocol):
    """Shows a run's progress to a person."""

    def __enter__(self) -> "Display": ...

    def __exit__(self, *exception: object) -> None: ...

    def step(self, step: int, text: str) -> None:
        """A step is done; `text` says how it went."""
        ...

    def line(self, text: str) -> None:
        """Something worth a line of its own."""
        ...


class BarDisplay:
    """A progress bar in a terminal."""

    def __init__(self, start: int, steps: int) -> None:
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        self._progress = Progress(*columns, console=Console(highlight=False))
        self._task = self._progress.add_task("training", total=steps, completed=start)

    def __enter__(self) -> "BarDisplay":
        self._progress.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._progress.stop()

    def step(self, step: int, text: str) -> None:
        self._progress.update(self._task, completed=step, description=text)

    def line(self, text: str) -> None:
        self._progress.console.print(text, markup=False, soft_wrap=True)


class LineDisplay:
    """A plain line every so many steps, for a log file or a pipe."""

    def __init__(self, start: int, steps: int, every: int) -> None:
        self._start, self._steps, self._every = start, steps, every

    def __enter__(self) -> "LineDisplay":
        return self

    def __exit__(self, *exception: object) -> None:
        pass

    def step(self, step: int, text: str) -> None:
        if step % self._every == 0 or step in (self._start + 1, self._steps):
            self.line(f"step {step}/{self._steps}  {text}")

    def line(self, text: str) -> None:
        print(text, flush=True)


def display(start: int, steps: int, every: int) -> Display:
    """A bar where standard output is a terminal, plain lines elsewhere."""
    return BarDisplay(start, steps) if sys.stdout.isatty() else LineDisplay(start, steps, every)


class Speed:
    """Tokens a second, model FLOP utilisation and time left, over the steps since it was made; pauses are left out."""

    def __init__(self, left: int, flops_per_token: float, peak_flops: float | None, unit: str = "token") -> None:
        """`unit` is what a step predicts some of."""
        self._left, self._flops, self._peak, self._unit = left, flops_per_token, peak_flops, unit
        self._tokens, self._steps, self._seconds, self._since = 0.0, 0, 0.0, time.perf_counter()

    def step(self, tokens: float) -> None:
        """A step over so many tokens is done."""
        now = time.perf_counter()
        self._tokens, self._steps, self._seconds = (
            self._tokens + tokens,
            self._steps + 1,
            self._seconds + now - self._since,
        )
        self._since = now

    def skip(self) -> None:
        """The time since the last step was spent on something else."""
        self._since = time.perf_counter()

    def __str__(self) -> str:
        rate = self._tokens / self._seconds
        left = self._seconds / self._steps * (self._left - self._steps)
        used = "" if self._peak is None else f"  MFU {rate * self._flops / self._peak:.1%}"
        return f"{rate:,.0f} {self._unit}s/s{used}  {clock(left)} left"


def clock(seconds: float) -> str:
    """Seconds as 1:02:03 or 2:03."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
