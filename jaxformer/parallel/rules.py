"""Where arrays live: one table from logical axes to the axes of the mesh."""

import math
from collections.abc import Mapping, Sequence

from jax.sharding import PartitionSpec

Rules = Mapping[str, str | tuple[str, ...] | None]
"""Logical axis → the mesh axes that it is split over, outermost first; None keeps it whole."""

RULES: Rules = {
    "batch": ("data", "fsdp"),
    "embed": "fsdp",
    "heads": "tensor",
    "kv_heads": "tensor",
    "hidden": "tensor",
    "vocabulary": "tensor",
    "experts": None,
    "latent": None,
    "layers": None,
    "head": None,
    "gates": None,
    "score": None,
    "one": None,
    "joined": None,
    "embed_out": None,
    "hidden_out": None,
    "position": None,
    "segment": None,
    "bucket": None,
    "class": None,
}
"""Every logical axis of `nn`, and "batch", the first axis of all that is fed in; pass another copy to change it.

Rows of the batch are divided among the copies of the model and, within each, among the devices that keep its parts
(ZeRO-3, Rajbhandari et al. 2020); heads, hidden units and vocabulary are split as in Megatron (Shoeybi et al. 2019).
"""


def partition(
    axes: Sequence[str | None], shape: Sequence[int], mesh_shape: Mapping[str, int], rules: Rules = RULES
) -> PartitionSpec:
    """How an array with these logical axes is split over a mesh with axes of these sizes.

    A mesh axis splits one axis of an array at most, the first that asks for it. An axis takes its mesh axes in the
    order of the table, leaving out each that would not divide it into equal parts: what does not divide is kept whole
    on every device, which costs memory and changes no result. Raises ValueError for an axis that the table lacks and
    for a mesh axis that the mesh lacks.
    """
    if len(axes) != len(shape):
        raise ValueError(f"each axis needs one logical name, got {tuple(axes)} for shape {tuple(shape)}")
    used: set[str] = set()
    entries = []
    for axis, size in zip(axes, shape, strict=True):
        taken: list[str] = []
        for name in _asked(axis, rules):
            if name not in mesh_shape:
                raise ValueError(f"the rule for {axis!r} must name axes of the mesh {tuple(mesh_shape)}, got {name!r}")
            parts = math.prod(mesh_shape[other] for other in taken) * mesh_shape[name]
            if name not in used and mesh_shape[name] > 1 and size % parts == 0:
                taken.append(name)
                used.add(name)
        entries.append(tuple(taken) if len(taken) > 1 else taken[0] if taken else None)
    while entries and entries[-1] is None:
        entries.pop()
    return PartitionSpec(*entries)


def in_use(rules: Rules = RULES) -> Rules:
    """The table for weights while they are used: no axis of the mesh that divides the batch divides a weight then."""
    rows = _asked("batch", rules)
    return {axis: tuple(name for name in _asked(axis, rules) if name not in rows) for axis in rules if axis != "batch"}


def _asked(axis: str | None, rules: Rules) -> tuple[str, ...]:
    if axis is None:
        return ()
    if axis not in rules:
        raise ValueError(f"the rules must have an entry for each logical axis, got none for {axis!r}")
    names = rules[axis]
    return () if names is None else (names,) if isinstance(names, str) else names
