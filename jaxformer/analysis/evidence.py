"""What an experiment ends in: means with intervals, a test, a verdict that can fail."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NamedTuple, Self
from unicodedata import east_asian_width

import numpy as np

LEVEL = 0.05
"""A verdict needs a p that is no larger; an interval covers the true mean with probability 1 - LEVEL."""

TEST = "exact one-sided sign test over seeds, at each bound"
INTERVAL = f"mean over seeds with Student's {1 - LEVEL:.0%} t interval"

FEWEST_SEEDS = math.ceil(-math.log2(LEVEL))
"""With fewer, the sign test cannot reach LEVEL even when all seeds agree."""


def check_seeds(seeds: Sequence[int]) -> None:
    """Raises ValueError where seeds are too few for a verdict, or not independent."""
    if len(seeds) < FEWEST_SEEDS or len(set(seeds)) < len(seeds):
        raise ValueError(f"seeds must be at least {FEWEST_SEEDS}, all different, for a verdict, got {list(seeds)}")


class Interval(NamedTuple):
    """A mean over seeds, and the bounds between which the true one lies with a confidence of 1 - LEVEL."""

    mean: np.ndarray
    low: np.ndarray
    high: np.ndarray


def interval(values: Any) -> Interval:
    """Student's t interval of the mean over the first axis, which has one entry a seed; other axes are kept.

    Raises ValueError for fewer than two seeds, which have no spread.
    """
    from scipy.special import stdtrit

    values = np.asarray(values, np.float64)
    count = len(values)
    if count < 2:
        raise ValueError(f"an interval needs at least 2 seeds, got {count}")
    half = stdtrit(count - 1, 1 - LEVEL / 2) * values.std(axis=0, ddof=1) / math.sqrt(count)
    mean = values.mean(axis=0)
    return Interval(mean, mean - half, mean + half)


class Verdict(StrEnum):
    """What evidence says of a statement."""

    HOLDS = "holds"
    CONTRARY = "contrary"
    """The opposite passes the same test."""
    UNDECIDED = "not shown"
    """Neither does: too few seeds, or seeds that disagree."""


@dataclass(frozen=True)
class Finding:
    """A statement that a quantity lies between bounds, and the quantity as each seed gave it.

    The sign test assumes only that seeds are independent. Accuracies at the ceiling are far from normal and often all
    equal, where a t test would divide by zero. Its null hypothesis is that the median over all possible seeds lies
    at the bound or beyond; of two bounds the larger p counts, so that "stays at chance" is shown and not merely
    unrefuted (equivalence by two one-sided tests). A value at the bound itself, or NaN, speaks for neither side.
    Sources: Dixon & Mood 1946; Schuirmann 1987.
    """

    statement: str
    values: Sequence[float]
    """One a seed."""
    low: float = -math.inf
    high: float = math.inf

    def __post_init__(self) -> None:
        _check(self.low, self.high)

    @property
    def p(self) -> float:
        """How likely so many seeds between the bounds would be, were the median not."""
        inside = []
        if self.low > -math.inf:
            inside.append(sum(value > self.low for value in self.values))
        if self.high < math.inf:
            inside.append(sum(value < self.high for value in self.values))
        return _heads(min(inside), len(self.values))

    @property
    def verdict(self) -> Verdict:
        """Contrary where the median is shown to lie beyond one of the bounds."""
        if self.p <= LEVEL:
            return Verdict.HOLDS
        beyond = max(sum(value < self.low for value in self.values), sum(value > self.high for value in self.values))
        return Verdict.CONTRARY if _heads(beyond, len(self.values)) <= LEVEL else Verdict.UNDECIDED

    @property
    def holds(self) -> bool:
        return self.verdict is Verdict.HOLDS

    def to_json(self) -> dict[str, Any]:
        mean, low, high = map(float, interval(self.values))
        return {
            "statement": self.statement,
            "bounds": _finite(self),
            "mean": mean,
            "interval": [low, high],
            "values": [float(value) for value in self.values],
            "p": self.p,
            "verdict": str(self.verdict),
        }


@dataclass(frozen=True)
class Exact:
    """A statement that a number which no seed changes, such as a count, lies within bounds, they themselves included.

    It needs no test and has no interval; it holds or the contrary does. NaN is within no bounds.
    """

    statement: str
    value: float
    low: float = -math.inf
    high: float = math.inf

    def __post_init__(self) -> None:
        _check(self.low, self.high)

    @property
    def verdict(self) -> Verdict:
        return Verdict.HOLDS if self.low <= self.value <= self.high else Verdict.CONTRARY

    @property
    def holds(self) -> bool:
        return self.verdict is Verdict.HOLDS

    def to_json(self) -> dict[str, Any]:
        return {
            "statement": self.statement,
            "bounds": _finite(self),
            "value": float(self.value),
            "verdict": str(self.verdict),
        }


def _check(low: float, high: float) -> None:
    if not low < high or (math.isinf(low) and math.isinf(high)):
        raise ValueError(f"bounds must be in order and one of them finite, got low={low}, high={high}")


def _finite(finding: Finding | Exact) -> list[float | None]:
    return [bound if math.isfinite(bound) else None for bound in (finding.low, finding.high)]


def _finding(data: dict[str, Any]) -> Finding | Exact:
    """The finding that `to_json` gave."""
    low, high = data["bounds"]
    bounds = -math.inf if low is None else low, math.inf if high is None else high
    if "value" in data:
        return Exact(data["statement"], data["value"], *bounds)
    return Finding(data["statement"], data["values"], *bounds)


def _heads(least: int, tosses: int) -> float:
    """The probability of `least` or more heads of a fair coin."""
    return sum(math.comb(tosses, k) for k in range(least, tosses + 1)) / 2**tosses


@dataclass(frozen=True)
class Report:
    """What an experiment found. Its claim holds if every finding does.

    No correction for the number of findings is due then: any one of them can refute the claim, none alone can prove it
    (intersection-union test, Berger 1982).
    """

    claim: str
    findings: Sequence[Finding | Exact]
    figures: dict[str, Any]
    """What was measured, as plain data; the picture is drawn from it."""

    @property
    def holds(self) -> bool:
        return all(finding.holds for finding in self.findings)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Self:
        """The report that `to_json` gave. Verdicts follow from the values, in those too that were written before."""
        return cls(data["claim"], [_finding(finding) for finding in data["findings"]], data["figures"])

    def to_json(self) -> dict[str, Any]:
        findings = [finding.to_json() for finding in self.findings]
        verdict = {"claim": self.claim, "holds": self.holds, "test": TEST, "interval": INTERVAL}
        return {**verdict, "findings": findings, "figures": self.figures}

    def __str__(self) -> str:
        """The claim, a line for each finding, and the verdict."""
        rows = [("", "mean", "95% interval", "demanded", "p", ""), *map(_row, self.findings)]
        widths = [max(map(_width, column)) for column in zip(*rows, strict=True)]
        table = [
            "  ".join(cell + " " * (n - _width(cell)) for cell, n in zip(row, widths, strict=True)) for row in rows
        ]
        verdict = f"the claim {_judged(self.findings)}; {TEST}; {INTERVAL}"
        return "\n".join([f"claim: {self.claim}", *map(str.rstrip, table), f"verdict: {verdict}"])


def _row(finding: Finding | Exact) -> tuple[str, ...]:
    """A finding's cells in the table of a report."""
    match finding:
        case Exact(statement, value):
            return statement, f"{value:.3g}", "exact", _demand(finding, "≥", "≤"), "", finding.verdict
        case Finding(statement, values):
            mean, low, high = (f"{part:.3g}" for part in interval(values))
            demand = _demand(finding, ">", "<")
            return statement, mean, f"[{low}, {high}]", demand, f"{finding.p:.4f}", finding.verdict


def _demand(finding: Finding | Exact, above: str, below: str) -> str:
    if math.isinf(finding.high):
        return f"{above} {finding.low:.3g}"
    return f"{below} {finding.high:.3g}" if math.isinf(finding.low) else f"{finding.low:.3g} to {finding.high:.3g}"


def _judged(findings: Sequence[Finding | Exact]) -> str:
    """The verdict on a claim in words: one contrary finding refutes it, one that is not shown leaves it open."""
    contrary, open_ = (
        sum(finding.verdict is verdict for finding in findings) for verdict in (Verdict.CONTRARY, Verdict.UNDECIDED)
    )
    if not contrary and not open_:
        return "holds"
    words = "DOES NOT hold" if contrary else "is NOT SHOWN"
    return f"{words} (of {len(findings)} findings {contrary} contrary, {open_} not shown)"


def plain(figures: Any) -> Any:
    """A tree of arrays and numbers as one of lists and numbers, for `Report.figures`: five significant digits are more
    than a picture shows, and keep a stored result small.
    """
    if isinstance(figures, Mapping):
        return {str(name): plain(value) for name, value in figures.items()}
    if isinstance(figures, list | tuple) or getattr(figures, "ndim", 0):
        return [plain(value) for value in figures]
    if isinstance(figures, str | bool | int | None):
        return figures
    value = figures.item() if hasattr(figures, "item") else figures
    return float(f"{value:.5g}") if isinstance(value, float) else value


def _width(text: str) -> int:
    """Columns that a terminal needs; a Chinese character takes two."""
    return sum(2 if east_asian_width(character) in "WF" else 1 for character in text)
