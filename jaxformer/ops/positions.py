"""Where a token stands, as a vector."""

import jax.numpy as jnp
from jax import Array


def sinusoid(position: Array, width: int, base: float = 10_000.0) -> Array:
    """The position's code float32 [..., width]: sin and cos of position / base^(2i/width), interleaved.

    `position` is an integer array of any shape, `width` even. Source: Vaswani et al. 2017, §3.5.
    """
    if width % 2:
        raise ValueError(f"width must be even, got {width}")
    frequencies = base ** (-jnp.arange(0, width, 2, dtype=jnp.float32) / width)
    angles = position[..., None].astype(jnp.float32) * frequencies
    return jnp.stack([jnp.sin(angles), jnp.cos(angles)], axis=-1).reshape(*position.shape, width)
