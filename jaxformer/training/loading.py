"""Reading one checkpoint: its files are compared with their manifest, its leaves with what is wanted, before Orbax
reads them.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
from orbax.checkpoint import v1 as ocp

from jaxformer.config.errors import UserError
from jaxformer.config.io import parse_json
from jaxformer.training.manifest import NAME, Damaged, check_manifest, check_names
from jaxformer.training.run import warn
from jaxformer.training.saving import context, quiet, reason, step_folders

_UNREADABLE = (OSError, ValueError, KeyError, TypeError, AttributeError, NotImplementedError, RecursionError)


def load(folder: Path, abstract: Mapping[str, Any]) -> dict[str, Any]:
    """The trees of a checkpoint that `abstract` names, laid out as it says, and its `progress`, which is JSON.

    Raises Damaged where a file is not as it was written, or cannot be read, and UserError where a leaf does not fit.
    """
    check(folder)
    with quiet(), context():
        try:
            progress = ocp.load_checkpointables(str(folder), {"progress": None})
            if not abstract:
                return progress
            for name in abstract:
                _check_names_are_keys(folder, name)
            saved = ocp.checkpointables_metadata(str(folder)).metadata
            for name, tree in abstract.items():
                # None is what Orbax gives for a tree that it cannot make sense of.
                if saved[name] is None:
                    raise _damaged(folder, f"{name} cannot be read")
                _check_fit(folder, dict(_leaves(saved[name])), dict(_leaves(tree)))
            return progress | ocp.load_checkpointables(str(folder), dict(abstract))
        except UserError:
            raise
        except _UNREADABLE as error:
            raise _damaged(folder, f"it cannot be read: {reason(error)}") from error


def check(folder: Path) -> None:
    """Compare the files of a checkpoint with its manifest; warn where no checkpoint of the run has one. Raises Damaged,
    also where a file cannot be read.
    """
    try:
        check_names(folder)
        if (folder / "orbax.checkpoint").exists() or _have_manifests(folder.parent):
            check_manifest(folder)
        else:
            warn(f"{_called(folder)} is of an earlier version, without a manifest: its files are read unchecked")
    except Damaged as error:
        raise _damaged(folder, str(error)) from None
    except OSError as error:
        raise _damaged(folder, f"it cannot be read: {reason(error)}") from error


def _have_manifests(folder: Path) -> bool:
    """Whether the checkpoints of a folder are of a version that writes manifests."""
    return any((step / NAME).exists() for step in step_folders(folder).values())


def _check_names_are_keys(folder: Path, item: str) -> None:
    """Raises Damaged where the arrays of an item lie in files that are found by their names.

    Orbax would follow a name that is a path, to any place. This version and earlier ones write a database instead.
    """
    if parse_json((folder / item / "_METADATA").read_bytes()).get("use_ocdbt") is not True:
        raise _damaged(folder, f"{item}/_METADATA does not say that its arrays lie in one database")


def _check_fit(folder: Path, saved: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    """Compare the leaves on disk with those that are wanted. Raises UserError at the first that does not fit."""
    for name in sorted(wanted.keys() ^ saved.keys()):
        raise _unfit(folder, f"{name} is {'missing there' if name in wanted else 'not in the model'}")
    for name, leaf in wanted.items():
        there = saved[name]
        if tuple(there.shape) != tuple(leaf.shape):
            raise _unfit(folder, f"{name} has shape {tuple(there.shape)}, wanted {tuple(leaf.shape)}")
        if there.dtype != leaf.dtype:
            raise _unfit(folder, f"{name} is {there.dtype}, wanted {leaf.dtype}")
        # TensorStore makes room for a whole chunk, whatever the array needs of it.
        chunk = there.storage_metadata.chunk_shape
        if any(part > max(size, 1) for part, size in zip(chunk, there.shape, strict=True)):
            raise _damaged(folder, f"{name} of shape {tuple(there.shape)} is kept in larger chunks of {tuple(chunk)}")


def _leaves(tree: Any) -> Iterator[tuple[str, Any]]:
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        yield jax.tree_util.keystr(path, simple=True, separator="."), leaf


def _called(folder: Path) -> str:
    return f"checkpoint {folder.name} in {folder.parent}"


def _damaged(folder: Path, what: str) -> Damaged:
    return Damaged(f"{_called(folder)} is damaged: {what}")


def _unfit(folder: Path, what: str) -> UserError:
    return UserError(f"{_called(folder)} does not fit the model: {what}; use the configuration it was trained with")
