"""Times of programs, measured in turns: what is reported is a median with its spread.

Two programs timed one after the other also measure what else the machine did meanwhile. Here every round runs each
contestant once, in an order that rotates, so that a busy minute falls on all of them. A sample is the mean of as many
calls as make it long enough for the clock; the first calls compile and warm the caches, and are where `check` sees
what each contestant computed.
"""

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np


@dataclass(frozen=True)
class Contestant:
    """Something to be timed: `run` does the whole work once and returns its arrays."""

    name: str
    run: Callable[[], Any]


@dataclass(frozen=True)
class Effort:
    """How long to measure: rounds until `seconds` are spent, but no fewer than `least` and no more than `most`."""

    seconds: float = 2.0
    least: int = 5
    most: int = 30
    sample_seconds: float = 0.01
    """A sample repeats its call until it lasts about as long."""

    def __post_init__(self) -> None:
        if not 1 <= self.least <= self.most:
            raise ValueError(f"rounds must satisfy 1 <= least <= most, got least={self.least}, most={self.most}")

    def calls(self, call_seconds: float) -> int:
        """Calls that make one sample."""
        return max(1, round(self.sample_seconds / max(call_seconds, 1e-9)))

    def rounds(self, round_seconds: float) -> int:
        """Rounds that fit."""
        return min(max(int(self.seconds / max(round_seconds, 1e-9)), self.least), self.most)


@dataclass(frozen=True)
class Timing:
    """Samples of one contestant: seconds a call, by the wall clock and by the processor's (all threads together)."""

    name: str
    wall: tuple[float, ...]
    cpu: tuple[float, ...]
    calls: int
    """Calls averaged in each sample."""

    @property
    def median(self) -> float:
        return statistics.median(self.wall)

    @property
    def quartiles(self) -> tuple[float, float]:
        """The range that holds the middle half of the samples."""
        low, high = np.quantile(self.wall, [0.25, 0.75])
        return float(low), float(high)

    def summary(self) -> dict[str, Any]:
        """As it stands in a JSON file; seconds a call."""
        low, high = self.quartiles
        return {
            "median": self.median,
            "quartiles": [low, high],
            "fastest": min(self.wall),
            "cpu_median": statistics.median(self.cpu),
            "samples": len(self.wall),
            "calls_per_sample": self.calls,
        }


def alternate(
    contestants: Sequence[Contestant],
    effort: Effort,
    check: Callable[[dict[str, Any]], None] | None = None,
) -> list[Timing]:
    """Times the contestants in turns, A B C, B C A, …, after `check` has seen the result of each by name."""
    results = {c.name: jax.block_until_ready(c.run()) for c in contestants}
    if len(results) < len(contestants):
        raise ValueError(f"contestants must have different names, got {[c.name for c in contestants]}")
    if check is not None:
        check(results)
    del results

    warm = [_sample(c, 1)[0] for c in contestants]
    calls = [effort.calls(seconds) for seconds in warm]
    rounds = effort.rounds(sum(n * seconds for n, seconds in zip(calls, warm, strict=True)))
    samples: list[list[tuple[float, float]]] = [[] for _ in contestants]
    for turn in range(rounds):
        for place in range(len(contestants)):
            i = (turn + place) % len(contestants)
            samples[i].append(_sample(contestants[i], calls[i]))
    return [
        Timing(c.name, *(tuple(clock) for clock in zip(*taken, strict=True)), calls=n)
        for c, taken, n in zip(contestants, samples, calls, strict=True)
    ]


def _sample(contestant: Contestant, calls: int) -> tuple[float, float]:
    """Seconds a call by the wall clock and by the processor's; every call is waited for, as a training loop would."""
    wall, cpu = time.perf_counter(), time.process_time()
    for _ in range(calls):
        jax.block_until_ready(contestant.run())
    return (time.perf_counter() - wall) / calls, (time.process_time() - cpu) / calls
