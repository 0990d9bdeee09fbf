"""A mesh of devices, and a training state and its batches laid out on it.

    mesh = make_mesh(config.mesh)
    abstract = jax.eval_shape(make_state)  # parameters in Flax's boxes
    shardings = state_shardings(abstract, mesh)
    state = jax.jit(lambda: nn.unbox(make_state()), out_shardings=shardings)()
    step = make_step(gathered(objective, abstract.params, mesh), optimizer)
    step = jax.jit(step, out_shardings=(shardings, replicated(mesh)), donate_argnums=0)
    state, metrics = step(state, place(batch, mesh))

The state is made where it is to lie, so that no device ever holds more than its part. Model, objective and step know
nothing of the mesh: the compiler divides them by where their arguments lie.
"""

import math
from collections.abc import Iterable, Sequence
from typing import Any

import flax.linen as nn
import jax
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from jaxformer.config.errors import UserError
from jaxformer.config.training import MeshConfig
from jaxformer.parallel.rules import RULES, Rules, partition

AXES = ("data", "fsdp", "tensor")
"""The axes of the mesh; neighbouring devices share a tensor, whose parts talk most."""


def make_mesh(config: MeshConfig, devices: Sequence[Any] | None = None) -> Mesh:
    """The devices, all that JAX sees unless given, as a mesh with the axes `AXES`.

    Raises UserError where the sizes do not multiply to the number of devices.
    """
    devices = jax.devices() if devices is None else devices
    sizes = [config.data, config.fsdp, config.tensor]
    asked = ", ".join(f"{name}={size}" for name, size in zip(AXES, sizes, strict=True))
    known = math.prod(size for size in sizes if size != -1)
    if -1 in sizes and len(devices) % known == 0:
        sizes[sizes.index(-1)] = len(devices) // known
    if math.prod(sizes) != len(devices):
        raise UserError(
            f"mesh sizes must multiply to the number of devices, {len(devices)}; got {asked}; "
            "with data=-1 the other two need only divide it"
        )
    return jax.make_mesh(tuple(sizes), AXES, axis_types=(AxisType.Auto,) * len(AXES), devices=devices)


def state_shardings(boxed: Any, mesh: Mesh, rules: Rules = RULES) -> Any:
    """A NamedSharding for each array of a state.

    `boxed` is the state, or its shapes by `jax.eval_shape`, with its parameters still in the boxes that Flax declares
    their logical axes in; what an optimizer derives from boxed parameters is boxed alike. Arrays without a box, such as
    counters and keys, are replicated. The result has the structure of the unboxed state.
    """

    def sharding(leaf: Any) -> Any:
        if not isinstance(leaf, nn.Partitioned):
            return replicated(mesh)
        if not jax.tree.leaves(leaf):  # A part of the optimizer that has nothing to do with this parameter.
            return leaf.value
        return NamedSharding(mesh, partition(leaf.names, leaf.value.shape, mesh.shape, rules))

    return jax.tree.map(sharding, boxed, is_leaf=lambda leaf: isinstance(leaf, nn.Partitioned))


def replicated(mesh: Mesh) -> NamedSharding:
    """The whole array on every device."""
    return NamedSharding(mesh, PartitionSpec())


def batch_shardings(batch: Any, mesh: Mesh, rules: Rules = RULES) -> Any:
    """A NamedSharding for each array [B, ...] of a batch: its rows are divided where their number can be."""
    return jax.tree.map(
        lambda x: NamedSharding(mesh, partition(("batch", *[None] * (x.ndim - 1)), x.shape, mesh.shape, rules)), batch
    )


def repeated_rows(rows: Iterable[int], mesh: Mesh, rules: Rules = RULES) -> str | None:
    """One line on batches of so many rows that do not divide among all devices that should share them, or None.

    Such a batch is divided as far as it goes and the same work is then done several times: right, but slower.
    """
    parts = {count: _parts(partition(("batch",), (count,), mesh.shape, rules), mesh) for count in sorted(set(rows))}
    # A number of rows that divides by every axis of the mesh at once.
    most = _parts(partition(("batch",), (mesh.size,), mesh.shape, rules), mesh)
    uneven = [f"{count} rows in {split}" for count, split in parts.items() if split < most]
    if not uneven:
        return None
    return (
        f"batches should be divided in {most} parts, but are of {' and '.join(uneven)}, so devices repeat each other's "
        f"work; make the rows multiples of {most} with another token budget, or the mesh smaller in data and fsdp"
    )


def _parts(spec: PartitionSpec, mesh: Mesh) -> int:
    """Different parts that the first axis of an array lies in."""
    names = spec[0] if spec else ()
    return math.prod(mesh.shape[name] for name in ((names,) if isinstance(names, str) else names or ()))


def place(batch: Any, mesh: Mesh, rules: Rules = RULES) -> Any:
    """The batch on the devices of the mesh, each with its rows. Among several processes every one has the whole batch,
    and gives its own devices their part.
    """
    shardings = batch_shardings(batch, mesh, rules)
    if not mesh.is_multi_process:
        return jax.device_put(batch, shardings)
    return jax.tree.map(lambda x, where: jax.make_array_from_callback(x.shape, where, x.__getitem__), batch, shardings)
