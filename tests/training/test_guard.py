"""A step whose numbers cannot be used leaves the state as it was, to the last bit, however it is mapped."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxformer.config.training import ApplySpikes, Ema, OptimizationConfig, SkipSpikes
from jaxformer.training.guard import remembering, spike_limits
from jaxformer.training.optimizers import optimizer
from jaxformer.training.step import make_step
from tests.training.test_step import D, batch, objective, start

pytestmark = pytest.mark.smoke

AVERAGE, SPIKES = Ema(), SkipSpikes(factor=5.0, window=3)


def rule(spikes):
    return remembering(optimizer(OptimizationConfig(), 100, D), spikes)


def stepping(spikes=None, **options):
    spikes = spikes or ApplySpikes()
    return make_step(objective, rule(spikes), AVERAGE, spikes=spikes, **options)


def begun(seed=3, spikes=None):
    """A state after a step, with its minus zeros, which adding a zero would change."""
    spikes = spikes or ApplySpikes()
    state, _ = jax.jit(stepping(spikes))(start(AVERAGE, seed, rule(spikes)), batch())
    w = state.params["w"].at[0].set(-0.0)
    return state._replace(params={"w": w})


def spoiled(value, place=(2, 3, 1)):
    spoiled = batch(5)
    spoiled.x_BTD[place], spoiled.counted_BT[place[:2]] = value, True
    return spoiled


def bits(state):
    return [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves((state.params, state.optimizer, state.average))]


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e38], ids=["nan", "inf", "overflow"])
@pytest.mark.parametrize("accumulate", [1, 5])
def test_numbers_that_are_not_finite_change_no_bit(value, accumulate):
    step = jax.jit(stepping(accumulate=accumulate), donate_argnums=0)
    before = bits(begun())
    state, metrics = step(begun(), spoiled(value))
    assert not np.isfinite([metrics["loss"], metrics["gradient_norm"]]).all()
    assert bits(state) == before and metrics["skipped"] == 1 and state.step == 2
    after, metrics = step(state, batch(5))
    assert metrics["skipped"] == 0 and after.step == 3
    assert all(a != b for a, b in zip(bits(after), before, strict=True))


@pytest.mark.parametrize("mapping", [jax.vmap, lambda step: lambda *each: jax.lax.map(lambda one: step(*one), each)])
def test_mapped_over_seeds_only_the_one_with_bad_numbers_is_left_out(mapping):
    states, batches = [begun(seed) for seed in (3, 5, 7)], [batch(5), spoiled(np.nan), batch(5)]
    before = bits(states[1])
    stacked, fed = (jax.tree.map(lambda *leaves: jnp.stack(leaves), *each) for each in (states, batches))
    after, metrics = jax.jit(mapping(stepping()), donate_argnums=0)(stacked, fed)
    np.testing.assert_array_equal(metrics["skipped"], [0, 1, 0])
    after = [bits(jax.tree.map(lambda leaf, i=i: leaf[i], after)) for i in range(3)]
    assert after[1] == before
    assert all(all(a != b for a, b in zip(after[i], bits(states[i]), strict=True)) for i in (0, 2))


@pytest.mark.filterwarnings("error:Some donated buffers")
def test_a_spike_is_left_out_and_not_remembered_and_none_before_the_window_is_full():
    step, state = jax.jit(stepping(SPIKES), donate_argnums=0), start(AVERAGE, 3, rule(SPIKES))
    state, metrics = step(state, spoiled(1e3))
    assert metrics["skipped"] == 0
    seen = [(metrics["loss"], metrics["gradient_norm"])]
    for seed in range(3):
        state, metrics = step(state, batch(seed))
        assert metrics["skipped"] == 0
        seen.append((metrics["loss"], metrics["gradient_norm"]))
    np.testing.assert_array_equal(state.optimizer.recent_2W, np.transpose(seen[1:]))
    before = bits(state)
    state, metrics = step(state, spoiled(1e3))
    assert np.isfinite(metrics["loss"]) and metrics["skipped"] == 1
    assert bits(state) == before
    assert step(state, batch(7))[1]["skipped"] == 0


def test_the_limit_is_the_median_and_so_many_deviations():
    """Against NumPy and by hand: an outlier among the remembered moves it little."""
    recent = np.float32([[1, 2, 3, 4, 1000], [7, 7, 7, 7, 7]])
    np.testing.assert_allclose(spike_limits(jnp.asarray(recent), 10.0), [3 + 10 * 1, 7 + 10 * 0.07], rtol=1e-6)
    rows = np.random.default_rng(0).normal(5, 2, (2, 13)).astype(np.float32)
    median = np.median(rows, axis=1)
    expected = median + 4 * np.median(np.abs(rows - median[:, None]), axis=1)
    np.testing.assert_allclose(spike_limits(jnp.asarray(rows), 4.0), expected, rtol=1e-6)
