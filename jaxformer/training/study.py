"""The training of an experiment: the same run once for every seed, in one compiled program."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import numpy as np
from jax import Array

from jaxformer.analysis.evidence import check_seeds
from jaxformer.config.training import AdamW, Cosine, NoAverage, OptimizationConfig
from jaxformer.objectives import Objective, Total
from jaxformer.training.optimizers import optimizer
from jaxformer.training.population import history, population
from jaxformer.training.state import TrainState, new_state
from jaxformer.training.step import make_step


@dataclass(frozen=True)
class StudyConfig:
    """How often, how long and how an experiment trains; that of an experiment adds what it asks about."""

    seeds: tuple[int, ...] = tuple(range(8))
    steps: int = 200
    look_every: int = 20
    """Steps between two looks at held-out data."""
    batch: int = 32
    """Sequences a step."""
    optimization: OptimizationConfig = OptimizationConfig(AdamW(), Cosine(peak=3e-3, warmup=50))

    def __post_init__(self) -> None:
        check_seeds(self.seeds)
        if self.look_every < 1 or self.steps < 1 or self.steps % self.look_every:
            raise ValueError(f"steps must be a multiple of look_every, got {self.steps} and {self.look_every}")
        if self.batch < 1:
            raise ValueError(f"batch must be at least 1, got {self.batch}")

    @property
    def looks(self) -> list[int]:
        """The steps after which held-out data are looked at."""
        return list(range(0, self.steps + 1, self.look_every))


def check_names(kind: str, names: Sequence[str], known: Collection[str]) -> None:
    """Raises ValueError where there is no name, or one that is not known, of this kind: "arms"."""
    if not names or not set(names) <= set(known):
        raise ValueError(f"{kind} must be some of {', '.join(known)}, got {', '.join(names)}")


class Arm(NamedTuple):
    """What is compared with another of its kind: a model and its task, as functions of one run."""

    init: Callable[[Array], Any]
    """A random key → parameters."""
    objective: Objective
    batches: Callable[..., Iterator[Any]]
    """A seed, and a variant where there are several → batches of NumPy arrays, no fewer than steps."""
    held_out: Callable[..., Any]
    """A seed, and a variant where there are several → what `look` is given, of the same shapes in all."""
    look: Callable[[Any, Any], Any]
    """Parameters, held-out data → arrays."""
    width: int = 1
    """The model's, for schedules that ask for it."""


class Trained(NamedTuple):
    """An arm after its steps, for every seed."""

    looks: Any
    """What `look` gave before the first step and after each `look_every`-th, NumPy [looks, seeds, ...]."""
    params: Any
    """The last parameters, [seeds, ...]."""


TOKENS = np.ones((1, 2), np.int32)
"""The smallest rows of tokens that a model is called with."""


def initial(model: nn.Module, *inputs: Any) -> Callable[[Array], Any]:
    """A random key → the parameters of a model that is called with inputs of these shapes."""
    return lambda key: nn.meta.unbox(model.init(key, *inputs))


def mean_costs(total: Total) -> dict[str, Array]:
    """The "loss" in nats a token, and the "accuracy"."""
    return {"loss": total.costs.nll / total.tokens, "accuracy": total.costs.correct / total.tokens}


def train(config: StudyConfig, arm: Arm) -> Trained:
    """Trains an arm once for every seed, which decides its first weights and its data.

    Where the device has too little memory for all of them, fewer are trained at once; each has the result that it would
    have alone, up to the rounding of sums in another order.
    """
    return _fitting(config, arm, [(seed,) for seed in config.seeds])


def train_variants(config: StudyConfig, arm: Arm, variants: Mapping[str, Any]) -> dict[str, Trained]:
    """`train` for each variant of the data, all in one compiled program: their shapes are the same."""
    members = [(seed, variant) for variant in variants.values() for seed in config.seeds]
    whole, count = _fitting(config, arm, members), len(config.seeds)
    spans = {name: slice(i * count, (i + 1) * count) for i, name in enumerate(variants)}
    return {
        name: Trained(
            jax.tree.map(lambda x, span=span: x[:, span], whole.looks),
            jax.tree.map(lambda x, span=span: x[span], whole.params),
        )
        for name, span in spans.items()
    }


def of_each_seed(function: Callable[..., Any], members: Any, *shared: Any) -> Any:
    """What `function(member, *shared)` gives for each seed's member, such as its last parameters, NumPy [seeds, ...].

    What all seeds share is handed to the compiled program: were it a constant of it, the compiler would compute ahead
    whatever follows from it, which takes long.
    """

    def all_of(members: Any, *shared: Any) -> Any:
        return population(lambda member: function(member, *shared))(members)

    return jax.device_get(jax.jit(all_of)(members, *shared))


def keys(config: StudyConfig) -> Array:
    """The random keys that `train` begins each seed with."""
    return jax.vmap(jax.random.key)(np.array(config.seeds))


def stacked(trees: Sequence[Any]) -> Any:
    """Trees of NumPy arrays as one, on a new first axis."""
    return jax.tree.map(lambda *leaves: np.stack(leaves), *trees)


def _fitting(config: StudyConfig, arm: Arm, members: Sequence[tuple[Any, ...]]) -> Trained:
    """All members together where memory allows it, else half of them after the other."""
    try:
        return _together(config, arm, members)
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error) or len(members) == 1:
            raise
    half = (len(members) + 1) // 2
    first, second = (_fitting(config, arm, part) for part in (members[:half], members[half:]))
    return Trained(
        jax.tree.map(lambda *parts: np.concatenate(parts, axis=1), first.looks, second.looks),
        jax.tree.map(lambda *parts: np.concatenate(parts), *jax.device_get((first.params, second.params))),
    )


def _together(config: StudyConfig, arm: Arm, members: Sequence[tuple[Any, ...]]) -> Trained:
    rule = optimizer(config.optimization, config.steps, arm.width)

    def begin(key: Array) -> TrainState:
        return new_state(arm.init(key), rule, NoAverage(), key)

    def look(state: TrainState, held_out: Any) -> Any:
        return arm.look(state.params, held_out)

    states = jax.jit(population(begin))(jax.vmap(jax.random.key)(np.array([seed for seed, *_ in members])))
    streams = [arm.batches(*member) for member in members]
    batches = (stacked([next(stream) for stream in streams]) for _ in range(config.steps))
    held_out = stacked([arm.held_out(*member) for member in members])
    seen, states = history(make_step(arm.objective, rule), look, states, batches, held_out, config.look_every)
    return Trained(seen, states.params)
