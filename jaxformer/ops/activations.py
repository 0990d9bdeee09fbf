"""What a hidden unit does to its sum: functions of one number, and the product that gates one with another."""

from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
from jax import Array

from jaxformer.config.activations import Activation


def gelu(x: Array) -> Array:
    """x Φ(x) with the normal distribution function Φ itself, in x's dtype. Source: Hendrycks & Gimpel 2016, §2."""
    return jax.nn.gelu(x, approximate=False)


def gelu_tanh(x: Array) -> Array:
    """x Φ(x) with Φ(x) ≈ (1 + tanh(√(2/π) (x + 0.044715 x³))) / 2, in x's dtype; within 5e-4 of `gelu`.

    GPT-2 and Gemma were trained with it. Source: Hendrycks & Gimpel 2016, §2.
    """
    return jax.nn.gelu(x, approximate=True)


def squared_relu(x: Array) -> Array:
    """max(x, 0)², in x's dtype. Source: So et al. 2021, §4."""
    return jnp.square(jax.nn.relu(x))


ACTIVATIONS: Mapping[Activation, Callable[[Array], Array]] = {
    "relu": jax.nn.relu,
    "gelu": gelu,
    "gelu_tanh": gelu_tanh,
    "silu": jax.nn.silu,
    "squared_relu": squared_relu,
}
"""The function that each name of the configuration stands for; all act on any shape and keep the dtype."""


def gated(activation: Callable[[Array], Array], gate_F: Array, up_F: Array) -> Array:
    """activation(gate) ⊙ up, both of one shape and dtype: SwiGLU with silu, GEGLU with gelu.

    Source: Shazeer 2020, eq. 5.
    """
    return activation(gate_F) * up_F
