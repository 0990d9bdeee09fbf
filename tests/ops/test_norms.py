"""Layer norm and RMS norm against torch and float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxformer.ops.norms import layer_norm, rms_norm
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


@pytest.mark.parametrize("epsilon", [1e-6, 1e-1])
def test_rms_values_and_gradients_are_those_of_torch(torch, epsilon):
    leaves = [1 + 2 * normal(0, B, T, D), normal(1, D)]
    weight = normal(3, B, T, D)

    def weighed(x, scale):
        y = rms_norm(x, scale, epsilon)
        return (y * weight).sum(), y

    (_, y), gradients = jax.value_and_grad(weighed, argnums=(0, 1), has_aux=True)(*leaves)
    norm = torch.nn.RMSNorm(D, eps=epsilon, dtype=torch.float64)
    norm.weight.data = torch.tensor(leaves[1], dtype=torch.float64)
    twin = torch.tensor(leaves[0], dtype=torch.float64, requires_grad=True)
    expected = norm(twin)
    (expected * torch.tensor(weight)).sum().backward()
    assert_all_close((y, *gradients), (expected.detach(), twin.grad, norm.weight.grad), 2e-6)


def test_rms_of_what_comes_out_is_one_at_any_size():
    x = normal(0, B, T, D)
    for size in (1.0, 1e3, 1e12):
        y = rms_norm(size * x, np.ones(D, np.float32))
        np.testing.assert_allclose(np.square(y).mean(-1), np.ones((B, T)), rtol=1e-5)


def test_rms_in_half_precision_is_computed_in_float32():
    x = jnp.asarray(300 * normal(0, B, D), jnp.float16)
    y = rms_norm(x, normal(1, D))
    assert y.dtype == jnp.float16
    assert_close(y, rms_norm(x.astype(jnp.float32), normal(1, D)), 2.0**-11)


def test_rms_of_zeros_is_zero_with_finite_gradients():
    x = np.zeros((B, D), np.float32)
    np.testing.assert_array_equal(rms_norm(x, normal(1, D)), x)
    assert np.isfinite(jax.grad(lambda x: rms_norm(x, normal(1, D))[0, 0])(x)).all()
