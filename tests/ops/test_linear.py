"""Products of activations with weights."""

import jax.numpy as jnp
import numpy as np

from jaxformer.ops.linear import logits, project, readout
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


def test_the_readout_is_luongs():
    x, w, b = normal(0, 3, 2, 7), normal(1, 7, 5), normal(2, 5)
    assert_close(readout(x, w, b), np.tanh(np.float64(x) @ w + b), 1e-6)


def test_logits_are_products_with_each_tokens_vector_in_float32():
    x, w = normal(0, 3, 2, 7), normal(1, 11, 7)
    assert_close(logits(x, w), np.einsum("btd,vd->btv", np.float64(x), w), 1e-6)
    assert_close(logits(x[0, 0], w), np.float64(w) @ x[0, 0], 1e-6)


def test_logits_of_half_precision_are_not_rounded_to_it():
    x, w = jnp.asarray(normal(0, 3, 1009), jnp.bfloat16), 1 + normal(1, 5, 1009)
    exact = np.float64(x) @ np.float64(jnp.asarray(w, jnp.bfloat16)).T
    y = logits(x, w)
    assert y.dtype == jnp.float32
    assert_close(y, exact, 1e-6)
    assert not np.array_equal(y, np.float32(jnp.asarray(y, jnp.bfloat16)))
