"""What an experiment ends in: means with intervals, a test, a verdict that can fail."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Self
from unicodedata import east_asian_width

import numpy as np

LEVEL = 0.05
"""A finding holds where its p is no larger; an interval covers the true mean with probability 1 - LEVEL."""

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


@dataclass(frozen=True)
class Finding:
    """A statement that a quantity lies within bounds, and the quantity as each seed gave it.

    The sign test assumes only that seeds are independent. Accuracies at the ceiling are far from normal and often all
    equal, where a t test would divide by zero. Its null hypothesis is that the median over all possible seeds lies
    beyond the bound; of two bounds the larger p counts, so that "stays at chance" is shown and not merely unrefuted
    (equivalence by two one-sided tests). Sources: Dixon & Mood 1946; Schuirmann 1987.
    """

    statement: str
    values: Sequence[float]
    """One a seed."""
    low: float = -math.inf
    high: float = math.inf

    def __post_init__(self) -> None:
        if not self.low < self.high or (math.isinf(self.low) and math.isinf(self.high)):
            raise ValueError(f"bounds must be in order and one of them finite, got low={self.low}, high={self.high}")

    @property
    def p(self) -> float:
        """How likely so many seeds within the bounds would be, were the median beyond. NaN is within no bounds."""
        inside = []
        if self.low > -math.inf:
            inside.append(sum(value >= self.low for value in self.values))
        if self.high < math.inf:
            inside.append(sum(value <= self.high for value in self.values))
        return _heads(min(inside), len(self.values))

    @property
    def holds(self) -> bool:
        return self.p <= LEVEL

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Self:
        """The finding that `to_json` gave."""
        low, high = data["bounds"]
        return cls(
            data["statement"],
            data["values"],
            -math.inf if low is None else low,
            math.inf if high is None else high,
        )

    def to_json(self) -> dict[str, Any]:
        mean, low, high = map(float, interval(self.values))
        return {
            "statement": self.statement,
            "bounds": [bound if math.isfinite(bound) else None for bound in (self.low, self.high)],
            "mean": mean,
            "interval": [low, high],
            "values": [float(value) for value in self.values],
            "p": self.p,
            "holds": self.holds,
        }


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
    findings: Sequence[Finding]
    figures: dict[str, Any]
    """What was measured, as plain data; the picture is drawn from it."""

    @property
    def holds(self) -> bool:
        return all(finding.holds for finding in self.findings)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Self:
        """The report that `to_json` gave."""
        return cls(data["claim"], [Finding.from_json(finding) for finding in data["findings"]], data["figures"])

    def to_json(self) -> dict[str, Any]:
        findings = [finding.to_json() for finding in self.findings]
        verdict = {"claim": self.claim, "holds": self.holds, "test": TEST, "interval": INTERVAL}
        return {**verdict, "findings": findings, "figures": self.figures}

    def __str__(self) -> str:
        """The claim, a line for each finding, and the verdict."""
        rows = [("", "mean", "95% interval", "demanded", "p", "")]
        for finding in self.findings:
            mean, low, high = (f"{part:.3g}" for part in interval(finding.values))
            mark = "" if finding.holds else "does not hold"
            rows.append((finding.statement, mean, f"[{low}, {high}]", _demand(finding), f"{finding.p:.4f}", mark))
        widths = [max(map(_width, column)) for column in zip(*rows, strict=True)]
        table = [
            "  ".join(cell + " " * (n - _width(cell)) for cell, n in zip(row, widths, strict=True)) for row in rows
        ]
        verdict = f"the claim {'holds' if self.holds else 'DOES NOT hold'}; {TEST}; {INTERVAL}"
        return "\n".join([f"claim: {self.claim}", *map(str.rstrip, table), f"verdict: {verdict}"])


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


def _demand(finding: Finding) -> str:
    if math.isinf(finding.high):
        return f"≥ {finding.low:.3g}"
    return f"≤ {finding.high:.3g}" if math.isinf(finding.low) else f"{finding.low:.3g} to {finding.high:.3g}"
