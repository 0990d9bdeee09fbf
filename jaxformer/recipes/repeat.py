"""A run as evidence: it is run again from what its folder says, and the losses are compared."""

import json
import math
from pathlib import Path
from typing import Any, NamedTuple

from jaxformer.config.errors import UserError
from jaxformer.training.checkpoint import Checkpoints
from jaxformer.training.run import RunFolder


class Agreement(NamedTuple):
    """How far the losses of two runs agree."""

    steps: int
    """Steps that both have taken."""
    first: int | None
    """The first of them whose losses differ; None where all are equal to the last bit."""
    furthest: float
    """The largest difference of two losses, relative to the first run's; infinite where only one run left a step out
    whose loss was not finite.
    """

    def __str__(self) -> str:
        if self.first is None:
            return f"the losses of {self.steps:,} steps agree to the last bit"
        return (
            f"the losses differ from step {self.first:,} on, by {self.furthest:.2g} of their size at most "
            f"in {self.steps:,} steps"
        )


def agreement(there: RunFolder, here: RunFolder) -> Agreement:
    """Compares the losses of the steps that both runs have recorded. Raises UserError where there are none."""
    first, second = _losses(there), _losses(here)
    steps = sorted(first.keys() & second.keys())
    if not steps:
        raise UserError(f"{there.path} and {here.path} have no step in common; train both for at least one step")
    different = [step for step in steps if first[step] != second[step]]
    apart = [_apart(first[step], second[step]) for step in different]
    return Agreement(len(steps), min(different, default=None), max(apart, default=0.0))


def last_step(run: RunFolder) -> int:
    """The last step that a run has recorded. Raises UserError where there is none."""
    steps = _losses(run)
    if not steps:
        raise UserError(f"{run.path} has no step to repeat; train it for at least one step")
    return max(steps)


def changes(there: RunFolder, here: RunFolder) -> list[str]:
    """What the two were run on and with, batches included, where that differs: a line each."""
    first, second = (_flat(_environment(run)) | _batches(run) for run in (there, here))
    names = [name for name in (first | second) if first.get(name) != second.get(name)]
    return [f"{name}: {first.get(name, 'nothing')} there, {second.get(name, 'nothing')} here" for name in names]


def folder_beside(run: Path) -> Path:
    """Where a repetition goes that was given no folder: beside the run, under the next free name."""
    names = (run.with_name(f"{run.name}-again{number}") for number in ["", *range(2, 1000)])
    return next(path for path in names if not path.exists())


def _losses(run: RunFolder) -> dict[int, float | None]:
    """The loss of each step, None where it was not finite and the step was left out."""
    return {row["step"]: row.get("loss") for row in run.records()}


def _apart(first: float | None, second: float | None) -> float:
    if first is None or second is None:
        return math.inf
    return abs(second - first) / max(abs(first), 1e-300)


def _batches(run: RunFolder) -> dict[str, str]:
    """The fingerprint of what a run read, of corpus, tokenizer, seed and order; nothing before its first checkpoint."""
    with Checkpoints(run.checkpoints_path) as checkpoints:
        return {"batches": checkpoints.progress(checkpoints.steps[-1]).batches} if checkpoints.steps else {}


def _environment(run: RunFolder) -> Any:
    path = run.path / "env.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def _flat(data: Any, name: str = "") -> dict[str, Any]:
    """Nested plain data by dotted names."""
    if not isinstance(data, dict):
        return {name: data}
    parts = (_flat(value, f"{name}.{key}" if name else str(key)) for key, value in data.items())
    return {key: value for part in parts for key, value in part.items()}
