"""Routing, expert networks and balancing against loops in float64 and against transformers."""

from functools import partial
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxformer.config.experts import SigmoidRouter, SoftmaxRouter
from jaxformer.ops.routing import (
    affinities,
    bias_update,
    experts_ffn,
    load,
    load_balance_loss,
    route,
    router_z_loss,
)
from tests.parity.compare import assert_all_close, assert_close, normal

T, D, F, E, K = 31, 7, 11, 15, 3
GROUPED = SigmoidRouter(groups=5, active_groups=2, scale=2.5)
ROUTERS = [SoftmaxRouter(), SoftmaxRouter(normalise=False), SigmoidRouter(), SigmoidRouter(normalise=False), GROUPED]
silu = jax.nn.silu


def routed_by_hand(logits_E, router, bias_E):
    """The rule of the papers for one token, in float64."""
    logits_E = np.float64(logits_E)
    if isinstance(router, SoftmaxRouter):
        scores_E, groups, active_groups, scale = np.exp(logits_E) / np.exp(logits_E).sum(), 1, 1, 1.0
    else:
        scores_E = 1 / (1 + np.exp(-logits_E))
        groups, active_groups, scale = router.groups, router.active_groups, router.scale
    wanted = np.split(scores_E + bias_E, groups)
    best = sorted(range(groups), key=lambda group: -np.sort(wanted[group])[-2:].sum())[:active_groups]
    size = len(logits_E) // groups
    allowed = [expert for group in best for expert in range(group * size, (group + 1) * size)]
    chosen = sorted(allowed, key=lambda expert: -(scores_E + bias_E)[expert])[:K]
    weights = scores_E[chosen]
    return chosen, scale * (weights / weights.sum() if router.normalise else weights)


@pytest.mark.parametrize("bias", [0.0, 0.4])
@pytest.mark.parametrize("router", ROUTERS, ids=repr)
def test_routes_are_those_of_the_rule(router, bias):
    logits_TE, bias_E = 2 * normal(0, T, E), bias * normal(1, E)
    experts_TK, weights_TK = route(logits_TE, router, K, bias_E if bias else None)
    expected = [routed_by_hand(logits_E, router, bias_E) for logits_E in logits_TE]
    assert experts_TK.dtype == jnp.int32 and weights_TK.dtype == jnp.float32
    np.testing.assert_array_equal(experts_TK, [chosen for chosen, _ in expected])
    assert_close(weights_TK, np.array([weights for _, weights in expected]), 1e-6)


@pytest.mark.parametrize("router", ROUTERS, ids=repr)
def test_a_token_is_routed_by_itself(router):
    logits_TE, bias_E = 2 * normal(0, T, E), normal(1, E)
    one = jax.vmap(partial(route, router=router, active=K, bias_E=bias_E))(logits_TE)
    jax.tree.map(np.testing.assert_array_equal, route(logits_TE, router, K, bias_E), one)


def router_of(family, torch):
    """(their gate, made of a plain description; our router) with the same meaning."""
    module = pytest.importorskip(f"transformers.models.{family}.modeling_{family}")
    sizes = SimpleNamespace(num_experts_per_tok=K, num_local_experts=E, num_experts=E, hidden_size=D)
    if family == "mixtral":
        return module.MixtralTopKRouter(sizes), SoftmaxRouter()
    if family == "qwen3_moe":
        return module.Qwen3MoeTopKRouter(SimpleNamespace(**vars(sizes), norm_topk_prob=False)), SoftmaxRouter(False)
    fields = {"n_group": 5, "topk_group": 2, "routed_scaling_factor": 2.5, "norm_topk_prob": True}
    gate = module.DeepseekV3TopkRouter(SimpleNamespace(**vars(sizes), **fields))
    gate.e_score_correction_bias.copy_(torch.tensor(0.4 * normal(1, E)))
    return gate, GROUPED


@pytest.mark.parametrize("family", ["mixtral", "qwen3_moe", "deepseek_v3"])
def test_routes_and_their_gradients_are_those_of_transformers(torch, family):
    gate, router = router_of(family, torch)
    x_TD, w_ED = normal(2, T, D), normal(3, E, D)
    gate.weight.data.copy_(torch.tensor(w_ED))
    _, their_weights_TK, their_experts_TK = gate(torch.tensor(x_TD))
    (their_weights_TK * their_weights_TK.cos()).sum().backward()
    bias_E = 0.4 * normal(1, E) if family == "deepseek_v3" else None

    def loss(w_ED):
        experts_TK, weights_TK = route(x_TD @ w_ED.T, router, K, bias_E)
        return (weights_TK * jnp.cos(weights_TK)).sum(), (experts_TK, weights_TK)

    (_, (experts_TK, weights_TK)), gradient_ED = jax.jit(jax.value_and_grad(loss, has_aux=True))(w_ED)
    # Theirs are in no particular order.
    order_TK, their_order_TK = np.argsort(experts_TK), np.argsort(their_experts_TK.numpy())
    at = partial(np.take_along_axis, axis=-1)
    np.testing.assert_array_equal(at(experts_TK, order_TK), at(their_experts_TK.numpy(), their_order_TK))
    their_weights_TK = at(their_weights_TK.detach().numpy(), their_order_TK)
    assert_all_close((at(weights_TK, order_TK), gradient_ED), (their_weights_TK, gate.weight.grad), 3e-6)


def test_a_bias_chooses_and_has_no_gradient():
    logits_TE = normal(0, T, E)
    gradient_E = jax.grad(lambda bias_E: route(logits_TE, SigmoidRouter(), K, bias_E)[1].sum())(jnp.ones(E))
    assert not np.any(gradient_E)
    experts_TK, _ = route(logits_TE, SigmoidRouter(), K, 9.0 * (np.arange(E) == 13))
    assert (experts_TK[:, 0] == 13).all()


def test_sigmoids_of_nothing_have_finite_weights():
    _, weights_K = route(jnp.full(E, -1e4), SigmoidRouter(), K)
    np.testing.assert_array_equal(weights_K, 0)


def weights(gated=True):
    gate_EDF = normal(4, E, D, F) if gated else None
    return normal(5, T, D), gate_EDF, normal(6, E, D, F), normal(7, E, F, D), np.abs(normal(8, T, K))


def assignments():
    """Three different experts of each token; the last two experts have nothing to do."""
    return np.argsort(np.random.default_rng(9).random((T, E - 2)), axis=1)[:, :K].astype(np.int32)


def dense(x_TD, gate_EDF, up_EDF, down_EFD, weights_TK):
    """Every expert computes every token, what was not chosen is weighed with 0."""
    y_TD = jnp.zeros_like(x_TD)
    for e in range(E):
        up_TF = x_TD @ up_EDF[e]
        hidden_TF = silu(up_TF) if gate_EDF is None else silu(x_TD @ gate_EDF[e]) * up_TF
        weight_T = jnp.where(assignments() == e, weights_TK, 0).sum(1)
        y_TD += weight_T[:, None] * (hidden_TF @ down_EFD[e])
    return y_TD


def sparse(x_TD, gate_EDF, up_EDF, down_EFD, weights_TK):
    return experts_ffn(x_TD, gate_EDF, up_EDF, down_EFD, assignments(), weights_TK, silu)


def value_and_gradients(function, arguments):
    def backward(arguments):
        y_TD, pull = jax.vjp(function, *arguments)
        return y_TD, pull(jnp.asarray(normal(10, T, D), y_TD.dtype))

    return jax.jit(backward)(arguments)


@pytest.mark.smoke
@pytest.mark.parametrize("gated", [True, False])
def test_sorted_by_expert_is_the_dense_sum_in_values_and_gradients(gated):
    y_TD, gradients = value_and_gradients(sparse, weights(gated))
    expected_TD, expected = value_and_gradients(dense, weights(gated))
    assert_all_close((y_TD, *filter_none(gradients)), (expected_TD, *filter_none(expected)), 3e-6)
    assert not np.any(gradients[2][E - 2 :]) and np.any(gradients[2][: E - 2])


def filter_none(leaves):
    return [leaf for leaf in leaves if leaf is not None]


def test_values_are_those_of_a_loop_over_tokens_in_float64():
    x_TD, gate_EDF, up_EDF, down_EFD, weights_TK = (np.float64(leaf) for leaf in weights())
    expected_TD = np.zeros((T, D))
    for t, k in np.ndindex(T, K):
        e = assignments()[t, k]
        gate_F = x_TD[t] @ gate_EDF[e]
        hidden_F = gate_F / (1 + np.exp(-gate_F)) * (x_TD[t] @ up_EDF[e])
        expected_TD[t] += weights_TK[t, k] * (hidden_F @ down_EFD[e])
    assert_close(sparse(*weights()), expected_TD, 2e-6)


def test_experts_are_those_of_transformers(torch):
    module = pytest.importorskip("transformers.models.mixtral.modeling_mixtral")
    x_TD, gate_EDF, up_EDF, down_EFD, weights_TK = weights()
    sizes = {"num_local_experts": E, "hidden_size": D, "intermediate_size": F, "hidden_act": "silu"}
    theirs = module.MixtralExperts(SimpleNamespace(**sizes, _experts_implementation="eager"))
    joined_E2FD = np.concatenate([gate_EDF, up_EDF], axis=2).swapaxes(1, 2)
    theirs.gate_up_proj.data = torch.tensor(joined_E2FD.copy())
    theirs.down_proj.data = torch.tensor(down_EFD.swapaxes(1, 2).copy())
    twin_TD, twin_TK = (torch.tensor(leaf, requires_grad=True) for leaf in (x_TD, weights_TK))
    expected_TD = theirs(twin_TD, torch.tensor(assignments()).long(), twin_TK)
    expected_TD.backward(torch.tensor(normal(10, T, D)))
    y_TD, (dx_TD, dgate_EDF, dup_EDF, ddown_EFD, dweights_TK) = value_and_gradients(sparse, weights())
    djoined_EFD = np.concatenate([dgate_EDF, dup_EDF], axis=2).swapaxes(1, 2)
    assert_all_close(
        (y_TD, dx_TD, djoined_EFD, np.swapaxes(ddown_EFD, 1, 2), dweights_TK),
        (expected_TD.detach(), twin_TD.grad, theirs.gate_up_proj.grad, theirs.down_proj.grad, twin_TK.grad),
        3e-6,
    )


def test_no_gradient_is_a_scatter():
    def loss(logits_TE, x_TD, gate_EDF, up_EDF, down_EFD):
        experts_TK, weights_TK = route(logits_TE, GROUPED, K)
        balance = load_balance_loss(affinities(logits_TE, GROUPED), experts_TK)
        return balance + experts_ffn(x_TD, gate_EDF, up_EDF, down_EFD, experts_TK, weights_TK, silu).sum()

    trace = str(jax.make_jaxpr(jax.grad(loss, argnums=range(5)))(normal(0, T, E), *weights()[:4]))
    assert "gather" in trace and "ragged_dot" in trace and "scatter" not in trace


def test_half_precision_keeps_its_type_and_rounds_only_at_the_seams():
    x_TD, *others, weights_TK = weights()
    y_TD, gradients = value_and_gradients(sparse, (jnp.asarray(x_TD, jnp.bfloat16), *others, weights_TK))
    expected_TD, expected = value_and_gradients(sparse, weights())
    assert y_TD.dtype == gradients[0].dtype == jnp.bfloat16
    assert [leaf.dtype for leaf in gradients[1:]] == [jnp.float32] * 4
    assert_all_close((y_TD, *gradients), (expected_TD, *expected), 2.0**-5)


@pytest.mark.parametrize("axes", [(0,) * 5, (0, *[None] * 4), (None, 2, 1, 0, None)], ids=["seeds", "texts", "experts"])
def test_mapped_is_each_by_itself(axes):
    """Over seeds, over texts that share the experts, over experts in any axis that share the text."""
    S = 2

    def pick(i):
        return tuple(leaf if axis is None else (1 + 0.3 * i) * leaf for leaf, axis in zip(weights(), axes, strict=True))

    def stack(*leaves, axis=0):
        return leaves[0] if axis is None else np.stack(leaves, axis)

    stacked = tuple(stack(*leaves, axis=axis) for *leaves, axis in zip(*(pick(i) for i in range(S)), axes, strict=True))
    mapped = jax.vmap(lambda *leaves: value_and_gradients(sparse, leaves), in_axes=axes)(*stacked)
    assert_close(mapped, jax.tree.map(stack, *(value_and_gradients(sparse, pick(i)) for i in range(S))), 3e-6)


def test_no_token_sees_another():
    """By the Jacobian, in which only the cotangents are mapped."""
    some = 5
    x_TD, *experts, weights_TK = weights()

    def few(x_TD):
        return experts_ffn(x_TD, *experts, assignments()[:some], weights_TK[:some], silu)

    influence_TT = np.abs(jax.jit(jax.jacrev(few))(x_TD[:some])).max((1, 3))
    np.testing.assert_array_equal(influence_TT > 0, np.eye(some, dtype=bool))


COUNTED = np.arange(T) % 4 != 0


@pytest.mark.parametrize("counted_T", [None, COUNTED], ids=["all", "some"])
def test_the_balance_loss_is_that_of_transformers(torch, counted_T):
    module = pytest.importorskip("transformers.models.mixtral.modeling_mixtral")
    logits_TE = 2 * normal(11, T, E)

    def ours(logits_TE):
        experts_TK, _ = route(logits_TE, SoftmaxRouter(), K)
        return load_balance_loss(affinities(logits_TE, SoftmaxRouter()), experts_TK, counted_T)

    twin_TE = torch.tensor(logits_TE, requires_grad=True)
    mask = None if counted_T is None else torch.tensor(counted_T)[None]
    expected = module.load_balancing_loss_func((twin_TE,), E, K, mask)
    expected.backward()
    assert_all_close(jax.value_and_grad(ours)(logits_TE), (expected.detach(), twin_TE.grad), 3e-6)


@pytest.mark.parametrize("router", [SoftmaxRouter(), SigmoidRouter()], ids=repr)
def test_equal_experts_cost_the_number_of_active_ones_and_a_single_favourite_more(router):
    experts_TK = np.arange(E * K).reshape(E, K) % E
    uniform = load_balance_loss(affinities(jnp.zeros((E, E)), router), experts_TK)
    assert uniform == pytest.approx(K, rel=1e-6)
    favourites = load_balance_loss(affinities(9.0 * jnp.eye(E)[jnp.zeros(E, int)], router), np.zeros((E, 1), int))
    assert favourites > 1.5


def z_by_hand(logits_TE):
    return np.mean(np.log(np.exp(np.float64(logits_TE)).sum(-1)) ** 2)


def test_the_z_loss_is_the_mean_squared_log_of_the_total():
    logits_TE = 2 * normal(12, T, E)
    assert router_z_loss(logits_TE) == pytest.approx(z_by_hand(logits_TE), rel=1e-6)
    assert router_z_loss(logits_TE, COUNTED) == pytest.approx(z_by_hand(logits_TE[COUNTED]), rel=1e-6)


def test_padding_changes_no_loss_and_no_load():
    logits_TE = 2 * normal(13, T, E)
    spoiled_TE = np.where(COUNTED[:, None], logits_TE, 50 * normal(14, T, E)).astype(np.float32)

    def costs(logits_TE):
        experts_TK, _ = route(logits_TE, SoftmaxRouter(), K)
        balance = load_balance_loss(affinities(logits_TE, SoftmaxRouter()), experts_TK, COUNTED)
        return balance + router_z_loss(logits_TE, COUNTED), load(experts_TK, E, COUNTED)

    clean, spoiled = map(jax.jit(jax.value_and_grad(costs, has_aux=True)), (logits_TE, spoiled_TE))
    jax.tree.map(np.testing.assert_array_equal, spoiled, clean)
    assert clean[0][1].sum() == K * COUNTED.sum()


def test_nothing_counted_costs_nothing():
    nothing_T, logits_TE = np.zeros(T, bool), normal(13, T, E)
    balance = load_balance_loss(affinities(logits_TE, SoftmaxRouter()), assignments(), nothing_T)
    assert balance == router_z_loss(logits_TE, nothing_T) == 0


@pytest.mark.parametrize("counted_T", [None, COUNTED], ids=["all", "some"])
def test_the_load_is_the_count_of_tokens(counted_T):
    experts_TK = assignments() if counted_T is None else assignments()[counted_T]
    actual_E = load(assignments(), E, counted_T)
    assert actual_E.dtype == jnp.int32
    np.testing.assert_array_equal(actual_E, np.bincount(experts_TK.reshape(-1), minlength=E))


def test_a_bias_moves_by_the_rate_towards_the_mean_load():
    bias_E = bias_update(jnp.ones(5), jnp.array([0, 7, 4, 4, 5]), 0.01)
    np.testing.assert_allclose(bias_E, [1.01, 0.99, 1, 1, 0.99])


def test_biases_even_out_a_lopsided_router():
    """Loads of logits that favour the last experts, before and after 300 updates."""
    logits_TE = normal(15, 500, E) + np.linspace(-2, 2, E, dtype=np.float32)

    def step(bias_E, _):
        load_E = load(route(logits_TE, SigmoidRouter(), K, bias_E)[0], E)
        return bias_update(bias_E, load_E, 0.003), load_E

    _, loads = jax.lax.scan(step, jnp.zeros(E), length=300)
    mean = 500 * K / E
    assert loads[0].max() > 3 * mean and loads[-1].max() < 1.2 * mean and loads[-1].min() > 0.8 * mean
