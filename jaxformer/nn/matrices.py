"""Which parameters of a layer are matrices: what may have low-rank updates, or lie otherwise in memory."""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

ATTENTION = ("query", "key", "value", "gate", "output", "query_down", "query_up", "latent", "shared_key")
MATRICES: Mapping[str, Mapping[str, int]] = {
    "attention": dict.fromkeys(ATTENTION, 1) | {"output": 2},
    "feed_forward": dict.fromkeys(("up", "gate", "down"), 1),
}
"""Every matrix, by the layer that it is in, and how many of its axes it sums over in use.

The experts of a mixture are not among them, but its shared ones are.
"""


class Matrix(NamedTuple):
    """A matrix and where it is found."""

    path: tuple[str, ...]
    weight: Any
    """[L, *inputs, *outputs], those of equal layers stacked on the first axis; an array or its shape."""
    inputs: int
    """Axes that are summed over in use."""


def matrices(tree: Mapping[str, Any], kinds: tuple[str, ...], path: tuple[str, ...] = ()) -> Iterator[Matrix]:
    """Every matrix of the layers of these kinds in a tree of parameters, which is found at `path` itself."""
    kind = next((name for name in path if name in MATRICES), None)
    for name, leaf in tree.items():
        if isinstance(leaf, Mapping):
            yield from matrices(leaf, kinds, (*path, name))
        elif kind in kinds and name in MATRICES[kind]:
            yield Matrix((*path, name), leaf, MATRICES[kind][name])
