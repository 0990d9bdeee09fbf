"""How much memory training takes, by the traced program, before it is compiled."""

import math
from collections.abc import Callable
from typing import Any

import jax
import optax
from jax import Array
from jax.extend.core import Literal

Bytes = dict[str, int]
"""Bytes by what they are for."""


def size_of(tree: Any) -> int:
    """Bytes of all arrays or shapes in a tree."""
    return sum(_bytes(leaf) for leaf in jax.tree.leaves(tree))


def training_memory(
    loss: Callable[..., Array], optimizer: optax.GradientTransformation, params: Any, *inputs: Any
) -> Bytes:
    """What one training step keeps at its widest, for `loss(params, *inputs)`; params and inputs may be shapes.

        total = parameters + gradients + optimizer state + activations

    Activations are what the forward pass leaves for the backward pass in the program as traced, which takes a second
    or two where compiling takes a minute. The compiler may keep less, and needs room besides to work in: with
    rematerialisation, for all that one layer computes again. So this is an estimate to plan a batch with; a compiled
    step's own `memory_analysis()` knows. Nothing is computed or allocated here.
    """
    params = jax.tree.map(_shape, params)
    parameters = size_of(params)
    return {
        "parameters": parameters,
        "gradients": parameters,
        "optimizer state": size_of(jax.eval_shape(optimizer.init, params)),
        "activations": saved_for_backward(loss, params, *inputs),
    }


def saved_for_backward(loss: Callable[..., Array], params: Any, *inputs: Any) -> int:
    """Bytes that the traced backward pass reads, besides parameters and inputs, which exist anyway."""

    def backward(params: Any, *inputs: Any) -> Any:
        return jax.vjp(lambda params: loss(params, *inputs), params)[1]

    program = jax.make_jaxpr(backward)(params, *inputs).jaxpr
    given = {*program.invars, *program.constvars}
    kept = {saved for saved in program.outvars if not isinstance(saved, Literal) and saved not in given}
    return sum(_bytes(saved.aval) for saved in kept)


def readable(count: float) -> str:
    """Bytes in the largest binary unit that leaves at least one: 1536 is "1.5 KiB"."""
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if abs(count) < 1024:
            return f"{count:.0f} bytes" if unit == "bytes" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"


def _shape(leaf: Any) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype)


def _bytes(array: Any) -> int:
    return math.prod(array.shape) * array.dtype.itemsize
