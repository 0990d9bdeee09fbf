"""Products of activations with weights."""

import jax.numpy as jnp
from jax import Array


def project(equation: str, x: Array, w: Array) -> Array:
    """einsum(equation, x, w) in x's dtype: w is rounded to it, the sum runs in float32."""
    return jnp.einsum(equation, x, w.astype(x.dtype), preferred_element_type=jnp.float32).astype(x.dtype)


def readout(x_D: Array, w_DE: Array, b_E: Array) -> Array:
    """tanh(x W + b) in x's dtype: what a recurrent decoder knows, as one vector to be compared with the embeddings.

    x [..., D] of any floating type is the state of the top layer and, where there is attention, what was read beside
    it. Source: Luong et al. 2015, eq. 5, with a bias.
    """
    return jnp.tanh(project("...d,de->...e", x_D, w_DE) + b_E.astype(x_D.dtype))


def logits(x_D: Array, w_VD: Array) -> Array:
    """How likely each token is next: x wᵀ with one vector per token, the embeddings' own where they are tied.

    x [..., D] of any floating type, to which w [V, D] is rounded; the result [..., V] is float32, because a softmax
    follows. Source: Press & Wolf 2017, eq. 2.
    """
    return jnp.einsum("...d,vd->...v", x_D, w_VD.astype(x_D.dtype), preferred_element_type=jnp.float32)


def capped(scores: Array, cap: float | None) -> Array:
    """cap · tanh(scores / cap), which lies within ±cap; the scores themselves where there is no cap (Gemma Team 2024,
    Gemma 2, §2).
    """
    return scores if cap is None else cap * jnp.tanh(scores / cap)
