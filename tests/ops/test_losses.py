"""Cross-entropy against torch, its penalty in closed form, and the chunked twin against the definition."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxformer.ops.losses import Shaping, cross_entropy, linear_cross_entropy, log_probabilities
from tests.parity.compare import assert_all_close, assert_close, normal

T, D, V = 35, 7, 23
SMOOTHING, Z_WEIGHT = 0.1, 0.03


def labels(seed=1):
    return np.random.default_rng(seed).integers(0, V, T).astype(np.int32)


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.9])
def test_values_and_gradients_are_those_of_torch(torch, smoothing):
    logits_TV, weight_T = 3 * normal(0, T, V), normal(2, T)

    def weighed(logits_TV):
        cost = cross_entropy(logits_TV, labels(), smoothing)
        return (cost.loss * weight_T).sum(), cost

    (_, cost), gradient = jax.value_and_grad(weighed, has_aux=True)(logits_TV)
    twin, targets = torch.tensor(logits_TV, dtype=torch.float64, requires_grad=True), torch.tensor(labels()).long()
    loss_T = torch.nn.functional.cross_entropy(twin, targets, label_smoothing=smoothing, reduction="none")
    (loss_T * torch.tensor(weight_T)).sum().backward()
    nll_T = torch.nn.functional.cross_entropy(twin, targets, reduction="none")
    expected = (loss_T.detach(), nll_T.detach(), twin.argmax(-1) == targets, twin.grad)
    assert_all_close((*cost, gradient), expected, 1e-6)


def test_the_z_loss_is_the_squared_log_of_the_total():
    logits_TV = 3 * normal(0, T, V)
    log_total_T = np.log(np.exp(np.float64(logits_TV)).sum(-1))
    costs = partial(cross_entropy, logits_TV, labels())
    assert_close(costs(z_weight=Z_WEIGHT).loss - costs().loss, Z_WEIGHT * log_total_T**2, 1e-5)
    np.testing.assert_array_equal(costs(z_weight=Z_WEIGHT).nll, costs().nll)
    assert_close(
        jax.jit(jax.grad(lambda x: cross_entropy(x, labels(), z_weight=1.0).loss.sum()))(logits_TV)
        - jax.jit(jax.grad(lambda x: cross_entropy(x, labels()).loss.sum()))(logits_TV),
        2 * log_total_T[:, None] * np.exp(np.float64(logits_TV) - log_total_T[:, None]),
        1e-5,
    )


def test_a_uniform_prediction_costs_the_log_of_the_vocabulary():
    cost = cross_entropy(jnp.zeros((5, V)), jnp.arange(5), smoothing=0.3)
    np.testing.assert_allclose([cost.loss, cost.nll], np.full((2, 5), np.log(V)), rtol=1e-6)


def test_huge_logits_have_finite_costs_and_gradients():
    logits_V = np.where(np.arange(V) == 3, 1e30, -1e30).astype(np.float32)
    for label, nll in [(3, 0.0), (5, 2e30)]:
        cost, gradient = jax.value_and_grad(lambda x, label=label: cross_entropy(x, jnp.array(label)).loss)(logits_V)
        np.testing.assert_allclose(cost, nll)
        assert np.isfinite(gradient).all()


def plain(x_TD, w_VD, labels_T, counted_T):
    """The definition, with all logits at once."""
    logits_TV = x_TD @ w_VD.astype(x_TD.dtype).T
    costs = cross_entropy(logits_TV, labels_T, SMOOTHING, Z_WEIGHT)
    return jax.tree.map(lambda cost_T: jnp.sum(cost_T * counted_T), costs)


def chunked(chunk):
    shaping = Shaping(SMOOTHING, Z_WEIGHT)
    return lambda x, w, labels, counted: linear_cross_entropy(x, w, labels, counted, shaping, chunk)


def values_and_gradients(function, x_TD, w_VD, counted_T, scale=1.0):
    def scaled(x_TD, w_VD):
        costs = function(x_TD, w_VD, labels(), counted_T)
        return scale * costs.loss, costs

    (_, costs), gradients = jax.jit(jax.value_and_grad(scaled, argnums=(0, 1), has_aux=True))(x_TD, w_VD)
    return *costs, *gradients


@pytest.mark.smoke
@pytest.mark.parametrize("chunk", [1, 5, 7, 11, T - 1, T, 64])
def test_chunked_is_plain_in_values_and_gradients(chunk):
    """Chunks that divide the tokens, and those that do not; a third of the tokens do not count; a scaled cotangent."""
    arguments = 2 * normal(3, T, D), normal(4, V, D), np.random.default_rng(5).random(T) < 2 / 3
    assert_all_close(
        values_and_gradients(chunked(chunk), *arguments, scale=-3.7),
        values_and_gradients(plain, *arguments, scale=-3.7),
        3e-6,
    )


@pytest.mark.parametrize("chunk", [8, 64])
def test_two_predictions_of_a_token_are_pulled_together_as_torch_has_it(torch, chunk):
    x_T2D, w_VD, counted_T, alpha = normal(0, T, 2, D), normal(1, V, D), np.arange(T) % 3 > 0, 3.0

    def loss(x_T2D, w_VD):
        return linear_cross_entropy(x_T2D, w_VD, labels(), counted_T, Shaping(SMOOTHING, consistency=alpha), chunk).loss

    value, gradients = jax.jit(jax.value_and_grad(loss, argnums=(0, 1)))(x_T2D, w_VD)
    x, w = (torch.tensor(each, dtype=torch.float64, requires_grad=True) for each in (x_T2D, w_VD))
    targets, counted = torch.tensor(labels()).long(), torch.tensor(counted_T)
    p, q = ((x[counted, i] @ w.T) for i in range(2))
    log_p, log_q = p.log_softmax(-1), q.log_softmax(-1)
    costs = torch.nn.functional.cross_entropy
    both = sum(costs(each, targets[counted], label_smoothing=SMOOTHING, reduction="sum") for each in (p, q))
    apart = sum(
        torch.nn.functional.kl_div(a, b, log_target=True, reduction="sum") for a, b in ((log_p, log_q), (log_q, log_p))
    )
    # Liang et al. 2021, eq. 4, halved.
    expected = (both + alpha * apart / 2) / 2
    expected.backward()
    assert_all_close((value, *gradients), (expected.detach(), x.grad, w.grad), 1e-5)


def test_logits_of_two_predictions_take_no_more_room_at_a_time_than_as_many_single_ones():
    def room(x, labels_T):
        arguments = x, normal(1, 1024, D), labels_T, np.ones(len(labels_T), bool)
        gradient = jax.jit(jax.grad(lambda *a: linear_cross_entropy(*a).loss, argnums=(0, 1)))
        return gradient.lower(*arguments).compile().memory_analysis().temp_size_in_bytes

    labels_T = np.zeros(1024, np.int32)
    assert room(normal(0, 512, 2, D), labels_T[:512]) < 1.2 * room(normal(0, 1024, D), labels_T)


def test_a_bias_is_one_more_column_of_the_weights():
    x_TD, w_VD, bias_V, counted_T = normal(3, T, D), normal(4, V, D), normal(5, V), np.arange(T) % 3 != 0
    shaping = Shaping(SMOOTHING, Z_WEIGHT)

    def biased(x_TD, w_VD, bias_V):
        return linear_cross_entropy(x_TD, w_VD, labels(), counted_T, shaping, 11, bias_V).loss

    def joined(x_TD, w_VD, bias_V):
        x_TE = jnp.concatenate([x_TD, jnp.ones((T, 1))], axis=1)
        return plain(x_TE, jnp.concatenate([w_VD, bias_V[:, None]], axis=1), labels(), counted_T).loss

    every = [jax.jit(jax.value_and_grad(loss, argnums=(0, 1, 2)))(x_TD, w_VD, bias_V) for loss in (biased, joined)]
    assert_all_close(*every, 3e-6)
    assert_close(jax.jit(biased)(x_TD, w_VD, bias_V), every[1][0], 1e-6)


def test_without_gradient_the_values_are_the_same():
    arguments = normal(3, T, D), normal(4, V, D), labels(), np.arange(T) % 3 != 0
    assert_all_close(jax.jit(chunked(11))(*arguments), plain(*arguments), 1e-6)


def test_what_does_not_count_adds_nothing_and_has_no_gradient():
    counted_T = np.arange(T) % 3 != 0
    x_TD, w_VD = normal(3, T, D), normal(4, V, D)
    spoiled_TD = np.where(counted_T[:, None], x_TD, 1e20).astype(np.float32)
    clean, spoiled = (values_and_gradients(chunked(11), x, w_VD, counted_T) for x in (x_TD, spoiled_TD))
    jax.tree.map(np.testing.assert_array_equal, spoiled, clean)
    assert not spoiled[3][~counted_T].any() and spoiled[3][counted_T].any()


def test_nothing_counted_costs_nothing():
    for leaf in values_and_gradients(chunked(11), normal(3, T, D), normal(4, V, D), np.zeros(T, bool)):
        assert not np.any(leaf)


def test_half_precision_keeps_logits_and_sums_in_float32():
    """Against the same rounded inputs in float32: what is left is the rounding of p - target and of the gradients."""
    x_TD, w_VD, counted_T = normal(3, T, D), normal(4, V, D), np.ones(T, bool)
    half = values_and_gradients(chunked(11), jnp.asarray(x_TD, jnp.bfloat16), w_VD, counted_T)
    rounded = [np.float32(jnp.asarray(leaf, jnp.bfloat16)) for leaf in (x_TD, w_VD)]
    whole = values_and_gradients(plain, *rounded, counted_T)
    assert [leaf.dtype for leaf in half] == [*[jnp.float32] * 3, jnp.bfloat16, jnp.float32]
    assert_all_close(half[:3], whole[:3], 1e-6)
    assert_all_close(half[3:], whole[3:], 2.0**-7)


def test_only_the_loss_has_a_gradient():
    x_TD, w_VD, counted_T = normal(3, T, D), normal(4, V, D), np.ones(T, bool)
    costs = lambda *leaves: chunked(11)(*leaves, labels(), counted_T)  # noqa: E731
    jacobian = jax.jit(jax.jacrev(costs, argnums=(0, 1)))(x_TD, w_VD)
    assert all(np.any(gradient) for gradient in jacobian.loss)
    assert not any(np.any(gradient) for gradient in (*jacobian.nll, *jacobian.correct))


def test_mapped_over_seeds_is_each_by_itself():
    seeds = 3
    x_NTD, w_NVD, counted_T = normal(6, seeds, T, D), normal(7, seeds, V, D), np.arange(T) % 5 != 0
    gradient = jax.grad(lambda x, w: chunked(11)(x, w, labels(), counted_T).loss, argnums=(0, 1))
    each = [gradient(x_NTD[i], w_NVD[i]) for i in range(seeds)]
    assert_all_close(jax.vmap(gradient)(x_NTD, w_NVD), jax.tree.map(lambda *g: np.stack(g), *each), 2e-6)


@pytest.mark.parametrize("softcap", [None, 2.0])
@pytest.mark.parametrize("chunk", [1, 11, T, 3 * T])
def test_log_probabilities_in_chunks_are_those_of_all_logits_at_once(chunk, softcap):
    """Values, and the gradients of a sum in which every token has its own weight."""
    x_TD, w_VD, weight_T = normal(3, T, D), normal(4, V, D), normal(5, T)

    def whole(x_TD, w_VD):
        scores_TV = x_TD @ w_VD.T
        scores_TV = scores_TV if softcap is None else softcap * jnp.tanh(scores_TV / softcap)
        return jax.nn.log_softmax(scores_TV)[np.arange(T), labels()]

    def in_chunks(x_TD, w_VD):
        return log_probabilities(x_TD, w_VD, labels(), softcap, chunk)

    def values_and_gradients(log_p):
        values_T, pull = jax.vjp(log_p, x_TD, w_VD)
        return values_T, *pull(weight_T)

    actual, expected = (jax.jit(partial(values_and_gradients, log_p))() for log_p in (in_chunks, whole))
    assert_all_close(actual, expected, 1e-5)
