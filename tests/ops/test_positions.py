"""The sinusoid against the formula of the paper."""

import numpy as np
import pytest

from jaxformer.ops.positions import sinusoid


@pytest.mark.parametrize("base", [10_000.0, 100.0])
@pytest.mark.parametrize("width", [2, 14])
def test_code_is_that_of_the_paper(width, base):
    """An angle of 500 radians in float32 is known to 500 · 2⁻²⁴ a few times over, and so are its sine and cosine."""
    positions = np.arange(499)
    code = np.zeros((499, width))
    for i in range(width // 2):
        code[:, 2 * i] = np.sin(positions / base ** (2 * i / width))
        code[:, 2 * i + 1] = np.cos(positions / base ** (2 * i / width))
    np.testing.assert_allclose(sinusoid(positions, width, base), code, atol=500 * 2.0**-22)


def test_any_shape_of_positions():
    positions = np.array([[3, 1, 4], [1, 5, 9]])
    np.testing.assert_array_equal(sinusoid(positions, 14), np.asarray(sinusoid(np.arange(10), 14))[positions])


def test_an_odd_width_is_refused():
    with pytest.raises(ValueError, match="width must be even, got 7"):
        sinusoid(np.arange(3), 7)
