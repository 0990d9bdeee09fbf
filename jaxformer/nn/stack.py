"""Many equal layers as one: their parameters stacked on a leading axis, the layer compiled once."""

from collections.abc import Sequence
from typing import Any

import flax.linen as nn

from jaxformer.config.model import Layers


def stack(block: type[nn.Module], count: int, layout: Layers, in_axes: Sequence[Any]) -> Any:
    """The class of `count` blocks in a row: (x, *args) → (x, by-products of every layer, stacked).

    `block` maps (x, *args) to (x, by-product). `in_axes` says for each of args whether every layer gets its own slice
    of a leading axis (0) or all get the same (`nn.broadcast`). Unrolled and scanned stacks have the same parameters, as
    have those with and without rematerialisation, so a checkpoint of one is a checkpoint of all.
    """
    return nn.scan(
        nn.remat(block, prevent_cse=False) if layout.remat else block,
        variable_axes={"params": 0},
        split_rngs={"params": True, "dropout": True},
        in_axes=tuple(in_axes),  # pyright: ignore[reportArgumentType] (one for each argument)
        length=count,
        unroll=count if layout.unroll else 1,
        metadata_params={nn.PARTITION_NAME: "layers"},
    )
