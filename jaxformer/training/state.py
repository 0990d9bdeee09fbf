"""All that changes while training, as one value."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import Array

from jaxformer.config.training import Average, Ema


class TrainState(NamedTuple):
    """Parameters and everything that the next step needs besides the batch."""

    step: Array
    """Steps taken, int32."""
    params: Any
    optimizer: Any
    average: Any
    """The averaged parameters, or None."""
    key: Array
    """The run's random key; each step folds its number in."""

    @property
    def best_params(self) -> Any:
        """What to evaluate: the average where one is kept."""
        return self.params if self.average is None else self.average


def new_state(params: Any, optimizer: optax.GradientTransformation, average: Average, key: Array) -> TrainState:
    """The state before the first step."""
    # A copy: were the average the same buffers, donating the state would hand them over twice.
    kept = jax.tree.map(jnp.array, params) if isinstance(average, Ema) else None
    return TrainState(jnp.zeros((), jnp.int32), params, optimizer.init(params), kept, key)
