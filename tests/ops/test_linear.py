"""Products of activations with weights."""

import jax.numpy as jnp
import numpy as np

from jaxformer.ops.linear import project
from tests.parity.compare import assert_close, normal


def test_the_product_is_the_sum_over_heads_and_inputs():
    x, w = normal(0, 3, 2, 7), normal(1, 2, 7, 5)
    assert_close(project("bnh,nhd->bd", x, w), np.float64(x).reshape(3, -1) @ w.reshape(-1, 5), 1e-6)


def test_half_precision_rounds_the_weights_and_once_the_sum():
    x, w = jnp.asarray(normal(0, 3, 1009), jnp.bfloat16), 1 + normal(1, 1009, 5)
    y = project("bd,de->be", x, w)
    exact = np.float64(x) @ np.float64(jnp.asarray(w, jnp.bfloat16))
    assert y.dtype == jnp.bfloat16
    np.testing.assert_array_equal(np.float32(y), np.float32(jnp.asarray(exact, jnp.bfloat16)))
