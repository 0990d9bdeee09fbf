"""Checkpoints of a run: the whole state and the position in the data, through Orbax."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import orbax.checkpoint as ocp
from jax.sharding import SingleDeviceSharding
from orbax.checkpoint.checkpoint_managers import AnyPreservationPolicy, LatestN, PreservationPolicy

from jaxformer.config.errors import UserError
from jaxformer.training.state import TrainState


@dataclass(frozen=True)
class Progress:
    """Where a run stands besides its state: which data it reads and how its validations went."""

    batches: str
    """Fingerprint of the stream of batches."""
    next_batch: int
    best_score: float | None = None
    best_step: int = 0
    validations_since_best: int = 0


class Restored(NamedTuple):
    """What a checkpoint gave back."""

    state: TrainState
    progress: Progress


class _Best(PreservationPolicy):
    """Keeps one step. Orbax's own policy for the best one goes by scores that it forgets between two processes."""

    step = 0

    def should_preserve(self, checkpoints: Sequence[Any], *, context: Any) -> list[bool]:
        return [checkpoint.step == self.step for checkpoint in checkpoints]


class Checkpoints:
    """The checkpoints of one run folder. Saving goes on in the background; close it, or use it in a `with`."""

    def __init__(self, folder: Path, keep: int = 2) -> None:
        self._best, self._keep = _Best(), keep
        options = ocp.CheckpointManagerOptions(preservation_policy=AnyPreservationPolicy([LatestN(keep), self._best]))
        self._folder = folder
        # Named here, so that what a checkpoint holds can be looked at before anything is restored.
        handlers = {
            "model": ocp.StandardCheckpointHandler(),
            "rest": ocp.StandardCheckpointHandler(),
            "progress": ocp.JsonCheckpointHandler(),
        }
        self._manager = ocp.CheckpointManager(folder.resolve(), options=options, item_handlers=handlers)

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Wait for what is being saved."""
        self._manager.wait_until_finished()
        self._manager.close()

    @property
    def steps(self) -> list[int]:
        """Steps that have a checkpoint, ascending."""
        return sorted(self._manager.all_steps())

    @property
    def best_step(self) -> int | None:
        """The step whose validation had the highest score, or the newest where none was validated; None without any."""
        steps = self.steps
        if not steps:
            return None
        best = self.progress(steps[-1]).best_step
        return best if best in steps else steps[-1]

    def progress(self, step: int) -> Progress:
        """Where the run stood at a step."""
        restored = self._manager.restore(step, args=ocp.args.Composite(progress=ocp.args.JsonRestore()))
        return Progress(**restored["progress"])

    def save(self, state: TrainState, progress: Progress) -> None:
        """Save a state under its step; the best step so far is kept besides the newest ones."""
        step = int(state.step)
        if step in self._manager.all_steps():
            return
        self._best.step = progress.best_step
        items = ocp.args.Composite(
            model=ocp.args.StandardSave({"params": state.params, "average": state.average}),
            rest=ocp.args.StandardSave({"step": state.step, "optimizer": state.optimizer, "key": _key_data(state.key)}),
            progress=ocp.args.JsonSave(vars(progress)),
        )
        self._manager.save(step, args=items)

    def restore(self, abstract: TrainState, step: int) -> Restored:
        """The state of a step, laid out as `abstract` (shapes, dtypes and shardings) says.

        Raises UserError where the checkpoint does not fit it.
        """
        model = {"params": abstract.params, "average": abstract.average}
        key = jax.eval_shape(_key_data, abstract.key).update(sharding=abstract.key.sharding)
        rest = {"step": abstract.step, "optimizer": abstract.optimizer, "key": key}
        items = self._restore(step, model=model, rest=rest)
        rest = items.rest | {"key": jax.random.wrap_key_data(items.rest["key"])}
        state = TrainState(**items.model, **rest)
        return Restored(state, self.progress(step))

    def restore_params(self, abstract: Any, averaged: bool, step: int) -> Any:
        """The parameters to evaluate at a step, on one device: the moving average where one was kept."""
        # Said outright, because Orbax would else look for the devices that they were saved from.
        place = SingleDeviceSharding(jax.local_devices()[0])
        abstract = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=place), abstract)
        model = {"params": abstract, "average": abstract if averaged else None}
        restored = self._restore(step, model=model).model
        return restored["average"] if averaged else restored["params"]

    def mean_params(self, abstract: Any, averaged: bool, count: int) -> Any:
        """The mean of the parameters of the last `count` checkpoints (Vaswani et al. 2017, §6.1).

        The best one, which is kept besides the newest and may be far older, counts only where it is one of the newest.
        """
        steps = self.steps[-self._keep :][-count:]
        if len(steps) < count:
            raise UserError(
                f"cannot average {count} checkpoints, {self._folder} holds {len(steps)}; train with watch.keep={count}"
            )
        every = [self.restore_params(abstract, averaged, step) for step in steps]
        return jax.tree.map(lambda *leaves: jnp.mean(jnp.stack(leaves), axis=0), *every)

    def _restore(self, step: int, **abstract: Any) -> Any:
        for name, tree in abstract.items():
            self._check(step, name, tree)
        items = {name: ocp.args.StandardRestore(tree) for name, tree in abstract.items()}
        return self._manager.restore(step, args=ocp.args.Composite(**items))

    def _check(self, step: int, item: str, abstract: Any) -> None:
        """Compare the tree on disk with the one that is wanted, leaf by leaf, before anything is read."""
        saved = self._manager.item_metadata(step)[item]
        saved = {
            _name(path): leaf
            for path, leaf in jax.tree_util.tree_leaves_with_path(saved.tree if hasattr(saved, "tree") else saved)
        }
        wanted = {_name(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(abstract)}
        where = f"checkpoint {step} in {self._folder} does not fit the model"
        for name in sorted(wanted.keys() ^ saved.keys()):
            side = "is missing there" if name in wanted else "is not in the model"
            raise UserError(f"{where}: {name} {side}; use the configuration it was trained with")
        for name, leaf in wanted.items():
            if tuple(leaf.shape) != tuple(saved[name].shape):
                raise UserError(
                    f"{where}: {name} has shape {tuple(saved[name].shape)}, wanted {tuple(leaf.shape)}; "
                    "use the configuration it was trained with"
                )


def _key_data(key: Any) -> Any:
    """A random key as plain numbers, whose shape and type can be checked like any other leaf's."""
    return jax.random.key_data(key)


def _name(path: Any) -> str:
    return jax.tree_util.keystr(path, simple=True, separator=".")
