"""A checkpoint is the state at its moment, to the last bit, and says clearly when it is asked for something else."""

from dataclasses import replace

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import orbax.checkpoint
import pytest
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jaxformer.config.errors import UserError
from jaxformer.config.training import Ema, NoAverage
from jaxformer.training.checkpoint import Checkpoints, Progress
from jaxformer.training.state import TrainState, new_state

PROGRESS = Progress("fingerprint", 17, best_score=0.1 + 0.2, best_step=3, validations_since_best=2)


def random_state(seed, average, rows=7):
    """Every leaf random, so that none can stand for another."""
    keys = iter(jax.random.split(jax.random.key(seed), 99))
    params = {"params": {"a": jnp.zeros((rows, 5)), "deep": {"b": jnp.zeros(3, jnp.bfloat16)}}}
    state = new_state(params, optax.adam(optax.constant_schedule(0.1)), average, jax.random.key(seed))

    def randomized(leaf):
        if jnp.issubdtype(leaf.dtype, jnp.floating):
            return jax.random.normal(next(keys), leaf.shape, leaf.dtype)
        return leaf if leaf.ndim == 0 and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key) else leaf + 13

    return jax.tree.map(randomized, state)


def abstract(state):
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=leaf.sharding), state)


def plain(state):
    return jax.tree.map(np.array, state._replace(key=jax.random.key_data(state.key)))


def saved(folder, *states, progress=PROGRESS, keep=9):
    """The checkpoints of these states, opened anew."""
    with Checkpoints(folder, keep) as checkpoints:
        for state in states:
            checkpoints.save(state, progress)
    return Checkpoints(folder, keep)


def at(state, step):
    return state._replace(step=jnp.int32(step))


@pytest.mark.parametrize("average", [NoAverage(), Ema()], ids=["no average", "average"])
def test_what_was_saved_comes_back(tmp_path, average):
    state = random_state(1, average)
    with saved(tmp_path, state) as checkpoints:
        assert checkpoints.steps == [13]
        restored, progress = checkpoints.restore(abstract(random_state(2, average)), 13)
    assert progress == PROGRESS
    chex.assert_trees_all_equal_shapes_and_dtypes(restored, state)
    chex.assert_trees_all_equal(plain(restored), plain(state))
    assert jax.random.uniform(restored.key) == jax.random.uniform(state.key)


def test_the_state_lies_where_it_is_asked_to_lie(tmp_path):
    state = random_state(1, Ema(), rows=8)
    with saved(tmp_path, state) as checkpoints:
        split = NamedSharding(Mesh(np.array(jax.devices()[:4]), ("x",)), PartitionSpec("x"))
        whole = NamedSharding(split.mesh, PartitionSpec())

        def laid_out(leaf):
            sharding = split if leaf.shape[:1] == (8,) else whole
            return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)

        wanted = jax.tree.map(laid_out, state)
        restored, _ = checkpoints.restore(wanted, 13)
        chex.assert_trees_all_equal(plain(restored), plain(state))
        assert restored.params["params"]["a"].sharding == split
        params = checkpoints.restore_params(abstract(state.params), averaged=True, step=13).params
        assert all(len(leaf.sharding.device_set) == 1 for leaf in jax.tree.leaves(params))


def test_a_save_in_the_background_is_not_touched_by_the_steps_that_follow(tmp_path):
    def step(state):
        return jax.tree.map(lambda leaf: leaf + 1 if jnp.issubdtype(leaf.dtype, jnp.floating) else leaf, state)

    # Large enough to be still on its way to the disk while it is overwritten in place.
    state = random_state(1, Ema(), rows=300_007)
    advance = jax.jit(step, donate_argnums=0).lower(state).compile()
    before = plain(state)
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(state, PROGRESS)
        for _ in range(7):
            state = advance(state)
        assert not np.array_equal(np.asarray(state.params["params"]["a"]), before.params["params"]["a"])
    with Checkpoints(tmp_path) as checkpoints:
        restored, _ = checkpoints.restore(abstract(state), 13)
    chex.assert_trees_all_equal(plain(restored), before)


def test_the_newest_and_the_best_are_kept_from_one_process_to_the_next(tmp_path):
    state = random_state(1, NoAverage())
    scores = {1: 5.0, 2: 9.0, 3: 7.0, 4: 8.0, 5: 2.0}
    progress, kept, best = Progress("", 0), [], []
    for step, score in scores.items():
        if progress.best_score is None or score > progress.best_score:
            progress = replace(progress, best_score=score, best_step=step)
        with Checkpoints(tmp_path, keep=2) as checkpoints:
            checkpoints.save(at(state, step), progress)
        with Checkpoints(tmp_path, keep=2) as checkpoints:
            kept.append(checkpoints.steps)
            best.append(checkpoints.best_step)
    assert kept == [[1], [1, 2], [2, 3], [2, 3, 4], [2, 4, 5]]
    assert best == [1, 2, 2, 2, 2]


def test_without_a_validation_the_newest_is_the_best(tmp_path):
    with Checkpoints(tmp_path, keep=1) as checkpoints:
        assert checkpoints.steps == [] and checkpoints.best_step is None
        for step in (3, 7):
            checkpoints.save(at(random_state(1, NoAverage()), step), Progress("", step))
    with Checkpoints(tmp_path, keep=1) as checkpoints:
        assert checkpoints.steps == [7] and checkpoints.best_step == 7


def test_a_step_is_saved_once(tmp_path):
    with saved(tmp_path, random_state(1, NoAverage()), random_state(2, NoAverage())) as checkpoints:
        restored, _ = checkpoints.restore(abstract(random_state(2, NoAverage())), 13)
    chex.assert_trees_all_equal(plain(restored), plain(random_state(1, NoAverage())))


def test_what_a_killed_process_left_is_no_checkpoint(tmp_path):
    state = random_state(1, NoAverage())
    saved(tmp_path, at(state, 3)).close()
    for name in ("5.orbax-checkpoint-tmp-1", "7.unfinished", "2.removed"):
        (tmp_path / name / "model").mkdir(parents=True)
    with Checkpoints(tmp_path) as checkpoints:
        assert checkpoints.steps == [3]
        checkpoints.save(at(state, 5), PROGRESS)
    with Checkpoints(tmp_path) as checkpoints:
        assert checkpoints.steps == [3, 5]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["3", "5"]


@pytest.mark.parametrize("average", [NoAverage(), Ema()], ids=["no average", "average"])
def test_the_average_is_evaluated_where_there_is_one(tmp_path, average):
    state, averaged = random_state(1, average), isinstance(average, Ema)
    with saved(tmp_path, state) as checkpoints:
        params = checkpoints.restore_params(abstract(state.params), averaged, 13).params
    chex.assert_trees_all_equal(params, state.average if averaged else state.params)


@pytest.mark.parametrize("average", [NoAverage(), Ema()], ids=["no average", "average"])
def test_the_last_checkpoints_are_averaged(tmp_path, average):
    states, averaged = [at(random_state(seed, average), seed) for seed in (1, 2, 3)], isinstance(average, Ema)
    with saved(tmp_path, *states) as checkpoints:
        mean, step, _ = checkpoints.mean_params(abstract(states[0].params), averaged, 2)
        assert step == 3
        with pytest.raises(UserError, match=r"cannot average 4 checkpoints, .* holds 3; train with watch\.keep=4"):
            checkpoints.mean_params(abstract(states[0].params), averaged, 4)
    kept = [state.average if averaged else state.params for state in states[1:]]
    expected = jax.tree.map(lambda a, b: (np.asarray(a, np.float64) + np.asarray(b, np.float64)) / 2, *kept)
    chex.assert_trees_all_close(jax.tree.map(lambda x: np.asarray(x, np.float64), mean), expected, rtol=1e-2, atol=1e-2)
    chex.assert_trees_all_close(mean["params"]["a"], expected["params"]["a"].astype(np.float32), rtol=1e-6)


@pytest.mark.parametrize("best", [1, 4, 5])
def test_a_best_checkpoint_is_averaged_only_where_it_is_among_the_newest(tmp_path, best):
    states = {step: at(random_state(step, NoAverage()), step) for step in (1, 2, 3, 4, 5)}
    progress = replace(PROGRESS, best_step=best)
    with saved(tmp_path, *states.values(), progress=progress, keep=2) as checkpoints:
        assert checkpoints.steps == sorted({best, 4, 5})
        averaged, *_ = checkpoints.mean_params(abstract(states[1].params), False, 2)
        with pytest.raises(UserError, match=r"cannot average 3 checkpoints, .* holds 2; train with watch\.keep=3"):
            checkpoints.mean_params(abstract(states[1].params), False, 3)
    a, b = (np.asarray(states[step].params["params"]["a"], np.float64) for step in (4, 5))
    np.testing.assert_allclose(averaged["params"]["a"], (a + b) / 2, rtol=1e-6, atol=1e-7)


def narrower(state):
    return abstract(random_state(1, NoAverage(), rows=6))


def wider(state):
    params = {"params": state.params["params"] | {"c": jnp.zeros(2)}}
    return abstract(new_state(params, optax.adam(0.1), NoAverage(), state.key))


def averaging(state):
    return abstract(random_state(1, Ema()))


def other_optimizer(state):
    return abstract(new_state(state.params, optax.sgd(0.1), NoAverage(), state.key))


def coarser(state):
    """The same in other types, of which each would hold what was saved."""
    return jax.tree.map(
        lambda leaf: leaf.update(dtype=jnp.float32) if leaf.dtype == jnp.bfloat16 else leaf, abstract(state)
    )


@pytest.mark.parametrize(
    "wanted, message",
    [
        (coarser, r"params\.params\.deep\.b is bfloat16, wanted float32"),
        (narrower, r"params\.params\.a has shape \(7, 5\), wanted \(6, 5\)"),
        (wider, r"params\.params\.c is missing there"),
        (averaging, r"average\.params\.a is missing there"),
        (other_optimizer, r"optimizer\.0\.count is not in the model"),
    ],
)
def test_a_checkpoint_that_does_not_fit_is_refused_by_name(tmp_path, wanted, message):
    state: TrainState = random_state(1, NoAverage())
    with saved(tmp_path, state) as checkpoints:
        with pytest.raises(UserError, match=f"^checkpoint 13 in .* does not fit the model: {message}; use the config"):
            checkpoints.restore(wanted(state), 13)
        assert checkpoints.steps == [13]


def test_a_checkpoint_of_an_earlier_version_is_read_with_a_warning(tmp_path, capsys):
    """As versions before the manifest wrote it, with the classic manager of Orbax."""
    state, progress = random_state(1, Ema()), {"batches": "data", "next_batch": 17, "best_step": 13}
    progress |= {"best_score": 0.1 + 0.2, "validations_since_best": 2}
    with orbax.checkpoint.CheckpointManager(tmp_path) as manager:
        key = jax.random.key_data(state.key)
        args = orbax.checkpoint.args
        items = args.Composite(
            model=args.StandardSave({"params": state.params, "average": state.average}),
            rest=args.StandardSave({"step": state.step, "optimizer": state.optimizer, "key": key}),
            progress=args.JsonSave(progress),
        )
        manager.save(13, args=items)
    with Checkpoints(tmp_path, keep=1) as checkpoints:
        restored, said = checkpoints.restore(abstract(state))
        chex.assert_trees_all_equal(plain(restored), plain(state))
        assert said == Progress(**progress)
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith(f"warning    checkpoint 13 in {tmp_path} is of an earlier version, without a manifest")
        checkpoints.save(at(state, 14), Progress("", 14))
    with Checkpoints(tmp_path, keep=1) as checkpoints:
        assert checkpoints.steps == [14]
