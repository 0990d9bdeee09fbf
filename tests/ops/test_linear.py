"""Products of activations with weights."""

import jax.numpy as jnp
import numpy as np
import pytest

from jaxformer.ops.linear import project
from tests.parity.compare import assert_close, normal


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_the_product_is_in_the_type_of_the_activations_and_summed_in_float32(dtype):
    """The sum of 1009 terms in bfloat16 would be off by far more than the one rounding at its end."""
    x, w = jnp.asarray(normal(0, 3, 1009), dtype), 1 + normal(1, 1009, 5, 7)
    y = project("bd,dnh->bnh", x, w)
    exact = np.einsum("bd,dnh->bnh", np.float64(x), np.float64(jnp.asarray(w, dtype)))
    assert y.dtype == dtype
    assert_close(y, exact, float(jnp.finfo(dtype).eps) * (8 if dtype == jnp.float32 else 1))
