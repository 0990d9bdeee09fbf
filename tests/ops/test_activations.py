"""Activations against torch in float64, and what their names promise."""

import math
from typing import get_args

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxformer.config.activations import Activation
from jaxformer.ops.activations import ACTIVATIONS, gated, gelu, gelu_tanh
from tests.parity.compare import assert_all_close, normal

T, F = 7, 11
NAMES = get_args(Activation)
WIDE = np.linspace(-8, 8, 1001, dtype=np.float32)


def reference(torch, name):
    plain = torch.nn.functional
    return {
        "relu": plain.relu,
        "gelu": plain.gelu,
        "gelu_tanh": lambda x: plain.gelu(x, approximate="tanh"),
        "silu": plain.silu,
        "squared_relu": lambda x: plain.relu(x) ** 2,
    }[name]


def test_every_name_has_its_function():
    assert tuple(ACTIVATIONS) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_values_and_gradients_are_those_of_torch(torch, name):
    def weighed(x):
        y = ACTIVATIONS[name](x)
        return y.sum(), y

    # The suite compiles without optimisation, which rounds tanh three times as badly as what users run.
    optimized = {"xla_backend_optimization_level": 3}
    (_, y), gradient = jax.jit(jax.value_and_grad(weighed, has_aux=True), compiler_options=optimized)(WIDE)
    twin = torch.tensor(WIDE, dtype=torch.float64, requires_grad=True)
    expected = reference(torch, name)(twin)
    expected.sum().backward()
    # Far to the left 1 + tanh is the rounding error of 1, which x and its derivatives multiply.
    np.testing.assert_allclose(y, expected.detach(), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(gradient, twin.grad, rtol=1e-5, atol=5e-6)


@pytest.mark.parametrize("name", NAMES)
def test_the_dtype_is_kept(name):
    x = jnp.asarray(normal(0, T, F), jnp.bfloat16)
    y = ACTIVATIONS[name](x)
    assert y.dtype == jnp.bfloat16
    np.testing.assert_allclose(y.astype(jnp.float32), ACTIVATIONS[name](x.astype(jnp.float32)), rtol=0.02, atol=0.01)


def test_gelu_is_x_times_the_normal_distribution_function():
    exact = np.array([x * math.erfc(-x / math.sqrt(2)) / 2 for x in WIDE.tolist()])
    np.testing.assert_allclose(gelu(WIDE), exact, rtol=1e-5, atol=1e-12)


def test_the_tanh_form_of_gelu_is_near_but_another():
    difference = np.abs(gelu(WIDE) - gelu_tanh(WIDE)).max()
    assert 4e-4 < difference < 5e-4


@pytest.mark.parametrize("name", NAMES)
def test_a_gate_multiplies_elementwise_with_its_gradients(torch, name):
    leaves = [2 * normal(0, T, F), normal(1, T, F)]
    weight = normal(2, T, F)

    def weighed(gate, up):
        y = gated(ACTIVATIONS[name], gate, up)
        return (y * weight).sum(), y

    (_, y), gradients = jax.value_and_grad(weighed, argnums=(0, 1), has_aux=True)(*leaves)
    gate, up = (torch.tensor(leaf, dtype=torch.float64, requires_grad=True) for leaf in leaves)
    expected = reference(torch, name)(gate) * up
    (expected * torch.tensor(weight)).sum().backward()
    assert_all_close((y, *gradients), (expected.detach(), gate.grad, up.grad), 2e-6)


@pytest.mark.parametrize("name", ["gelu", "gelu_tanh", "silu"])
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_a_smooth_function_keeps_one_array_for_its_gradient(name, dtype):
    _, pull = jax.vjp(ACTIVATIONS[name], jnp.asarray(WIDE, dtype))
    assert [kept.dtype for kept in jax.tree.leaves(pull) if kept.shape == WIDE.shape] == [dtype]


@pytest.mark.parametrize("name", ["gelu", "gelu_tanh", "silu"])
def test_derivatives_forwards_and_of_second_order(torch, name):
    function = ACTIVATIONS[name]
    x = torch.tensor(WIDE, dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(reference(torch, name)(x).sum(), x, create_graph=True)
    (bend,) = torch.autograd.grad(slope.sum(), x)
    forwards = jax.jvp(function, (WIDE,), (np.ones_like(WIDE),))[1]
    np.testing.assert_allclose(forwards, slope.detach(), atol=1e-5)
    np.testing.assert_allclose(jax.vmap(jax.grad(jax.grad(function)))(WIDE), bend, atol=2e-4)


@pytest.mark.parametrize("name", ["gelu", "gelu_tanh", "silu"])
def test_half_precision_rounds_the_value_and_the_slope_once(name):
    x = jnp.asarray(WIDE, jnp.bfloat16)
    (y, slope), wide = jax.jvp(ACTIVATIONS[name], (x,), (jnp.ones_like(x),)), x.astype(jnp.float32)
    expected, steep = jax.jvp(ACTIVATIONS[name], (wide,), (jnp.ones_like(wide),))
    np.testing.assert_array_equal(y, expected.astype(jnp.bfloat16))
    np.testing.assert_array_equal(slope, steep.astype(jnp.bfloat16))
