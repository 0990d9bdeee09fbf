"""How long does a training step take to compile, and how long from the start of a program to the end of the first step?

The step is that of a GPT of 12 layers, with its layers scanned and unrolled; both give the same loss, which is checked
first. Compiling is tracing, lowering and XLA's work, anew each time and without any cache; its cost is the processor's
seconds, of all threads together, for the layouts share out their work differently.

A start is a process of its own: Python, imports, initialisation and one step of scanned layers, by the clock from
outside until it says that its step is done. A `warm` one finds all programs in JAX's compilation cache, in a folder
made for this, and a `cold` one has an empty folder; they take turns. So that no program is left out, the cache keeps
those that compile in no time too. The processor's seconds of a start are its own process's, and not counted.

    python -m benchmarks.compile_time [--quick] [--check]
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any

import jax
from jax.experimental.compilation_cache.compilation_cache import reset_cache

from benchmarks import measure
from benchmarks.comparison import Row, cases, compare
from benchmarks.goals import TOYS, Asked, Goal, Verdict, command, conduct
from benchmarks.steps import SCANNED, UNROLLED, GptShape, Learner, gpt
from jaxformer.analysis.timing import Contestant

COMPILE_SCANNED, COMPILE_UNROLLED = "compile, scanned", "compile, unrolled"
WARM, COLD = "start to first step, warm", "start to first step, cold"
TOLERANCE = 1e-4
"""Relative L2 distance at which losses count as different."""

COMPILATION = Goal("compile a 12-layer step, scanned", at_most=4, unit="CPU-s")
START = Goal("warm start to the end of the first step", at_most=4, unit="s")


@dataclass(frozen=True)
class Config(Asked):
    """Shapes and effort of the benchmark."""

    gpt: GptShape = GptShape(layers=12)
    rows: int = 4
    """Rows of the step's batch."""


def quickened(config: Config) -> Config:
    """The same questions of small shapes."""
    return replace(config, gpt=GptShape(1, 16, 2, 16, 31), rows=2, seconds=0.0, out=TOYS)


@contextmanager
def without_cache() -> Iterator[None]:
    """Nothing is looked up in a compilation cache, nor kept in one, whatever the environment says."""
    before: bool = jax.config.jax_enable_compilation_cache  # pyright: ignore[reportAttributeAccessIssue]
    try:
        jax.config.update("jax_enable_compilation_cache", False)
        reset_cache()  # what was found to be enabled once is not asked again
        yield
    finally:
        jax.config.update("jax_enable_compilation_cache", before)
        reset_cache()


def compiling(name: str, learner: Learner) -> Contestant:
    """Tracing, lowering and compiling, from nothing."""
    state = learner.abstract_state

    def run() -> None:
        jax.clear_caches()  # what was traced before is a part of the work too
        learner.step.lower(state, learner.batch).compile()

    return Contestant(name, run)


def loss(learner: Learner, seed: int) -> float:
    """That of the first step."""
    state = jax.jit(learner.new_state)(jax.random.key(seed))
    return float(learner.step(state, learner.batch)[1]["loss"])


def first_step() -> None:
    """What a process of its own does: the step that its arguments ask for, as JSON; it prints the loss and is gone."""
    shape, rows, seed = json.loads(sys.argv[1])
    print(loss(gpt(GptShape(**shape), rows, SCANNED), seed), flush=True)
    os._exit(0)  # what Python and XLA do at their end is none of our business


def start(folder: str, config: Config) -> float:
    """The loss of the first step of a process that is started for it, with this folder as its compilation cache."""
    asked = json.dumps([asdict(config.gpt), config.rows, config.seed])
    kept = {
        "JAX_COMPILATION_CACHE_DIR": folder,
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
        "PYTHONPATH": os.pathsep.join(filter(None, [str(measure.ROOT), os.environ.get("PYTHONPATH")])),
    }
    code = "from benchmarks.compile_time import first_step; first_step()"
    command = [sys.executable, "-c", code, asked]
    return float(subprocess.run(command, env=os.environ | kept, check=True, stdout=subprocess.PIPE, text=True).stdout)


def cold_start(config: Config) -> float:
    """The same with nothing in the cache."""
    with tempfile.TemporaryDirectory() as folder:
        return start(folder, config)


def case(of: str, config: Config) -> dict[str, Any]:
    return {"of": of, "layers": config.gpt.layers, "D": config.gpt.width}


def compilations(learners: dict[str, Learner], distance: float, config: Config) -> list[Row]:
    """Both layouts, in turns."""
    with without_cache():
        contestants = [compiling(name, learner) for name, learner in learners.items()]
        return compare(case("compile", config), contestants, config.effort, lambda _: distance)


def starts(expected: float, config: Config) -> list[Row]:
    """Warm and cold, in turns; both must give the loss that is expected."""

    def check(losses: dict[str, Any]) -> float:
        return measure.agree({"this process": expected, **losses}, TOLERANCE)

    with tempfile.TemporaryDirectory() as folder:
        contestants = [Contestant(WARM, partial(start, folder, config)), Contestant(COLD, partial(cold_start, config))]
        return compare(case("start", config), contestants, config.effort, check)


def measured(config: Config) -> Iterator[Row]:
    """All rows."""
    layouts = {COMPILE_SCANNED: SCANNED, COMPILE_UNROLLED: UNROLLED}
    learners = {name: gpt(config.gpt, config.rows, layout) for name, layout in layouts.items()}
    losses = {name: loss(learner, config.seed) for name, learner in learners.items()}
    distance = measure.agree(losses, TOLERANCE)
    yield from compilations(learners, distance, config)
    yield from starts(losses[COMPILE_SCANNED], config)


def judge(rows: list[Row]) -> list[Verdict]:
    """Each figure beside its goal."""
    compiled, started = cases(rows)
    where = f"{compiled[COMPILE_SCANNED]['case']['layers']} layers of width {compiled[COMPILE_SCANNED]['case']['D']}"
    return [
        Verdict(COMPILATION, where, compiled[COMPILE_SCANNED]["seconds"]["cpu_median"]),
        Verdict(START, where, started[WARM]["seconds"]["median"]),
    ]


def main(config: Config) -> dict[str, Any]:
    """Measures, judges, prints the tables and writes JSON; returns what the JSON holds."""
    config = quickened(config) if config.quick else config
    return conduct("compile_time", __doc__, config, measured(config), judge)


if __name__ == "__main__":
    command(Config, main, __doc__)
