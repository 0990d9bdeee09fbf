"""Optax transformations from their configs."""

from collections.abc import Callable
from functools import singledispatch
from typing import Any

import jax
import optax
import optax.contrib

from jaxformer.config.training import Adam, AdamW, Cosine, Muon, Noam, OptimizationConfig, Wsd
from jaxformer.training.balance import BIAS

BOX = jax.tree_util.GetAttrKey("value")
"""What a Flax box adds to the path of a parameter, behind its name."""


@singledispatch
def schedule(config: Any, steps: int, width: int) -> optax.Schedule:
    """Learning rate by step, for a run of `steps` and a model of `width`. A new schedule is a config class registered
    here.
    """
    raise TypeError(f"no schedule for {type(config).__name__}")


@schedule.register
def _(config: Noam, steps: int, width: int) -> optax.Schedule:
    def rate(step: Any) -> Any:
        count = step + 1.0
        return config.factor * width**-0.5 * jax.numpy.minimum(count**-0.5, count * config.warmup**-1.5)

    return rate


@schedule.register
def _(config: Cosine, steps: int, width: int) -> optax.Schedule:
    warmup = _warmup(config.warmup, steps)
    return optax.warmup_cosine_decay_schedule(
        0.0, config.peak, warmup, max(steps, warmup + 1), config.floor * config.peak
    )


@schedule.register
def _(config: Wsd, steps: int, width: int) -> optax.Schedule:
    warmup, decay = _warmup(config.warmup, steps), max(1, round(config.decay * steps))
    parts = [
        optax.linear_schedule(0.0, config.peak, warmup),
        optax.constant_schedule(config.peak),
        optax.linear_schedule(config.peak, 0.0, decay),
    ]
    return optax.join_schedules(parts, [warmup, max(warmup, steps - decay)])


def _warmup(asked: int, steps: int) -> int:
    return max(1, min(asked, steps // 10))


@singledispatch
def scale(config: Any, rate: optax.Schedule) -> optax.GradientTransformation:
    """Gradient → update at a learning rate. A new optimizer is a config class registered here."""
    raise TypeError(f"no optimizer for {type(config).__name__}")


@scale.register
def _(config: Adam, rate: optax.Schedule) -> optax.GradientTransformation:
    return optax.adam(rate, config.beta1, config.beta2, config.epsilon)


@scale.register
def _(config: AdamW, rate: optax.Schedule) -> optax.GradientTransformation:
    return optax.adamw(
        rate, config.beta1, config.beta2, config.epsilon, weight_decay=config.weight_decay, mask=decayed_leaves
    )


@scale.register
def _(config: Muon, rate: optax.Schedule) -> optax.GradientTransformation:
    matrices = optax.contrib.muon(
        rate,
        beta=config.momentum,
        weight_decay=config.weight_decay,
        consistent_rms=config.size,
        muon_weight_dimension_numbers=matrix_axes,
    )
    rules: dict[Any, Any] = {"matrix": matrices, "rest": scale(config.rest, rate)}
    return optax.partition(rules, lambda params: _by_name(lambda *names: "matrix" if _axes(*names) else "rest", params))


def matrix_axes(params: Any) -> Any:
    """Which axes of each weight of an attention or feed-forward layer are summed over in use and which are left, None
    for all other parameters. The axes before those count layers and experts, each with a matrix of its own.

    The heads of a projection are one matrix together. Factors of low rank are no weights of their layer. The parameters
    may lie in Flax's boxes.
    """
    return _by_name(_axes, params)


def _axes(*names: str) -> optax.contrib.MuonDimensionNumbers | None:
    match names[-2:]:
        case (("attention" | "cross"), ("query" | "key" | "value" | "gate" | "query_up")):
            return optax.contrib.MuonDimensionNumbers((-3,), (-2, -1))
        case (("attention" | "cross"), "output"):
            return optax.contrib.MuonDimensionNumbers((-3, -2), (-1,))
        case (("attention" | "cross"), ("query_down" | "latent" | "shared_key")):
            return optax.contrib.MuonDimensionNumbers((-2,), (-1,))
        case (("feed_forward" | "shared"), name) if name.removeprefix("expert_") in ("up", "gate", "down", "router"):
            return optax.contrib.MuonDimensionNumbers((-2,), (-1,))
    return None


def decayed_leaves(params: Any) -> Any:
    """True for each weight matrix; False for biases, scales and tables of embeddings, which decay would only shrink.

    The parameters may lie in Flax's boxes.
    """

    def is_matrix(*names: str) -> bool:
        return not (names[-1].endswith("bias") or names[-1] in ("scale", "table", "position", BIAS))

    return _by_name(is_matrix, params)


def _by_name(function: Callable[..., Any], params: Any) -> Any:
    """What a function says of the names that lead to each parameter, in place of the parameter."""

    def said(path: Any, leaf: Any) -> Any:
        entries = (entry for entry in path if entry != BOX)
        return function(*(getattr(entry, "key", None) or entry.name for entry in entries))

    return jax.tree_util.tree_map_with_path(said, params)


def optimizer(config: OptimizationConfig, steps: int, width: int) -> optax.GradientTransformation:
    """Clipping, then the optimizer at its schedule."""
    rate = schedule(config.schedule, steps, width)
    return optax.chain(optax.clip_by_global_norm(config.clip), scale(config.optimizer, rate))
