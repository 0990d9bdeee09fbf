"""Attention before the Transformer: a small network scores every key against the query."""

import jax
import jax.numpy as jnp
from jax import Array


def additive_weights(query_A: Array, keys_SA: Array, v_A: Array, mask_S: Array) -> Array:
    """How much one query reads of each key: softmax over s of v · tanh(query + key_s), float32 [S].

    Query and keys come projected to the scoring width A. mask_S is True for the keys that may be read; at least one
    must be. Source: Bahdanau et al. 2015, appendix A.1.2.
    """
    scores_S = jnp.tanh(query_A + keys_SA).astype(jnp.float32) @ v_A.astype(jnp.float32)
    return jax.nn.softmax(jnp.where(mask_S, scores_S, jnp.finfo(jnp.float32).min))
