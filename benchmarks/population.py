"""What do eight seeds together cost, compilation included, beside eight runs that are each alone?

The model is the dense decoder of `experiments/active_parameters.py`, float32, which reads 8 rows of 96 bytes; every
seed has its own weights and rows. A training is compiling and 300 steps, from nothing and without a compilation cache:

- alone: one seed after the other, each compiled anew, as a program of its own would be.
- one by one: all in one program, `lax.map` over the members, which is the library's way on a CPU.
- side by side: all in one program, `vmap` over the members.
- two devices: `lax.map` over half of the members on each of two CPU devices, which the process has throughout.
- two processes: half of the members one by one in each, on a core of its own where the system lets it choose, and
  started anew, imports and all. Their processor time is not counted.

The losses of the first steps must agree, which is checked first. A step of all members, compiled before, is measured
beside that of one alone too.

    python -m benchmarks.population [--quick] [--check]
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import numpy as np
from jax.sharding import AxisType, PartitionSpec

from benchmarks import measure
from benchmarks.comparison import Row, alike, cases, compare, times
from benchmarks.compile_time import without_cache
from benchmarks.goals import TOYS, Asked, Goal, Verdict, command, conduct
from benchmarks.measure import Disagreement
from jaxformer.analysis.timing import Contestant, Effort
from jaxformer.config.decoders import grouped_query, llama
from jaxformer.config.errors import UserError
from jaxformer.config.model import DecoderConfig
from jaxformer.config.positions import Rotary
from jaxformer.config.training import NoAverage
from jaxformer.data.packing import TextBatch
from jaxformer.models.decoder import Decoder
from jaxformer.objectives import causal
from jaxformer.training.optimizers import optimizer
from jaxformer.training.population import Mapping, one_by_one, population
from jaxformer.training.state import TrainState, new_state
from jaxformer.training.step import make_step
from jaxformer.training.study import StudyConfig, stacked

TRAINING, STEP = "training", "step"
ALONE, ONE_BY_ONE, SIDE_BY_SIDE = "alone", "one by one", "side by side"
DEVICES, PROCESSES = "two devices", "two processes"
VOCABULARY = 259
"""Bytes, and the marks of a byte tokenizer."""
TOLERANCE = 1e-5
"""Relative L2 distance at which losses count as different."""
COMPARED = 10
"""Steps whose losses must agree; those of later ones drift apart, for sums are rounded in another order."""

COST = Goal("seeds together, compilation included, against runs alone", at_most=0.75)


@dataclass(frozen=True)
class Shape:
    """What is trained, and for how long; unless given, the dense decoder of the experiment on active parameters."""

    width: int = 64
    hidden: int = 176
    rows: int = 8
    length: int = 96
    """Bytes in a row."""
    steps: int = 300

    def decoder(self) -> DecoderConfig:
        attention = grouped_query(4, 2, self.width // 4, Rotary())
        return llama(self.width, 2, attention, self.hidden, context=128, tied=True)


@dataclass(frozen=True)
class Config(Asked):
    """Shapes and effort of the benchmark."""

    shape: Shape = Shape()
    members: int = 8
    """Seeds; a multiple of two."""
    trainings: int = 2
    """Samples of every training, after two more that are not counted."""

    def __post_init__(self) -> None:
        if self.members < 2 or self.members % 2:
            raise ValueError(f"members must be a multiple of 2, for two devices, got {self.members}")

    @property
    def seeds(self) -> list[int]:
        return list(range(self.seed, self.seed + self.members))


def quickened(config: Config) -> Config:
    """The same question of a small model, few seeds and few steps."""
    return replace(config, shape=Shape(16, 16, 2, 8, steps=3), members=2, trainings=1, out=TOYS)


def member(shape: Shape) -> tuple[Callable[..., TrainState], Callable[..., Any]]:
    """The first state, of a key, and the step of one run, as functions that nothing has traced."""
    model = Decoder(shape.decoder(), VOCABULARY)
    rule = optimizer(StudyConfig().optimization, shape.steps, shape.width)

    def begin(key: jax.Array) -> TrainState:
        return new_state(nn.unbox(model.init(key, np.zeros((1, 2), np.int32))), rule, NoAverage(), key)

    return begin, make_step(causal(model), rule)


def rows(shape: Shape, seed: int) -> TextBatch:
    """Random bytes."""
    tokens_BT = np.random.default_rng(seed).integers(0, VOCABULARY, (shape.rows, shape.length + 1)).astype(np.int32)
    return TextBatch(tokens_BT, None, None, np.ones((shape.rows, shape.length), bool))


def keys(seeds: Sequence[int]) -> jax.Array:
    return jax.vmap(jax.random.key)(np.array(seeds))


def losses(begin: Callable[..., Any], step: Callable[..., Any], key: Any, batch: Any, steps: int) -> np.ndarray:
    """Compiles and trains; the losses of the steps to compare, on a first axis."""
    jax.clear_caches()  # What was traced before is a part of the work too.
    state, step, found = jax.jit(begin)(key), jax.jit(step, donate_argnums=0), []
    for _ in range(steps):
        state, metrics = step(state, batch)
        found.append(metrics["loss"])
    return np.stack(jax.device_get(found))[:COMPARED]


def alone(shape: Shape, seeds: Sequence[int]) -> np.ndarray:
    """Losses [steps, seeds] of runs that know nothing of each other."""
    runs = [losses(*member(shape), jax.random.key(seed), rows(shape, seed), shape.steps) for seed in seeds]
    return np.stack(runs, axis=1)


def together(shape: Shape, seeds: Sequence[int], mapping: Mapping) -> np.ndarray:
    """Losses [steps, seeds] of runs in one program."""
    begin, step = (population(function, mapping) for function in member(shape))
    return losses(begin, step, keys(seeds), stacked([rows(shape, seed) for seed in seeds]), shape.steps)


def on_two_devices(function: Callable[..., Any]) -> Callable[..., Any]:
    """A mapping: half of the members one by one on each of the first two devices."""
    mesh = jax.make_mesh((2,), ("members",), axis_types=(AxisType.Auto,), devices=jax.devices()[:2])
    spread = PartitionSpec("members")
    return jax.shard_map(one_by_one(function), mesh=mesh, in_specs=spread, out_specs=spread, check_vma=False)


PROGRAM = "import sys; from benchmarks.population import share; share(*sys.argv[1:])"


def in_two_processes(config: Config) -> np.ndarray:
    """Losses [steps, seeds], of each process half of the seeds."""
    seeds, half = config.seeds, config.members // 2
    asked = [
        (str(core), json.dumps(part), json.dumps(vars(config.shape)))
        for core, part in enumerate((seeds[:half], seeds[half:]))
    ]
    started = [
        subprocess.Popen([sys.executable, "-c", PROGRAM, *words], stdout=subprocess.PIPE, cwd=measure.ROOT)
        for words in asked
    ]
    try:
        answers = [process.communicate()[0] for process in started]
    finally:
        for process in started:
            process.kill()  # Of one that has ended, nothing; of an interruption, both.
    if any(process.returncode for process in started):
        raise Disagreement("a process of half of the seeds failed")
    return np.concatenate([np.array(json.loads(answer), np.float32) for answer in answers], axis=1)


def share(core: str, seeds: str, shape: str) -> None:
    """What a process of `in_two_processes` does: trains on the core of this number, and writes losses as JSON."""
    if hasattr(os, "sched_setaffinity"):
        allowed = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, {allowed[int(core) % len(allowed)]})
    with without_cache():
        print(json.dumps(together(Shape(**json.loads(shape)), json.loads(seeds), one_by_one).tolist()))


MAPPINGS: dict[str, Mapping] = {ONE_BY_ONE: one_by_one, SIDE_BY_SIDE: jax.vmap, DEVICES: on_two_devices}


def trainings(config: Config) -> list[Row]:
    """All ways to train all seeds."""
    shape, seeds = config.shape, config.seeds
    ways: dict[str, Callable[[], np.ndarray]] = {ALONE: partial(alone, shape, seeds)}
    ways |= {name: partial(together, shape, seeds, mapping) for name, mapping in MAPPINGS.items()}
    ways[PROCESSES] = partial(in_two_processes, config)
    case = {"of": TRAINING, "seeds": config.members, "steps": shape.steps}
    effort = Effort(0.0, config.trainings, config.trainings, 0.0)
    with without_cache():
        return compare(case, [Contestant(name, run) for name, run in ways.items()], effort, alike(TOLERANCE))


def stepping(name: str, functions: Sequence[Callable[..., Any]], key: Any, batch: Any) -> Contestant:
    """A training that goes a step further with each call."""
    begin, step = functions
    state, step, batch = jax.jit(begin)(key), jax.jit(step, donate_argnums=0), jax.device_put(batch)

    def run() -> Any:
        nonlocal state
        state, metrics = step(state, batch)
        return metrics["loss"]

    return Contestant(name, run)


def steps(config: Config) -> list[Row]:
    """A step of one member, and of all."""
    shape, seeds = config.shape, config.seeds
    every = stacked([rows(shape, seed) for seed in seeds])
    contestants = [stepping(ALONE, member(shape), jax.random.key(config.seed), rows(shape, config.seed))]
    for name, mapping in MAPPINGS.items():
        functions = [population(function, mapping) for function in member(shape)]
        contestants.append(stepping(name, functions, keys(seeds), every))
    return compare({"of": STEP, "seeds": config.members}, contestants, config.effort, lambda results: None)


def measured(config: Config) -> Iterator[Row]:
    """All rows."""
    yield from steps(config)
    yield from trainings(config)


def judge(rows: list[Row]) -> list[Verdict]:
    """Of trainings, the library's way."""
    (case,) = (case for case in cases(rows) if case[ALONE]["case"]["of"] == TRAINING)
    shape = case[ALONE]["case"]
    return [Verdict(COST, f"{shape['seeds']} seeds, {shape['steps']:,} steps, {ONE_BY_ONE}", times(case, ONE_BY_ONE))]


def main(config: Config) -> dict[str, Any]:
    """Measures, judges, prints the tables and writes JSON; returns what the JSON holds."""
    config = quickened(config) if config.quick else config
    if len(jax.devices()) < 2:
        raise UserError("population needs two devices, got one; set XLA_FLAGS=--xla_force_host_platform_device_count=2")
    return conduct("population", __doc__, config, measured(config), judge)


if __name__ == "__main__":
    jax.config.update("jax_num_cpu_devices", 2)
    command(Config, main, __doc__)
