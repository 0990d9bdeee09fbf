"""Products of activations with weights."""

import math
from dataclasses import dataclass
from functools import partial
from string import ascii_lowercase
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from jaxformer.ops.dropout import dropout

FEW = 64
"""At most so many vectors are those of a step of decoding, whose products take about as long as reading the matrix."""


@partial(jax.tree_util.register_dataclass, data_fields=("w", "a", "b", "key"), meta_fields=("rate",))
@dataclass(frozen=True)
class LowRank:
    """The weight w + a b, which is never multiplied out: x w + (x a) b (Hu et al. 2021, eq. 3).

    So w need not have a gradient, which would be of its own size. w [*inputs, *outputs], a [*inputs, rank],
    b [rank, *outputs].
    """

    w: Array
    a: Array
    b: Array
    key: Array | None = None
    """Of the dropout of x before a; none without it."""
    rate: float = 0.0


@partial(jax.tree_util.register_dataclass, data_fields=("rows",), meta_fields=("inputs",))
@dataclass(frozen=True)
class ByOutput:
    """A weight that lies in memory as one row of inputs for each output, for writing and not for training.

    A CPU multiplies a few vectors with it in half to nine tenths of the time that it takes for a weight as it is
    declared: for one vector it reads on where else it would go over the outputs again and again, and for several it
    needs no copy of the weight, which XLA's product packs where it is the second factor.
    """

    rows: Array
    """[..., *outputs, *inputs], behind the axes of what is stacked."""
    inputs: int
    """Axes that are summed over in use."""

    @classmethod
    def of(cls, w: Array, inputs: int, stacked: int = 0) -> "ByOutput":
        """The weight w [..., *inputs, *outputs], of so many axes before its inputs."""
        last = range(-inputs, 0)
        return cls(jnp.moveaxis(w, range(stacked, stacked + inputs), last), inputs)

    def declared(self, stacked: int = 0) -> Array:
        """The weight as it was, [..., *inputs, *outputs]."""
        return jnp.moveaxis(self.rows, range(-self.inputs, 0), range(stacked, stacked + self.inputs))


def as_declared(params: Any) -> Any:
    """Parameters of layers on a first axis with every `ByOutput` among them as it was."""

    def plain(leaf: Any) -> Any:
        return leaf.declared(stacked=1) if isinstance(leaf, ByOutput) else leaf

    return jax.tree.map(plain, params, is_leaf=lambda leaf: isinstance(leaf, ByOutput))


def project(equation: str, x: Array, w: Array | LowRank | ByOutput) -> Array:
    """einsum(equation, x, w) in x's dtype: w is rounded to it, the sum runs in float32."""
    if isinstance(w, LowRank):
        return project(equation, x, w.w) + _update(equation, x, w)
    y = _product_by_output(equation, x, w) if isinstance(w, ByOutput) else _product(equation, x, w)
    return y.astype(x.dtype)


def _product_by_output(equation: str, x: Array, w: ByOutput) -> Array:
    """einsum(equation, x, w) in float32, where x's last axes meet w's inputs."""
    outputs, inputs = w.rows.shape[: -w.inputs], w.rows.shape[-w.inputs :]
    if not _meets(equation, x, inputs + outputs) or _summed(equation) != w.inputs:
        raise ValueError(f"{equation} is no product of {x.shape} with a weight by outputs, {inputs} to {outputs}")
    kept = x.shape[: x.ndim - w.inputs]
    w_OI = w.rows.reshape(math.prod(outputs), -1).astype(x.dtype)
    return _rows_dot(w_OI, x.reshape(-1, w_OI.shape[1])).reshape(*kept, *outputs)


def _rows_dot(w_OI: Array, x_NI: Array) -> Array:
    """x wᵀ [N, O] in float32, of a few x as the product of w and xᵀ: XLA's product for CPUs copies its second factor,
    which is to be the small one. The barrier keeps it from turning this product into the other.
    """
    if not 1 < len(x_NI) <= FEW:
        return _dot(x_NI, w_OI, 1, 1)
    return jax.lax.optimization_barrier(_dot(w_OI, x_NI, 1, 1)).T


def _summed(equation: str) -> int:
    """How many axes of w are summed over."""
    of_x, of_w = equation.split("->")[0].split(",")
    return sum(axis in of_x for axis in of_w)


def _meets(equation: str, x: Array, shape: tuple[int, ...]) -> bool:
    """Whether x's last axes meet the first ones of a w of this shape, and are as long."""
    operands, result = equation.split("->")
    of_x, of_w = operands.split(",")
    summed = _summed(equation)
    meets = of_x[-summed:] == of_w[:summed] and of_x[:-summed] + of_w[summed:] == result
    fits = x.ndim == len(of_x) or of_x.startswith("...")
    fits = fits and len(of_w) == len(shape)
    return meets and fits and x.shape[x.ndim - summed :] == shape[:summed]


def _product(equation: str, x: Array, w: Array) -> Array:
    """einsum(equation, x, w) in float32: as a product of two matrices where x's last axes meet w's first ones.

    That says the same, and on CPUs XLA multiplies matrices faster than arrays of more axes: a training step of
    `benchmarks/character_gpt.py` takes a tenth less time.
    """
    summed = _summed(equation)
    if not _meets(equation, x, w.shape):
        # It knows all other equations, and says what is wrong with shapes that do not fit.
        return jnp.einsum(equation, x, w.astype(x.dtype), preferred_element_type=jnp.float32)
    w_IO = w.reshape(math.prod(w.shape[:summed]), -1)
    x_NI = x.reshape(-1, w_IO.shape[0])
    y_NO = _rounded_product(x_NI, w_IO, 0) if x.dtype.itemsize < 4 else _full_product(x_NI, w_IO)
    return y_NO.reshape(*x.shape[: x.ndim - summed], *w.shape[summed:])


def _rounded_primal(x_NI: Array, w: Array, axis: int) -> Array:
    """x w [N, O] in float32 for an x of 16 bits, to whose dtype w is rounded; x wᵀ where `axis`, the one of w that is
    summed over, is 1.

    What comes back is rounded too before it is multiplied: left to itself JAX multiplies it in float32 with what has 16
    bits, at half the rate of two that have, or less. The gradient of w is not rounded.
    """
    return _dot(x_NI, w.astype(x_NI.dtype), 1, axis)


_rounded_product = jax.custom_vjp(_rounded_primal, nondiff_argnums=(2,))


def _rounded_forward(x_NI: Array, w: Array, axis: int) -> tuple[Array, tuple[Array, Array]]:
    # The weight as it is: what a scanned layer rounds would be kept for every layer.
    return _rounded_primal(x_NI, w, axis), (x_NI, w)


def _rounded_backward(axis: int, kept: tuple[Array, Array], g_NO: Array) -> tuple[Array, Array]:
    x_NI, w = kept
    g_NO = g_NO.astype(x_NI.dtype)
    dx_NI = _dot(g_NO, w.astype(x_NI.dtype), 1, 1 - axis)
    factors = (x_NI, g_NO) if axis == 0 else (g_NO, x_NI)
    dw = jax.lax.platform_dependent(*factors, cpu=_turned_dot, default=_columns_dot)
    return dx_NI.astype(x_NI.dtype), dw.astype(w.dtype)


_rounded_product.defvjp(_rounded_forward, _rounded_backward)


def _dot(a: Array, b: Array, of_a: int, of_b: int) -> Array:
    """The product of two matrices that is summed over these axes, in float32."""
    return jax.lax.dot_general(a, b, (((of_a,), (of_b,)), ((), ())), preferred_element_type=jnp.float32)


def _columns_dot(a_NI: Array, b_NO: Array) -> Array:
    return _dot(a_NI, b_NO, 0, 0)


def _turned_dot(a_NI: Array, b_NO: Array) -> Array:
    """The same with a turned over in memory first, which takes half the time: XLA's kernels for CPUs take 16 bits by
    rows only, and it has two of float32 multiplied otherwise. The barrier and the shape keep it from undoing that.
    """
    turned = jax.lax.optimization_barrier(a_NI.T.reshape(-1)).reshape(a_NI.shape[::-1])
    return _dot(turned, b_NO, 1, 0)


def _full_product(x_NI: Array, w_IO: Array) -> Array:
    w_IO = w_IO if w_IO.shape[0] <= w_IO.shape[1] else _turned_gradient(w_IO)
    return jnp.matmul(x_NI, w_IO, preferred_element_type=jnp.float32)


@jax.custom_jvp
def _turned_gradient(w_IO: Array) -> Array:
    """The matrix itself, whose gradient is computed as the transpose of gᵀ x and not as xᵀ g.

    They are equal, but XLA's product for CPUs takes half the time where the result is wide and not tall; the barrier
    keeps it from turning the one into the other.
    """
    return w_IO


@_turned_gradient.defjvp
def _(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    def turned(t_IO: Array) -> Array:
        return jax.lax.optimization_barrier(t_IO.T).T

    return primals[0], jax.lax.platform_dependent(tangents[0], cpu=turned, default=lambda t_IO: t_IO)


def _update(equation: str, x: Array, w: LowRank) -> Array:
    """einsum(equation, x, a b) in x's dtype, by way of the rank."""
    operands, result = equation.split("->")
    of_x, of_w = operands.split(",")
    rank = next(letter for letter in ascii_lowercase if letter not in equation)
    inputs = w.a.ndim - 1
    by_rank = f"{of_x},{of_w[:inputs]}{rank},{rank}{of_w[inputs:]}->{result}"
    x = x if w.key is None else dropout(w.key, x, w.rate)
    a, b = w.a.astype(x.dtype), w.b.astype(x.dtype)
    return jnp.einsum(by_rank, x, a, b, preferred_element_type=jnp.float32).astype(x.dtype)


def plus_bias(y: Array, b: Array) -> Array:
    """y + b in y's dtype, to which b [*outputs] is rounded; the gradient of b is summed in float32."""
    return _plus_rounded(y, b) if y.dtype.itemsize < 4 else y + b.astype(y.dtype)


@jax.custom_vjp
def _plus_rounded(y: Array, b: Array) -> Array:
    return y + b.astype(y.dtype)


def _plus_backward(b: Array, g: Array) -> tuple[Array, Array]:
    # As a product, for JAX would sum in 16 bits, and XLA's sum over the rows of 16 bits takes several times as long.
    g_NO = g.reshape(-1, b.size)
    db_1O = _dot(jnp.ones((1, g_NO.shape[0]), g.dtype), g_NO, 1, 0)
    return g, db_1O.reshape(b.shape).astype(b.dtype)


_plus_rounded.defvjp(lambda y, b: (_plus_rounded(y, b), b), _plus_backward)


def readout(x_D: Array, w_DE: Array, b_E: Array) -> Array:
    """tanh(x W + b) in x's dtype: what a recurrent decoder knows, as one vector to be compared with the embeddings.

    x [..., D] of any floating type is the state of the top layer and, where there is attention, what was read beside
    it. Source: Luong et al. 2015, eq. 5, with a bias.
    """
    return jnp.tanh(plus_bias(project("...d,de->...e", x_D, w_DE), b_E))


def logits(x_D: Array, w_VD: Array) -> Array:
    """How likely each token is next: x wᵀ with one vector per token, the embeddings' own where they are tied.

    x [..., D] of any floating type, to which w [V, D] is rounded; the result [..., V] is float32, because a softmax
    follows. Source: Press & Wolf 2017, eq. 2.
    """
    if x_D.dtype.itemsize < 4:
        return _rounded_product(x_D.reshape(-1, x_D.shape[-1]), w_VD, 1).reshape(*x_D.shape[:-1], -1)
    if math.prod(x_D.shape[:-1]) <= FEW:
        return _rows_dot(w_VD.astype(x_D.dtype), x_D.reshape(-1, x_D.shape[-1])).reshape(*x_D.shape[:-1], len(w_VD))
    return jnp.einsum("...d,vd->...v", x_D, w_VD.astype(x_D.dtype), preferred_element_type=jnp.float32)


def capped(scores: Array, cap: float | None) -> Array:
    """cap · tanh(scores / cap), which lies within ±cap; the scores themselves where there is no cap (Gemma Team 2024,
    Gemma 2, §2).
    """
    return scores if cap is None else cap * jnp.tanh(scores / cap)
