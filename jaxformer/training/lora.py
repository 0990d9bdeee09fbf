"""Low-rank updates of a decoder's matrices (Hu et al. 2021): drawn, put beside the weights, and added to them."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array

from jaxformer.config.errors import UserError
from jaxformer.config.instruct import Lora
from jaxformer.models.decoder import Decoder
from jaxformer.nn.matrices import matrices
from jaxformer.ops.linear import LowRank

STACK = "layers"
"""What holds the matrices; those of equal layers are stacked on a first axis."""


class Factors(NamedTuple):
    """An update a b, times what `scale` says, of the weights of equal layers [L, *inputs, *outputs]."""

    a: Array
    """[L, *inputs, rank]."""
    b: Array
    """[L, rank, *outputs]."""


@dataclass(frozen=True)
class Updates:
    """The updates of a decoder, drawn as the weights of a module are."""

    model: Decoder
    config: Lora

    def init(self, key: Any, *inputs: Any) -> dict[str, Any]:
        """A tree like that of the model's parameters, with `Factors` in the place of each matrix and nothing else."""
        return lora_init(nn.unbox(jax.eval_shape(self.model.init, key, *inputs)), self.config, key)


def lora_init(params: Any, config: Lora, key: Array) -> dict[str, Any]:
    """Updates of these parameters, or of their shapes. Each a is normal with the deviation that keeps the size of what
    it reads, each b is zero: the model is at first what it was.

    Raises UserError where there is no matrix to update.
    """
    every = list(matrices(params["params"].get(STACK, {}), config.targets, (STACK,)))
    if not every:
        raise UserError(f"the model has no matrix of {' or '.join(config.targets)} to update; name other targets")
    tree: dict[str, Any] = {}
    for number, (path, w, inputs) in enumerate(every):
        layers, sizes, outputs = w.shape[0], w.shape[1 : 1 + inputs], w.shape[1 + inputs :]
        a = jax.random.normal(jax.random.fold_in(key, number), (layers, *sizes, config.rank), jnp.float32)
        factors = Factors(a / math.sqrt(math.prod(sizes)), jnp.zeros((layers, config.rank, *outputs), jnp.float32))
        inside = tree
        for name in path[:-1]:
            inside = inside.setdefault(name, {})
        inside[path[-1]] = factors
    return {"params": tree}


def scale(config: Lora) -> float:
    """What updates are multiplied by."""
    return config.alpha / config.rank


def merged(params: Any, updates: Any, config: Lora) -> Any:
    """The parameters with their updates added, for the model as it is used: W + scale · a b."""

    def add(w: Array, factors: Factors) -> Array:
        a, b = (jnp.reshape(x, shape) for x, shape in zip(factors, _as_matrices(factors), strict=True))
        return w + scale(config) * jnp.reshape(a @ b, w.shape).astype(w.dtype)

    return _changed(params, updates, add)


def adapted(params: Any, updates: Any, config: Lora, key: Array | None = None) -> Any:
    """The parameters with their updates beside them, as `ops.linear.project` takes them, for training.

    With a key, what an update reads is dropped at random, by numbers of its own in every layer.
    """
    leaves, tree = jax.tree.flatten(updates, is_leaf=lambda leaf: isinstance(leaf, Factors))
    numbered = tree.unflatten([(factors, number) for number, factors in enumerate(leaves)])

    def beside(w: Any, update: tuple[Factors, int]) -> LowRank:
        (a, b), number = update
        if key is None or not config.dropout:
            return LowRank(w, a, scale(config) * b)
        keys_L = jax.random.split(jax.random.fold_in(key, number), a.shape[0])
        return LowRank(w, a, scale(config) * b, keys_L, config.dropout)

    return _changed(params, numbered, beside)


def _as_matrices(factors: Factors) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The shapes of both factors with their inputs, and their outputs, as one axis."""
    layers, rank = factors.b.shape[:2]
    return (layers, -1, rank), (layers, rank, -1)


def _changed(params: Any, updates: Any, change: Callable[[Any, Any], Any]) -> Any:
    """The parameters, each that has an update changed by it."""
    if not isinstance(updates, Mapping):
        return change(params, updates)
    return {name: _changed(leaf, updates[name], change) if name in updates else leaf for name, leaf in params.items()}
