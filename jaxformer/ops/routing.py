"""Mixture of experts: which experts a token meets, what they make of it, and what keeps their loads equal.

Letters: T tokens (of a whole batch, side by side), E experts, K experts of one token, A = T·K assignments of a token to
an expert, D model width, F hidden width of an expert.

Padding is routed like any token, since nothing reads what becomes of it; where it would change a loss or a load,
`counted_T` leaves it out.
"""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from jax import Array
from jax.custom_batching import custom_vmap

from jaxformer.config.experts import Router, SigmoidRouter, SoftmaxRouter


def affinities(logits_E: Array, router: Router) -> Array:
    """How well each expert suits the token, in (0, 1), float32; over the last axis, leading axes are kept."""
    match router:
        case SoftmaxRouter():
            return jax.nn.softmax(logits_E.astype(jnp.float32), axis=-1)
        case SigmoidRouter():
            return jax.nn.sigmoid(logits_E.astype(jnp.float32))


def route(logits_E: Array, router: Router, active: int, bias_E: Array | None = None) -> tuple[Array, Array]:
    """The token's `active` experts int32 [K], best first, and their weights float32 [K]; leading axes are kept.

    bias_E float32 changes which experts are chosen and never their weights, so it has no gradient. Sources: Jiang et
    al. 2024 (Mixtral), §2.1; DeepSeek-AI 2024 (DeepSeek-V3), eqs. 12–16.
    """
    scores_E = affinities(logits_E, router)
    wanted_E = scores_E if bias_E is None else scores_E + bias_E
    if isinstance(router, SigmoidRouter) and router.active_groups < router.groups:
        wanted_E = _of_best_groups(wanted_E, router.groups, router.active_groups)
    _, experts_K = jax.lax.top_k(wanted_E, active)
    weights_K = _at(scores_E, experts_K)
    if router.normalise:
        # Sigmoids may all be 0 in float32, a softmax never is.
        weights_K = weights_K / (jnp.sum(weights_K, axis=-1, keepdims=True) + 1e-20)
    if isinstance(router, SigmoidRouter):
        weights_K = weights_K * router.scale
    return experts_K, weights_K


def _of_best_groups(scores_E: Array, groups: int, active: int) -> Array:
    """The scores of experts in the best groups, -∞ for the others. A group is judged by its two highest scores."""
    scores_GM = scores_E.reshape(*scores_E.shape[:-1], groups, -1)
    worth_G = jnp.sum(jax.lax.top_k(scores_GM, 2)[0], axis=-1)
    _, best = jax.lax.top_k(worth_G, active)
    is_best_G = jnp.any(best[..., None] == jnp.arange(groups), axis=-2)
    return jnp.where(is_best_G[..., None], scores_GM, -jnp.inf).reshape(scores_E.shape)


def _at(scores_E: Array, experts_K: Array) -> Array:
    """scores_E[experts_K] as a comparison, whose gradient is no scatter."""
    is_chosen_KE = experts_K[..., None] == jnp.arange(scores_E.shape[-1])
    return jnp.sum(jnp.where(is_chosen_KE, scores_E[..., None, :], 0.0), axis=-1)


def experts_ffn(
    x_TD: Array,
    gate_EDF: Array | None,
    up_EDF: Array,
    down_EFD: Array,
    experts_TK: Array,
    weights_TK: Array,
    activation: Callable[[Array], Array],
) -> Array:
    """Each token through its experts: Σ_k weight_k · (activation(x gate) ⊙ x up) down, [T, D] in x's dtype.

    Without `gate_EDF` an expert is activation(x up) down. Weights of the experts are rounded to x's dtype, every sum
    runs in float32. No token is dropped: assignments are sorted by expert, each expert multiplies its run of rows, and
    tokens gather their rows again. Sources: Shazeer et al. 2017, eq. 1; Gale et al. 2023 (MegaBlocks), §3.
    """
    order_A = jnp.argsort(experts_TK.reshape(-1))
    place_TK = jnp.argsort(order_A).reshape(experts_TK.shape)
    load_E = load(experts_TK, up_EDF.shape[0])
    rows_AD = _dispatch(x_TD, order_A, place_TK)
    up_AF = _product(rows_AD, up_EDF, load_E)
    hidden_AF = activation(up_AF) if gate_EDF is None else activation(_product(rows_AD, gate_EDF, load_E)) * up_AF
    y_TKD = _collect(_product(hidden_AF, down_EFD, load_E), order_A, place_TK)
    return jnp.sum(weights_TK[..., None] * y_TKD.astype(jnp.float32), axis=1).astype(x_TD.dtype)


# `jax.lax.ragged_dot` can only be mapped where all of its arguments are, along their first axis. These two take leading
# axes and say themselves how they are mapped, so that experts can be shared by what is mapped, as in a Jacobian.


@custom_vmap
def _rows_times_experts(rows_AI: Array, w_EIO: Array, load_E: Array) -> Array:
    """Each run of rows times its expert's matrix, float32 [A, O]; leading axes are kept."""
    *axes, A = range(rows_AI.ndim - 1)
    numbers = jax.lax.RaggedDotDimensionNumbers((([A + 1], [A + 1]), (axes, axes)), [A], [A])
    return jax.lax.ragged_dot_general(rows_AI, w_EIO, load_E, numbers, preferred_element_type=jnp.float32)


@custom_vmap
def _rows_times_rows(rows_AI: Array, rows_AO: Array, load_E: Array) -> Array:
    """The sum of outer products over each run of rows, float32 [E, I, O]; leading axes are kept."""
    *axes, A = range(rows_AI.ndim - 1)
    numbers = jax.lax.RaggedDotDimensionNumbers((([A], [A]), (axes, axes)), [A], [])
    w_EIO = jax.lax.ragged_dot_general(rows_AI, rows_AO, load_E, numbers, preferred_element_type=jnp.float32)
    return jnp.moveaxis(w_EIO, 0, A)


def _lift(product: custom_vmap) -> None:
    """Mapping adds a leading axis to every argument."""

    @product.def_vmap
    def _(size: int, is_mapped: Sequence[bool], *arguments: Array) -> tuple[Array, bool]:
        pairs = zip(arguments, is_mapped, strict=True)
        return product(*(x if mapped else jnp.broadcast_to(x, (size, *x.shape)) for x, mapped in pairs)), True


_lift(_rows_times_experts)
_lift(_rows_times_rows)


@jax.custom_vjp
def _product(rows_AI: Array, w_EIO: Array, load_E: Array) -> Array:
    """Each run of rows, load_E long, times its expert's matrix: [A, O] in the rows' dtype."""
    return _rows_times_experts(rows_AI, w_EIO.astype(rows_AI.dtype), load_E).astype(rows_AI.dtype)


def _product_forward(rows_AI, w_EIO, load_E):
    return _product(rows_AI, w_EIO, load_E), (rows_AI, w_EIO, load_E)


def _product_backward(saved, d_AO):
    rows_AI, w_EIO, load_E = saved
    d_AI = _product(d_AO, jnp.swapaxes(w_EIO, 1, 2), load_E)
    return d_AI, _rows_times_rows(rows_AI, d_AO, load_E).astype(w_EIO.dtype), None


_product.defvjp(_product_forward, _product_backward)


# Each of the two is the other's transpose up to the sum over a token's copies, so both gradients are gathers; the
# gradient that JAX would derive for a gather is a scatter, which adds row by row.


@jax.custom_vjp
def _dispatch(x_TD: Array, order_A: Array, place_TK: Array) -> Array:
    """A copy of its token for each assignment, sorted by expert: [A, D]."""
    return x_TD[order_A // place_TK.shape[1]]


@jax.custom_vjp
def _collect(rows_AD: Array, order_A: Array, place_TK: Array) -> Array:
    """The row of each assignment, back at its token: [T, K, D]."""
    return rows_AD[place_TK]


def _dispatch_forward(x_TD, order_A, place_TK):
    return _dispatch(x_TD, order_A, place_TK), place_TK


def _dispatch_backward(place_TK, d_AD):
    return jnp.sum(d_AD[place_TK], axis=1, dtype=jnp.float32).astype(d_AD.dtype), None, None


def _collect_forward(rows_AD, order_A, place_TK):
    return _collect(rows_AD, order_A, place_TK), order_A


def _collect_backward(order_A, d_TKD):
    return d_TKD.reshape(-1, d_TKD.shape[-1])[order_A], None, None


_dispatch.defvjp(_dispatch_forward, _dispatch_backward)
_collect.defvjp(_collect_forward, _collect_backward)


def load(experts_TK: Array, experts: int, counted_T: Array | None = None) -> Array:
    """How many tokens each of E `experts` was given, int32 [E]."""
    is_given_TKE = experts_TK[..., None] == jnp.arange(experts)
    where = None if counted_T is None else counted_T[:, None, None]
    return jnp.sum(is_given_TKE, axis=(0, 1), where=where, dtype=jnp.int32)


def load_balance_loss(affinities_TE: Array, experts_TK: Array, counted_T: Array | None = None) -> Array:
    """E · Σ_e (tokens given to e / tokens) · (mean probability of e), float32; K where all experts are equally likely.

    A token's probabilities are its `affinities` divided by their sum, which leaves a softmax as it is; only they have a
    gradient. The tokens of several layers, one after another, give the loss of all of them together. Sources: Fedus et
    al. 2022 (Switch), eqs. 4–6; DeepSeek-AI 2024 (DeepSeek-V3), eq. 19 for sigmoids.
    """
    E = affinities_TE.shape[-1]
    probabilities_TE = affinities_TE / jnp.sum(affinities_TE, axis=-1, keepdims=True)
    share_E = load(experts_TK, E, counted_T) / _tokens(affinities_TE, counted_T)
    return E * jnp.sum(share_E * _mean(probabilities_TE, counted_T))


def router_z_loss(logits_TE: Array, counted_T: Array | None = None) -> Array:
    """The mean over tokens of log²Σexp(logits), float32 (Zoph et al. 2022, eq. 5)."""
    return _mean(jnp.square(jax.nn.logsumexp(logits_TE.astype(jnp.float32), axis=-1)), counted_T)


def bias_update(bias_E: Array, load_E: Array, rate: float) -> Array:
    """The bias for the next step: `rate` more for an expert below the mean load, `rate` less for one above it.

    load_E is what the whole batch of this step gave each expert; over the last axis, leading axes are kept. Source:
    DeepSeek-AI 2024 (DeepSeek-V3), §2.1.2; Wang et al. 2024, algorithm 1.
    """
    load_E = load_E.astype(jnp.float32)
    return bias_E + rate * jnp.sign(jnp.mean(load_E, axis=-1, keepdims=True) - load_E)


def _tokens(rows: Array, counted_T: Array | None) -> Array | int:
    """How many tokens count, 1 at least, so that nothing counted costs nothing."""
    return rows.shape[0] if counted_T is None else jnp.maximum(jnp.sum(counted_T), 1)


def _mean(rows: Array, counted_T: Array | None) -> Array:
    """The mean over the tokens that count, axis 0."""
    where = None if counted_T is None else counted_T.reshape(-1, *[1] * (rows.ndim - 1))
    return jnp.sum(rows, axis=0, where=where) / _tokens(rows, counted_T)
