"""What the compiler makes of a formula is the formula."""

import platform

import jax
import jaxlib
import numpy as np
import pytest

from jaxformer.ops.norms import layer_norm
from tests.parity.compare import assert_close, normal

C, B, T, D = 149, 11, 13, 17
"""So many that XLA splits its loops among threads."""


MISCOMPILED = jaxlib.__version__ == "0.10.2" and platform.machine() in ("x86_64", "AMD64")


@pytest.mark.xfail(MISCOMPILED, reason="jax issue 39103: XLA on CPU, jaxlib 0.10.2", strict=True)
def test_a_compiled_batch_of_pullbacks_is_each_of_them():
    """As in a Jacobian of the activations. jaxlib 0.10.2 gets this wrong on x86-64, silently, for it fuses the sums
    with operands that the batch shares (jax issue 39103), unless XLA_FLAGS holds
    --xla_cpu_experimental_ynn_fusion_type=individual_dot.
    """
    scale_D, bias_D = normal(1, D), normal(2, D)
    _, pull_back = jax.vjp(lambda x_BTD: layer_norm(x_BTD, scale_D, bias_D), normal(0, B, T, D))
    cotangents_CBTD = normal(3, C, B, T, D)
    each = np.asarray(jax.vmap(pull_back)(cotangents_CBTD)[0])
    assert_close(jax.jit(jax.vmap(pull_back))(cotangents_CBTD)[0], each)
