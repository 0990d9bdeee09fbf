"""What the processes do that test_kills.py kills: save one state after the other, each under its step."""

from multiprocessing.connection import Connection
from pathlib import Path

from jaxformer.training.checkpoint import Checkpoints
from tests.survival.states import abstract, is_of_step, progress_of, state_of


def save_forever(folder: Path, keep: int, said: Connection) -> None:
    """Go on from the newest checkpoint until killed.

    Says the step that it goes on from, None where that state is not what was saved, then every step whose save is
    about to begin, when the one before it has ended.
    """
    with Checkpoints(folder, keep) as checkpoints:
        step = 0
        if checkpoints.steps:
            state, progress = checkpoints.restore(abstract())
            step = int(state.step)
            checkpoints.forget_after(step)
            said.send(step if is_of_step(state, progress) else None)
        else:
            said.send(0)
        while True:
            step += 1
            state = state_of(step)
            checkpoints.finish()
            said.send(step)
            checkpoints.save(state, progress_of(step))
