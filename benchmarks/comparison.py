"""One case of a benchmark: contestants that compute the same, timed in turns, and a row for each of them.

What is judged is how many times as long a rival takes, or what part of the machine's rate is reached. Both are taken
round by round, of samples that lie a moment apart, and their median is reported: a machine that was slower for half of
the rounds was so for both sides.
"""

import statistics
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import jax
import numpy as np

from benchmarks import measure
from jaxformer.analysis.timing import Contestant, Effort, Timing, alternate

Row = dict[str, Any]
Case = Mapping[str, Any]
"""What distinguishes a case from the others of its file, by name: {"mode": "forward", "length": 128}."""

SQUARE = 1024
"""Rows and columns of the matrices whose product tells the rate of a device."""


def compare(
    case: Case,
    contestants: Sequence[Contestant],
    effort: Effort,
    check: Callable[[dict[str, Any]], float | None],
    flops: Mapping[str, float] | None = None,
) -> list[Row]:
    """A row for each contestant: its seconds, and how many times as long as the first one it takes.

    `check` sees the results by name and returns their distance; `flops` are the operations of some contestants.
    """
    distances: list[float | None] = []
    timings = alternate(contestants, effort, lambda results: distances.append(check(results)))
    print(f"{label(case)}: done", flush=True)
    rows = [_row(case, timing, timings[0], (flops or {}).get(timing.name)) for timing in timings]
    rows[0]["distance"] = distances[0]
    return rows


def _row(case: Case, timing: Timing, first: Timing, flops: float | None) -> Row:
    times = [own / others for own, others in zip(timing.wall, first.wall, strict=True)]
    low, high = (float(q) for q in np.quantile(times, [0.25, 0.75]))
    return {
        "case": dict(case),
        "contestant": timing.name,
        "seconds": timing.summary(),
        "times_first": {"median": statistics.median(times), "quartiles": [low, high]},
        **({} if flops is None else {"flops": flops, "flops_per_second": flops / timing.median}),
    }


def label(case: Case) -> str:
    """A case in words."""
    return ", ".join(str(value) if isinstance(value, str) else f"{name} {value:,}" for name, value in case.items())


def cases(rows: Sequence[Row]) -> list[dict[str, Row]]:
    """The rows by contestant, of one case after the other."""
    found: dict[str, dict[str, Row]] = {}
    for row in rows:
        found.setdefault(label(row["case"]), {})[row["contestant"]] = row
    return list(found.values())


def times(case: Mapping[str, Row], name: str, of: str | None = None) -> float:
    """How many times as long contestant `name` takes as `of`, the first of the case unless given."""
    whole = case[name]["times_first"]["median"]
    return whole if of is None else whole / case[of]["times_first"]["median"]


def share(case: Mapping[str, Row], name: str, of: str) -> float:
    """Per cent of the rate of contestant `of` that contestant `name` reaches, by the operations of both."""
    return 100 * case[name]["flops"] / case[of]["flops"] * times(case, of, name)


def table(rows: Sequence[Row]) -> str:
    """Markdown: seconds of every row with the middle half of the samples, and the ratio to the first contestant."""
    lines = []
    for row in rows:
        seconds, ratio = row["seconds"], row["times_first"]
        low, high = seconds["quartiles"]
        rate = f"{row['flops_per_second'] / 1e9:.1f}" if "flops_per_second" in row else ""
        spread = "–".join(f"{q:.2f}" for q in ratio["quartiles"])
        lines.append(
            [
                label(row["case"]),
                row["contestant"],
                *(f"{1e3 * second:.3g}" for second in (seconds["median"], low, high, seconds["cpu_median"])),
                f"{ratio['median']:.2f} ({spread})",
                rate,
            ]
        )
    headers = ["case", "contestant", "ms", "lower quartile", "upper", "CPU ms", "× first", "GFLOP/s"]
    return measure.table(headers, lines)


MATRIX_PRODUCT = "matrix product"


def matrix_product(dtype: Any = np.float32, size: int = SQUARE) -> tuple[Contestant, float]:
    """The product of two large square matrices, which tells the rate of the run, and its operations."""
    a, b = (jax.random.normal(key, (size, size)).astype(dtype) for key in jax.random.split(jax.random.key(0)))
    return Contestant(MATRIX_PRODUCT, partial(jax.jit(jax.numpy.matmul), a, b)), 2.0 * size**3


def alike(tolerance: float, *names: str) -> Callable[[dict[str, Any]], float]:
    """A check that the results of the contestants named, all unless given, agree."""
    return lambda results: measure.agree({name: results[name] for name in names} if names else results, tolerance)


def as_one(tree: Any) -> np.ndarray:
    """All arrays of a gradient as one vector. Some are zero but for rounding, such as that of a bias of keys, which
    moves all scores of a query alike; by themselves they never agree.
    """
    return np.concatenate([np.asarray(leaf, np.float32).ravel() for leaf in jax.tree.leaves(tree)])
