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

import numpy as np

from jaxformer.analysis.hardware import describe, summary
from jaxformer.config.errors import UserError
from jaxformer.config.io import to_json

LEVEL = 0.05
"""A finding holds where its test gives a smaller p; its mean stands in an interval that covers 1 - LEVEL."""

TEST = "exact one-sided sign test over seeds, at both bounds where there are two"
INTERVAL = f"mean over seeds, {1 - LEVEL:.0%} Student t interval"

HOLDS, REFUTED, USAGE = 0, 1, 2
"""Exit codes: the claim held, it did not, the input cannot be used."""


class Interval(NamedTuple):
    """A mean over seeds and where the true one lies, with a confidence of 1 - LEVEL."""

    mean: np.ndarray
    low: np.ndarray
    high: np.ndarray


def interval(values: Any) -> Interval:
    """Student's t interval of the mean over the first axis, one entry a seed; each entry of the others on its own.

    Raises UserError for fewer than two seeds, which have no spread.
    """
    from scipy.special import stdtrit

    values = np.asarray(values, np.float64)
    count = len(values)
    if count < 2:
        raise UserError(f"an interval needs at least 2 seeds, got {count}; give more with --seeds")
    half = stdtrit(count - 1, 1 - LEVEL / 2) * values.std(axis=0, ddof=1) / math.sqrt(count)
    mean = values.mean(axis=0)
    return Interval(mean, mean - half, mean + half)


@dataclass(frozen=True)
class Finding:
    """A statement that a quantity lies within bounds, and the quantity as each seed gave it.

    It is tested by the sign test, which assumes no more than that seeds are independent: accuracies at the ceiling are
    far from normal and often all equal, where a t test would divide by zero. The null hypothesis is that the median
    over all seeds lies outside; with two bounds it is tested at each, and the larger p counts (equivalence by two
    one-sided tests). Source: Conover 1999, §3.4; Schuirmann 1987.
    """

    statement: str
    values: Sequence[float]
    low: float = -math.inf
    high: float = math.inf

    def __post_init__(self) -> None:
        if not self.low < self.high or math.isinf(self.high - self.low) and self.low == -self.high:
            raise ValueError(f"bounds must be in order and one of them finite, got low={self.low}, high={self.high}")
        if len(self.values) < fewest_seeds():
            raise UserError(
                f"a verdict needs at least {fewest_seeds()} seeds, got {len(self.values)}; give more with --seeds"
            )

    @property
    def p(self) -> float:
        """How likely so many seeds inside would be, were the median outside. A value that is no number lies outside."""
        tails = []
        if self.low > -math.inf:
            tails.append(_coin_tail(sum(value >= self.low for value in self.values), len(self.values)))
        if self.high < math.inf:
            tails.append(_coin_tail(sum(value <= self.high for value in self.values), len(self.values)))
        return max(tails)

    @property
    def holds(self) -> bool:
        return self.p <= LEVEL

    def to_json(self) -> dict[str, Any]:
        bounds = [bound if math.isfinite(bound) else None for bound in (self.low, self.high)]
        mean, low, high = (float(part) for part in interval(self.values))
        values = [float(value) for value in self.values]
        figures = {"mean": mean, "interval": [low, high], "values": values, "p": self.p, "holds": self.holds}
        return {"statement": self.statement, "bounds": bounds, **figures}


def fewest_seeds() -> int:
    """Seeds below which the sign test cannot reach LEVEL, even when all agree."""
    return math.ceil(-math.log2(LEVEL))


def _coin_tail(heads: int, tosses: int) -> float:
    """The probability of at least so many heads of a fair coin."""
    return sum(math.comb(tosses, k) for k in range(heads, tosses + 1)) / 2**tosses


@dataclass(frozen=True)
class Report:
    """What an experiment found. The claim holds if every finding does, and then no correction for their number is due:
    it is refuted by any one of them (intersection-union test, Berger 1982)."""

    claim: str
    findings: Sequence[Finding]
    figures: dict[str, Any]
    """Everything measured, as plain data; the picture is drawn from it."""

    @property
    def holds(self) -> bool:
        return all(finding.holds for finding in self.findings)

    def to_json(self) -> dict[str, Any]:
        findings = [finding.to_json() for finding in self.findings]
        return {
            "claim": self.claim,
            "holds": self.holds,
            "test": TEST,
            "interval": INTERVAL,
            "findings": findings,
            "figures": self.figures,
        }

    def __str__(self) -> str:
        """The claim, a line for each finding, and the verdict."""
        width = max(len(finding.statement) for finding in self.findings)
        rows = [f"{'':{width}}  {'mean':>9}  {'95% interval':>21}  {'demanded':>15}  {'p':>7}"]
        for finding in self.findings:
            mean, low, high = (f"{float(part):.4g}" for part in interval(finding.values))
            bounds = f"{_bound(finding.low)} … {_bound(finding.high)}"
            mark = "" if finding.holds else "  does not hold"
            span = f"{low} … {high}"
            rows.append(f"{finding.statement:{width}}  {mean:>9}  {span:>21}  {bounds:>15}  {finding.p:>7.4f}{mark}")
        verdict = "the claim holds" if self.holds else "the claim DOES NOT hold"
        return "\n".join([f"claim: {self.claim}", "", *rows, "", f"verdict: {verdict} ({TEST})"])


def _bound(value: float) -> str:
    return f"{value:g}" if math.isfinite(value) else ""


Config = TypeVar("Config")


def command(
    main: Callable[[Config], Report],
    draw: Callable[[Path, Report], None],
    config: Config,
    quick: Config,
    arguments: Sequence[str] | None = None,
) -> int:
    """An experiment's command line: runs `main`, prints its report, writes NAME.json and NAME.png; returns the exit code.

    NAME is that of the file that defines `main`. Its results go to the folder `results` beside it when the config is
    the experiment's own, and to runs/experiments otherwise, so that a quick look never overwrites what is kept.
    """
    import tyro

    arguments = sys.argv[1:] if arguments is None else list(arguments)
    file = Path(inspect.getfile(main))
    base = quick if "--quick" in arguments else config
    Chosen = Annotated[type(config), tyro.conf.arg(name="")]

    def parse(config: Chosen = base, quick: bool = False, out: Path | None = None) -> tuple[Any, Path]:  # pyright: ignore
        """
        Args:
            config: What is done.
            quick: A smaller config that takes seconds.
            out: The folder for the results.
        """
        kept = file.parent / "results" if config == own else Path("runs") / "experiments"
        return config, out or kept

    own = config
    try:
        chosen, folder = tyro.cli(
            parse,
            args=arguments,
            prog=file.name,
            description=inspect.getdoc(inspect.getmodule(main)),
            config=(tyro.conf.AvoidSubcommands,),
        )
        start = time.perf_counter()
        report = main(chosen)
    except UserError as error:
        print(f"{file.name}: {error}", file=sys.stderr)
        return USAGE
    seconds = time.perf_counter() - start
    hardware = describe()
    folder.mkdir(parents=True, exist_ok=True)
    json_path, picture = folder / f"{file.stem}.json", folder / f"{file.stem}.png"
    document = {**report.to_json(), "config": to_json(chosen), "seconds": round(seconds, 1), "hardware": hardware}
    json_path.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    draw(picture, report)
    print(f"{report}\n\n{seconds:.0f} s on {summary(hardware)}; {json_path}, {picture}")
    return HOLDS if report.holds else REFUTED
