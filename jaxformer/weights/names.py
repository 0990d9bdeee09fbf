"""Name tables: which tensors of a file hold which arrays of a model. One table, read in both directions."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxformer.config.blocks import Groups
from jaxformer.config.errors import UserError
from jaxformer.weights.layouts import Flat, Layout, Matrix, Same, Shape
from jaxformer.weights.tensors import Tensors


@dataclass(frozen=True)
class Names:
    """One row: paths of our arrays, names of the tensors that hold them. `{e}` in a name counts experts."""

    ours: tuple[str, ...]
    theirs: str
    layout: Layout


def same(ours: str, theirs: str) -> Names:
    """A table of embeddings, or a vector."""
    return Names((ours,), theirs, Same())


def flat(ours: str, theirs: str) -> Names:
    """A bias with an axis of heads."""
    return Names((ours,), theirs, Flat())


def matrix(ours: str, theirs: str, inputs: int = 1) -> Names:
    """A linear layer's weight."""
    return Names((ours,), theirs, Matrix(inputs))


@dataclass(frozen=True)
class Layers:
    """The rows of one stack: our name of it, the prefix of each layer's tensors with `{i}`, and the rows within."""

    stack: str
    prefix: str
    rows: tuple[Names, ...]


@dataclass(frozen=True)
class NameTable:
    """All rows of a family. A row whose arrays a model does not have is left out."""

    outside: tuple[Names, ...]
    layers: tuple[Layers, ...]
    surplus: tuple[str, ...] = ()
    """Patterns of tensors that files hold besides and that say nothing: buffers, copies of tied weights."""


class Slot(NamedTuple):
    """A place in our parameters: a leaf, or one layer's slice of it."""

    path: str
    turn: int | None
    shape: Shape


class Binding(NamedTuple):
    """Our slots and the tensors that hold them."""

    slots: tuple[Slot, ...]
    names: tuple[str, ...]
    layout: Layout

    @property
    def shapes(self) -> list[Shape]:
        """Shapes of the tensors."""
        return self.layout.shapes([slot.shape for slot in self.slots])


Leaves = dict[str, Any]
"""Arrays, or their shapes, by path."""


def leaves_of(params: Any) -> Leaves:
    """The leaves of a parameter tree by their paths, names joined with "/"; the collection's own name is left out."""
    flat_tree = jax.tree_util.tree_flatten_with_path(params["params"])[0]
    return {"/".join(str(key.key) for key in path): leaf for path, leaf in flat_tree}


def tree_of(leaves: Leaves) -> Any:
    """`leaves_of` taken back."""
    tree: dict[str, Any] = {}
    for path, leaf in leaves.items():
        *outer, name = path.split("/")
        inside = tree
        for step in outer:
            inside = inside.setdefault(step, {})
        inside[name] = leaf
    return {"params": tree}


def bind(table: NameTable, leaves: Leaves, stacks: Mapping[str, Groups]) -> list[Binding]:
    """Every slot of a model with the tensors that hold it. `stacks` are the groups of layers by our names.

    Raises ValueError where the table has no row for one of our arrays.
    """
    bindings = [_bound(row, [_outside(leaves, path) for path in row.ours], row.theirs) for row in table.outside]
    for layers in table.layers:
        for i, (prefix, turn) in enumerate(_places(layers.stack, stacks[layers.stack])):
            for row in layers.rows:
                slots = [_inside(leaves, f"{prefix}/{path}", turn) for path in row.ours]
                bindings.append(_bound(row, slots, (layers.prefix + row.theirs).replace("{i}", str(i))))
    found = [binding for binding in bindings if binding is not None]
    held = {slot.path for binding in found for slot in binding.slots}
    if absent := sorted(set(leaves) - held):
        raise ValueError(f"the name table must hold every array of the model, it lacks {', '.join(absent)}")
    return found


def _places(stack: str, groups: Groups) -> Iterator[tuple[str, int]]:
    """Where each layer's parameters lie, in the order of the layers: the path of its block, and the turn of its row."""
    for g, group in enumerate(groups):
        for turn in range(group.times):
            for b in range(len(group.blocks)):
                yield f"{stack}/rows_{g}/blocks_{b}", turn


def _outside(leaves: Leaves, path: str) -> Slot | None:
    return Slot(path, None, tuple(leaves[path].shape)) if path in leaves else None


def _inside(leaves: Leaves, path: str, turn: int) -> Slot | None:
    return Slot(path, turn, tuple(leaves[path].shape[1:])) if path in leaves else None


def _bound(row: Names, slots: list[Slot | None], theirs: str) -> Binding | None:
    there = tuple(slot for slot in slots if slot is not None)
    if len(there) < len(slots):
        return None
    count = len(row.layout.shapes([slot.shape for slot in there]))
    names = (theirs,) if "{e}" not in theirs else tuple(theirs.replace("{e}", str(e)) for e in range(count))
    return Binding(there, names, row.layout)


def check(bindings: list[Binding], table: NameTable, tensors: Tensors) -> None:
    """UserError for a tensor that is missing, that nothing asks for, or that has another shape; nothing is read."""
    where = tensors.path
    wanted = {name: shape for binding in bindings for name, shape in zip(binding.names, binding.shapes, strict=True)}
    if missing := [name for name in wanted if name not in tensors]:
        raise UserError(f"{where} lacks {_listed(missing)}, which its config.json asks for")
    spare = [name for name in tensors if name not in wanted]
    if surplus := [name for name in spare if not any(re.fullmatch(pattern, name) for pattern in table.surplus)]:
        raise UserError(f"{where} holds {_listed(surplus)}, which its config.json does not ask for")
    for name, shape in wanted.items():
        if tensors.shape(name) != shape:
            raise UserError(f"{where}: {name} must be {list(shape)} by config.json, got {list(tensors.shape(name))}")


def read(bindings: list[Binding], tensors: Tensors, leaves: Leaves, dtype: Any) -> Leaves:
    """Our arrays, filled tensor by tensor: no more than one binding's tensors are held besides."""
    arrays = {path: np.empty(leaf.shape, dtype) for path, leaf in leaves.items()}
    for binding in bindings:
        parts = binding.layout.read([tensors.read(name) for name in binding.names], [s.shape for s in binding.slots])
        for slot, part in zip(binding.slots, parts, strict=True):
            target = arrays[slot.path] if slot.turn is None else arrays[slot.path][slot.turn]
            target[...] = part
    return arrays


def write(bindings: list[Binding], leaves: Leaves) -> Iterator[tuple[str, Shape, Any]]:
    """Name, shape and a function that gives the array, for each tensor of a file."""
    for binding in bindings:
        for at, (name, shape) in enumerate(zip(binding.names, binding.shapes, strict=True)):
            yield name, shape, lambda binding=binding, at=at: _written(binding, leaves)[at]


def _written(binding: Binding, leaves: Leaves) -> list[np.ndarray]:
    return binding.layout.write([np.asarray(_slice(leaves[slot.path], slot.turn)) for slot in binding.slots])


def _slice(leaf: Any, turn: int | None) -> Any:
    return leaf if turn is None else leaf[turn]


def _listed(names: list[str]) -> str:
    shown = ", ".join(names[:3])
    return shown if len(names) <= 3 else f"{shown} and {len(names) - 3} more tensors"
