"""What a benchmark should show, whether it did, and the course that all benchmarks with goals take.

A goal is a bound on one figure, a verdict the figure that was measured for it somewhere. A file lists its goals in
`GOALS`, its `judge` finds their figures in the rows, and `--check` ends with exit code 1 where one falls short. A row
that falls short is shown as it is.
"""

import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

import jax
import tyro

from benchmarks import measure
from benchmarks.comparison import Row, table
from jaxformer.analysis.timing import Effort
from jaxformer.config.errors import UserError

TOYS = Path(tempfile.gettempdir()) / "jaxformer-benchmarks"
"""Where figures of toy shapes go, which mean nothing."""


@dataclass(frozen=True)
class Goal:
    """A figure that must be at least, or at most, so much."""

    name: str
    at_least: float | None = None
    at_most: float | None = None
    unit: str = "×"

    def __post_init__(self) -> None:
        if (self.at_least is None) == (self.at_most is None):
            raise ValueError(
                f"a goal has one bound, got at_least={self.at_least} and at_most={self.at_most} for {self.name!r}"
            )

    def met(self, value: float) -> bool:
        """Whether a figure reaches it; one that is not a number does not."""
        return value >= self.at_least if self.at_least is not None else value <= self.at_most  # pyright: ignore[reportOperatorIssue]

    @property
    def bound(self) -> str:
        """In words: "≥ 1.3×"."""
        sign, bound = ("≥", self.at_least) if self.at_least is not None else ("≤", self.at_most)
        return f"{sign} {bound:g}{self._suffix}"

    def shown(self, value: float) -> str:
        """A figure in the goal's unit."""
        return f"{value:.{2 if abs(value) < 10 else 0}f}{self._suffix}"

    @property
    def _suffix(self) -> str:
        return self.unit if self.unit in ("×", "%") else f" {self.unit}"


@dataclass(frozen=True)
class Verdict:
    """What was measured for a goal."""

    goal: Goal
    where: str
    """The case: shapes, and what it was measured against."""
    value: float

    @property
    def met(self) -> bool:
        return self.goal.met(self.value)

    def summary(self) -> dict[str, Any]:
        """As it stands in a JSON file."""
        return {"goal": self.goal.name, "bound": self.goal.bound, "where": self.where, "value": self.value} | {
            "met": self.met
        }


def verdict_table(verdicts: Sequence[Verdict]) -> str:
    """Markdown: every figure beside its goal."""
    lines = [
        [v.goal.name, v.where, v.goal.shown(v.value), v.goal.bound, "yes" if v.met else "falls short"] for v in verdicts
    ]
    return measure.table(["", "where", "measured", "goal", "reached"], lines)


@dataclass(frozen=True)
class Asked:
    """What every benchmark with goals can be asked."""

    seconds: float = 2.0
    """Time to spend on each comparison; five rounds are taken in any case."""
    seed: int = 0
    out: Path = Path(__file__).resolve().parent / "results"
    """Folder of the JSON file, which is named after the device."""
    quick: bool = False
    """Small shapes in seconds, to see that it runs; writes to a temporary folder, for its figures mean nothing."""
    check: bool = False
    """End with exit code 1 where a goal is not reached."""

    @property
    def effort(self) -> Effort:
        """Samples of a twentieth of a second, beside which the millisecond that PyTorch's threads go on turning after
        their work is little; of toys two rounds.
        """
        return Effort(0.0, 2, 2, 0.0) if self.quick else Effort(self.seconds, sample_seconds=0.05)


def conduct(
    name: str,
    question: str | None,
    config: Asked,
    rows: Iterable[Row],
    judge: Callable[[list[Row]], list[Verdict]],
    shown: Callable[[list[Row]], str] = table,
) -> dict[str, Any]:
    """Takes the rows as they are measured, judges them, prints tables and writes JSON; returns what the JSON holds."""
    if jax.default_backend() != "cpu":
        raise UserError(f"{name} has goals for a CPU, got {jax.default_backend()}; set JAX_PLATFORMS=cpu")
    started, environment = time.monotonic(), measure.environment()
    rows = list(rows)
    verdicts = judge(rows)
    document = {
        "benchmark": name,
        "question": (question or "").splitlines()[0],
        "environment": environment,
        "config": {**asdict(config), "out": None},
        "elapsed_seconds": time.monotonic() - started,
        "verdicts": [verdict.summary() for verdict in verdicts],
        "rows": rows,
    }
    path = config.out / f"{name}-{measure.device_name()}.json"
    measure.write(path, document)
    print(f"\n{shown(rows)}\n\n{verdict_table(verdicts)}\n\n{path}")
    return document


AnyAsked = TypeVar("AnyAsked", bound=Asked)


def command(config: type[AnyAsked], main: Callable[[AnyAsked], dict[str, Any]], description: str | None) -> None:
    """The command line of a benchmark: runs it, and fails where it was to be checked and a goal is not reached."""
    asked = tyro.cli(config, description=description)
    document = main(asked)
    short = [verdict for verdict in document["verdicts"] if not verdict["met"]]
    if asked.check and short:
        print(f"{len(short)} of {len(document['verdicts'])} figures fall short of their goals", file=sys.stderr)
        sys.exit(1)
