"""An experiment's training: every seed has the run that it would have alone, however many fit the device at once."""

from dataclasses import replace
from typing import NamedTuple

import jax
import numpy as np
import pytest

from jaxformer.config.training import NoAverage
from jaxformer.objectives import Total
from jaxformer.ops.losses import TokenLoss
from jaxformer.training import study
from jaxformer.training.optimizers import optimizer
from jaxformer.training.state import new_state
from jaxformer.training.step import make_step
from jaxformer.training.study import Arm, StudyConfig, check_names, keys, of_each_seed, train, train_variants

B, D = 5, 3
CONFIG = StudyConfig(seeds=(0, 1, 2, 3, 5), steps=6, look_every=3, batch=B)


class Examples(NamedTuple):
    x_BD: jax.Array
    y_B: jax.Array


def examples(seed, slope=1.0):
    rng = np.random.default_rng(seed)
    while True:
        x_BD = rng.normal(size=(B, D)).astype(np.float32)
        yield Examples(x_BD, (slope * x_BD.sum(1)).astype(np.float32))


def objective(params, batch, key):
    error = jax.numpy.sum(jax.numpy.square(batch.x_BD @ params["w"] - batch.y_B))
    return Total(TokenLoss(error, error, error), jax.numpy.float32(B))


def look(params, held_out):
    return {"error": objective(params, held_out, None).costs.loss, "w": params["w"]}


def init(key):
    return {"w": jax.random.normal(key, (D,))}


def held_out(seed, slope=1.0):
    return next(examples(seed + 100, slope))


ARM = Arm(init, objective, examples, held_out, look)


def alone(seed, slope=1.0):
    rule = optimizer(CONFIG.optimization, CONFIG.steps, 1)
    state = new_state(ARM.init(jax.random.key(seed)), rule, NoAverage(), jax.random.key(seed))
    step, stream = jax.jit(make_step(objective, rule)), examples(seed, slope)
    for _ in range(CONFIG.steps):
        state, _ = step(state, next(stream))
    return state.params["w"]


def test_every_seed_has_the_run_that_it_would_have_alone():
    trained = train(CONFIG, ARM)
    assert trained.looks["error"].shape == (3, 5) and CONFIG.looks == [0, 3, 6]
    np.testing.assert_array_equal(trained.looks["w"][-1], trained.params["w"])
    for seed, w_D in zip(CONFIG.seeds, trained.params["w"], strict=True):
        np.testing.assert_allclose(w_D, alone(seed), rtol=1e-5)


def test_variants_differ_in_their_data_alone():
    found = train_variants(CONFIG, ARM, {"up": 1.0, "down": -1.0})
    np.testing.assert_array_equal(found["up"].looks["w"][0], found["down"].looks["w"][0])
    for name, slope in (("up", 1.0), ("down", -1.0)):
        np.testing.assert_allclose(found[name].params["w"][4], alone(5, slope), rtol=1e-5)


@pytest.mark.parametrize("room", [1, 2, 3])
def test_a_device_with_too_little_memory_trains_fewer_seeds_at_once_with_the_same_result(monkeypatch, room):
    whole, together, sizes = train(CONFIG, ARM), study._together, []

    def cramped(config, arm, members):
        sizes.append(len(members))
        if len(members) > room:
            raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 99 bytes.")
        return together(config, arm, members)

    monkeypatch.setattr(study, "_together", cramped)
    parts = train(CONFIG, ARM)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), parts, whole)
    assert sum(size for size in sizes if size <= room) == len(CONFIG.seeds)


def test_an_error_that_is_not_about_memory_is_raised():
    def broken(params, batch, key):
        raise jax.errors.JaxRuntimeError("INTERNAL: something else")

    with pytest.raises(jax.errors.JaxRuntimeError, match="something else"):
        train(CONFIG, ARM._replace(objective=broken))


def test_each_seed_is_judged_by_itself_with_what_all_share():
    members, shared = {"w": np.arange(15.0).reshape(5, D)}, np.array([1.0, 10.0, 100.0])
    found = of_each_seed(lambda member, shared: {"sum": member["w"] @ shared}, members, shared)
    np.testing.assert_allclose(found["sum"], members["w"] @ shared)


def test_keys_are_those_that_training_begins_with():
    first = of_each_seed(init, keys(CONFIG))
    np.testing.assert_array_equal(first["w"], train(CONFIG, ARM).looks["w"][0])


@pytest.mark.parametrize(
    "change, message",
    [
        ({"steps": 5}, "steps must be a multiple of look_every, got 5 and 3"),
        ({"look_every": 0}, "steps must be a multiple of look_every, got 6 and 0"),
        ({"batch": 0}, "batch must be at least 1, got 0"),
        ({"seeds": (1, 2)}, "seeds must be at least 5, all different, for a verdict"),
    ],
)
def test_a_config_that_cannot_be_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        replace(CONFIG, **change)


@pytest.mark.parametrize("names", [(), ("a", "c")])
def test_names_of_arms_are_some_of_those_that_there_are(names):
    check_names("arms", ("b",), {"a": 1, "b": 2})
    with pytest.raises(ValueError, match=f"arms must be some of a, b, got {', '.join(names)}"):
        check_names("arms", names, {"a": 1, "b": 2})
