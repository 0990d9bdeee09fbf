"""A cache is room that is written from a position on."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxformer.nn.cache import append, empty
from tests.parity.compare import normal

B, ROOM, K, H = 3, 7, 2, 5


def test_new_keys_and_values_stand_where_they_belong():
    keys, values = empty(B, ROOM, K, H, jnp.float32)
    assert keys.shape == values.shape == (B, ROOM, K, H) and not keys.any()
    new = normal(0, B, 2, K, H), normal(1, B, 2, K, H)
    written = jax.jit(append)(jax.jit(append)((keys, values), new, 1), (new[1][:, :1], new[0][:, :1]), 3)
    for array, first, second in zip(written, new, reversed(new), strict=True):
        np.testing.assert_array_equal(array[:, 1:3], first)
        np.testing.assert_array_equal(array[:, 3], second[:, 0])
        assert not array[:, 0].any() and not array[:, 4:].any()


def test_the_cache_keeps_its_type():
    cached = append(empty(B, ROOM, K, H, jnp.bfloat16), (normal(0, B, 1, K, H), normal(1, B, 1, K, H)), jnp.array(0))
    assert {array.dtype for array in cached} == {jnp.dtype(jnp.bfloat16)}
