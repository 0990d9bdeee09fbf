"""How much of a layer's work must wait for other work, and what does the waiting cost as sequences grow?

Layers, all of width D, float32, one sequence, and as many parameters as four projections of attention: causal
self-attention; a scanned tanh-RNN, GRU and LSTM; and a minGRU, whose recurrence is linear, by `lax.scan` and by
`lax.associative_scan`. Each is compiled forwards for the device at hand, and the program that the compiler made is
counted by `jaxformer.analysis.parallelism`, loops as often as they turn: work (FLOPs), bytes, sequential depth, and
kernels. Nothing of it is run. Up to a length of `measured` the layers are then run, in turns.

For the counts attention is the formula, all heads and positions at once, which is how a parallel device computes it;
what is timed is what `jaxformer.attention` chooses for this device, and the row holds the counts of that program too.
A recurrent layer reads its input before the loop, where that need not wait.

Before anything is measured, both forms of the linear recurrence must agree in values, attention with
`jax.nn.dot_product_attention`, and the products of every program with their closed form.

What the figures do not show: training, which multiplies every column by about three; what a layer learns; bytes that
stay in a cache; and whether a device has enough processors for the width that work / depth promises. On one core it
has not, and time follows work.

With `--tpu` the same programs are compiled for one core of a TPU v5e as well, which needs no TPU but the package
libtpu, and the compiler's own estimates of each kernel's cycles are added up, in loops as often as they turn. They are
estimates: nothing was run, and kernels without one, as copies, count for nothing.

    python -m benchmarks.parallelism [--quick] [--tpu]
"""

import math
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import tyro

from benchmarks import measure
from benchmarks.attention_vs_rnn import reference
from benchmarks.measure import Disagreement
from benchmarks.picture import Line, panels
from jaxformer.analysis.hardware import summary
from jaxformer.analysis.layers import LINEAR, Layer, Program, alone, layers
from jaxformer.analysis.parallelism import count
from jaxformer.analysis.timing import Contestant, Effort, alternate
from jaxformer.config.errors import UserError

TOLERANCE = 1e-2
"""Relative L2 distance at which forms count as different; generous, because devices round products to TF32."""


@dataclass(frozen=True)
class Config:
    """Shapes and effort of the benchmark."""

    lengths: tuple[int, ...] = tuple(2**power for power in range(6, 16))
    """Sequence lengths in tokens for which programs are compiled and counted."""
    measured: int = 4096
    """The longest length at which they are also timed."""
    width: int = 256
    """Width D of a token's vector."""
    heads: int = 4
    """Attention heads; the width must be a multiple."""
    tpu: bool = False
    """Compile for a TPU as well and report its compiler's estimate; needs the package libtpu, and no TPU."""
    seconds: float = 2.0
    """Time to spend on the comparison at each length; five rounds are taken in any case."""
    seed: int = 0
    out: Path = Path(__file__).resolve().parent / "results"
    """Folder of the JSON file and the pictures, which are named after the device."""
    quick: bool = False
    """Small shapes in seconds, to see that it runs; writes to a temporary folder, for its figures mean nothing."""

    def __post_init__(self) -> None:
        if self.width % self.heads:
            raise ValueError(f"width must be a multiple of heads, got width={self.width}, heads={self.heads}")
        if not self.lengths or min(self.lengths) < 1 or list(self.lengths) != sorted(set(self.lengths)):
            raise ValueError(f"lengths must be positive and rise, got {self.lengths}")


def quickened(config: Config) -> Config:
    """The same questions of small shapes."""
    out = Path(tempfile.gettempdir()) / "jaxformer-benchmarks"
    return replace(config, lengths=(8, 16, 32), measured=16, width=32, heads=2, seconds=0.1, out=out)


def verify(contestants: list[Layer], config: Config) -> dict[str, float]:
    """Distances between what should compute the same at the shortest length."""
    x_TD = jax.random.normal(jax.random.key(config.seed + 1), (min(config.lengths), config.width))
    linear = {layer.name: layer.timed(layer.weights, x_TD) for layer in contestants if layer.name in LINEAR}
    attention = next(layer for layer in contestants if layer.name == "attention")
    programs = {"jax.nn.dot_product_attention": alone(reference), "formula": attention.counted}
    programs["attention"] = attention.timed
    outputs = {name: program(attention.weights, x_TD) for name, program in programs.items()}
    return {"linear recurrence": measure.agree(linear, TOLERANCE), "attention": measure.agree(outputs, TOLERANCE)}


def counts(layer: Layer, program: Program, x_TD: jax.ShapeDtypeStruct) -> dict[str, Any]:
    """The program as written and as compiled for where x lies; raises `Disagreement` if it is another program."""
    lowered = layer.lowered(program, x_TD)
    started = time.monotonic()
    compiled = lowered.compile()
    seconds = time.monotonic() - started
    written, expected = count(lowered), layer.products(x_TD.shape[0])
    if program is layer.counted and written.products != expected:
        raise Disagreement(f"products of {layer.name} must take {expected:,} FLOPs, got {written.products:,}")
    return {"written": asdict(written), "compiled": asdict(count(compiled)), "compile_seconds": seconds}


def timed(contestants: list[Layer], length: int, config: Config) -> dict[str, dict[str, Any]]:
    """Each layer's time at this length, beside the counts of the program that ran."""
    x_TD = jax.block_until_ready(jax.random.normal(jax.random.key(config.seed + 1), (length, config.width)))
    runs = [Contestant(layer.name, partial(jax.jit(layer.timed), layer.weights, x_TD)) for layer in contestants]
    timings = {timing.name: timing for timing in alternate(runs, Effort(config.seconds))}
    shape = jax.ShapeDtypeStruct(x_TD.shape, x_TD.dtype)
    return {
        layer.name: {
            "tokens_per_second": length / timings[layer.name].median,
            "seconds": timings[layer.name].summary(),
            "compiled": asdict(count(layer.lowered(layer.timed, shape).compile())),
        }
        for layer in contestants
    }


TPU = {"TPU_SKIP_MDS_QUERY": "1", "TPU_ACCELERATOR_TYPE": "v5litepod-4", "TPU_WORKER_HOSTNAMES": "localhost"}
"""What libtpu asks the machine about, answered: there is no TPU to ask."""


def tpu() -> jax.sharding.Sharding:
    """A place on a TPU v5e that need not be there: programs for it can be compiled and not run."""
    for name, value in TPU.items():
        os.environ.setdefault(name, value)
    from jax.experimental import topologies

    try:
        topology = topologies.get_topology_desc("v5e:2x2", "tpu")
    except Exception as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(f"--tpu compiles with the package libtpu: pip install 'jax[tpu]'; {reason}") from error
    return jax.sharding.SingleDeviceSharding(topology.devices[0])


def for_tpu(layer: Layer, x_TD: jax.ShapeDtypeStruct) -> dict[str, Any]:
    """The counts of the program that the TPU's compiler makes, or why it makes none."""
    try:
        return asdict(count(layer.lowered(layer.counted, x_TD).compile()))
    except jax.errors.JaxRuntimeError as error:
        return {"error": str(error).splitlines()[0]}


@dataclass(frozen=True)
class Quantity:
    """What a column of a table and a panel of the picture show of a row; None where the row does not have it."""

    name: str
    of: Callable[[dict[str, Any]], float | None]
    format: str


def counted(key: str, per_token: bool, text: str = "compiled") -> Callable[[dict[str, Any]], float]:
    return lambda row: row[text][key] / (row["length"] if per_token else 1)


COUNTS = (
    Quantity("work, FLOPs a token", counted("work", True), ",.0f"),
    Quantity("depth, operations one after another", counted("depth", False), ",.0f"),
    Quantity("bytes a token", counted("bytes", True), ",.0f"),
    Quantity("kernels started", counted("kernels", False), ",.0f"),
)
TIMES = (
    Quantity(
        "time, microseconds a token",
        lambda row: 1e6 / row["timed"]["tokens_per_second"] if "timed" in row else None,
        ",.2f",
    ),
    Quantity(
        "TPU v5e, its compiler's estimate: cycles a token",
        lambda row: row["tpu"]["cycles"] / row["length"] if "cycles" in row.get("tpu", {}) else None,
        ",.1f",
    ),
)


QUANTITIES = COUNTS + TIMES

Curves = dict[str, dict[int, float]]
"""By layer and length."""


def curves(rows: list[dict[str, Any]], quantity: Quantity) -> Curves:
    """Of the rows that have the quantity."""
    found: Curves = {}
    for row in rows:
        if (value := quantity.of(row)) is not None:
            found.setdefault(row["layer"], {})[row["length"]] = value
    return found


def crossings(one: dict[int, float], other: dict[int, float]) -> Iterator[tuple[float, bool]]:
    """Lengths at which two curves cross, on straight lines between their points in logarithms; and whether the one is
    lower from there on.
    """
    gaps = [(length, math.log(one[length] / other[length])) for length in one if length in other]
    for (start, before), (end, after) in pairwise((length, gap) for length, gap in gaps if gap):
        if before * after < 0:
            met = next((length for length, gap in gaps if not gap and start < length < end), None)
            yield met or start * (end / start) ** (before / (before - after)), after < 0


def crossed(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Where attention's curve crosses another layer's, and which of them is lower from there on."""
    found = []
    for quantity in QUANTITIES:
        by_layer = curves(rows, quantity)
        for name, curve in by_layer.items():
            for length, below in crossings(by_layer["attention"], curve):
                lower = "attention" if below else name
                found.append({"quantity": quantity.name, "layer": name, "length": length, "lower_beyond": lower})
    return found


def tables(document: dict[str, Any]) -> str:
    """Markdown: a table for each quantity, then where the curves cross, then what could not be counted."""
    rows, parts = document["rows"], []
    for quantity in QUANTITIES:
        if by_layer := curves(rows, quantity):
            lines = [
                [f"{length:,}", *(_cell(curve.get(length), quantity.format) for curve in by_layer.values())]
                for length in sorted({length for curve in by_layer.values() for length in curve})
            ]
            parts.append(f"{quantity.name}\n\n{measure.table(['length', *by_layer], lines)}")
    if document["crossed"]:
        keys = ("quantity", "layer", "length", "lower_beyond")
        lines = [[_cell(one[key], ",.0f") for key in keys] for one in document["crossed"]]
        parts.append(f"attention crosses\n\n{measure.table(['quantity', 'layer', 'at length', 'lower beyond'], lines)}")
    texts = [(row, row[text]) for row in rows for text in ("written", "compiled", "tpu") if text in row]
    unread = [f"{row['layer']}, {what}" for row, text in texts for what in text.get("unread", ())]
    failed = [f"{row['layer']} at {row['length']:,} for TPU: {text['error']}" for row, text in texts if "error" in text]
    return "\n\n".join([*parts, *(f"Not counted: {what}" for what in dict.fromkeys(unread + failed))])


def _cell(value: float | str | None, form: str) -> str:
    return value if isinstance(value, str) else "" if value is None else format(value, form)


def draw(document: dict[str, Any], path: Path) -> list[Path]:
    """What was counted against length, and in a second picture times and estimates, where there are any."""
    pictures = {path: COUNTS, path.with_stem(f"{path.stem}-time"): TIMES}
    drawn = []
    for place, quantities in pictures.items():
        found = [(quantity.name, curves(document["rows"], quantity)) for quantity in quantities]
        shown = [(name, {layer: _line(curve) for layer, curve in of.items()}) for name, of in found if of]
        if shown:
            panels(
                place,
                [shown[i : i + 2] for i in range(0, len(shown), 2)],
                title=f"One layer of width {document['config']['width']}, forwards, one sequence, equal parameters\n"
                f"{summary(document['environment'])}. Counted in compiled programs; times are medians.",
                x_label="sequence length",
                y_label="",
                comparable=False,
            )
            drawn.append(place)
    return drawn


def _line(curve: dict[int, float]) -> Line:
    lengths, values = zip(*curve.items(), strict=True)
    return Line(lengths, values, values, values)  # counts have no spread; that of the times stands in the JSON


def main(config: Config) -> dict[str, Any]:
    """Verifies, counts, measures, prints the tables, and writes JSON and pictures; returns what the JSON holds."""
    config = quickened(config) if config.quick else config
    started = time.monotonic()
    environment = measure.environment()
    place = tpu() if config.tpu else None
    contestants = layers(config.width, config.heads, config.seed)
    distances = verify(contestants, config)
    rows: list[dict[str, Any]] = []
    for length in config.lengths:
        shape = partial(jax.ShapeDtypeStruct, (length, config.width), jnp.float32)
        times = timed(contestants, length, config) if length <= config.measured else {}
        for layer in contestants:
            row = {"layer": layer.name, "length": length, **counts(layer, layer.counted, shape())}
            if layer.name in times:
                row["timed"] = times[layer.name]
            if place is not None:
                row["tpu"] = for_tpu(layer, shape(sharding=place))
            rows.append(row)
        print(f"length {length:,}: {time.monotonic() - started:.0f} s", flush=True)
    document = {
        "benchmark": "parallelism",
        "question": (__doc__ or "").splitlines()[0],
        "environment": environment,
        "config": {**asdict(config), "out": None},
        "elapsed_seconds": time.monotonic() - started,
        "distances": distances,
        "crossed": crossed(rows),
        "rows": rows,
    }
    path = config.out / f"parallelism-{measure.device_name()}.json"
    measure.write(path, document)
    pictures = draw(document, path.with_suffix(".png"))
    print("\n", tables(document), "\n", path, *pictures, sep="\n")
    return document


if __name__ == "__main__":
    main(tyro.cli(Config, description=__doc__))
