"""Layer norm against torch and float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxformer.ops.norms import layer_norm
from tests.parity.compare import assert_all_close, assert_close, normal

B, T, D = 3, 7, 11


@pytest.mark.parametrize("epsilon", [1e-5, 1e-1])
def test_values_and_gradients_are_those_of_torch(torch, epsilon):
    leaves = [1 + 2 * normal(0, B, T, D), normal(1, D), normal(2, D)]
    weight = normal(3, B, T, D)

    def weighed(x, scale, bias):
        y = layer_norm(x, scale, bias, epsilon)
        return (y * weight).sum(), y

    (_, y), gradients = jax.value_and_grad(weighed, argnums=(0, 1, 2), has_aux=True)(*leaves)
    twins = [torch.tensor(leaf, dtype=torch.float64, requires_grad=True) for leaf in leaves]
    expected = torch.nn.functional.layer_norm(twins[0], (D,), twins[1], twins[2], eps=epsilon)
    (expected * torch.tensor(weight)).sum().backward()
    assert_all_close((y, *gradients), (expected.detach(), *(twin.grad for twin in twins)), 2e-6)


def test_a_large_mean_leaves_the_small_differences():
    x = 1000 + normal(0, B, D)
    exact = x.astype(np.float64)
    expected = (exact - exact.mean(-1, keepdims=True)) / np.sqrt(exact.var(-1, keepdims=True) + 1e-5)
    np.testing.assert_allclose(layer_norm(x, np.ones(D), np.zeros(D)), expected, atol=1e-3)


def test_half_precision_is_computed_in_float32():
    x = jnp.asarray(30 + normal(0, B, D), jnp.bfloat16)
    y = layer_norm(x, normal(1, D), normal(2, D))
    assert y.dtype == jnp.bfloat16
    assert_close(y, layer_norm(x.astype(jnp.float32), normal(1, D), normal(2, D)), 2.0**-8)


def test_a_constant_vector_becomes_the_bias_with_finite_gradients():
    x, bias = np.full((B, D), 3.0, np.float32), normal(2, D)
    np.testing.assert_array_equal(layer_norm(x, normal(1, D), bias), np.tile(bias, (B, 1)))
    assert np.isfinite(jax.grad(lambda x: layer_norm(x, normal(1, D), bias)[0, 0])(x)).all()
