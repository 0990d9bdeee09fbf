"""What one training step of an experiment's arm costs: time, memory, parameters."""

import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxformer.config.training import NoAverage
from jaxformer.training.optimizers import optimizer
from jaxformer.training.state import TrainState, new_state
from jaxformer.training.step import make_step
from jaxformer.training.study import Arm, StudyConfig


class StepCost(NamedTuple):
    """Of one run alone, on JAX's default device."""

    low: float
    """Lower quartile of a step's time, in milliseconds."""
    median: float
    high: float
    memory: float
    """MiB of the compiled step at most: state, batch and what the compiler keeps besides, by its own analysis."""
    parameters: float
    """Thousands."""


def step_costs(runs: Mapping[str, tuple[StudyConfig, Arm]], rounds: int = 20) -> dict[str, np.ndarray]:
    """The cost of a step of each run, with its first seed: the numbers of a `StepCost`, as an array that can be kept.

    In every round each takes one step, in an order that rotates, so that a busy moment of the machine falls on all.
    """
    compiled = {name: _Compiled(config, arm) for name, (config, arm) in runs.items()}
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    names = list(runs)
    for turn in range(rounds):
        first = turn % len(names)
        for name in names[first:] + names[:first]:
            seconds[name].append(compiled[name].timed())
    return {name: np.array(_cost(seconds[name], run)) for name, run in compiled.items()}


class _Compiled:
    """A training step at work on its first batch, over and over."""

    def __init__(self, config: StudyConfig, arm: Arm) -> None:
        seed, rule = config.seeds[0], optimizer(config.optimization, config.steps, arm.width)

        def begin(key: Any) -> TrainState:
            return new_state(arm.init(key), rule, NoAverage(), key)

        self._batch, self._state = jax.device_put(next(arm.batches(seed))), jax.jit(begin)(jax.random.key(seed))
        self.parameters = sum(leaf.size for leaf in jax.tree.leaves(self._state.params))
        step = jax.jit(make_step(arm.objective, rule), donate_argnums=0)
        self._step = step.lower(self._state, self._batch).compile()
        sizes: Any = self._step.memory_analysis()
        # What is donated comes back in its own place.
        returned = sizes.output_size_in_bytes - sizes.alias_size_in_bytes
        self.memory = int(sizes.argument_size_in_bytes + sizes.temp_size_in_bytes + returned)
        self.timed()  # The first step also warms up what the compiler leaves for later.

    def timed(self) -> float:
        start = time.perf_counter()
        self._state, _ = jax.block_until_ready(self._step(self._state, self._batch))
        return time.perf_counter() - start


def _cost(seconds: Sequence[float], run: _Compiled) -> StepCost:
    low, median, high = (1e3 * float(quartile) for quartile in np.quantile(seconds, (0.25, 0.5, 0.75)))
    return StepCost(low, median, high, run.memory / 2**20, run.parameters / 1e3)
