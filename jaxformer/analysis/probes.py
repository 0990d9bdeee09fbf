"""What a linear map can read off vectors: a probe that is fitted on some and judged on others (Alain & Bengio 2017).

All functions are deterministic, may be jitted, and mapped over layers and over seeds. Letters: N vectors, C classes. A
label of -1 marks a vector that does not count, such as that of padding.

    >>> states = hidden_states(model, params, tokens_BT)["decoder"]  # [L + 1, B, T, D]
    >>> accuracy_L = probe_layers(states, labels_BT, held_out_states, held_out_labels_BT, partial(ridge, classes=5))
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from jaxformer.ops.losses import cross_entropy


class Probe(NamedTuple):
    """A linear classifier: scores x W + b, float32."""

    weight_DC: Array
    bias_C: Array

    def scores(self, x_ND: Array) -> Array:
        """How likely each class is, [N, C]; in no unit."""
        return x_ND.astype(jnp.float32) @ self.weight_DC + self.bias_C


Fit = Callable[[Array, Array], Probe]
"""(x [N, D], labels int32 [N]) → probe, as `partial(ridge, classes=5)` is one."""


def ridge(x_ND: Array, labels_N: Array, classes: int, penalty: float = 1e-3) -> Probe:
    """Least squares to the classes' indicators, in closed form: (ZᵀZ / N + penalty · I)⁻¹ ZᵀY / N.

    Z are the vectors, standardised feature by feature, so that a penalty means the same in every layer; Y the
    indicators less their mean. Source: Hoerl & Kennard 1970, eq. 2.1.
    """
    z_ND, scale, counted_N = _standardised(x_ND, labels_N)
    y_NC = jax.nn.one_hot(labels_N, classes)
    mean_C = jnp.sum(y_NC, axis=0) / jnp.sum(counted_N)
    weighted_ND = z_ND * (counted_N / jnp.sum(counted_N))[:, None]
    products_DD = _product(weighted_ND.T, z_ND) + penalty * jnp.eye(z_ND.shape[1])
    solved_DC = jax.scipy.linalg.solve(products_DD, _product(weighted_ND.T, y_NC - mean_C), assume_a="pos")
    return _unscaled(solved_DC, mean_C, scale)


def logistic(x_ND: Array, labels_N: Array, classes: int, penalty: float = 1e-3, steps: int = 10) -> Probe:
    """Multinomial logistic regression by Newton's method from zero.

    What becomes least is the mean cross-entropy in nats and half the penalty times the squares of all weights and
    biases, of vectors standardised as in `ridge`. Each step takes the best of its halvings, so that this never rises.
    The Hessian has ((D + 1) C)² entries: for many classes of wide vectors take `ridge`.
    """
    z_ND, scale, counted_N = _standardised(x_ND, labels_N)
    z_NE = jnp.concatenate([z_ND, jnp.ones_like(z_ND[:, :1])], axis=1)

    def loss(w_P: Array) -> Array:
        nll_N = cross_entropy(_product(z_NE, w_P.reshape(-1, classes)), labels_N).nll
        return jnp.sum(counted_N * nll_N) / jnp.sum(counted_N) + penalty / 2 * jnp.sum(w_P**2)

    def newton(w_P: Array, _: None) -> tuple[Array, None]:
        step_P = jax.scipy.linalg.solve(jax.hessian(loss)(w_P), jax.grad(loss)(w_P), assume_a="pos")
        tried_KP = w_P - 2.0 ** -jnp.arange(8.0)[:, None] * step_P
        return tried_KP[jnp.argmin(jax.lax.map(loss, tried_KP))], None

    w_P, _ = jax.lax.scan(newton, jnp.zeros(z_NE.shape[1] * classes), length=steps)
    w_EC = w_P.reshape(-1, classes)
    return _unscaled(w_EC[:-1], w_EC[-1], scale)


def accuracy(probe: Probe, x_ND: Array, labels_N: Array) -> Array:
    """The part of the vectors that count whose class has the highest score, float32; NaN where none counts."""
    counted_N = labels_N >= 0
    right_N = counted_N & (jnp.argmax(probe.scores(x_ND), axis=-1) == labels_N)
    return jnp.sum(right_N) / jnp.sum(counted_N)


def probe_layers(
    states_LBTD: Array,
    labels_BT: Array,
    held_out_LBTD: Array,
    held_out_labels_BT: Array,
    fit: Fit,
) -> Array:
    """The accuracy on held-out tokens of a probe of each layer, float32 [L].

    The states may also have one vector for each text, [L, B, D] with labels [B].
    """

    def of_layer(pair: tuple[Any, Any]) -> Array:
        known, held_out = (x.reshape(-1, x.shape[-1]) for x in pair)
        return accuracy(fit(known, labels_BT.reshape(-1)), held_out, held_out_labels_BT.reshape(-1))

    return jax.lax.map(of_layer, (states_LBTD, held_out_LBTD))


class _Scale(NamedTuple):
    mean_D: Array
    deviation_D: Array


def _standardised(x_ND: Array, labels_N: Array) -> tuple[Array, _Scale, Array]:
    """Vectors with mean 0 and deviation 1 in every feature that varies, what they were, and which count, float32."""
    x_ND, counted_N = x_ND.astype(jnp.float32), (labels_N >= 0).astype(jnp.float32)
    share_N1 = (counted_N / jnp.sum(counted_N))[:, None]
    mean_D = jnp.sum(x_ND * share_N1, axis=0)
    deviation_D = jnp.sqrt(jnp.sum(jnp.square(x_ND - mean_D) * share_N1, axis=0))
    # A deviation that is no more than the mean's rounding is none.
    deviation_D = jnp.where(deviation_D > 1e-5 * jnp.abs(mean_D), deviation_D, 1.0)
    return (x_ND - mean_D) / deviation_D, _Scale(mean_D, deviation_D), counted_N


def _unscaled(weight_DC: Array, bias_C: Array, scale: _Scale) -> Probe:
    """The probe of the vectors as they were."""
    weight_DC = weight_DC / scale.deviation_D[:, None]
    return Probe(weight_DC, bias_C - scale.mean_D @ weight_DC)


def _product(a: Array, b: Array) -> Array:
    """In float32 also where the device would round to less, which a nearly singular matrix does not survive."""
    return jnp.matmul(a, b, precision="highest")
