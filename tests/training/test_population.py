"""A population is its members: each has the state and the metrics of a run alone, whichever way it is mapped."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxformer.config.training import AdamW, Ema, OptimizationConfig
from jaxformer.objectives import Total
from jaxformer.ops.dropout import dropout
from jaxformer.ops.losses import TokenLoss
from jaxformer.training.optimizers import optimizer
from jaxformer.training.population import history, natural_mapping, one_by_one, population
from jaxformer.training.state import new_state
from jaxformer.training.step import make_step

MEMBERS, STEPS, B, D, F = 5, 7, 11, 13, 17
AVERAGE = Ema(0.9)
RULE = optimizer(OptimizationConfig(AdamW(), clip=0.1), STEPS, D)


class Examples(NamedTuple):
    x_BD: jax.Array
    y_B: jax.Array


def begin(key):
    up, down = jax.random.split(key)
    params = {"up": jax.random.normal(up, (D, F)), "down": jax.random.normal(down, (F,))}
    return new_state(params, RULE, AVERAGE, key)


def objective(params, batch, key):
    h_BF = dropout(key, jnp.tanh(batch.x_BD @ params["up"]), 0.3)
    error = jnp.sum(jnp.square(h_BF @ params["down"] - batch.y_B))
    return Total(TokenLoss(error, error, error), jnp.float32(B))


step = make_step(objective, RULE, AVERAGE)


def examples(time):
    rng = np.random.default_rng(time)
    return Examples(*(rng.normal(size=(MEMBERS, B, *shape)).astype(np.float32) for shape in ((D,), ())))


def run(step, state, batches):
    history = []
    for batch in batches:
        state, metrics = step(state, batch)
        history.append(metrics)
    return state._replace(key=jax.random.key_data(state.key)), history


@pytest.mark.smoke
@pytest.mark.parametrize("mapping", [None, one_by_one, jax.vmap], ids=["natural", "one by one", "side by side"])
def test_a_member_has_the_run_that_it_would_have_alone(mapping):
    batches = [examples(time) for time in range(STEPS)]
    states = population(begin, mapping)(jax.vmap(jax.random.key)(jnp.arange(MEMBERS)))
    together = run(jax.jit(population(step, mapping), donate_argnums=0), states, batches)
    alone = jax.jit(step)
    for member in range(MEMBERS):
        own = [jax.tree.map(lambda x, member=member: x[member], batch) for batch in batches]
        expected = run(alone, begin(jax.random.key(member)), own)
        found = jax.tree.map(lambda x, member=member: x[member], together)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7), found, expected)


def primitives(function, *args):
    return {equation.primitive.name for equation in jax.make_jaxpr(function)(*args).eqns}


def test_the_mapping_decides_how_members_are_computed():
    x_MD = jnp.ones((MEMBERS, D))
    assert "scan" in primitives(population(jnp.sin, one_by_one), x_MD)
    assert "scan" not in primitives(population(jnp.sin, jax.vmap), x_MD)


@pytest.mark.parametrize("device, mapping", [("cpu", one_by_one), ("gpu", jax.vmap), ("tpu", jax.vmap)])
def test_members_go_one_by_one_only_where_the_device_is_narrow(monkeypatch, device, mapping):
    monkeypatch.setattr(jax, "default_backend", lambda: device)
    assert natural_mapping() is mapping


@pytest.mark.parametrize("every, taken", [(1, range(STEPS + 1)), (3, [0, 3, 6])])
def test_a_history_shows_each_member_before_the_first_step_and_after_each_of_so_many(every, taken):
    begin_all = jax.jit(population(begin))

    def look(state, held_out):
        return state.step, jnp.sum(state.params["up"]) + held_out

    def begun():
        return begin_all(jax.vmap(jax.random.key)(jnp.arange(MEMBERS)))

    batches, held_out = [examples(time) for time in range(STEPS)], np.arange(float(MEMBERS))
    (steps_PM, sums_PM), last = history(step, look, begun(), iter(batches), held_out, every)
    np.testing.assert_array_equal(last.step, STEPS)
    np.testing.assert_array_equal(steps_PM, np.tile(np.array(taken)[:, None], MEMBERS))
    step_all = jax.jit(population(step))
    for row_M, done in zip(sums_PM, taken, strict=True):
        state = begun()
        for batch in batches[:done]:
            state, _ = step_all(state, batch)
        np.testing.assert_allclose(row_M, state.params["up"].sum((1, 2)) + held_out, rtol=1e-5, atol=1e-5)
