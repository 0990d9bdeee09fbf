"""Many layers as one: the parameters of equal ones stacked on a leading axis, each kind compiled once."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array

from jaxformer.config import blocks
from jaxformer.config.model import Layers
from jaxformer.nn.block import Beside, Block, Context
from jaxformer.nn.cache import Full, LayerCache, Ring
from jaxformer.nn.recorder import SILENT, Recorded, Recorder


def repeated(row: type[nn.Module], times: int, layout: Layers, in_axes: Sequence[Any]) -> Any:
    """The class of `times` equal modules in a row: (x, *args) → (x, by-products of every one, stacked).

    `row` maps (x, *args) to (x, by-product). `in_axes` says for each of args whether every turn gets its own slice of a
    leading axis (0) or all get the same (`nn.broadcast`). Unrolled and scanned stacks have the same parameters, as have
    those with and without rematerialisation, so a checkpoint of one is a checkpoint of all.
    """
    return nn.scan(
        nn.remat(row, prevent_cse=False) if layout.remat else row,
        variable_axes={"params": 0},
        split_rngs={"params": True, "dropout": True},
        in_axes=tuple(in_axes),  # pyright: ignore[reportArgumentType] (one for each argument)
        length=times,
        unroll=times if layout.unroll else 1,
        metadata_params={nn.PARTITION_NAME: "layers"},
    )


class Row(nn.Module):
    """Unlike blocks, one after the other."""

    config: tuple[blocks.Block, ...]
    width: int
    dropout: float
    recorder: Recorder

    def setup(self):
        self.blocks = [Block(config, self.width, self.dropout, self.recorder) for config in self.config]

    def __call__(
        self, x_BTD: Array, caches: Sequence[LayerCache] | None, context: Context
    ) -> tuple[Array, tuple[Beside, ...]]:
        left = []
        for block, cache in zip(self.blocks, caches or [None] * len(self.blocks), strict=True):
            x_BTD, beside = block(x_BTD, cache, context)
            left.append(beside._replace(stream=self.recorder.stream(x_BTD)))
        return x_BTD, tuple(left)


Stacked = tuple[tuple[Any, ...], ...]
"""Something of every layer: for each group, for each block of its row, stacked over the group's turns."""


class Left(NamedTuple):
    """What a stack leaves beside its output."""

    stream: Array | None
    """What was kept of the residual stream before the first layer."""
    layers: Stacked
    """`Beside` of every layer."""


class Stack(nn.Module):
    """All layers of a model."""

    groups: blocks.Groups
    width: int
    dropout: float = 0.0
    layout: Layers = Layers()
    recorder: Recorder = SILENT

    def setup(self):
        self.rows = [
            repeated(Row, group.times, self.layout, [0, nn.broadcast])(
                group.blocks, self.width, self.dropout, self.recorder
            )
            for group in self.groups
        ]

    def __call__(self, x_BTD: Array, caches: Stacked | None, context: Context) -> tuple[Array, Left]:
        """x after all layers, and what they leave beside it."""
        stream, left = self.recorder.stream(x_BTD), []
        for row, cache in zip(self.rows, caches or [None] * len(self.groups), strict=True):
            x_BTD, beside = row(x_BTD, cache, context)
            left.append(beside)
        return x_BTD, Left(stream, tuple(left))


def caches(groups: blocks.Groups, batch: int, length: int, dtype: Any, slack: int = 0) -> Stacked:
    """Empty caches of every layer for `length` positions; a window keeps its size and `slack` more, so that as many of
    the last positions may be taken back.
    """

    def of(block: blocks.Block, times: int) -> LayerCache:
        window = getattr(block.attention, "window", None)
        kind, size = (Full, length) if window is None or window + slack >= length else (Ring, window + slack)
        return LayerCache(kind(tuple(jnp.zeros((times, batch, size, *row), dtype) for row in block.attention.rows)))

    return tuple(tuple(of(block, group.times) for block in group.blocks) for group in groups)


def recorded(groups: blocks.Groups, left: Left) -> Recorded:
    """What the recorder kept of a stack, in the order of the layers.

    Raises ValueError where layers differ in what cannot be stacked, such as their number of heads.
    """
    read, cross_read, stream = every_layer(groups, left.layers, lambda of: (of.read, of.cross_read, of.stream))
    whole = None if stream is None or left.stream is None else jnp.concatenate([left.stream[None], stream])
    return Recorded(read, cross_read, whole)


def every_layer(groups: blocks.Groups, stacked: Stacked, get: Callable[[Any], Any]) -> Any:
    """`get` of what each layer left, a tree of arrays, stacked in the order of the layers: [L, ...]."""

    def row(times: int, *of_blocks: Array) -> Array:
        # [times, blocks of a row, ...] → [times · blocks, ...]
        turns = jnp.stack(of_blocks, axis=1)
        return turns.reshape(times * len(of_blocks), *turns.shape[2:])

    trees = [[get(beside) for beside in left] for left in stacked]
    _check_alike([shapes for left in trees for shapes in left])
    rows = [jax.tree.map(partial(row, group.times), *left) for group, left in zip(groups, trees, strict=True)]
    return jax.tree.map(lambda *parts: jnp.concatenate(parts), *rows)


def _check_alike(trees: Sequence[Any]) -> None:
    """Their arrays, of one kind of layer each, must be alike but for the first axis."""
    shapes = {tuple(leaf.shape[1:] for leaf in jax.tree.leaves(tree)) for tree in trees}
    if len(shapes) > 1:
        raise ValueError(f"layers must leave arrays of one shape to be stacked, got {sorted(shapes)}")
