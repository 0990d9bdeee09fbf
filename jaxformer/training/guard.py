"""Steps that must not be applied: a loss or gradient that is not finite, or far above those before it."""

from typing import Any, NamedTuple

import jax.numpy as jnp
import optax
from jax import Array

from jaxformer.config.training import ApplySpikes, SkipSpikes, Spikes


class Remembered(NamedTuple):
    """An optimizer's state, and what the last applied steps were like."""

    optimizer: Any
    recent_2W: Array
    """Losses and gradient norms, float32, the newest last; NaN before there were W steps."""


def remembering(optimizer: optax.GradientTransformation, spikes: Spikes) -> optax.GradientTransformation:
    """The optimizer with the memory that `spikes` asks for in its state, so that a checkpoint keeps it."""
    match spikes:
        case ApplySpikes():
            return optimizer
        case SkipSpikes(window=window):
            return _with_memory(optimizer, window)


def _with_memory(optimizer: optax.GradientTransformation, window: int) -> optax.GradientTransformation:
    def init(params: Any) -> Remembered:
        return Remembered(optimizer.init(params), jnp.full((2, window), jnp.nan, jnp.float32))

    def update(gradients: Any, state: Any, params: Any = None, *, seen_2: Array) -> tuple[Any, Any]:
        updates, inner = optimizer.update(gradients, state.optimizer, params)
        return updates, Remembered(inner, jnp.concatenate([state.recent_2W[:, 1:], seen_2[:, None]], axis=1))

    return optax.GradientTransformationExtraArgs(init, update)  # pyright: ignore[reportArgumentType]


def applicable(seen_2: Array, optimizer_state: Any, spikes: Spikes) -> Array:
    """Whether a step with this loss and gradient norm may be applied, a bool []. A norm is finite where every gradient
    is.
    """
    finite = jnp.all(jnp.isfinite(seen_2))
    match spikes:
        case ApplySpikes():
            return finite
        case SkipSpikes(factor=factor):
            return finite & ~jnp.any(seen_2 > spike_limits(optimizer_state.recent_2W, factor))


def spike_limits(recent_2W: Array, factor: float) -> Array:
    """Median + `factor` · MAD of each row, [2]: a scale that no single outlier moves. NaN while a row has NaN.

    MAD, the median absolute deviation (Hampel 1974), counts as at least a hundredth of the median, so that values which
    are nearly constant leave room for noise.
    """
    median_2 = jnp.median(recent_2W, axis=1)
    deviation_2 = jnp.median(jnp.abs(recent_2W - median_2[:, None]), axis=1)
    return median_2 + factor * jnp.maximum(deviation_2, jnp.abs(median_2) / 100)
