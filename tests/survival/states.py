"""A small training state whose every bit follows from its step, and which no compression makes smaller."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from jaxformer.training.checkpoint import Checkpoints, Progress
from jaxformer.training.state import TrainState

ROWS = 1009
"""A state of about 4 MB; with fewer rows it is as much smaller."""


def arrays_of(step: int, rows: int = ROWS) -> TrainState:
    """The state of a step, as numpy arrays, its key as plain numbers."""
    rng = np.random.default_rng(step)

    def tree():
        return {"a": rng.random((rows, 307), np.float32), "deep": {"b": rng.integers(0, 1 << 32, 1031, np.uint32)}}

    key = rng.integers(0, 1 << 32, 2, np.uint32)
    return TrainState(np.int32(step), tree(), (tree(), tree()["a"].astype(jnp.bfloat16)), tree(), key)


def state_of(step: int, rows: int = ROWS) -> TrainState:
    """The same on the device."""
    state = jax.tree.map(jnp.asarray, arrays_of(step, rows))
    return state._replace(key=jax.random.wrap_key_data(state.key))


def abstract(rows: int = ROWS) -> TrainState:
    """What `Checkpoints.restore` is given to lay a state out on one device."""
    place = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    return jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=place),
        jax.eval_shape(lambda: state_of(0, rows)),
    )


def is_of_step(state: TrainState, progress: Progress, rows: int = ROWS) -> bool:
    """Whether state and progress are, to the last bit, the ones that were saved under its step."""
    step = int(state.step)
    there = jax.tree.map(np.asarray, state._replace(key=jax.random.key_data(state.key)))
    same = jax.tree.map(lambda a, b: a.dtype == b.dtype and a.tobytes() == b.tobytes(), there, arrays_of(step, rows))
    return all(jax.tree.leaves(same)) and progress == progress_of(step)


def progress_of(step: int) -> Progress:
    return Progress("data", 3 * step, best_score=1 / step, configuration='{"steps": 7}')


def write(folder: Path, *steps: int, keep: int = 9, rows: int = ROWS) -> None:
    """Checkpoints of these steps."""
    with Checkpoints(folder, keep) as checkpoints:
        for step in steps:
            checkpoints.save(state_of(step, rows), progress_of(step))
