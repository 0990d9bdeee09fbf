"""How a module declares a parameter: a shape beside its logical axes."""

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jax import Array

from jaxformer.ops.linear import ByOutput


def weight(
    module: nn.Module,
    name: str,
    shape: Sequence[int],
    axes: Sequence[str],
    inputs: int = 1,
    each: Sequence[int] = (),
    size: float = 1.0,
) -> Array:
    """A float32 weight whose first `inputs` axes are summed over in use; Glorot-uniform (Glorot & Bengio 2010).

    Along the axes `each`, such as the gates of a cell or the experts of a mixture, every slice is initialised as a
    matrix of its own; they do not count among the first. All is multiplied by `size`.
    """
    own = [axis for axis in range(len(shape)) if axis not in each]
    init = nn.initializers.variance_scaling(
        size**2, "fan_avg", "uniform", in_axis=own[:inputs], out_axis=own[inputs:], batch_axis=each
    )
    return declared(module, name, init, shape, axes)


def constant(module: nn.Module, name: str, value: float, shape: Sequence[int], axes: Sequence[str]) -> Array:
    """A float32 parameter that starts with the same value everywhere: a bias (0) or a scale (1)."""
    return declared(module, name, nn.initializers.constant(value), shape, axes)


def normal(module: nn.Module, name: str, deviation: float, shape: Sequence[int], axes: Sequence[str]) -> Array:
    """A float32 parameter drawn from a normal distribution: a table of embeddings."""
    return declared(module, name, nn.initializers.normal(deviation), shape, axes)


def declared(module: nn.Module, name: str, init: Any, shape: Sequence[int], axes: Sequence[str]) -> Any:
    """A float32 parameter that starts as `init(key, shape, dtype)` gives it."""
    kept = module.get_variable("params", name)
    if isinstance(kept, ByOutput):
        return kept  # of another shape than is declared, which Flax would refuse
    # Flax hands the array back without the box that carries its axes, which its annotation does not say.
    return module.param(name, nn.with_logical_partitioning(init, tuple(axes)), tuple(shape), jnp.float32)
