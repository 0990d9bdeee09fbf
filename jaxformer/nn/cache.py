"""What a decoder remembers between tokens, as an argument and a result."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from jaxformer.nn.attention import KeysValues


def empty(batch: int, length: int, kv_heads: int, head_width: int, dtype: Any) -> KeysValues:
    """Room for the keys and values of `length` tokens, [B, length, K, H] each."""
    room = jnp.zeros((batch, length, kv_heads, head_width), dtype)
    return room, room


def append(cached: KeysValues, new: KeysValues, index: Array) -> KeysValues:
    """The cached keys and values with the new ones written from position `index` on.

    Slots past the last one written hold zeros that a causal mask hides, since they stand after every query.
    """

    def write(old: Array, added: Array) -> Array:
        return jax.lax.dynamic_update_slice_in_dim(old, added.astype(old.dtype), index, axis=1)

    return write(cached[0], new[0]), write(cached[1], new[1])


class LayerCache(NamedTuple):
    """One decoder layer's memory: its own keys and values so far, and the source's, computed once at the first call."""

    own: KeysValues
    source: KeysValues | None = None
