"""What a decoder is trained for, against the logits of its plain forward pass, token by token."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxformer.config.blocks import Block, Gated, Group, MultiHead, RmsNorm
from jaxformer.config.experts import MixtureOfExperts, SigmoidRouter
from jaxformer.config.model import DecoderConfig
from jaxformer.config.positions import Rotary
from jaxformer.data.packing import TextBatch
from jaxformer.models.decoder import Decoder
from jaxformer.objectives import causal
from jaxformer.ops.losses import cross_entropy
from jaxformer.training.balance import balanced, bias_rates
from jaxformer.weights.folder import abstract
from tests.parity.compare import assert_close, random_like

B, T, V, D = 3, 7, 13, 16
MIXTURE = MixtureOfExperts(5, 2, 11, SigmoidRouter(), balance=0.3, z=0.2, bias_rate=0.125)
BLOCK = Block(MultiHead(2, 1, 8, bias=False, rotary=Rotary()), Gated(17), RmsNorm())
CONFIG = DecoderConfig(D, (Group((BLOCK,)), Group((replace(BLOCK, feed_forward=MIXTURE),), 2)), further=2, softcap=3.0)
MODEL = Decoder(CONFIG, V)
FURTHER, Z_WEIGHT = 0.7, 0.05


def batch(seed=0):
    """Two documents in the first row, the end of the last row filled up."""
    rng = np.random.default_rng(seed)
    segments_BT = np.ones((B, T), np.int32)
    segments_BT[0, 3:] = 2
    positions_BT = np.where(segments_BT == 2, np.arange(T) - 3, np.arange(T)).astype(np.int32)
    counted_BT = np.ones((B, T), bool)
    counted_BT[2, 5:] = False
    return TextBatch(rng.integers(0, V, (B, T + 1)).astype(np.int32), segments_BT, positions_BT, counted_BT)


@pytest.fixture(scope="module")
def params():
    return random_like(abstract(MODEL), seed=1)


@jax.jit
def features(params, *arguments):
    return MODEL.apply(params, *arguments, method="features")


@pytest.fixture(scope="module")
def seen(params):
    """What the model gives for the batch: features, and the logits of the plain pass."""
    b = batch()
    arguments = b.tokens_BT[:, :-1], b.segments_BT, b.positions_BT
    return features(params, *arguments, b.counted_BT), jax.jit(MODEL.apply)(params, *arguments)


@pytest.fixture(scope="module")
def total(params):
    return jax.jit(causal(MODEL, Z_WEIGHT, FURTHER))(params, batch(), None)


def test_nll_and_accuracy_are_those_of_the_next_token_alone(total, seen):
    b = batch()
    costs = cross_entropy(seen[1], b.tokens_BT[:, 1:])
    assert_close(total.costs.nll, costs.nll[b.counted_BT].sum())
    assert_close(total.costs.correct, costs.correct[b.counted_BT].sum())
    assert total.tokens == b.counted_BT.sum() == B * T - 2


def test_the_loss_adds_the_penalties_of_experts_for_each_token_and_the_mean_of_further_losses(total, seen, params):
    b, left = batch(), seen[0]
    nearest = cross_entropy(seen[1], b.tokens_BT[:, 1:], 0.0, Z_WEIGHT).loss[b.counted_BT].sum()
    penalty = sum(np.asarray(report.penalty).sum() for report in left.reports.values())
    later = 0.0
    for k, x_BTD in enumerate(left.further, start=1):
        logits_BTV = 3.0 * jnp.tanh(jnp.einsum("btd,vd->btv", x_BTD, left.output_VD) / 3.0)
        for row in range(B):
            for t in range(T - k):
                same = b.segments_BT[row, t] == b.segments_BT[row, t + k]
                if same and b.counted_BT[row, t] and b.counted_BT[row, t + k]:
                    label = b.tokens_BT[row, t + k + 1]
                    later += float(cross_entropy(logits_BTV[row, t], label, 0.0, Z_WEIGHT).loss)
    assert penalty > 0 and later > 0
    assert_close(total.costs.loss, nearest + penalty * float(total.tokens) + FURTHER / 2 * later, 1e-5)


def test_a_further_token_is_predicted_without_being_seen(params):
    """The k-th vectors at a place know the k tokens after the one that is read there, and none behind those."""
    b = batch()
    tokens_BT = b.tokens_BT[1:2, :-1]

    def further(tokens_BT):
        return features(params, tokens_BT).further

    changed_BT = tokens_BT.copy()
    changed_BT[0, 4] = (changed_BT[0, 4] + 1) % V
    for k, (before, after) in enumerate(zip(further(tokens_BT), further(changed_BT), strict=True), start=1):
        apart_T = np.abs(np.asarray(before - after)).max(-1)[0, : T - k] > 1e-6
        np.testing.assert_array_equal(apart_T, np.arange(T - k) >= 4 - k)


def test_loads_are_of_the_tokens_that_count(total):
    assert set(total.loads) == {
        "layers/rows_1/blocks_0/feed_forward",
        "further_0/block/feed_forward",
        "further_1/block/feed_forward",
    }
    assert np.shape(total.loads["layers/rows_1/blocks_0/feed_forward"]) == (2, 5)
    for load_E in total.loads.values():
        np.testing.assert_array_equal(np.sum(load_E, axis=-1), 2 * total.tokens)


def test_a_bias_moves_by_its_rate_towards_equal_loads_and_nothing_else_does(params, total):
    rates = bias_rates(CONFIG)
    assert rates == dict.fromkeys(total.loads, 0.125)
    moved = balanced(params, total.loads, rates)
    changed = {}

    def compare(path, before, after):
        if not np.array_equal(before, after):
            changed[jax.tree_util.keystr(path[1:], simple=True, separator="/")] = np.asarray(after - before)

    jax.tree_util.tree_map_with_path(compare, params, moved)
    assert set(changed) == {f"{path}/router_balance" for path in rates}
    for path in rates:
        load_E = np.asarray(total.loads[path], np.float64)
        expected = 0.125 * np.sign(load_E.mean(-1, keepdims=True) - load_E)
        np.testing.assert_allclose(changed[f"{path}/router_balance"], expected, atol=1e-6)


def test_no_gradient_reaches_a_balancing_bias(params):
    def loss(params):
        return causal(MODEL)(params, batch(), None).costs.loss

    gradients = jax.jit(jax.grad(loss))(params)
    flat = jax.tree_util.tree_leaves_with_path(gradients)
    biases = [leaf for path, leaf in flat if "router_balance" in jax.tree_util.keystr(path)]
    assert len(biases) == 3 and not any(np.any(leaf) for leaf in biases)


def test_a_dense_model_has_no_loads_and_no_rates():
    dense = replace(CONFIG, groups=(Group((BLOCK,)),), further=0)
    assert bias_rates(dense) == {}
    model = Decoder(dense, V)
    assert jax.eval_shape(causal(model), abstract(model), batch(), None).loads is None
