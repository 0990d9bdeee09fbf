"""A cache gives back what was written, each row at its position, however it came in."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxformer.nn.cache import NOWHERE, Chunk, Full, Ring
from tests.parity.compare import normal

B, ROOM, RING, K, H = 3, 17, 5, 2, 7


def extended(cache, chunks):
    """Everything that is read after the last chunk: {position: row} of each sequence, those of padding left out."""
    extend = jax.jit(lambda cache, new, chunk: cache.extend(new, chunk))
    for new, start, count in chunks:
        rows, positions, cache = extend(cache, (new,), Chunk(jnp.asarray(start), jnp.asarray(count)))
    ends = np.broadcast_to(np.asarray(start) + np.asarray(count), B)
    positions = np.broadcast_to(np.asarray(positions), (B, rows[0].shape[1]))
    return cache, [
        {int(p): np.asarray(row) for p, row in zip(positions[b], rows[0][b], strict=True) if 0 <= p < ends[b]}
        for b in range(B)
    ]


def chunks_of(rows_BTKH, sizes):
    """A sequence handed over in pieces of these sizes, all sequences at the same place."""
    at = 0
    for size in sizes:
        yield rows_BTKH[:, at : at + size], at, size
        at += size


@pytest.mark.parametrize("sizes", [(13,), (1,) * 13, (4, 1, 1, 3, 1, 3)], ids=["at once", "one by one", "in pieces"])
def test_a_full_cache_remembers_everything(sizes):
    rows = normal(0, B, 13, K, H)
    cache, read = extended(Full((jnp.zeros((B, ROOM, K, H)),)), chunks_of(rows, sizes))
    for b in range(B):
        assert sorted(read[b]) == list(range(13))
        np.testing.assert_array_equal(np.stack([read[b][p] for p in range(13)]), rows[b])
    assert not cache.rows[0][:, 13:].any()


@pytest.mark.parametrize("sizes", [(13,), (1,) * 13, (4, 1, 1, 3, 1, 3), (2, 9, 2)])
def test_a_ring_remembers_the_last_positions(sizes):
    rows = normal(0, B, 13, K, H)
    _, read = extended(Ring((jnp.zeros((B, RING, K, H)),)), chunks_of(rows, sizes))
    for b in range(B):
        kept = set(read[b])
        # What stands before the last piece in the ring, and the piece itself.
        assert kept == set(range(max(0, 13 - sizes[-1] - RING), 13))
        for p in kept:
            np.testing.assert_array_equal(read[b][p], rows[b, p])


@pytest.mark.parametrize("empty", [Full, Ring], ids=["full", "ring"])
def test_prompts_of_unequal_length_go_on_at_their_own_places(empty):
    """Padding is written over, or never kept."""
    size, lengths, more = (ROOM if empty is Full else RING), np.array([2, 11, 6]), 4
    prompts, later = normal(0, B, 11, K, H), normal(1, B, more, K, H)
    chunks = [(prompts, np.zeros(B, int), lengths)]
    chunks += [(later[:, i : i + 1], lengths + i, np.ones(B, int)) for i in range(more)]
    _, read = extended(empty((jnp.zeros((B, size, K, H)),)), chunks)
    for b, n in enumerate(lengths):
        true = np.concatenate([prompts[b, :n], later[b]])
        first = 0 if empty is Full else max(0, n + more - 1 - RING)
        assert sorted(read[b]) == list(range(first, n + more))
        for p in read[b]:
            np.testing.assert_array_equal(read[b][p], true[p])


def test_slots_that_nothing_was_written_to_stand_nowhere():
    _, positions, _ = Ring((jnp.zeros((B, RING, K, H)),)).extend((normal(0, B, 1, K, H),), Chunk(jnp.array(0), 1))
    np.testing.assert_array_equal(positions, [[NOWHERE] * RING + [0]] * B)


@pytest.mark.parametrize("kind", [Full, Ring])
def test_the_cache_keeps_its_type(kind):
    cache = kind((jnp.zeros((B, ROOM, K, H), jnp.bfloat16),))
    rows, _, cache = cache.extend((normal(0, B, 1, K, H),), Chunk(jnp.array(0), 1))
    assert rows[0].dtype == cache.rows[0].dtype == jnp.bfloat16
