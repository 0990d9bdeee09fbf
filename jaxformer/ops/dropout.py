"""Forgetting at random."""

import jax
import jax.numpy as jnp
from jax import Array


def dropout(key: Array, x: Array, rate: float) -> Array:
    """x with each element set to zero with probability `rate` and the others divided by what is kept (Srivastava et al.
    2014).

    Each element spends 8 random bits instead of 32, since drawing them is what dropout costs; the rate is therefore
    rounded to a multiple of 1/256, and the division uses the rounded one, so the mean is kept exactly. Rates that round
    to 0 return x.
    """
    # One of 256 is always kept, or there would be nothing to divide.
    dropped = min(round(rate * 256), 255)
    if not dropped:
        return x
    words = jax.random.bits(key, (-(-x.size // 4),), jnp.uint32)
    bytes_ = jax.lax.bitcast_convert_type(words, jnp.uint8).reshape(-1)[: x.size].reshape(x.shape)
    return jnp.where(bytes_ >= dropped, x * jnp.asarray(256 / (256 - dropped), x.dtype), jnp.zeros((), x.dtype))
