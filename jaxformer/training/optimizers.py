"""Optax transformations from their configs."""

from functools import singledispatch
from typing import Any

import jax
import optax

from jaxformer.config.training import Adam, AdamW, Cosine, Noam, OptimizationConfig, Wsd
from jaxformer.training.balance import BIAS


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


def decayed_leaves(params: Any) -> Any:
    """True for each weight matrix; False for biases, scales and tables of embeddings, which decay would only shrink.

    The parameters may lie in Flax's boxes.
    """

    def is_matrix(path: Any, leaf: Any) -> bool:
        # A box adds an entry of its own after the parameter's name.
        name = next(entry.key for entry in reversed(path) if isinstance(entry, jax.tree_util.DictKey))
        return not (name.endswith("bias") or name in ("scale", "table", "position", BIAS))

    return jax.tree_util.tree_map_with_path(is_matrix, params)


def optimizer(config: OptimizationConfig, steps: int, width: int) -> optax.GradientTransformation:
    """Clipping, then the optimizer at its schedule."""
    rate = schedule(config.schedule, steps, width)
    return optax.chain(optax.clip_by_global_norm(config.clip), scale(config.optimizer, rate))
