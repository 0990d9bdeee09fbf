"""Weights to begin with: a part of a parameters' tree, the rest of which is drawn."""

from collections.abc import Iterable, Mapping
from typing import Any

import jax

from jaxformer.config.errors import UserError


def check_given(given: Mapping[str, Any] | None, abstract: Any) -> None:
    """Raises UserError where a weight to begin with has another shape than in `abstract`, or no place there."""
    wanted = {name: leaf.shape for name, leaf in _named_leaves(abstract)}
    for name, leaf in _named_leaves(given):
        if wanted.get(name) != leaf.shape:
            raise UserError(
                f"the weights to begin with must fit the model, got {name} of shape {tuple(leaf.shape)} for "
                f"{wanted.get(name)}; take the configuration that they were trained with"
            )


def over(params: Any, given: Mapping[str, Any]) -> Any:
    """The parameters, those in `given` in place of their own."""
    if not isinstance(given, Mapping):
        return given
    return {name: over(leaf, given[name]) if name in given else leaf for name, leaf in params.items()}


def _named_leaves(tree: Any) -> Iterable[tuple[str, Any]]:
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        yield jax.tree_util.keystr(path, simple=True, separator="/"), leaf
