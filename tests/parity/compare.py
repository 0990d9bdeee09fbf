"""Random numbers for tests, and what it means that two trees of numbers are the same."""

from typing import Any

import jax
import numpy as np


def normal(seed: int, *shape: int, dtype: Any = np.float32) -> np.ndarray:
    """Standard normal numbers that depend on the seed alone."""
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


def random_like(shapes: Any, seed: int, deviation: float = 0.3) -> Any:
    """A tree of normal numbers in the given shapes, around 1 for the scales of norms: nothing stays at 0 or 1."""
    rng = np.random.default_rng(seed)

    def draw(path: Any, leaf: Any) -> np.ndarray:
        centre = 1.0 if path[-1].key == "scale" else 0.0
        return (centre + deviation * rng.normal(size=leaf.shape)).astype(np.float32)

    return jax.tree_util.tree_map_with_path(draw, shapes)


def as_float64(tree: Any) -> Any:
    """The tree with every leaf as a float64 numpy array, whether it came from jax, torch or numpy."""
    return jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), tree)


def assert_close(actual: Any, expected: Any, tolerance: float = 1e-5) -> None:
    """The trees have the same structure, and no leaf differs by more than `tolerance` of its own largest element.

    An element's rounding error follows the size of the terms that were summed for it, which its neighbours tell better
    than itself. For the same reason the largest element of a leaf counts as a hundredth of the tree's at least: the
    gradient of an attention's key bias is 0 in mathematics and the rounding error of the others in floating point.
    """
    actual, expected = as_float64(actual), as_float64(expected)
    largest = max((np.max(np.abs(leaf), initial=0.0) for leaf in jax.tree.leaves(expected)), default=0.0)

    def check(path: Any, actual: np.ndarray, expected: np.ndarray) -> None:
        name = jax.tree_util.keystr(path)
        assert actual.shape == expected.shape, f"{name}: {actual.shape} against {expected.shape}"
        scale = max(np.max(np.abs(expected), initial=0.0), largest / 100)
        np.testing.assert_allclose(
            actual, expected, rtol=0, atol=tolerance * scale, err_msg=f"{name}, scale {scale:.3g}"
        )

    jax.tree_util.tree_map_with_path(check, actual, expected)


def assert_all_close(actual: Any, expected: Any, tolerance: float = 1e-5) -> None:
    """`assert_close` of each pair: a loss and its gradients are measured by themselves."""
    for one, other in zip(actual, expected, strict=True):
        assert_close(one, other, tolerance)
