"""Schedules against their formulas; optimizers, clipping and decay against torch's."""

import flax.linen as nn
import jax
import numpy as np
import optax
import pytest

from jaxformer.config.decoders import DEEPSEEK_TINY, GPT2_TINY, QWEN3_TINY
from jaxformer.config.training import Adam, AdamW, Cosine, Muon, Noam, OptimizationConfig, Wsd
from jaxformer.models.decoder import Decoder
from jaxformer.training.lora import Factors
from jaxformer.training.optimizers import decayed_leaves, matrix_axes, optimizer, scale, schedule
from jaxformer.weights.folder import abstract
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


def orthogonal(matrix):
    """Newton and Schulz's iteration in float64 (Jordan et al. 2024), by the singular values that it acts on."""
    u, s, v = np.linalg.svd(matrix.astype(np.float64), full_matrices=False)
    s = s / np.linalg.norm(s)
    for _ in range(5):
        s = 3.4445 * s - 4.7750 * s**3 + 2.0315 * s**5
    return u * s @ v


MATRICES = {"query": (2, 7, 3, 5), "output": (2, 3, 5, 7)}
AS_MATRICES = {"query": (2, 7, 15), "output": (2, 15, 7)}
"""The same, with the heads of a layer as one matrix."""


def test_a_step_of_muon_is_the_orthogonal_momentum_of_each_layer_and_the_rest_is_adams():
    config = Muon(momentum=0.9, size=0.3, weight_decay=0.1, rest=Adam(beta1=0.8))
    params = {"attention": {name: normal(i, *shape) for i, (name, shape) in enumerate(MATRICES.items())}}
    params["attention"]["query_bias"] = normal(2, 3, 5)
    ours, adam = scale(config, lambda step: 0.5), scale(config.rest, lambda step: 0.5)
    state, adam_state = ours.init(params), adam.init(params)
    momentum = dict.fromkeys(MATRICES, 0.0)
    for step in range(1, 4):
        gradient = jax.tree.map(lambda leaf, step=step: normal(10 * step + leaf.ndim, *leaf.shape), params)
        updates, state = jax.jit(ours.update)(gradient, state, params)
        rest, adam_state = adam.update(gradient, adam_state, params)
        np.testing.assert_allclose(updates["attention"]["query_bias"], rest["attention"]["query_bias"], rtol=1e-5)
        for name, shape in AS_MATRICES.items():
            g = gradient["attention"][name]
            momentum[name] = 0.9 * momentum[name] + 0.1 * g
            ahead = 0.9 * momentum[name] / (1 - 0.9 ** (step + 1)) + 0.1 * g / (1 - 0.9**step)
            sizes = 0.3 * np.sqrt(15) * np.stack([orthogonal(layer) for layer in ahead.reshape(shape)])
            expected = -0.5 * (sizes.reshape(g.shape) + 0.1 * params["attention"][name])
            assert_close(updates["attention"][name], expected, 2e-5)


@pytest.mark.parametrize("config", [GPT2_TINY, QWEN3_TINY, DEEPSEEK_TINY], ids=["gpt2", "qwen3", "deepseek"])
def test_muon_takes_the_weights_of_attention_and_feed_forward_layers_alone(config):
    """With the axes that they are initialised by: as many inputs and outputs as the module that declares them says."""
    params = abstract(Decoder(config, 11))
    axes = dict(jax.tree_util.tree_leaves_with_path(matrix_axes(params), is_leaf=lambda x: hasattr(x, "output_axis")))
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        *_, module, name = (entry.key for entry in path)
        is_matrix = module in ("attention", "feed_forward", "shared") and "bias" not in name and "balance" not in name
        assert (path in axes) == is_matrix, path
        if is_matrix:
            spanned = {axis % leaf.ndim for side in axes[path] for axis in side}
            before = (path[1].key == "layers") + name.startswith("expert_")
            assert spanned == set(range(before, leaf.ndim)), path


def test_factors_of_low_rank_are_left_to_adam_and_decay():
    """An update of a stacked query has as many axes as the query of a single layer."""
    params = {"attention": {"query": Factors(normal(0, 2, 7, 3), normal(1, 2, 3, 5, 11))}}
    assert jax.tree.leaves(matrix_axes(params)) == []
    assert jax.tree.leaves(decayed_leaves(params)) == [True, True]


@pytest.mark.parametrize("config", MODELS)
def test_muon_begins_alike_in_boxes_and_out_of_them(config):
    model, rule = case(config).model, scale(Muon(), lambda step: 0.5)
    boxed = jax.eval_shape(lambda: rule.init(model.init(jax.random.key(0), *pairs())))
    plain = jax.eval_shape(lambda: rule.init(nn.unbox(model.init(jax.random.key(0), *pairs()))))
    assert nn.unbox(boxed) == plain


def test_what_no_rule_knows_is_refused():
    with pytest.raises(TypeError, match="no schedule for str"):
        schedule("linear", STEPS, WIDTH)
    with pytest.raises(TypeError, match="no optimizer for str"):
        scale("lion", lambda step: 1.0)
