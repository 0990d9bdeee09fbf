"""Products of activations with weights."""

import jax.numpy as jnp
from jax import Array


def project(equation: str, x: Array, w: Array) -> Array:
    """einsum(equation, x, w) in x's dtype: w is rounded to it, the sum runs in float32."""
    return jnp.einsum(equation, x, w.astype(x.dtype), preferred_element_type=jnp.float32).astype(x.dtype)
