"""Weights to begin with, often those of another run: all of a parameters' tree, or a part, the rest being drawn."""

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxformer.config.errors import UserError
from jaxformer.config.io import difference


def check_given(given: Mapping[str, Any] | None, abstract: Any) -> None:
    """Raises UserError where a weight to begin with has another shape than in `abstract`, or no place there."""
    wanted = {name: leaf.shape for name, leaf in _named_leaves(abstract)}
    for name, leaf in _named_leaves(given):
        if wanted.get(name) != leaf.shape:
            raise UserError(
                f"the weights to begin with must fit the model, got {name} of shape {tuple(leaf.shape)} for "
                f"{wanted.get(name)}; take the configuration that they were trained with"
            )


def check_as_begun(config: Any, init: Path | None, found: Mapping[str, Any]) -> None:
    """Raises UserError where a field that a run fills in from `init` says otherwise than what is found there now, or
    tells weights where there is no `init`.
    """
    if init is None:
        if config.weights is not None:
            raise UserError(f"weights must be left out, for they are those of init, got weights={config.weights}")
        return
    for name, value in found.items():
        if getattr(config, name) not in (None, value):
            other = "other weights" if name == "weights" else f"another {name}"
            raise UserError(
                f"{init} has {other} than the run began with; give the same --init as then, and no --{name}"
            )


def model_changes(there: Any, here: Any) -> list[str]:
    """In what the configurations of two models differ, but for what their weights do not depend on."""
    as_asked = ("dropout:", "dtype:", "layers.")
    return [each for each in difference(there, here) if not each.startswith(as_asked)]


def on_host(params: Any) -> Any:
    """The weights as numpy, for what a checkpoint gave lies on one device, and where a run begins it goes to all."""
    return jax.tree.map(np.asarray, params)


def digest(params: Any) -> str:
    """SHA-256 of all weights, in hexadecimal."""
    total = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        total.update(f"{jax.tree_util.keystr(path)} {leaf.dtype} {leaf.shape}\n".encode())
        total.update(np.ascontiguousarray(leaf).data)
    return total.hexdigest()


def over(params: Any, given: Mapping[str, Any]) -> Any:
    """The parameters, those in `given` in place of their own."""
    if not isinstance(given, Mapping):
        return given
    return {name: over(leaf, given[name]) if name in given else leaf for name, leaf in params.items()}


def _named_leaves(tree: Any) -> Iterable[tuple[str, Any]]:
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        yield jax.tree_util.keystr(path, simple=True, separator="/"), leaf
