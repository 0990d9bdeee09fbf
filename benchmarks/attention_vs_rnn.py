"""Does one attention layer train and run faster than a recurrent layer of as many parameters, and from which length on?

Contestants, all float32 and reading x of the same width D: multi-head causal self-attention with its four projections,
as `jaxformer.ops.attention` computes it on this device, and a scanned tanh-RNN, GRU and LSTM whose hidden width gives
the nearest parameter count among multiples of 16, so that none pays for a ragged vector. `training` is the layer's
value and its gradients with respect to weights and input, `forward` its output alone; both are counted in tokens a
second, over sequence length and batch.

The recurrence is no straw man. For each shape every formulation of `jaxformer.ops.recurrence` is timed first, the
fastest once more with the loop unrolled, and the winner, named in the table, takes its turns with attention in a
second run, so that its luck in the first is not counted. It reads its input time first, as it likes best. Before
anything is timed, all formulations must agree with each other, and attention with `jax.nn.dot_product_attention`, in
values and gradients.

What the figures do not show: that either layer learns more from a token; a whole network, where feed-forward layers,
normalisation and the vocabulary take their share and dilute every ratio; decoding token by token, where a recurrent
layer's state stays small and attention's cache grows; and kernels written by hand, such as cuDNN's.

    python -m benchmarks.attention_vs_rnn [--quick]
"""

import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import tyro

from benchmarks import measure
from benchmarks.picture import Line, panels
from jaxformer.analysis.hardware import summary
from jaxformer.analysis.layers import (
    CELLS,
    attention_layer,
    attention_weights,
    ours,
    recurrent_layer,
    recurrent_weights,
)
from jaxformer.analysis.timing import Contestant, Effort, alternate
from jaxformer.ops.recurrence import (
    CELL_IN_SCAN,
    FORMULATIONS,
    PROJECTED,
    PROJECTED_SUMMED,
    SUMMED,
    Cell,
    Formulation,
    Recurrent,
)

LAYERS = ("attention", *(cell.name for cell in CELLS))
LETTERS = {CELL_IN_SCAN: "a", PROJECTED: "b", SUMMED: "c", PROJECTED_SUMMED: "d"}
TOLERANCE = 1e-2
"""Relative L2 distance at which formulations count as different; generous, because devices round products to TF32."""


@dataclass(frozen=True)
class Config:
    """Shapes and effort of the benchmark."""

    lengths: tuple[int, ...] = (64, 128, 256, 512, 1024, 2048)
    """Sequence lengths in tokens."""
    batches: tuple[int, ...] = (1, 16)
    """Sequences at a time."""
    width: int = 256
    """Width D of a token's vector."""
    heads: int = 4
    """Attention heads; the width must be a multiple."""
    unroll: int = 4
    """Steps per turn of the loop with which the fastest formulation is tried again; 1 to leave that out."""
    seconds: float = 0.8
    """Time to spend on each comparison; five rounds are taken in any case."""
    seed: int = 0
    out: Path = Path(__file__).resolve().parent / "results"
    """Folder of the JSON file and the picture, which are named after the device."""
    quick: bool = False
    """Small shapes in seconds, to see that it runs; writes to a temporary folder, for its figures mean nothing."""

    def __post_init__(self) -> None:
        if self.width % self.heads:
            raise ValueError(f"width must be a multiple of heads, got width={self.width}, heads={self.heads}")
        for name in ("lengths", "batches"):
            if not getattr(self, name) or min(getattr(self, name)) < 1:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}")


def quickened(config: Config) -> Config:
    """The same questions of small shapes."""
    out = Path(tempfile.gettempdir()) / "jaxformer-benchmarks"
    return replace(config, lengths=(8, 16), batches=(2,), width=32, heads=2, unroll=1, seconds=0.1, out=out)


reference = partial(jax.nn.dot_product_attention, is_causal=True)


def training(layer: Callable[[Any, jax.Array], jax.Array]) -> Callable[[Any, jax.Array], Any]:
    """Value and gradients; half the sum of squares hands the layer's own output back as the cotangent."""
    return jax.value_and_grad(lambda weights, x: 0.5 * jnp.sum(layer(weights, x) ** 2), argnums=(0, 1))


def forward(layer: Callable[[Any, jax.Array], jax.Array]) -> Callable[[Any, jax.Array], Any]:
    return layer


MODES = {"training": training, "forward": forward}
DISTINCT = {"training": FORMULATIONS, "forward": (CELL_IN_SCAN, PROJECTED)}
"""Forwards, a summed formulation runs the same program as its automatic twin."""


def contestant(name: str, mode: str, layer: Callable[[Any, jax.Array], jax.Array], *arguments: Any) -> Contestant:
    return Contestant(name, partial(jax.jit(MODES[mode](layer)), *arguments))


@dataclass(frozen=True)
class Candidate:
    """One way to compute a recurrent layer."""

    formulation: Formulation
    unroll: int
    contestant: Contestant

    @property
    def label(self) -> str:
        return LETTERS[self.formulation] + (f"×{self.unroll}" if self.unroll > 1 else "")


@dataclass(frozen=True)
class Choice:
    """The fastest candidate, the median seconds of all that were tried, and the largest distance of their results."""

    best: Candidate
    tried: dict[str, float]
    distance: float


def fastest(cell: Cell, mode: str, weights: Recurrent, x_TBD: jax.Array, seconds: float, unroll: int) -> Choice:
    """Times all formulations against each other, and the winner against itself unrolled, if `unroll` is not 1."""
    tried: dict[str, float] = {}
    distances: list[float] = []

    def candidate(formulation: Formulation, unroll: int) -> Candidate:
        layer = partial(recurrent_layer, cell, formulation, unroll)
        name = f"{formulation.name}, unroll {unroll}"
        return Candidate(formulation, unroll, contestant(name, mode, layer, weights, x_TBD))

    def race(candidates: list[Candidate]) -> Candidate:
        timings = alternate(
            [candidate.contestant for candidate in candidates],
            Effort(seconds / 2, least=2, most=10),
            check=lambda results: distances.append(measure.agree(results, TOLERANCE)),
        )
        tried.update({timing.name: timing.median for timing in timings})
        return min(zip(timings, candidates, strict=True), key=lambda entry: entry[0].median)[1]

    best = race([candidate(formulation, 1) for formulation in DISTINCT[mode]])
    if unroll > 1:
        best = race([best, candidate(best.formulation, unroll)])
    return Choice(best, tried, max(distances))


def count(weights: Any) -> int:
    return sum(leaf.size for leaf in jax.tree.leaves(weights))


def compare(mode: str, batch: int, length: int, config: Config) -> list[dict[str, Any]]:
    """One shape: a row for each layer."""
    x_BTD = jax.random.normal(jax.random.key(config.seed + 1), (batch, length, config.width))
    x_TBD = jax.block_until_ready(jnp.swapaxes(x_BTD, 0, 1))
    projections = attention_weights(config.width, config.heads, config.seed)
    recurrent = {cell.name: recurrent_weights(cell, config.width, config.seed) for cell in CELLS}
    choices = {
        cell.name: fastest(cell, mode, recurrent[cell.name], x_TBD, config.seconds, config.unroll) for cell in CELLS
    }
    contestants = [contestant("attention", mode, partial(attention_layer, ours), projections, x_BTD)]
    contestants += [replace(choice.best.contestant, name=name) for name, choice in choices.items()]

    rows = []
    for timing in alternate(contestants, Effort(config.seconds)):
        slow, fast = (batch * length / seconds for seconds in reversed(timing.quartiles))
        row = {
            "mode": mode,
            "batch": batch,
            "length": length,
            "layer": timing.name,
            "parameters": count(recurrent.get(timing.name, projections)),
            "tokens_per_second": {"median": batch * length / timing.median, "quartiles": [slow, fast]},
            "seconds": timing.summary(),
        }
        if timing.name in choices:
            row |= describe(choices[timing.name], recurrent[timing.name])
        rows.append(row)
    return rows


def describe(choice: Choice, weights: Recurrent) -> dict[str, Any]:
    """What a recurrent layer's row says beyond its speed."""
    return {
        "hidden": weights.hidden_HgH.shape[0],
        "formulation": choice.best.formulation.name,
        "unroll": choice.best.unroll,
        "label": choice.best.label,
        "tried_median_seconds": choice.tried,
        "distance": choice.distance,
    }


def verify_attention(config: Config) -> float:
    """The distance of the attention layer from one that `jax.nn` computes, in values and gradients."""
    weights, shape = (
        attention_weights(config.width, config.heads, config.seed),
        (min(config.batches), min(config.lengths), config.width),
    )
    x_BTD = jax.random.normal(jax.random.key(config.seed + 1), shape)
    results = {
        name: [contestant(name, mode, partial(attention_layer, attend), weights, x_BTD).run() for mode in MODES]
        for name, attend in {"jax.nn.dot_product_attention": reference, "attention": ours}.items()
    }
    return measure.agree(results, TOLERANCE)


def tables(rows: list[dict[str, Any]]) -> str:
    """Markdown: thousands of tokens a second, the half spread in percent, and attention over the best recurrence."""
    parts = [_widths(rows)]
    for mode, batch in dict.fromkeys((row["mode"], row["batch"]) for row in rows):
        lines = []
        of_panel = [row for row in rows if (row["mode"], row["batch"]) == (mode, batch)]
        for length in dict.fromkeys(row["length"] for row in of_panel):
            by_layer = {row["layer"]: row for row in of_panel if row["length"] == length}
            speed = {name: by_layer[name]["tokens_per_second"]["median"] for name in LAYERS}
            ratio = speed["attention"] / max(speed[name] for name in LAYERS if name != "attention")
            lines.append([str(length), *(_cell(by_layer[name]) for name in LAYERS), f"{ratio:.2f}"])
        heading = f"{mode}, batch {batch} (thousand tokens/s)"
        parts.append(f"{heading}\n\n{measure.table(['length', *LAYERS, 'attention / best RNN'], lines)}")
    legend = ", ".join(f"{letter} = {formulation.name}" for formulation, letter in LETTERS.items())
    return "\n\n".join([*parts, f"± half the interquartile range. Fastest formulation: {legend}; ×n = n steps a turn."])


def _widths(rows: list[dict[str, Any]]) -> str:
    first = {name: next(row for row in rows if row["layer"] == name) for name in LAYERS}
    hidden = [str(first[name].get("hidden", "")) for name in LAYERS]
    parameters = [f"{first[name]['parameters']:,}" for name in LAYERS]
    return measure.table(["", *LAYERS], [["parameters", *parameters], ["hidden width", *hidden]])


def _cell(row: dict[str, Any]) -> str:
    speed, (low, high) = row["tokens_per_second"]["median"], row["tokens_per_second"]["quartiles"]
    label = f" {row['label']}" if "label" in row else ""
    return f"{speed / 1e3:.1f} ±{50 * (high - low) / speed:.0f}%{label}"


def draw(document: dict[str, Any], path: Path) -> None:
    """Tokens a second against length: a row of panels for each mode, a column for each batch."""

    def lines(mode: str, batch: int) -> dict[str, Line]:
        panel = [row for row in document["rows"] if (row["mode"], row["batch"]) == (mode, batch)]
        by_layer = {name: [row for row in panel if row["layer"] == name] for name in LAYERS}
        return {name: _line(rows) for name, rows in by_layer.items()}

    config = document["config"]
    modes, batches = (list(dict.fromkeys(row[key] for row in document["rows"])) for key in ("mode", "batch"))
    panels(
        path,
        [[(f"{mode}, batch {batch}", lines(mode, batch)) for batch in batches] for mode in modes],
        title=f"One layer of width {config['width']} at equal parameters: causal attention and the fastest scans\n"
        f"{summary(document['environment'])}. Medians; bars span the middle half of the samples.",
        x_label="sequence length",
        y_label="tokens per second",
    )


def _line(rows: list[dict[str, Any]]) -> Line:
    speeds = [row["tokens_per_second"] for row in rows]
    low, high = zip(*(speed["quartiles"] for speed in speeds), strict=True)
    return Line([row["length"] for row in rows], [speed["median"] for speed in speeds], low, high)


def main(config: Config) -> dict[str, Any]:
    """Verifies, measures, prints the table, and writes JSON and picture; returns what the JSON holds."""
    config = quickened(config) if config.quick else config
    started = time.monotonic()
    environment = measure.environment()
    distance = verify_attention(config)
    print(f"attention and jax.nn.dot_product_attention agree within {distance:.1e}", flush=True)
    rows: list[dict[str, Any]] = []
    shapes = [(batch, length) for batch in config.batches for length in config.lengths]
    for done, (batch, length) in enumerate(shapes, start=1):
        for mode in MODES:
            rows += compare(mode, batch, length, config)
        elapsed = time.monotonic() - started
        print(f"batch {batch}, length {length}: shape {done} of {len(shapes)}, {elapsed:.0f} s", flush=True)
    document = {
        "benchmark": "attention_vs_rnn",
        "question": (__doc__ or "").splitlines()[0],
        "environment": environment,
        "config": {**asdict(config), "out": None},
        "elapsed_seconds": time.monotonic() - started,
        "attention_distance": distance,
        "rows": rows,
    }
    path = config.out / f"attention_vs_rnn-{measure.device_name()}.json"
    measure.write(path, document)
    draw(document, path.with_suffix(".png"))
    print(f"\n{tables(rows)}\n\n{path}\n{path.with_suffix('.png')}")
    return document


if __name__ == "__main__":
    main(tyro.cli(Config, description=__doc__))
