"""Must a recurrent layer queue where attention looks at everything at once, and what does the queue cost?

Claim: forwards over a text of T tokens, a tanh-RNN, a GRU, an LSTM and a linear recurrence taken step by step wait for
as many operations one after another as are proportional to T. For a linear recurrence by associative scan, and for
attention, they grow with log T alone, and attention starts at most a tenth more kernels for the longest text than for
the shortest. So on the device at hand attention takes less time for a token than each of the recurrent layers at every
length, and the associative scan less than the steps at the longest.

One layer each of width 256 and of equal parameters, one sequence, float32 (`jaxformer.analysis.layers`). Depth and
kernels are counted in the compiled program, loops as often as they turn (`jaxformer.analysis.parallelism`): they are
exact and need no test. That the depth of attention grows at all is for its three sums over T, which no number of
processors takes in one step: the softmax's maximum and sum, and the mean of the values. Times are taken in turns; a
repetition is the median of several rounds, and stands where other experiments have a seed.

What time says depends on the device: attention does more work the longer the text is, which many processors share and
two cores do one part after the other.

Cost: 33 s on two cores. Seen in 8 repetitions on two cores of an AMD EPYC: depth is as claimed (17 kernels for 64
tokens, 18 for 4,096), time is not. Attention takes less than tanh-RNN, GRU and LSTM for 64 tokens, which take 1.2 to
1.5 times as long, for 256 less than the GRU alone, more for 1,024 and 4,096 (there 2.3 to 2.6 times), and always more
than a minGRU by steps; the associative scan takes twice as long as those at 4,096 tokens.
"""

import sys
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxformer.analysis import panels
from jaxformer.analysis.evidence import FEWEST_SEEDS, Exact, Finding, Report, interval
from jaxformer.analysis.layers import layers
from jaxformer.analysis.parallelism import count
from jaxformer.analysis.timing import Contestant, Effort, alternate
from jaxformer.recipes.experiment import Arrays, Keep, command, compute


@dataclass(frozen=True)
class QueueingConfig:
    """Shapes, and how often times are taken."""

    lengths: tuple[int, ...] = (64, 128, 256, 512, 1024, 2048, 4096)
    """Tokens in the text; depth is counted for all."""
    timed: tuple[int, ...] = (64, 256, 1024, 4096)
    """Lengths at which times are taken."""
    width: int = 256
    heads: int = 4
    repetitions: int = 8
    rounds: int = 5
    """Turns of all layers in each repetition."""

    def __post_init__(self) -> None:
        if self.repetitions < FEWEST_SEEDS:
            raise ValueError(f"repetitions must be at least {FEWEST_SEEDS} for a verdict, got {self.repetitions}")
        if len(self.lengths) < 3 or len(self.timed) < 2 or self.rounds < 1:
            raise ValueError(f"there must be 3 lengths, 2 timed ones and 1 round at least, got {self}")


CONFIG = QueueingConfig()
QUICK = replace(CONFIG, lengths=(64, 256, 1024), timed=(64, 256), repetitions=5, rounds=2)
STEPWISE = ("tanh-RNN", "GRU", "LSTM", "minGRU, scan")
ASSOCIATIVE = "minGRU, associative"


def counted(config: QueueingConfig) -> Arrays:
    """Depth and kernels of each layer, [lengths, 2]."""

    def of(layer: Any, length: int) -> tuple[int, int]:
        x_TD = jax.ShapeDtypeStruct((length, config.width), jnp.float32)
        program = count(layer.lowered(layer.counted, x_TD).compile())
        return program.depth, program.kernels

    contestants = layers(config.width, config.heads)
    return {layer.name: np.array([of(layer, length) for length in config.lengths]) for layer in contestants}


def timed(config: QueueingConfig, length: int) -> Arrays:
    """Microseconds a token of each layer, [repetitions]."""
    x_TD = jax.random.normal(jax.random.key(1), (length, config.width))
    runs = [
        Contestant(layer.name, partial(jax.jit(layer.timed), layer.weights, x_TD))
        for layer in layers(config.width, config.heads)
    ]
    rounds = config.repetitions * config.rounds
    timings = alternate(runs, Effort(0.0, rounds, rounds))
    return {t.name: 1e6 / length * np.median(np.reshape(t.wall, (-1, config.rounds)), axis=1) for t in timings}


def main(config: QueueingConfig, keep: Keep = compute) -> Report:
    """Counts, measures and judges the claim."""
    counts = keep("counts", counted, config)
    times = {length: keep(f"time {length}", timed, config, length) for length in config.timed}
    doublings, times_of = np.log2(config.lengths), times.items()
    findings: list[Finding | Exact] = []
    for name in STEPWISE:
        power, _ = np.polyfit(doublings, np.log2(counts[name][:, 0]), 1)
        findings.append(Exact(f"{name}: power of the length that depth grows with", power, 0.95, 1.05))
    for name in (ASSOCIATIVE, "attention"):
        depth = counts[name][:, 0]
        slope, start = np.polyfit(doublings, depth, 1)
        apart = np.abs(start + slope * doublings - depth).max()
        findings.append(Exact(f"{name}: operations by which a doubling deepens", slope, 1.0, 10.0))
        findings.append(Exact(f"{name}: operations apart from a straight line in log T", apart, high=2.0))
    kernels = counts["attention"][:, 1]
    findings.append(Exact("attention: kernels of the longest over the shortest", kernels[-1] / kernels[0], high=1.1))
    for length, time in times_of:
        ratios = {
            f"{name}, {length} tokens: time over attention's": time[name] / time["attention"] for name in STEPWISE
        }
        findings += [Finding(statement, ratio_R.tolist(), low=1.0) for statement, ratio_R in ratios.items()]
    length, time = max(times_of)
    ratio_R = time[STEPWISE[-1]] / time[ASSOCIATIVE]
    findings.append(Finding(f"minGRU, {length} tokens: time by scan over associative", ratio_R.tolist(), low=1.0))
    figures = {
        "lengths": list(config.lengths),
        "depth": {name: found[:, 0].tolist() for name, found in counts.items()},
        "timed": list(config.timed),
        "time": {name: np.stack([time[name] for time in times.values()], 1).round(4).tolist() for name in counts},
    }
    claim = "recurrent layers queue in proportion to the text, attention and associative scans to its logarithm alone; "
    return Report(claim + "so attention takes less time", findings, figures)


def draw(path: Path, report: Report) -> str:
    """Depth and time against length, both axes logarithmic."""
    figure, grid = panels.row(["Operations one after another", "Time on the device at hand"], width=5.2, height=4.4)
    figures = report.figures
    depth = {name: interval(np.log10([depths, depths])) for name, depths in figures["depth"].items()}
    time = {name: interval(np.log10(times_RT)) for name, times_RT in figures["time"].items()}
    for axes, lengths, bands in ((grid[0], figures["lengths"], depth), (grid[1], figures["timed"], time)):
        panels.decades(axes, lengths, bands)
        panels.logarithmic(axes, lengths)
        axes.set_xlabel("tokens in the text")
    grid[0].set_ylabel("depth, operations")
    grid[1].set_ylabel("microseconds a token")
    return panels.save(figure, path, "Bands: Student's 95% interval of the mean logarithm over repetitions.")


if __name__ == "__main__":
    sys.exit(command(main, draw, CONFIG, QUICK))
