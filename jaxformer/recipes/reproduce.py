"""Experiments run anew, each in a process of its own, and compared with what is stored of them."""

import json
import math
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jaxformer.analysis.evidence import Exact, Finding, Report, interval
from jaxformer.recipes.experiment import HOLDS, INTERRUPTED, REFUTED

REPRODUCED, FIGURES, VERDICT, NEW = "reproduced", "same verdict, other figures", "another verdict", "no stored result"
FAILED, UNCOMPARED = "failed", "not compared"
SAME = (REPRODUCED, FIGURES)


class Interrupted(KeyboardInterrupt):
    """Ctrl-C, and what was not finished then."""

    def __init__(self, left: Sequence[str]) -> None:
        super().__init__()
        self.left = left


def reproduce(files: Mapping[str, Path], *, quick: bool = False) -> bool:
    """Runs the experiments in these files, by name; prints claim, evidence, verdict, and how that compares.

    Returns whether all of them have the stored verdict; of those that are quick, whether they came to one. The stored
    result is in the folder results beside the file, and stays as it is. Parts that an experiment finished before it was
    interrupted are kept where its own command line keeps them. Raises Interrupted.
    """
    outcomes: dict[str, str] = {}
    for name, path in files.items():
        try:
            outcomes[name] = _one(name, path, quick=quick)
        except KeyboardInterrupt:
            raise Interrupted([name for name in files if name not in outcomes]) from None
    width = max(map(len, outcomes))
    print("\n".join(f"{name:<{width}}  {outcome}" for name, outcome in outcomes.items()))
    return all(outcome in (*SAME, UNCOMPARED) for outcome in outcomes.values())


def _one(name: str, path: Path, *, quick: bool) -> str:
    """Runs one experiment and says how it came out."""
    print(f"{name}: running", flush=True)
    start, found = time.monotonic(), run(path, quick=quick)
    if found is None:
        return FAILED
    print(Report.from_json(found))
    stored = path.parent / "results" / f"{path.stem}.json"
    lines = []
    if quick:
        outcome = UNCOMPARED
    elif not stored.exists():
        outcome = NEW
    else:
        outcome, lines = compare(found, json.loads(stored.read_text(encoding="utf-8")))
    print("\n".join([*lines, f"{name}: {outcome}, after {time.monotonic() - start:.0f} s\n"]), flush=True)
    return outcome


def run(path: Path, *, quick: bool) -> dict[str, Any] | None:
    """What an experiment, run in a process of its own, writes; None where it failed, after it has told why."""
    with tempfile.TemporaryDirectory(prefix="jaxformer-reproduce-") as folder:
        options = ["--out", folder, *["--quick"] * quick]
        # Its report would name files that go with the folder.
        code = subprocess.run([sys.executable, path, *options], stdout=subprocess.DEVNULL).returncode
        if code == INTERRUPTED:
            raise KeyboardInterrupt
        if code not in (HOLDS, REFUTED) or not (written := Path(folder, f"{path.stem}.json")).exists():
            print(f"{path.name} ended with exit code {code} and no result", file=sys.stderr)
            return None
        return json.loads(written.read_text(encoding="utf-8"))


def compare(found: dict[str, Any], stored: dict[str, Any]) -> tuple[str, list[str]]:
    """How a result stands beside the stored one, both as JSON, and a line for each difference.

    A verdict is another where that of the claim or of a finding is, both judged by today's rules; figures are others
    where the intervals of a finding do not overlap, an exact number is another, or one of both has a finding that the
    other has not.
    """
    new, old = Report.from_json(found), Report.from_json(stored)
    ours, theirs = ({finding.statement: finding for finding in report.findings} for report in (new, old))
    both = {name: (finding, theirs[name]) for name, finding in ours.items() if name in theirs}
    verdicts = [f"{name}: {a.verdict}, stored: {b.verdict}" for name, (a, b) in both.items() if a.verdict != b.verdict]
    figures = [f"{name}: {_figures(a)}, stored: {_figures(b)}" for name, (a, b) in both.items() if not _overlap(a, b)]
    figures += [f"{name}: not in the stored result" for name in ours if name not in theirs]
    figures += [f"{name}: only in the stored result" for name in theirs if name not in ours]
    notes = [] if found["config"] == stored["config"] else ["the stored result is that of another configuration"]
    if verdicts or new.holds != old.holds:
        return VERDICT, verdicts + figures + notes
    return FIGURES if figures else REPRODUCED, figures + notes


def _spread(finding: Finding | Exact) -> tuple[float, float, float]:
    """The mean and the ends of its interval; of an exact number itself."""
    if isinstance(finding, Exact):
        return finding.value, finding.value, finding.value
    mean, low, high = map(float, interval(finding.values))
    return mean, low, high


def _overlap(a: Finding | Exact, b: Finding | Exact) -> bool:
    """Whether intervals do, up to rounding, by which exact numbers may differ between machines."""
    (_, low_a, high_a), (_, low_b, high_b) = _spread(a), _spread(b)
    low, high = max(low_a, low_b), min(high_a, high_b)
    return low <= high or math.isclose(low, high, rel_tol=1e-9, abs_tol=1e-9)


def _figures(finding: Finding | Exact) -> str:
    mean, low, high = _spread(finding)
    return f"{mean:.3g}" if isinstance(finding, Exact) else f"{mean:.3g} [{low:.3g}, {high:.3g}]"
