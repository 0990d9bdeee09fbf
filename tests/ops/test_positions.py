"""Sinusoid, slopes and buckets against the formulas of the papers and against transformers."""

from itertools import pairwise

import numpy as np
import pytest

from jaxformer.ops.positions import alibi, alibi_slopes, relative_bucket, sinusoid


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


def test_in_halves_all_sines_come_before_all_cosines():
    code = np.asarray(sinusoid(np.arange(11), 14))
    halves = sinusoid(np.arange(11), 14, halves=True)
    np.testing.assert_array_equal(halves, np.concatenate([code[:, ::2], code[:, 1::2]], axis=-1))


def test_an_odd_width_is_refused():
    with pytest.raises(ValueError, match="width must be even, got 7"):
        sinusoid(np.arange(3), 7)


@pytest.mark.parametrize(
    ("heads", "exponents"),
    [
        (1, [8]),
        (3, [4, 8, 2]),
        (8, [1, 2, 3, 4, 5, 6, 7, 8]),
        (12, [1, 2, 3, 4, 5, 6, 7, 8, 0.5, 1.5, 2.5, 3.5]),
        (16, [i / 2 for i in range(1, 17)]),
    ],
)
def test_slopes_are_the_published_powers_of_two(heads, exponents):
    np.testing.assert_allclose(alibi_slopes(heads), [2.0**-e for e in exponents], rtol=1e-7)
    assert alibi_slopes(heads).dtype == np.float32


def test_slopes_are_those_of_transformers(torch):
    bloom = pytest.importorskip("transformers.models.bloom.modeling_bloom")
    for heads in range(1, 41):
        biases = bloom.build_alibi_tensor(torch.ones(1, 2, dtype=torch.long), heads, torch.float64)
        np.testing.assert_allclose(alibi_slopes(heads), biases[:, 0, 1], rtol=2e-6)


def test_alibi_falls_with_distance_on_both_sides():
    t, s = np.arange(5), np.arange(7)
    biases = alibi(alibi_slopes(3)[:, None, None], t[:, None], s)
    expected = [[[-slope * abs(i - j) for j in s] for i in t] for slope in (2.0**-4, 2.0**-8, 2.0**-2)]
    np.testing.assert_array_equal(biases, np.float32(expected))
    assert biases.dtype == np.float32


@pytest.mark.parametrize("bidirectional", [True, False])
@pytest.mark.parametrize(("buckets", "reach"), [(32, 128), (4, 5), (6, 64), (34, 100), (7, 20), (64, 512)])
def test_buckets_are_those_of_transformers(torch, buckets, reach, bidirectional):
    t5 = pytest.importorskip("transformers.models.t5.modeling_t5")
    distance = np.arange(-600, 601)
    expected = t5.T5Attention._relative_position_bucket(torch.tensor(distance), bidirectional, buckets, reach)
    own = relative_bucket(distance, buckets, reach, bidirectional)
    np.testing.assert_array_equal(own, expected)
    assert own.dtype == np.int32


def test_buckets_begin_at_whole_powers_where_the_numbers_are_round():
    """16 buckets behind, 8 of them of one distance; the other 8 reach from 8 to 128, a factor of √2 each."""
    starts = [8, 12, 16, 23, 32, 46, 64, 91, 10**6]
    for bucket, (first, after) in enumerate(pairwise(starts), start=8):
        assert {*np.asarray(relative_bucket(-np.array([first, after - 1]), 32, 128, True))} == {bucket}


def test_keys_ahead_have_buckets_of_their_own_or_none():
    distance = np.arange(1, 300).reshape(13, 23)
    behind = relative_bucket(-distance, 32, 128, True)
    np.testing.assert_array_equal(relative_bucket(distance, 32, 128, True), behind + 16)
    np.testing.assert_array_equal(relative_bucket(distance, 32, 128, False), np.zeros((13, 23)))
