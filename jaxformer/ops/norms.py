"""Normalisation of one vector."""

import jax
import jax.numpy as jnp
from jax import Array


def layer_norm(x_D: Array, scale_D: Array, bias_D: Array, epsilon: float = 1e-5) -> Array:
    """(x - mean) / √(variance + ε) · scale + bias over the last axis, computed in float32, in x's dtype.

    Takes leading axes as they are. Source: Ba et al. 2016, eq. 4.
    """
    x = x_D.astype(jnp.float32)
    centred = x - jnp.mean(x, axis=-1, keepdims=True)
    inverse = jax.lax.rsqrt(jnp.mean(jnp.square(centred), axis=-1, keepdims=True) + epsilon)
    return (centred * inverse * scale_D + bias_D).astype(x_D.dtype)


def rms_norm(x_D: Array, scale_D: Array, epsilon: float = 1e-6) -> Array:
    """x / √(mean of squares + ε) · scale over the last axis, computed in float32, in x's dtype.

    Takes leading axes as they are. Source: Zhang & Sennrich 2019, eq. 4.
    """
    x = x_D.astype(jnp.float32)
    inverse = jax.lax.rsqrt(jnp.mean(jnp.square(x), axis=-1, keepdims=True) + epsilon)
    return (x * inverse * scale_D).astype(x_D.dtype)
