"""A training step: what it returns, how a batch may be cut, what is averaged, and that it learns."""

from dataclasses import replace
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxformer.config.training import Adam, Ema, Noam, NoAverage, OptimizationConfig
from jaxformer.objectives import Total, translation
from jaxformer.ops.dropout import dropout
from jaxformer.ops.losses import TokenLoss, linear_cross_entropy
from jaxformer.training.optimizers import optimizer
from jaxformer.training.state import new_state
from jaxformer.training.step import make_step
from tests.laws.cases import PRE_NORM, RNN_ATTENTION, Pairs, case
from tests.parity.compare import assert_close, normal

B, T, D, V = 15, 7, 5, 11
SHALLOW = replace(PRE_NORM, encoder_layers=2, decoder_layers=1)


class Batch(NamedTuple):
    x_BTD: np.ndarray
    labels_BT: np.ndarray
    counted_BT: np.ndarray


def batch(seed=0):
    """Rows of very different numbers of tokens."""
    rng = np.random.default_rng(seed)
    counted_BT = np.arange(T) < rng.integers(0, T + 1, B)[:, None]
    return Batch(normal(seed + 1, B, T, D), rng.integers(0, V, (B, T)), counted_BT)


def objective(params, batch, key, rate=0.0):
    """Logistic regression, with dropout on its input when a key is given."""
    x_ND = batch.x_BTD.reshape(-1, D)
    if key is not None:
        x_ND = dropout(key, x_ND, rate)
    counted_N = batch.counted_BT.reshape(-1)
    costs = linear_cross_entropy(x_ND, params["w"], batch.labels_BT.reshape(-1), counted_N)
    return Total(costs, jnp.sum(counted_N, dtype=jnp.float32))


def start(average=None, seed=3, learn=None):
    average, learn = average or NoAverage(), learn or optax.sgd(0.5)
    return new_state({"w": jnp.asarray(normal(seed, V, D))}, learn, average, jax.random.key(seed))


def stepper(average=None, accumulate=1, rate=0.0, learn=None):
    return jax.jit(make_step(partial(objective, rate=rate), learn or optax.sgd(0.5), average, accumulate))


@pytest.mark.smoke
def test_an_update_follows_the_gradient_of_the_mean_over_tokens():
    state, metrics = stepper()(start(), batch())
    before = start().params

    def mean(params):
        total = objective(params, batch(), None)
        return total.costs.loss / total.tokens, total

    (loss, total), gradient = jax.value_and_grad(mean, has_aux=True)(before)
    assert_close(state.params["w"], before["w"] - 0.5 * gradient["w"], 1e-6)
    expected = {
        "loss": loss,
        "nll": total.costs.nll / total.tokens,
        "accuracy": total.costs.correct / total.tokens,
        "gradient_norm": np.linalg.norm(gradient["w"]),
        "tokens": batch().counted_BT.sum(),
        "skipped": 0.0,
    }
    assert_close(metrics, expected, 1e-6)
    assert {metric.dtype for metric in metrics.values()} == {jnp.dtype(jnp.float32)}
    assert state.step == 1 and state.average is None


@pytest.mark.parametrize("parts", [3, 5, B])
def test_an_accumulated_step_is_the_step_of_the_whole_batch(parts):
    """The mean is over all tokens, although the parts have different numbers of them."""
    (whole, metrics), (parted, parted_metrics) = (stepper(accumulate=n)(start(), batch()) for n in (1, parts))
    assert_close(parted.params, whole.params, 1e-6)
    assert_close(parted_metrics, metrics, 1e-6)


def test_parts_must_divide_the_rows():
    with pytest.raises(ValueError, match="accumulate must divide the rows of a batch, got accumulate=4, rows=15"):
        stepper(accumulate=4)(start(), batch())


def test_accumulated_parts_draw_keys_of_their_own():
    """An objective whose loss is a number drawn from its key: were all draws equal, their variance would be 0."""

    def drawn(params, batch, key):
        u = jax.random.uniform(key) + 0 * params["w"].sum()
        return Total(TokenLoss(u, u**2, 0 * u), jnp.float32(1))

    _, metrics = jax.jit(make_step(drawn, optax.sgd(0.5), accumulate=5))(start(), batch())
    assert metrics["tokens"] == 5 and metrics["nll"] - metrics["loss"] ** 2 > 1e-2


def test_every_step_draws_a_key_of_its_own_from_the_runs():
    """The same batch and weights at another step, or in a run of another key, forget something else."""
    step, state = stepper(rate=0.5), start()
    after, _ = step(state, batch())
    assert jnp.array_equal(jax.random.key_data(after.key), jax.random.key_data(state.key))
    losses = [
        float(step(other, batch())[1]["loss"])
        for other in (state, state, state._replace(step=jnp.int32(1)), state._replace(key=jax.random.key(99)))
    ]
    assert losses[0] == losses[1] and len(set(losses)) == 3


def test_the_moving_average_is_its_closed_form():
    """After n steps: Σ over parameters of (1 - dᵢ) times all later d, with d = min(decay, (1 + step) / (10 + step))."""
    decay, steps = 0.3, 7
    average = Ema(decay)
    step, state = stepper(average), start(average)
    seen = [np.asarray(state.params["w"], np.float64)]
    for seed in range(steps):
        state, _ = step(state, batch(seed))
        seen.append(np.asarray(state.params["w"], np.float64))
    kept = [0.0, *(min(decay, (1 + i) / (10 + i)) for i in range(steps))]
    assert decay in kept and kept[1] == 0.1
    expected = sum((1 - kept[i]) * np.prod(kept[i + 1 :]) * seen[i] for i in range(steps + 1))
    assert_close(state.average["w"], expected, 1e-6)
    assert_close(state.best_params, {"w": expected}, 1e-6)


def test_without_an_average_the_last_parameters_are_the_best():
    state = start()
    assert state.best_params is state.params


@pytest.mark.filterwarnings("error:Some donated buffers")
@pytest.mark.parametrize("average", [NoAverage(), Ema()], ids=["no average", "ema"])
def test_the_state_is_donated_whole(average):
    """No warning of a buffer that could not be used, and none left of the state before."""
    learn = optimizer(OptimizationConfig(), 100, D)
    state = start(average, learn=learn)
    step = jax.jit(make_step(objective, learn, average), donate_argnums=0)
    after, _ = step(state, batch())
    assert all(leaf.is_deleted() for leaf in jax.tree.leaves((state.params, state.optimizer, state.average)))
    assert jax.tree.map(jnp.shape, after) == jax.tree.map(jnp.shape, step(after, batch())[0])


def test_a_batch_of_padding_changes_nothing():
    nothing = batch()._replace(counted_BT=np.zeros((B, T), bool))
    state, metrics = stepper()(start(), nothing)
    np.testing.assert_array_equal(state.params["w"], start().params["w"])
    assert all(metric == 0 for metric in metrics.values())


def test_mapped_over_seeds_every_seed_runs_by_itself():
    """`vmap` and `lax.map` of the step over stacked states, on one batch for all, are the steps one by one."""
    average = Ema()
    step, states = stepper(average, accumulate=3), [start(average, seed) for seed in (3, 5, 7)]
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *states)
    each = jax.tree.map(lambda *leaves: jnp.stack(leaves), *[step(state, batch()) for state in states])
    vmapped = jax.jit(jax.vmap(step, in_axes=(0, None)))(stacked, batch())
    looped = jax.jit(lambda states: jax.lax.map(lambda state: step(state, batch()), states))(stacked)
    for mapped in (vmapped, looped):
        assert_close((mapped[0].params, mapped[0].average, mapped[1]), (each[0].params, each[0].average, each[1]), 2e-6)


@pytest.mark.parametrize("config", [SHALLOW, RNN_ATTENTION], ids=["transformer", "rnn with attention"])
def test_models_learn_to_copy(config):
    """The target is the source, of three words: guessing among them costs log 3, knowing them nothing."""
    words_BS = np.random.default_rng(0).integers(4, 7, (64, 5)).astype(np.int32)
    copies = Pairs(words_BS, np.concatenate([np.full((64, 1), 1, np.int32), words_BS], axis=1))
    learn = optimizer(OptimizationConfig(Adam(), Noam(warmup=20, factor=0.5)), 200, 14)
    step = make_step(translation(case(config).model), learn)

    @jax.jit
    def train(state):
        return jax.lax.scan(lambda state, _: step(state, copies), state, length=200)[1]["nll"]

    params = jax.tree.map(jnp.asarray, case(config).params)
    nll = train(new_state(params, learn, NoAverage(), jax.random.key(0)))
    assert nll[0] > np.log(3) and nll[-1] < 0.25 * np.log(3)
