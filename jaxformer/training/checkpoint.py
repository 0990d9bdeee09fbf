"""Checkpoints of a run: the whole state and the position in the data, saved in the background, checked when read."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
from jax.sharding import SingleDeviceSharding

from jaxformer.config.errors import UserError
from jaxformer.config.io import from_json, parse_json
from jaxformer.config.ranges import at_least
from jaxformer.training.loading import load
from jaxformer.training.manifest import Damaged
from jaxformer.training.run import warn
from jaxformer.training.saving import Saver, reason, set_aside, step_folders
from jaxformer.training.state import TrainState

T = TypeVar("T")


@dataclass(frozen=True)
class Progress:
    """Where a run stands besides its state: which data it reads and how its validations went."""

    batches: str
    """Fingerprint of the stream of batches."""
    next_batch: int
    best_score: float | None = None
    best_step: int = 0
    validations_since_best: int = 0
    configuration: str = ""
    """What the run was started with, in JSON; empty in checkpoints of earlier versions."""

    def __post_init__(self):
        at_least(self, 0, "next_batch", "best_step", "validations_since_best")


class Restored(NamedTuple):
    """What a checkpoint gave back."""

    state: TrainState
    progress: Progress


class Chosen(NamedTuple):
    """Parameters to evaluate, the step that they are of, and where the run stood there."""

    params: Any
    step: int
    progress: Progress


class NotSaved(Exception):
    """The last state of a run could not be saved. The checkpoints before it are as they were."""


class Checkpoints:
    """The checkpoints of one run folder. Saving goes on in the background; close it, or use it in a `with`.

    Where a checkpoint is damaged, the newest one that is not takes its place, with a warning.
    """

    def __init__(self, folder: Path, keep: int = 2, stop_unsaved: bool = False) -> None:
        """In a folder that need not be there, `keep` new checkpoints at a time; with `stop_unsaved`, a save raises
        NotSaved where the one before it failed.
        """
        self._folder, self._keep, self._stop_unsaved = folder, keep, stop_unsaved
        # Made by the first save: a reader must not clear away what a training is just writing.
        self._saver: Saver | None = None
        self._saving: int | None = None
        self._failure: str | None = None
        self._told: set[int] = set()

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, kind: object, *exception: object) -> None:
        self._settle()
        if self._saver is not None:
            self._saver.close()
            self._saver = None
        # What ends a run early is told rather than this.
        if kind is None:
            self.finish()

    def close(self) -> None:
        """Wait for what is being saved. Raises NotSaved where the last save failed."""
        self.__exit__(None)

    def finish(self) -> None:
        """Wait for what is being saved. Raises NotSaved where the last save failed."""
        self._settle()
        if self._failure:
            before = f"step {self.steps[-1]}" if self.steps else "the start"
            raise NotSaved(f"{self._failure}; mend that and go on from {before}")

    @property
    def steps(self) -> list[int]:
        """Steps that have a checkpoint or are just being saved, ascending."""
        saving = [] if self._saving is None else [self._saving]
        return sorted({*step_folders(self._folder), *saving})

    @property
    def best_step(self) -> int | None:
        """The step whose validation had the highest score, or the newest where none was validated; None without any."""
        steps = self.steps
        if not steps:
            return None
        newest, progress = self._newest(lambda step: (step, self.progress(step)))
        return progress.best_step if progress.best_step in steps else newest

    def progress(self, step: int) -> Progress:
        """Where the run stood at a step. Raises Damaged."""
        return self._load(step, {})["progress"]

    def save(self, state: TrainState, progress: Progress) -> None:
        """Save a state under its step; the best step so far is kept besides the newest ones.

        Where the save before failed, that is told in a warning, or raises NotSaved.
        """
        self._settle()
        step = int(state.step)
        if self._stop_unsaved:
            self.finish()
        if self._failure:
            warn(f"{self._failure}; those before it are whole, and step {step} is tried")
        if step in self.steps:
            return
        items = {
            "model": {"params": state.params, "average": state.average},
            "rest": {"step": state.step, "optimizer": state.optimizer, "key": _key_data(state.key)},
            "progress": vars(progress),
        }
        self._saving = step
        try:
            self._saver = self._saver or Saver(self._folder, self._keep)
            self._saver.save(step, progress.best_step, items)
        except Exception as error:
            self._fail(error)

    def restore(self, abstract: TrainState, step: int | None = None) -> Restored:
        """The state of a step, or of the newest one that is not damaged, laid out as `abstract` (shapes, dtypes and
        shardings) says.

        Raises Damaged where the step is damaged, UserError where it does not fit or where all of them are damaged.
        """
        if step is None:
            return self._newest(lambda step: self.restore(abstract, step))
        model = {"params": abstract.params, "average": abstract.average}
        key = jax.eval_shape(_key_data, abstract.key).update(sharding=abstract.key.sharding)
        rest = {"step": abstract.step, "optimizer": abstract.optimizer, "key": key}
        items = self._load(step, {"model": model, "rest": rest})
        rest = items["rest"] | {"key": jax.random.wrap_key_data(items["rest"]["key"])}
        return Restored(TrainState(**items["model"], **rest), items["progress"])

    def forget_after(self, step: int) -> None:
        """Set the checkpoints past `step` aside, which a run that goes on from there takes again."""
        for later, folder in step_folders(self._folder).items():
            if later > step and jax.process_index() == 0:
                set_aside(folder)

    def restore_params(self, abstract: Any, averaged: bool, step: int) -> Chosen:
        """The parameters to evaluate at a step, on one device: the moving average where one was kept.

        Raises Damaged where the step is damaged, UserError where it does not fit.
        """
        # Said outright, because Orbax would else look for the devices that they were saved from.
        place = SingleDeviceSharding(jax.local_devices()[0])
        abstract = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=place), abstract)
        model = {"params": abstract, "average": abstract if averaged else None}
        items = self._load(step, {"model": model})
        return Chosen(items["model"]["average" if averaged else "params"], step, items["progress"])

    def best_params(self, abstract: Any, averaged: bool) -> Chosen:
        """The parameters to evaluate of the best step, or of the newest one where that is damaged."""
        return self._newest(lambda step: self.restore_params(abstract, averaged, step), first=self.best_step)

    def mean_params(self, abstract: Any, averaged: bool, count: int) -> Chosen:
        """The mean of the parameters of the last `count` checkpoints (Vaswani et al. 2017, §6.1), under the last step.

        The best one, which is kept besides the newest and may be far older, counts only where it is one of the newest;
        one that is damaged does not count.
        """
        newest = reversed(self.steps[-self._keep :])
        whole = self._whole(newest, lambda step: self.restore_params(abstract, averaged, step))
        every = list(islice(whole, count))
        if len(every) < count:
            raise UserError(
                f"cannot average {count} checkpoints, {self._folder} holds {len(every)}; train with watch.keep={count}"
            )
        mean = jax.tree.map(lambda *leaves: jnp.mean(jnp.stack(leaves), axis=0), *(chosen.params for chosen in every))
        return every[0]._replace(params=mean)

    def _load(self, step: int, abstract: Mapping[str, Any]) -> dict[str, Any]:
        """The items of a step, with the progress among them."""
        self._settle()
        items = load(self._folder.resolve() / str(step), abstract)
        try:
            progress = from_json(Progress, items["progress"])
            parse_json(progress.configuration or "{}")
        except (UserError, ValueError) as error:
            raise Damaged(f"checkpoint {step} in {self._folder} is damaged: its progress: {error}") from None
        return items | {"progress": progress}

    def _whole(self, steps: Iterable[int], load: Callable[[int], T]) -> Iterator[T]:
        """What `load` gives for each step that is not damaged; a warning, the first time, for the others."""
        for step in steps:
            try:
                loaded = load(step)
            except Damaged as error:
                if step not in self._told:
                    warn(f"{error}; it is not used")
                self._told.add(step)
            else:
                yield loaded

    def _newest(self, load: Callable[[int], T], first: int | None = None) -> T:
        """What `load` gives for the newest step that is not damaged, or for `first` where that is not."""
        steps = [step for step in reversed(self.steps) if step != first]
        for loaded in self._whole(steps if first is None else [first, *steps], load):
            return loaded
        raise UserError(f"no checkpoint in {self._folder} is whole; bring back a copy of one, or train anew")

    def _settle(self) -> None:
        """Wait for what is being saved."""
        if self._saver is not None and self._saving is not None:
            try:
                self._saver.wait()
                self._saving = self._failure = None
            except Exception as error:
                self._fail(error)

    def _fail(self, error: Exception) -> None:
        self._failure = f"checkpoint {self._saving} could not be saved in {self._folder}: {reason(error)}"
        self._saving = None


def _key_data(key: Any) -> Any:
    """A random key as plain numbers, whose shape and type can be checked like any other leaf's."""
    return jax.random.key_data(key)
