"""Random numbers for tests, and what it means that two trees of numbers are the same."""

from typing import Any

import jax
import numpy as np


def normal(seed: int, *shape: int, dtype: Any = np.float32) -> np.ndarray:
    """Standard normal numbers that depend on the seed alone."""
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


def random_like(shapes: Any, seed: int, deviation: float = 0.3) -> Any:
    """A tree of normal numbers in the given shapes; scales of norms lie around 1. Nothing is left at an initial 0 or 1."""
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
    than itself. Leaves that are 0 everywhere must be 0 exactly.
    """

    def check(path: Any, actual: Any, expected: Any) -> None:
        actual, expected = np.asarray(actual, np.float64), np.asarray(expected, np.float64)
        assert actual.shape == expected.shape, f"{jax.tree_util.keystr(path)}: {actual.shape} against {expected.shape}"
        scale = np.max(np.abs(expected), initial=0.0)
        name = f"{jax.tree_util.keystr(path)} (largest element {scale:.3g})"
        np.testing.assert_allclose(actual, expected, rtol=0, atol=tolerance * scale, err_msg=name)

    jax.tree_util.tree_map_with_path(check, actual, expected)
