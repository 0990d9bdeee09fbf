"""Low-rank updates: at first they change nothing, beside the weights they do what they do added to them, and the
weights have no gradient.
"""

from dataclasses import replace
from functools import cache, partial
from types import SimpleNamespace

import chex
import flax.linen as nn
import jax
import numpy as np
import pytest

from jaxformer.config.blocks import Block, Gated, Group, Latent, MultiHead, RmsNorm
from jaxformer.config.errors import UserError
from jaxformer.config.experts import MixtureOfExperts
from jaxformer.config.instruct import Lora
from jaxformer.config.model import DecoderConfig, NoPosition
from jaxformer.config.positions import Rotary
from jaxformer.models.decoder import Decoder
from jaxformer.objectives import causal
from jaxformer.training.lora import Updates, adapted, merged
from tests.parity.compare import assert_close, random_like

B, T, V, D = 3, 7, 23, 12
RANK = 2
MULTI = Block(MultiHead(4, 2, 6, rotary=Rotary(), gate=True), Gated(19, bias=True))
LATENT = Block(
    Latent(heads=2, latent_width=7, head_width=5, rotary_width=4, value_width=3, query_width=11),
    MixtureOfExperts(4, 2, 6, shared=5, balance=0.0, z=0.0),
    RmsNorm(),
)
CONFIG = DecoderConfig(D, (Group((MULTI, LATENT), 2),), position=NoPosition())
"""Every kind of matrix, in two layers each."""
LORA = Lora(RANK, alpha=3.0)


class Case:
    """A decoder with random weights, and updates of it, fresh and random."""

    def __init__(self, groups=CONFIG.groups):
        self.model = Decoder(replace(CONFIG, groups=groups), V)
        tokens, rng = np.zeros((1, 2), np.int32), np.random.default_rng(3)
        self.params = random_like(nn.unbox(jax.eval_shape(self.model.init, jax.random.key(0), tokens)), seed=1)
        self.fresh = jax.jit(Updates(self.model, LORA).init)(jax.random.key(2), tokens)
        self.random = jax.tree.map(lambda leaf: np.float32(0.3 * rng.normal(size=leaf.shape)), self.fresh)

    batch = SimpleNamespace(
        tokens_BT=np.random.default_rng(0).integers(0, V, (B, T + 1)),
        segments_BT=None,
        positions_BT=None,
        counted_BT=np.ones((B, T), bool),
    )

    def loss(self, combined, updates):
        return causal(self.model)(combined(self.params, updates, LORA), self.batch, None).costs.loss


case = cache(Case)


def test_the_first_step_sees_exactly_the_model_itself():
    c = case()
    features = jax.jit(lambda params: c.model.apply(params, c.batch.tokens_BT, method="features").x_BTD)
    np.testing.assert_array_equal(features(adapted(c.params, c.fresh, LORA)), features(c.params))
    chex.assert_trees_all_equal(jax.jit(partial(merged, config=LORA))(c.params, c.fresh), c.params)
    assert all(np.any(factors.a) for factors in jax.tree.leaves(c.fresh, is_leaf=lambda leaf: hasattr(leaf, "a")))


def test_beside_the_weights_they_do_what_they_do_added_to_them():
    """Values and gradients."""
    c = case()
    apart, added = (jax.jit(jax.value_and_grad(partial(c.loss, f)))(c.random) for f in (adapted, merged))
    assert_close(apart, added, 1e-4)
    assert all(np.any(leaf) for leaf in jax.tree.leaves(apart[1]))


def test_every_change_has_the_rank_and_is_scaled_by_alpha():
    c = case()
    change, double = (
        jax.tree.map(np.subtract, jax.jit(partial(merged, config=config))(c.params, c.random), c.params)
        for config in (LORA, replace(LORA, alpha=2 * LORA.alpha))
    )
    assert_close(double, jax.tree.map(lambda x: 2 * x, change), 1e-5)
    changed = set()
    for path, leaf in jax.tree_util.tree_leaves_with_path(change):
        names = [entry.key for entry in path]
        if np.any(leaf):
            changed.add(names[-1])
            inputs = 2 if names[-2:] == ["attention", "output"] else 1
            for layer in leaf:
                assert np.linalg.matrix_rank(layer.reshape(int(np.prod(layer.shape[:inputs])), -1), tol=1e-4) == RANK
    of_multi, of_latent = (
        {"query", "key", "value", "gate", "output"},
        {"query_down", "query_up", "latent", "shared_key"},
    )
    assert changed == of_multi | of_latent | {"up", "down"}


@pytest.mark.parametrize("target, other", [("attention", "feed_forward"), ("feed_forward", "attention")])
def test_only_the_matrices_that_are_named_have_updates(target, other):
    c = case()
    updates = Updates(c.model, replace(LORA, targets=(target,))).init(jax.random.key(0), np.zeros((1, 2), np.int32))
    paths = [jax.tree_util.keystr(path) for path, _ in jax.tree_util.tree_leaves_with_path(updates)]
    assert paths and all(f"'{target}'" in path and f"'{other}'" not in path for path in paths)


def test_the_weights_cost_no_gradient():
    """A third of the work of training a matrix is its own gradient, which multiplying out would need."""
    c = Case((Group((MULTI,), 2),))

    def work(combined):
        return jax.jit(jax.grad(partial(c.loss, combined))).lower(c.random).cost_analysis()["flops"]

    assert work(adapted) < 0.9 * work(merged)


def test_what_updates_read_is_dropped_differently_in_every_layer():
    c = case()
    config = replace(LORA, dropout=0.5)
    put = adapted(c.params, c.random, config, jax.random.key(0))
    weights = jax.tree.leaves(put, is_leaf=lambda leaf: hasattr(leaf, "rate"))
    keys = np.concatenate([jax.random.key_data(w.key) for w in weights if hasattr(w, "rate")])
    assert len(keys) == len(np.unique(keys, axis=0)) == 2 * (8 + 10)
    for no_key in (adapted(c.params, c.random, config), adapted(c.params, c.random, LORA, jax.random.key(0))):
        weights = jax.tree.leaves(no_key, is_leaf=lambda leaf: hasattr(leaf, "rate"))
        assert {w.key for w in weights if hasattr(w, "rate")} == {None}


def test_a_model_without_such_matrices():
    experts = Block(MULTI.attention, MixtureOfExperts(4, 2, 6))
    model = Decoder(DecoderConfig(D, (Group((experts,), 2),), position=NoPosition()), V)
    with pytest.raises(UserError, match="no matrix of feed_forward to update; name other targets"):
        Updates(model, Lora(targets=("feed_forward",))).init(jax.random.key(0), np.zeros((1, 2), np.int32))


@pytest.mark.parametrize(
    "fields, message",
    [
        (dict(rank=0), "rank must be at least 1"),
        (dict(alpha=0.0), "alpha must be positive"),
        (dict(dropout=1.0), "dropout must lie in"),
        (dict(targets=()), "targets must name attention, feed_forward or both, got none"),
    ],
)
def test_impossible_updates(fields, message):
    with pytest.raises(ValueError, match=message):
        Lora(**fields)
