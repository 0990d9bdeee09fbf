"""What a prediction costs."""

import math
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from jaxformer.ops.linear import capped, logits

CHUNK = 256
"""Tokens whose logits exist at a time. A few hundred keep the products efficient and the logits in a CPU core's cache.
"""


class TokenLoss(NamedTuple):
    """What predicting a token cost: one token's numbers, or their sum over many."""

    loss: Array
    """What is trained: nll with smoothing and penalties, float32."""
    nll: Array
    """-log p(label) in nats, float32."""
    correct: Array
    """1 where the label is the likeliest token, float32."""


def cross_entropy(logits_V: Array, label: Array, smoothing: float = 0.0, z_weight: float = 0.0) -> TokenLoss:
    """The cost of logits for the label (int32); over the last axis, leading axes are kept.

    Label smoothing mixes the target with the uniform distribution over all V entries (Szegedy et al. 2016, §7). The
    z-loss adds z_weight · log²Σexp(logits), which keeps the logits from drifting (Chowdhery et al. 2022, §5).
    """
    logits_V = logits_V.astype(jnp.float32)
    log_total = jax.nn.logsumexp(logits_V, axis=-1)
    # A comparison fuses with its neighbours where a gather's gradient would be a scatter into [.., V].
    hit_V = jnp.arange(logits_V.shape[-1]) == label[..., None]
    target = jnp.sum(jnp.where(hit_V, logits_V, 0.0), axis=-1)
    loss = log_total - (1.0 - smoothing) * target - smoothing * jnp.mean(logits_V, axis=-1)
    if z_weight:
        loss = loss + z_weight * jnp.square(log_total)
    return TokenLoss(loss, log_total - target, (target >= jnp.max(logits_V, axis=-1)).astype(jnp.float32))


def disagreement(logits_2V: Array) -> Array:
    """How far two predictions of one token are from each other: the mean of KL(p‖q) and KL(q‖p), in nats, float32.

    Over the last two axes, leading ones are kept. Source: Liang et al. 2021, R-Drop, eq. 2.
    """
    log_p_2V = jax.nn.log_softmax(logits_2V.astype(jnp.float32), axis=-1)
    p_2V = jnp.exp(log_p_2V)
    return 0.5 * jnp.sum((p_2V[..., 0, :] - p_2V[..., 1, :]) * (log_p_2V[..., 0, :] - log_p_2V[..., 1, :]), axis=-1)


class Shaping(NamedTuple):
    """What is done to the cost of a token beside its cross-entropy; plain numbers."""

    smoothing: float = 0.0
    """Label smoothing."""
    z_weight: float = 0.0
    """Weight of the z-loss."""
    softcap: float | None = None
    """Logits l become cap · tanh(l / cap) first (Gemma Team 2024)."""
    consistency: float = 0.0
    """Half of it weighs the `disagreement`, where every token is predicted twice: R-Drop's α, whose costs are sums over
    both predictions and not their means.
    """


PLAIN = Shaping()


def shaped_cross_entropy(logits_RV: Array, labels_T: Array, shaping: Shaping = PLAIN) -> TokenLoss:
    """The cost of each of T labels (int32 [T]), float32 [T]; logits [R, V] hold R / T predictions of each in a row.

    Of several predictions costs are the mean. Of two the loss has also what `shaping.consistency` asks for; the logits
    are capped already.
    """
    predictions = max(1, logits_RV.shape[0] // max(1, labels_T.shape[0]))
    rows = cross_entropy(logits_RV, jnp.repeat(labels_T, predictions), shaping.smoothing, shaping.z_weight)
    costs = jax.tree.map(lambda cost_R: jnp.mean(cost_R.reshape(-1, predictions), axis=1), rows)
    if predictions == 2 and shaping.consistency:
        apart_T = disagreement(logits_RV.reshape(-1, 2, logits_RV.shape[-1]))
        costs = costs._replace(loss=costs.loss + 0.5 * shaping.consistency * apart_T)
    return costs


def summed(costs_T: TokenLoss, counted_T: Array) -> TokenLoss:
    """The costs of the tokens that count."""
    return jax.tree.map(lambda cost_T: jnp.sum(jnp.where(counted_T, cost_T, 0.0)), costs_T)


def _summed(
    x_TD: Array, w_VD: Array, bias_V: Array | None, labels_T: Array, counted_T: Array, shaping: Shaping
) -> TokenLoss:
    """The definition of `linear_cross_entropy`, all tokens at once."""
    # Rows without a further axis: with one, the compiler keeps three times as many logits.
    logits_RV = logits(x_TD.reshape(-1, x_TD.shape[-1]), w_VD)
    logits_RV = capped(logits_RV if bias_V is None else logits_RV + bias_V, shaping.softcap)
    return summed(shaped_cross_entropy(logits_RV, labels_T, shaping), counted_T)


@partial(jax.custom_vjp, nondiff_argnums=(4, 5))
def linear_cross_entropy(
    x_TD: Array,
    w_VD: Array,
    labels_T: Array,
    counted_T: Array,
    shaping: Shaping = PLAIN,
    chunk: int = CHUNK,
    bias_V: Array | None = None,
) -> TokenLoss:
    """Sums over tokens of `cross_entropy` of the logits x wᵀ + b, which never exist for more than `chunk` tokens.

    x_TD [T, D] of any floating type, w_VD [V, D] and bias_V [V] float32, labels_T int32, counted_T bool: a token that
    does not count adds nothing. Of x [T, 2, D], two predictions of each token, costs are the mean, and the loss has
    what `shaping.consistency` adds. Only `loss` has a gradient. It is computed together with the value, chunk by chunk,
    while the logits are at hand: the loss is the last thing computed, so its gradient is known up to a factor before
    the backward pass begins.
    """
    chunks = _chunks(chunk, x_TD, labels_T, counted_T)

    def add(total: TokenLoss, part: Any) -> tuple[TokenLoss, None]:
        x_TD, labels_T, counted_T = part
        return jax.tree.map(jnp.add, total, _summed(x_TD, w_VD, bias_V, labels_T, counted_T, shaping)), None

    return jax.lax.scan(add, TokenLoss(*[jnp.zeros((), jnp.float32)] * 3), chunks)[0]


def _forward(x_TD, w_VD, labels_T, counted_T, shaping, chunk, bias_V):
    def add(sums: Any, part: Any) -> tuple[Any, Array]:
        x_TD, labels_T, counted_T = part

        def loss(x_TD: Array, output: Any) -> tuple[Array, TokenLoss]:
            w_VD, bias_V = output
            total = _summed(x_TD, w_VD, bias_V, labels_T, counted_T, shaping)
            return total.loss, total

        (dx_TD, doutput), total = jax.grad(loss, argnums=(0, 1), has_aux=True)(x_TD, (w_VD, bias_V))
        return jax.tree.map(jnp.add, sums, (total, doutput)), dx_TD

    first = (TokenLoss(*[jnp.zeros((), jnp.float32)] * 3), jax.tree.map(jnp.zeros_like, (w_VD, bias_V)))
    (total, doutput), dx_CTD = jax.lax.scan(add, first, _chunks(chunk, x_TD, labels_T, counted_T))
    dx_TD = _unchunked(dx_CTD, x_TD.shape[0])
    return total, (dx_TD, doutput)


def _backward(shaping, chunk, saved, cotangent):
    dx_TD, doutput = saved
    dw_VD, dbias_V = jax.tree.map(lambda sum_: sum_ * cotangent.loss, doutput)
    return dx_TD * cotangent.loss.astype(dx_TD.dtype), dw_VD, None, None, dbias_V


linear_cross_entropy.defvjp(_forward, _backward)


def log_probabilities(
    x_TD: Array, w_VD: Array, labels_T: Array, softcap: float | None = None, chunk: int = CHUNK
) -> Array:
    """log p(label) of each token, float32 [T], of the logits x wᵀ, which never exist for more than `chunk` tokens.

    Arguments as in `linear_cross_entropy`, for losses that are no sum over tokens. The logits are computed once more in
    the backward pass.
    """

    @jax.checkpoint
    def of_chunk(part: tuple[Array, ...]) -> Array:
        x_TD, labels_T = part
        return -cross_entropy(capped(logits(x_TD, w_VD), softcap), labels_T).nll

    return _unchunked(jax.lax.map(of_chunk, _chunks(chunk, x_TD, labels_T)), x_TD.shape[0])


def _predictions(x_TD: Array) -> int:
    """Of each token: 1 for x [T, D], 2 for x [T, 2, D]."""
    return math.prod(x_TD.shape[1:-1])


def _chunks(chunk: int, x_TD: Array, *rows_T: Array) -> tuple[Array, ...]:
    """Each array as [chunks, tokens, ...]; what is added to fill the last chunk is zero, so it does not count. The
    logits of a chunk have `chunk` rows, so that of x [T, 2, D] it holds half as many tokens.

    Neighbouring tokens go to different chunks, which leaves each device its own tokens when they are sharded.
    """
    length = x_TD.shape[0]
    count = max(1, -(-length * _predictions(x_TD) // chunk))
    width = -(-length // count)

    def split(rows: Array) -> Array:
        rows = jnp.pad(rows, [(0, width * count - length)] + [(0, 0)] * (rows.ndim - 1))
        return jnp.swapaxes(rows.reshape(width, count, *rows.shape[1:]), 0, 1)

    return tuple(split(rows) for rows in (x_TD, *rows_T))


def _unchunked(rows_CT: Array, length: int) -> Array:
    """The first `length` rows of what `_chunks` split."""
    return jnp.swapaxes(rows_CT, 0, 1).reshape(-1, *rows_CT.shape[2:])[:length]
