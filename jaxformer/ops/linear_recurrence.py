"""Linear recurrences of one sequence, h_t = a_t h_{t-1} + b_t elementwise: step by step, or all steps at once.

Where neither a nor b depends on h, two steps make one of the same kind,

    h_t = a_t (a_{t-1} h_{t-2} + b_{t-1}) + b_t = (a_t a_{t-1}) h_{t-2} + (a_t b_{t-1} + b_t),

so T of them are put together in a tree of log₂ T levels, where a tanh-RNN, a GRU or an LSTM must wait for each
(Blelloch 1990, §1.4). That costs up to twice the multiplications, and passes over memory.

A `Form` says how the steps are taken; forms agree in values and gradients up to rounding. Any recurrence here takes
any form.

Letters: T steps, D input width, H hidden width. Arrays may carry batch axes between time and width, as in
`jaxformer.ops.recurrence`: x is then [T, B, D], a state [B, H].
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

Form = Callable[[Array, Array, Array | None], Array]
"""(a_TH, b_TH, h_H) → h_TH: all states after the one before the first step, zeros where it is None.

a and b are of one shape and one floating type, in which the states are computed.
"""


def in_sequence(a_TH: Array, b_TH: Array, h_H: Array | None = None) -> Array:
    """A `Form`: one step after the other, 2 T H operations."""

    def step(h_H: Array, ab: tuple[Array, Array]) -> tuple[Array, Array]:
        h_H = ab[0] * h_H + ab[1]
        return h_H, h_H

    start_H = jnp.zeros_like(b_TH[0]) if h_H is None else h_H.astype(b_TH.dtype)
    return jax.lax.scan(step, start_H, (a_TH, b_TH))[1]


def in_parallel(a_TH: Array, b_TH: Array, h_H: Array | None = None) -> Array:
    """A `Form`: neighbours are put together in a tree, whose height is log₂ T."""
    if h_H is not None:
        b_TH = b_TH.at[0].add(a_TH[0] * h_H.astype(b_TH.dtype))
    return jax.lax.associative_scan(_one_after_the_other, (a_TH, b_TH))[1]


def _one_after_the_other(earlier: tuple[Array, Array], later: tuple[Array, Array]) -> tuple[Array, Array]:
    """The one step that does what two do."""
    return later[0] * earlier[0], later[0] * earlier[1] + later[1]


FORMS: tuple[Form, ...] = (in_sequence, in_parallel)


class MinGru(NamedTuple):
    """The parameters of a minGRU: what says how much is new, and what is new."""

    update_DH: Array
    update_bias_H: Array
    new_DH: Array
    new_bias_H: Array


def min_gru(parameters: MinGru, x_TD: Array, h_H: Array | None = None, *, form: Form = in_parallel) -> Array:
    """A GRU whose gates do not read the state: h_TH in x's dtype, computed in float32 or wider.

        z_t = σ(x_t W + b)      h̃_t = x_t U + c      h_t = (1 - z_t) h_{t-1} + z_t h̃_t

    `h_H` is the state before the first step, zeros unless given. Source: Feng et al. 2024 (Were RNNs all we needed?),
    §3.1.
    """
    gate_TH = _affine(x_TD, parameters.update_DH, parameters.update_bias_H)
    new_TH = _affine(x_TD, parameters.new_DH, parameters.new_bias_H)
    # σ(-g) is 1 - σ(g) without the cancellation.
    return form(jax.nn.sigmoid(-gate_TH), jax.nn.sigmoid(gate_TH) * new_TH, h_H).astype(x_TD.dtype)


class RgLru(NamedTuple):
    """The parameters of a real-gated linear recurrent unit, whose state is as wide as its input."""

    recurrence_DD: Array
    recurrence_bias_D: Array
    input_DD: Array
    input_bias_D: Array
    decay_D: Array
    """Λ; a state keeps at least σ(Λ)^8 of itself a step."""


SHARPNESS = 8.0
"""c of the paper: a state keeps between σ(Λ)^c and all of itself."""


def rg_lru(parameters: RgLru, x_TD: Array, h_D: Array | None = None, *, form: Form = in_parallel) -> Array:
    """A real-gated linear recurrent unit: h_TD in x's dtype, computed in float32 or wider.

        r_t = σ(x_t W_a + b_a)      i_t = σ(x_t W_x + b_x)      a_t = σ(Λ)^(c r_t)
        h_t = a_t h_{t-1} + √(1 - a_t²) (i_t x_t)

    The root keeps the variance of h where x has its own: a state that keeps nearly all takes nearly nothing in. It is
    computed from log a, because 1 - a² has no digits left where a is near 1; where even log a is 0, nothing enters and
    no gradient passes, instead of none that is a number. `h_D` is the state before the first step, zeros unless given.
    Source: De et al. 2024 (Griffin), §2.4, eq. 1-4, a_t from log a_t as in their appendix A.
    """
    remember_TD = jax.nn.sigmoid(_affine(x_TD, parameters.recurrence_DD, parameters.recurrence_bias_D))
    enter_TD = jax.nn.sigmoid(_affine(x_TD, parameters.input_DD, parameters.input_bias_D))
    log_a_TD = -SHARPNESS * remember_TD * jax.nn.softplus(-parameters.decay_D.astype(remember_TD.dtype))
    smallest = jnp.finfo(log_a_TD.dtype).tiny
    taken_TD = jnp.sqrt(jnp.maximum(-jnp.expm1(2 * log_a_TD), smallest))
    return form(jnp.exp(log_a_TD), taken_TD * enter_TD * x_TD, h_D).astype(x_TD.dtype)


def _affine(x_TD: Array, weight_DH: Array, bias_H: Array) -> Array:
    """x W + b, multiplied in the weight's dtype, in float32 or wider."""
    accumulator = jnp.promote_types(x_TD.dtype, jnp.float32)
    return jnp.matmul(x_TD.astype(weight_DH.dtype), weight_DH, preferred_element_type=accumulator) + bias_H
