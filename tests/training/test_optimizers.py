"""Schedules against their formulas; optimizers, clipping and decay against torch's."""

import flax.linen as nn
import jax
import numpy as np
import optax
import pytest

from jaxformer.config.training import Adam, AdamW, Cosine, Noam, OptimizationConfig, Wsd
from jaxformer.training.optimizers import decayed_leaves, optimizer, scale, schedule
from tests.laws.cases import MODELS, case, pairs
from tests.parity.compare import assert_close, normal

STEPS, WIDTH = 997, 11


def rates(config, steps=STEPS):
    return np.array(jax.vmap(schedule(config, steps, WIDTH))(np.arange(steps + 1)))


def test_noam_is_the_formula_of_the_paper_counted_from_1():
    count = np.arange(1, STEPS + 2)
    expected = 3 * WIDTH**-0.5 * np.minimum(count**-0.5, count * 101**-1.5)
    np.testing.assert_allclose(rates(Noam(warmup=101, factor=3.0)), expected, rtol=1e-5)


def test_cosine_rises_to_the_peak_and_falls_to_its_floor():
    warmup, peak, floor = 47, 0.3, 0.1
    actual, step = rates(Cosine(peak, warmup, floor)), np.arange(STEPS + 1)
    falling = floor + (1 - floor) * (1 + np.cos(np.pi * (step - warmup) / (STEPS - warmup))) / 2
    np.testing.assert_allclose(actual, peak * np.where(step < warmup, step / warmup, falling), rtol=1e-4)


def test_wsd_rises_stays_and_falls_to_0():
    warmup, peak, decay = 47, 0.3, 0.2
    actual, step = rates(Wsd(peak, warmup, decay)), np.arange(STEPS + 1)
    expected = peak * np.minimum(1, np.minimum(step / warmup, (STEPS - step) / round(decay * STEPS)))
    np.testing.assert_allclose(actual, expected, atol=1e-6)


@pytest.mark.parametrize("config", [Cosine(peak=0.3), Wsd(peak=0.3)], ids=["cosine", "wsd"])
@pytest.mark.parametrize("steps", [2, 7, 20, 101])
def test_short_runs_learn_too(config, steps):
    """The warm-up gives way to a run that is shorter: it comes near its peak and never below 0."""
    actual = rates(config, steps)[:steps]
    assert np.isfinite(actual).all() and np.all(actual >= 0)
    assert actual.max() > 0.9 * 0.3


def tree(seed):
    return {"block": {"up": normal(seed, 5, 7), "up_bias": normal(seed + 1, 7), "scale": normal(seed + 2, 3)}}


@pytest.mark.parametrize("clip", [0.7, 1e9], ids=["clipped", "unclipped"])
@pytest.mark.parametrize("config", [Adam(), AdamW(weight_decay=0.1)], ids=["adam", "adamw"])
def test_updates_are_those_of_torch(torch, config, clip):
    """Five steps with a rate that changes, in float64 there; biases and scales do not decay."""
    steps, optimization = 5, OptimizationConfig(config, Noam(warmup=3), clip)
    ours = optimizer(optimization, steps, WIDTH)
    params = tree(0)
    state, update = ours.init(params), jax.jit(ours.update)

    twins = jax.tree.map(lambda leaf: torch.tensor(leaf, dtype=torch.float64, requires_grad=True), params)
    decayed, plain = [twins["block"]["up"]], [twins["block"]["up_bias"], twins["block"]["scale"]]
    decay = config.weight_decay if isinstance(config, AdamW) else 0.0
    theirs = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": decay}, {"params": plain, "weight_decay": 0.0}],
        betas=(config.beta1, config.beta2),
        eps=config.epsilon,
    )
    for step in range(steps):
        gradient = tree(10 * step + 3)
        updates, state = update(gradient, state, params)
        params = optax.apply_updates(params, updates)
        for group in theirs.param_groups:
            group["lr"] = WIDTH**-0.5 * min((step + 1) ** -0.5, (step + 1) * 3**-1.5)
        for twin, leaf in zip(jax.tree.leaves(twins), jax.tree.leaves(gradient), strict=True):
            twin.grad = torch.tensor(leaf, dtype=torch.float64)
        torch.nn.utils.clip_grad_norm_(jax.tree.leaves(twins), clip)
        theirs.step()
    assert_close(params, jax.tree.map(lambda twin: twin.detach().numpy(), twins), 5e-6)


@pytest.mark.parametrize("config", MODELS)
def test_exactly_the_matrices_decay(config):
    """By their names in the whole model: a stacked bias has two axes and still is none."""
    decayed, spared = set(), set()
    for path, decays in jax.tree_util.tree_leaves_with_path(decayed_leaves(case(config).params)):
        (decayed if decays else spared).add(path[-1].key)
    assert all(name in ("table", "scale", "position") or name.endswith("bias") for name in spared)
    assert decayed <= {
        "query", "key", "value", "output", "up", "down",
        "input", "hidden", "weight", "score", "score_state", "score_memory",
    }  # fmt: skip
    assert "table" in spared and decayed


@pytest.mark.parametrize("config", MODELS)
def test_the_same_leaves_decay_in_boxes_and_out_of_them(config):
    """A recipe makes its optimizer's state from parameters that still say what their axes are."""
    model = case(config).model
    boxed = jax.eval_shape(model.init, jax.random.key(0), *pairs())
    assert any(isinstance(leaf, nn.Partitioned) for leaf in jax.tree.leaves(boxed, is_leaf=nn.meta.is_axis_metadata))
    assert nn.unbox(decayed_leaves(boxed)) == decayed_leaves(nn.unbox(boxed))


def test_what_no_rule_knows_is_refused():
    with pytest.raises(TypeError, match="no schedule for str"):
        schedule("linear", STEPS, WIDTH)
    with pytest.raises(TypeError, match="no optimizer for str"):
        scale("lion", lambda step: 1.0)
