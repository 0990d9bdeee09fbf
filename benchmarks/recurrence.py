"""Does a scanned recurrent layer train as fast here as the one that PyTorch has in C++?

Contestants, float32, of the same weights and the same input [T, B, D], their hidden width D too: `torch.nn.LSTM`, `GRU`
and `RNN`, and for each the formulation of `jaxformer.ops.recurrence` that is fastest for the shape, chosen as in
`attention_vs_rnn.py` and named in the rows. `training` is the outputs of all steps and, of half their sum of squares,
the gradients of the weights and of the input; `forward`, for information, the outputs alone. Both sides must agree in
all of these before they are timed; the choice is made in a run of its own, so that its luck is not counted.

    python -m benchmarks.recurrence [--quick] [--check]
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp

from benchmarks import measure
from benchmarks.attention_vs_rnn import describe, fastest
from benchmarks.comparison import Row, alike, cases, compare, times
from benchmarks.goals import TOYS, Asked, Goal, Verdict, command, conduct
from jaxformer.analysis.layers import random_weights
from jaxformer.analysis.timing import Contestant
from jaxformer.cli.keeping import compute_here
from jaxformer.ops.recurrence import GRU, LSTM, TANH_RNN, Cell, Recurrent

OURS, THEIRS = "jaxformer", "torch"
TOLERANCE = 1e-4
"""Relative L2 distance at which results count as different."""
CELLS = {"LSTM": LSTM, "GRU": GRU, "RNN": TANH_RNN}
"""By the name of PyTorch's module."""

GOALS = {
    "LSTM": Goal("LSTM training, against torch.nn.LSTM", at_least=1.0),
    "GRU": Goal("GRU training, against torch.nn.GRU", at_least=1.4),
    "RNN": Goal("tanh-RNN training, against torch.nn.RNN", at_least=1.6),
}


@dataclass(frozen=True)
class Config(Asked):
    """Shapes and effort of the benchmark."""

    seconds: float = 4.0
    """Time to spend on each comparison; five rounds are taken in any case."""
    shapes: tuple[tuple[int, int], ...] = ((256, 256), (64, 1024), (1024, 256))
    """Steps T, and width D of input and state."""
    batch: int = 16
    unroll: int = 4
    """Steps per turn of the loop with which the fastest formulation is tried again; 1 to leave that out."""


def quickened(config: Config) -> Config:
    """The same question of small shapes."""
    return replace(config, shapes=((8, 16),), batch=2, unroll=1, seconds=0.1, out=TOYS)


def theirs(name: str, mode: str, weights: Recurrent, x_TBD: jax.Array) -> Contestant:
    """PyTorch's layer with these weights; its results in the order and shapes of ours."""
    torch = measure.rival("torch")
    (D, _), H = weights.input_DgH.shape, weights.hidden_HgH.shape[0]
    layer = getattr(torch.nn, name)(D, H)
    parameters = [layer.weight_ih_l0, layer.weight_hh_l0, layer.bias_ih_l0, layer.bias_hh_l0]
    with torch.no_grad():
        for parameter, values in zip(parameters, jax.device_get(weights), strict=True):
            parameter.copy_(torch.tensor(values).T if values.ndim == 2 else torch.tensor(values))
    x = torch.tensor(jax.device_get(x_TBD), requires_grad=mode == "training")

    def forward() -> Any:
        with torch.no_grad():
            return layer(x)[0]

    def train() -> Any:
        value = 0.5 * layer(x)[0].square().sum()
        *gradients, of_x = torch.autograd.grad(value, [*parameters, x])
        return value.detach(), (Recurrent(*(g.T if g.ndim == 2 else g for g in gradients)), of_x)

    return Contestant(THEIRS, train if mode == "training" else forward)


def race(name: str, mode: str, length: int, width: int, config: Config) -> list[Row]:
    """One shape of one cell: our fastest formulation against theirs."""
    cell: Cell = CELLS[name]
    weights = random_weights(cell, width, width, config.seed)
    shape = (length, config.batch, width)
    x_TBD = jax.block_until_ready(jax.random.normal(jax.random.key(config.seed + 1), shape, jnp.float32))
    choice = fastest(cell, mode, weights, x_TBD, config.seconds, config.unroll)
    contestants = [replace(choice.best.contestant, name=OURS), theirs(name, mode, weights, x_TBD)]
    case = {"cell": name, "mode": mode, "T": length, "D": width}
    rows = compare(case, contestants, config.effort, alike(TOLERANCE))
    rows[0] |= {"choice": describe(choice, weights)}
    return rows


def measured(config: Config) -> Iterator[Row]:
    """All rows."""
    for name in CELLS:
        for length, width in config.shapes:
            for mode in ("training", "forward"):
                yield from race(name, mode, length, width, config)


def judge(rows: list[Row]) -> list[Verdict]:
    """Each shape by itself."""
    verdicts = []
    for case in cases(rows):
        shape, choice = case[OURS]["case"], case[OURS]["choice"]
        if shape["mode"] == "training":
            where = f"T {shape['T']:,}, D {shape['D']:,}, {choice['formulation']}, unroll {choice['unroll']}"
            verdicts.append(Verdict(GOALS[shape["cell"]], where, times(case, THEIRS)))
    return verdicts


def main(config: Config) -> dict[str, Any]:
    """Measures, judges, prints the tables and writes JSON; returns what the JSON holds."""
    compute_here()  # As `jaxformer train` does, whose steps these are parts of.
    config = quickened(config) if config.quick else config
    measure.rival("torch")
    return conduct("recurrence", __doc__, config, measured(config), judge)


if __name__ == "__main__":
    command(Config, main, __doc__)
