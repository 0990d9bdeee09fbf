"""Weights that are kept in parts and put together where they are used."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
from flax import struct
from jax import Array
from jax.sharding import Mesh, NamedSharding

from jaxformer.parallel.rules import RULES, Rules, in_use, partition


class _Gathered(nn.LogicallyPartitioned):
    """A box that lays its weight out for use when a module takes it out: in a scanned stack, layer by layer."""

    layout: Any = struct.field(default=None, pytree_node=False)

    def unbox(self, apply_constraint: bool = True) -> Array:
        mesh, rules = self.layout
        spec = partition(self.names, self.value.shape, mesh.shape, dict(rules))
        return jax.lax.with_sharding_constraint(self.value, NamedSharding(mesh, spec))


def gathered(objective: Callable[..., Any], boxed: Any, mesh: Mesh, rules: Rules = RULES) -> Callable[..., Any]:
    """The same objective of (params, ...), for parameters that lie in parts on a mesh.

    Where the batch is divided over the same mesh axis that a weight is kept in parts on, the compiler may follow
    either. It must be told to put each weight together just before its use and to leave the rows where they are: that
    is what makes it fully sharded data parallelism (ZeRO-3, Rajbhandari et al. 2020). Left alone it divides the
    products along the width instead, adds up the activations at every layer, and computes attention everywhere for the
    whole batch.

    `boxed` is the parameters, or their shapes, in Flax's boxes. What is put together is kept for the backward pass, as
    all residuals are; with `Layers(remat=True)` it is put together again there. The gradient of a weight is laid out as
    the weight is in use, and divided again where that is asked for, as by the `out_shardings` of a step.
    """
    if mesh.size == 1:
        return objective
    layout = (mesh, tuple(in_use(rules).items()))

    def boxes(params: Any) -> Any:
        def box(like: Any, value: Array) -> Any:
            return _Gathered(value, like.names, layout=layout) if isinstance(like, nn.Partitioned) else value

        return jax.tree.map(box, boxed, params, is_leaf=lambda leaf: isinstance(leaf, nn.Partitioned))

    return lambda params, *rest: objective(boxes(params), *rest)
