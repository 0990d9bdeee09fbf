"""What a layer remembers between tokens, as an argument and a result: rows of any shape, one for each position.

A row may be a key and a value of every head, or the small vector that all of them are made from. Rows of one batch
entry are appended at its own place, so that prompts of unequal length share a batch: what padding wrote past the end of
a prompt stands after every query, where a causal mask hides it until it is written over.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

NOWHERE = -(2**30)
"""The position of a slot that nothing was written to: farther away than any window reaches."""


class Chunk(NamedTuple):
    """Where the new rows of a call stand: at `start`, `start` + 1, …, of which the first `count` are true tokens."""

    start: Array
    """int32, one for all sequences (), or [B]."""
    count: Array | int
    """True tokens, () or [B]; the rest is padding."""


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Full:
    """Room for every position. Leaves [B, S, ...]."""

    rows: Any

    def extend(self, new: Any, chunk: Chunk) -> tuple[Any, Array, "Full"]:
        """(rows to read, their positions [S], the cache with `new` [B, T, ...] added)."""
        rows = jax.tree.map(lambda old, added: _written(old, added.astype(old.dtype), chunk.start), self.rows, new)
        return rows, jnp.arange(jax.tree.leaves(rows)[0].shape[1]), Full(rows)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Ring:
    """Room for the last positions alone: position p is kept in slot p mod R. Leaves [B, R, ...]."""

    rows: Any

    def extend(self, new: Any, chunk: Chunk) -> tuple[Any, Array, "Ring"]:
        """(rows to read, their positions [B, R + T], the cache with `new` [B, T, ...] added).

        The old rows are read beside the new ones: the first of those may still need what the last of them write over.
        """
        batch, room = jax.tree.leaves(self.rows)[0].shape[:2]
        count = jax.tree.leaves(new)[0].shape[1]
        start_B1 = jnp.broadcast_to(chunk.start, batch)[:, None]
        true_B1 = jnp.broadcast_to(jnp.asarray(chunk.count), batch)[:, None]
        old_BR = _held(start_B1, room)
        positions_BS = jnp.concatenate([old_BR, start_B1 + jnp.arange(count)], axis=1)
        read = jax.tree.map(lambda a, b: jnp.concatenate([a, b.astype(a.dtype)], axis=1), self.rows, new)
        # Of all that was read, each slot keeps the row of the latest position that belongs in it.
        latest_BR = _held(start_B1 + true_B1, room)
        source_BR = jnp.where(latest_BR >= start_B1, room + latest_BR - start_B1, jnp.arange(room))
        return read, positions_BS, Ring(jax.tree.map(lambda rows: _taken(rows, source_BR), read))


Cache = Full | Ring


class LayerCache(NamedTuple):
    """One decoder layer's memory: its own rows so far, and the source's keys and values, computed at the first call."""

    own: Cache
    source: Any = None


def _held(end_B1: Array, room: int) -> Array:
    """The position that each slot of a ring holds, [B, R], when positions up to `end` were written; NOWHERE if none."""
    last_BR = end_B1 - 1 - (end_B1 - 1 - jnp.arange(room)) % room
    return jnp.where(last_BR >= 0, last_BR, NOWHERE)


def _taken(rows: Array, index_BR: Array) -> Array:
    return jax.vmap(lambda row, index: row[index])(rows, index_BR)


def _written(old: Array, new: Array, start: Array) -> Array:
    """`old` [B, S, ...] with `new` [B, T, ...] from position `start` on; what would lie past the end is dropped."""
    if start.ndim == 0:
        return jax.lax.dynamic_update_slice_in_dim(old, new, start, axis=1)
    places_BT = start[:, None] + jnp.arange(new.shape[1])
    return jax.vmap(lambda rows, places, added: rows.at[places].set(added, mode="drop"))(old, places_BT, new)
