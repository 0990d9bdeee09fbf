"""What a hidden unit does to its sum: functions of one number, and the product that gates one with another."""

from collections.abc import Callable, Mapping
from functools import wraps

import jax
import jax.numpy as jnp
from jax import Array

from jaxformer.config.activations import Activation


def _by_slope(function: Callable[[Array], Array]) -> Callable[[Array], Array]:
    """A smooth function of one number that is computed in float32 at least, and keeps one for its gradient: the slope.

    Left to itself JAX keeps up to five, which a training step is slower to write and read again than to compute, and
    rounds each to x's dtype.
    """

    @jax.custom_jvp
    @wraps(function)
    def rounded(x: Array) -> Array:
        return function(_exactly(x)).astype(x.dtype)

    @rounded.defjvp
    def _(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
        (x,), (dx,) = primals, tangents
        y, slope = jax.jvp(function, (_exactly(x),), (jnp.ones_like(_exactly(x)),))
        return y.astype(x.dtype), slope.astype(x.dtype) * dx

    return rounded


def _exactly(x: Array) -> Array:
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))


@_by_slope
def gelu(x: Array) -> Array:
    """x Φ(x) with the normal distribution function Φ itself, in x's dtype. Source: Hendrycks & Gimpel 2016, §2."""
    return jax.nn.gelu(x, approximate=False)


@_by_slope
def gelu_tanh(x: Array) -> Array:
    """x Φ(x) with Φ(x) ≈ (1 + tanh(√(2/π) (x + 0.044715 x³))) / 2, in x's dtype; within 5e-4 of `gelu`.

    GPT-2 and Gemma were trained with it. Source: Hendrycks & Gimpel 2016, §2.
    """
    return jax.nn.gelu(x, approximate=True)


@_by_slope
def silu(x: Array) -> Array:
    """x / (1 + exp(-x)), in x's dtype. Source: Hendrycks & Gimpel 2016, §2."""
    return jax.nn.silu(x)


def squared_relu(x: Array) -> Array:
    """max(x, 0)², in x's dtype. Source: So et al. 2021, §4."""
    return jnp.square(jax.nn.relu(x))


ACTIVATIONS: Mapping[Activation, Callable[[Array], Array]] = {
    "relu": jax.nn.relu,
    "gelu": gelu,
    "gelu_tanh": gelu_tanh,
    "silu": silu,
    "squared_relu": squared_relu,
}
"""The function that each name of the configuration stands for; all act on any shape and keep the dtype."""


def gated(activation: Callable[[Array], Array], gate_F: Array, up_F: Array) -> Array:
    """activation(gate) ⊙ up, both of one shape and dtype: SwiGLU with silu, GEGLU with gelu.

    Source: Shazeer 2020, eq. 5.
    """
    return activation(gate_F) * up_F
