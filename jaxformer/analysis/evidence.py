"""What an experiment ends in: means with intervals, a test, a verdict that can fail, and the files that keep them."""

import inspect
import json
import math
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, NamedTuple, TypeVar
from unicodedata import east_asian_width

import numpy as np

from jaxformer.analysis.fonts import ADVICE
from jaxformer.analysis.hardware import describe, summary
from jaxformer.config.io import to_json

LEVEL = 0.05
"""A finding holds where its p is no larger; an interval covers the true mean with probability 1 - LEVEL."""

TEST = "exact one-sided sign test over seeds, at each bound"
INTERVAL = f"mean over seeds with Student's {1 - LEVEL:.0%} t interval"

FEWEST_SEEDS = math.ceil(-math.log2(LEVEL))
"""With fewer, the sign test cannot reach LEVEL even when all seeds agree."""

HOLDS, REFUTED, USAGE = 0, 1, 2
"""Exit codes: the claim held, it did not, the input cannot be used."""


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


def _width(text: str) -> int:
    """Columns that a terminal needs; a Chinese character takes two."""
    return sum(2 if east_asian_width(character) in "WF" else 1 for character in text)


def _demand(finding: Finding) -> str:
    if math.isinf(finding.high):
        return f"≥ {finding.low:.3g}"
    return f"≤ {finding.high:.3g}" if math.isinf(finding.low) else f"{finding.low:.3g} to {finding.high:.3g}"


Config = TypeVar("Config")


def command(
    main: Callable[[Config], Report],
    draw: Callable[[Path, Report], str],
    config: Config,
    quick: Config,
    arguments: Sequence[str] | None = None,
) -> int:
    """An experiment's command line: runs `main`, prints its report, writes JSON and the picture; returns the exit code.

    Both files are named after the one that defines `main`. They go to the folder results beside it when the experiment
    ran with its own `config`, else to runs/experiments, so that no quick look overwrites what is kept. `draw` returns
    the characters that no installed font has.
    """
    import tyro

    file, own = Path(inspect.getfile(main)), config
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    base = quick if "--quick" in arguments else own
    Chosen = Annotated[type(own), tyro.conf.arg(name="")]

    def parse(
        config: Chosen = base,  # pyright: ignore[reportInvalidTypeForm]
        quick: bool = False,
        out: Path | None = None,
    ) -> tuple[Any, Path]:
        """The config and the folder for the results.

        Args:
            config: What is done.
            quick: Do less: seconds instead of minutes. The other options may change this too.
            out: The folder for the results.
        """
        return config, out or (file.parent / "results" if config == own else Path("runs") / "experiments")

    about = inspect.getdoc(inspect.getmodule(main))
    options = (tyro.conf.AvoidSubcommands,)
    try:
        chosen, folder = tyro.cli(parse, args=arguments, prog=file.name, description=about, config=options)
    except ValueError as error:  # A config that refuses its values.
        print(f"{file.name}: {error}", file=sys.stderr)
        return USAGE
    start = time.perf_counter()
    report = main(chosen)
    seconds, hardware = time.perf_counter() - start, describe()
    folder.mkdir(parents=True, exist_ok=True)
    document = {**report.to_json(), "config": to_json(chosen), "seconds": round(seconds, 1), "hardware": hardware}
    data, picture = folder / f"{file.stem}.json", folder / f"{file.stem}.png"
    data.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    missing = draw(picture, report)
    print(f"{report}\n{seconds:.0f} s on {summary(hardware)}; {data}, {picture}")
    if missing:
        print(f"no font has {missing}: {ADVICE}", file=sys.stderr)
    return HOLDS if report.holds else REFUTED
