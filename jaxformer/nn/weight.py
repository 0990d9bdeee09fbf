"""How a module declares a parameter: a shape beside its logical axes."""

from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array


def weight(module: nn.Module, name: str, shape: Sequence[int], axes: Sequence[str], inputs: int = 1) -> Array:
    """A float32 weight whose first `inputs` axes are summed over in use; Glorot-uniform initialised (Glorot & Bengio 2010)."""
    every = range(len(shape))
    init = nn.initializers.variance_scaling(1.0, "fan_avg", "uniform", in_axis=every[:inputs], out_axis=every[inputs:])
    return module.param(name, nn.with_logical_partitioning(init, tuple(axes)), tuple(shape), jnp.float32)


def constant(module: nn.Module, name: str, value: float, shape: Sequence[int], axes: Sequence[str]) -> Array:
    """A float32 parameter that starts with the same value everywhere: a bias (0) or a scale (1)."""
    init = nn.with_logical_partitioning(nn.initializers.constant(value), tuple(axes))
    return module.param(name, init, tuple(shape), jnp.float32)


def normal(module: nn.Module, name: str, deviation: float, shape: Sequence[int], axes: Sequence[str]) -> Array:
    """A float32 parameter drawn from a normal distribution: a table of embeddings."""
    init = nn.with_logical_partitioning(jax.nn.initializers.normal(deviation), tuple(axes))
    return module.param(name, init, tuple(shape), jnp.float32)
