"""What every run does, whatever it trains: make or restore a state, compile the step, loop, record and save."""

import contextlib
import json
import shlex
import time
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax

from jaxformer.analysis.hardware import describe, summary, total_peak_flops
from jaxformer.analysis.parameters import abstract_parameters, parameter_count, parameter_table
from jaxformer.config.errors import UserError
from jaxformer.config.io import difference, from_json, to_json
from jaxformer.config.training import NoAverage, Stop, TrainingConfig
from jaxformer.data.buckets import Shape
from jaxformer.objectives import Objective
from jaxformer.ops.attention.backends import watching
from jaxformer.parallel.gather import gathered
from jaxformer.parallel.mesh import batch_shardings, make_mesh, place, repeated_rows, replicated, state_shardings
from jaxformer.text.tokenizer import Tokenizer
from jaxformer.training import peers
from jaxformer.training.checkpoint import Checkpoints, Progress
from jaxformer.training.diagnosis import first_unsound
from jaxformer.training.given import check_given, over
from jaxformer.training.guard import remembering
from jaxformer.training.journal import Display, Journal, Speed, Unwritten, clock, display
from jaxformer.training.loop import Diverged, TooManyLeftOut, Validation, fit
from jaxformer.training.optimizers import optimizer
from jaxformer.training.run import JOBS, RunFolder, warn, write_whole
from jaxformer.training.state import TrainState, new_state
from jaxformer.training.step import Metrics, ShapedStep, make_step, micro_batches
from jaxformer.training.stopping import StopRequest
from jaxformer.training.watchdog import Watchdog

FREE = ("watch", "checkpoint_every", "mesh", "bad_numbers")
"""Fields that may change from one part of a run to the next: they decide what is looked at, which devices share the
work and what is done when it fails, not what is computed.
"""


class Job(ABC):
    """A model, the batches that it learns from, and what it learns: all that a run needs but its folder.

    Args:
        config: a `TrainingConfig` that has a `model`.
        model: the module.
        tokenizer: what the run keeps beside its weights.
        batches: `batches[i]` for any i ≥ 0 is a NamedTuple of arrays of one of `shapes`, which have `rows`; besides
            `per_epoch` and a `fingerprint`.
        objective: what is learned.
        given: weights to begin with, a part of the parameters' tree; the others are drawn.
    """

    unit = "token"
    """What is predicted."""

    frozen: Any = None
    """Arrays on their devices that every step is given and none changes; see `objective_with`."""

    def __init__(
        self,
        config: Any,
        model: Any,
        tokenizer: Tokenizer,
        batches: Any,
        objective: Objective,
        given: Mapping[str, Any] | None = None,
    ) -> None:
        self.config, self.model, self.tokenizer, self.batches = config, model, tokenizer, batches
        self.objective, self._given = objective, given
        self.mesh = make_mesh(config.mesh)
        self.place = partial(place, mesh=self.mesh)
        rule = optimizer(config.optimization, config.steps, config.model.width)
        self._optimizer = remembering(rule, config.optimization.spikes)
        boxed = jax.eval_shape(self._boxed_state)
        self._boxed_params = boxed.params
        self.shardings = state_shardings(boxed, self.mesh)
        self.abstract = _laid_out(nn.unbox(boxed), self.shardings)
        check_given(given, self.abstract.params)
        self._samples: Path | None = None
        self._check_accumulation()

    @abstractmethod
    def inputs(self) -> tuple[Any, ...]:
        """What the model is called with, as small as can be."""

    @abstractmethod
    def abstract_batch(self, shape: Shape) -> Any:
        """A batch of this shape, with `jax.ShapeDtypeStruct` for arrays."""

    @abstractmethod
    def validate(self, step: int, params: Any) -> Validation:
        """How well the parameters do on the valid split."""

    @abstractmethod
    def flops_per_token(self) -> float:
        """Operations of training per predicted token."""

    @abstractmethod
    def about(self) -> dict[str, str]:
        """What the data and the batches are, a line each, by its first word."""

    def notes(self) -> Iterable[str | None]:
        """What a person should know of the data before the run."""
        return ()

    def bias_rates(self) -> dict[str, float]:
        """How fast the biases of experts move, as `balance.bias_rates` has them."""
        return {}

    def drawn(self, key: Any) -> Any:
        """The parameters before training, in Flax's boxes."""
        return self.model.init(key, *self.inputs())

    def objective_with(self, frozen: Any) -> Objective:
        """What is learned, over the mesh, while what is frozen is at hand."""
        return gathered(self.objective, self._boxed_params, self.mesh)

    def new_state(self) -> TrainState:
        """The state before the first step, on its devices."""
        # As an argument, for a constant of a program is compiled with it.
        return jax.jit(self._new_state, out_shardings=self.shardings)(self._given)

    def compile(self) -> None:
        """Compile the step for every shape of batch."""
        batches = [self.abstract_batch(shape) for shape in self.batches.shapes]
        batches = [_laid_out(batch, batch_shardings(batch, self.mesh)) for batch in batches]
        self._step = ShapedStep(self.sharded_step(), self.abstract, batches, self.frozen)

    def sharded_step(self) -> Any:
        """The step over the mesh, jitted, of (state, batch, what is frozen); the state is donated and comes back laid
        out as it was.
        """
        o, biases = self.config.optimization, self.bias_rates()

        def step(state: TrainState, batch: Any, frozen: Any = None) -> tuple[TrainState, Metrics]:
            objective = self.objective_with(frozen)
            return make_step(objective, self._optimizer, o.average, o.accumulate, biases, o.spikes)(state, batch)

        return jax.jit(step, out_shardings=(self.shardings, replicated(self.mesh)), donate_argnums=0)

    def step(self, state: TrainState, batch: Any) -> tuple[TrainState, Metrics]:
        """One update."""
        return self._step(state, batch, self.frozen)

    def where_unsound(self, state: TrainState, batch: Any, step: int) -> str | None:
        """Where the numbers of a step that begins with this state first are not finite, in words; None where all are.

        `step` is its number. Dropout is as it was in the step.
        """
        batch, key = self.place(batch), jax.random.fold_in(state.key, step - 1)
        count, parts = self.config.optimization.accumulate, [(batch, key)]
        if count > 1:
            stacked = micro_batches(batch, key, count)
            parts = [jax.tree.map(lambda leaf, i=i: leaf[i], stacked) for i in range(count)]
        objective = self.objective_with(self.frozen)
        places = (first_unsound(objective, state.params, *part) for part in parts)
        return next(filter(None, places), None)

    def write_samples_to(self, run: RunFolder) -> None:
        """Let every validation leave its samples in the run."""
        run.samples_path.mkdir(exist_ok=True)
        self._samples = run.samples_path

    def keep_sample(self, step: int, text: str) -> None:
        """Write what a validation gave a person to read, where samples are kept."""
        if self._samples is not None:
            try:
                write_whole(self._samples / f"{step:07}.txt", text)
            except OSError as error:
                warn(f"the samples of step {step} could not be written to {self._samples}: {error.strerror}")

    def _boxed_state(self) -> TrainState:
        init, run = jax.random.split(jax.random.key(self.config.seed))
        return self._state_of(self.drawn(init), run)

    def _new_state(self, given: Mapping[str, Any] | None) -> TrainState:
        init, run = jax.random.split(jax.random.key(self.config.seed))
        return self._state_of(over(nn.unbox(self.drawn(init)), given or {}), run)

    def _state_of(self, params: Any, key: Any) -> TrainState:
        return new_state(params, self._optimizer, self.config.optimization.average, key)

    def _check_accumulation(self) -> None:
        """Raises UserError where a batch cannot be cut into so many parts."""
        parts = self.config.optimization.accumulate
        rows = sorted({shape.rows for shape in self.batches.shapes if shape.rows % parts})
        if rows:
            raise UserError(
                f"optimization.accumulate must divide the rows of every batch, got accumulate={parts} for batches of "
                f"{' and '.join(map(str, rows))} rows; lower it, or make the batches larger"
            )


def run_job(job: Job, run: RunFolder, until: int | None = None) -> None:
    """Train in the run folder, or go on with the run that is there, up to step `until` or the end.

    All input has been looked at before: from here on things are written, by one process at a time. Raises UserError
    where another process trains there; Interrupted on Ctrl-C or SIGTERM, with everything saved; Diverged where the loss
    is no longer finite.
    """
    # Nothing is written before all have read what is there.
    peers.meet("read")
    with run.locked() if peers.leads() else contextlib.nullcontext(), StopRequest() as stop:
        _train(job, run, job.config.steps if until is None else min(until, job.config.steps), stop)


def _train(job: Job, run: RunFolder, until: int, stop: StopRequest) -> None:
    config, env = job.config, describe()
    # Asked again, since another process may have been here before the lock was had.
    resumed = run.holds(config, *FREE)
    peers.meet("read again")
    if peers.leads():
        if not resumed:
            run.begin(config, env)
        if not run.has_tokenizer:
            run.keep_tokenizer(job.tokenizer)
        job.write_samples_to(run)
    peers.meet("begun")
    with Checkpoints(run.checkpoints_path, config.watch.keep) as checkpoints:
        state, progress = _start(job, run, checkpoints)
        step = int(state.step)
        _forget_after(step, run, checkpoints)
        if peers.leads() and run.config(type(config)) != config:
            run.keep_config(config)
        _banner(job, env, run.path, step if resumed else None)
        _loop(job, run, checkpoints, state, progress, until, stop)


def restored(run: RunFolder, config: TrainingConfig, model: Any, average: int = 1) -> tuple[Any, int]:
    """The parameters of a run's best checkpoint and their step, or the mean of the last `average` ones and the last
    step. Raises UserError where nothing was saved yet.
    """
    abstract = nn.unbox(abstract_parameters(model))
    averaged = not isinstance(config.optimization.average, NoAverage)
    if not run.checkpoints_path.is_dir():
        raise _nothing_saved(run)
    with Checkpoints(run.checkpoints_path, config.watch.keep) as checkpoints:
        if not checkpoints.steps:
            raise _nothing_saved(run)
        if average > 1:
            chosen = checkpoints.mean_params(abstract, averaged, average)
        else:
            chosen = checkpoints.best_params(abstract, averaged)
    _check_model(chosen.progress, config, run)
    return chosen.params, chosen.step


def _nothing_saved(run: RunFolder) -> UserError:
    again = f"jaxformer train {JOBS[run.kind()]} --out {shlex.quote(str(run.path))}"
    return UserError(f"{run.path} has no checkpoint yet; go on with it: {again}")


def _loop(
    job: Job,
    run: RunFolder,
    checkpoints: Checkpoints,
    state: TrainState,
    progress: Progress,
    until: int,
    stop: StopRequest,
) -> None:
    config, step, began = job.config, int(state.step), time.perf_counter()
    with watching() as attentions:
        job.compile()
    shapes = ", ".join(f"{rows}x{length}" for rows, length in job.batches.shapes)
    print(f"compiled   {len(job.batches.shapes)} shapes ({shapes}) in {time.perf_counter() - began:.1f} s", flush=True)
    for choice in dict.fromkeys(map(str, attentions)):
        print(f"attention  {choice}", flush=True)
    speed = Speed(until - step, job.flops_per_token(), total_peak_flops(config.model.dtype), job.unit)
    shown = display(step, config.steps, config.watch.log_every)
    with shown, Watchdog(config.watch.stall, run.stalls_path) as watchdog:
        rolled_back = 0
        while True:
            try:
                with contextlib.closing(_journal(run, int(state.step))) as journal:
                    fit(
                        job,
                        state,
                        progress,
                        steps=config.steps,
                        until=until,
                        checkpoint_every=config.checkpoint_every,
                        watch=config.watch,
                        bad_numbers=config.bad_numbers,
                        checkpoints=checkpoints,
                        journal=journal,
                        display=shown,
                        speed=speed,
                        watchdog=watchdog,
                        stop=stop,
                    )
                break
            except TooManyLeftOut as trouble:
                state, progress = _mended(job, run, checkpoints, trouble, rolled_back, shown)
                rolled_back += 1
    print(f"trained    {clock(time.perf_counter() - began)} with compilation", flush=True)


def _journal(run: RunFolder, step: int) -> Journal | Unwritten:
    return Journal(run, step) if peers.leads() else Unwritten()


def _mended(
    job: Job, run: RunFolder, checkpoints: Checkpoints, trouble: TooManyLeftOut, rolled_back: int, shown: Display
) -> tuple[TrainState, Progress]:
    """What to go on from after so many steps were left out: the last checkpoint, with the batches after theirs.

    Raises Diverged, which says where the trouble begins, where that is not to be done, or was done often enough.
    """
    bad_numbers, next_batch = job.config.bad_numbers, trouble.progress.next_batch
    if isinstance(bad_numbers, Stop) or rolled_back == bad_numbers.most:
        place = job.where_unsound(trouble.state, job.batches[next_batch - 1], trouble.last)
        found = f"{place} is the first that is not finite" if place else "the numbers of the last one are finite"
        hint = "; --bad-numbers RollBack goes on after their batches" if isinstance(bad_numbers, Stop) else ""
        raise Diverged(f"{trouble}, {found}{hint}", max(checkpoints.steps, default=None)) from None
    # Only the first process knows when the last checkpoint has its name.
    checkpoints.finish()
    peers.meet("saved")
    state, progress = _start(job, run, checkpoints)
    step = int(state.step)
    _forget_after(step, run, checkpoints)
    shown.line(f"{trouble}: back to step {step}, and on from there with batch {next_batch + 1}")
    return state, replace(progress, next_batch=next_batch)


def _forget_after(step: int, run: RunFolder, checkpoints: Checkpoints) -> None:
    """Drop what was written of later steps, which are taken again."""
    if peers.leads():
        run.forget_after(step)
        checkpoints.forget_after(step)
    peers.meet("forgotten")


def _start(job: Job, run: RunFolder, checkpoints: Checkpoints) -> tuple[TrainState, Progress]:
    """The newest checkpoint, or a new state where there is none."""
    fingerprint = job.batches.fingerprint
    if not checkpoints.steps:
        return job.new_state(), Progress(fingerprint, 0, configuration=json.dumps(to_json(job.config)))
    state, progress = checkpoints.restore(job.abstract)
    _check_model(progress, job.config, run)
    if progress.batches != fingerprint:
        raise UserError(
            f"the data of this run have changed: {job.config.data} gives batches {fingerprint[:12]}, "
            f"the run was started with {progress.batches[:12]}; give it the same corpus, or choose another --out"
        )
    return state, progress


def _check_model(progress: Progress, config: Any, run: RunFolder) -> None:
    """Raises UserError where a checkpoint is of another model, whose weights may well have the same shapes."""
    if progress.configuration:
        there = from_json(type(config), json.loads(progress.configuration))
        # How layers are computed, which may change, is in `model.layers`.
        changes = [
            each for each in difference(there, config) if each.startswith("model") and "model.layers." not in each
        ]
        if changes:
            raise UserError(
                f"the checkpoints of {run.path} are of another model: {'; '.join(changes)}; bring back the "
                "configuration they were trained with"
            )


def _banner(job: Job, env: dict[str, Any], out: Path, resumed_at: int | None) -> None:
    parameters = parameter_count(parameter_table(abstract_parameters(job.model)))
    lines = {
        "devices": f"{summary(env)}, mesh {dict(job.mesh.shape)}",
        "model": f"{parameters:,} parameters, {job.config.model.dtype}",
        "work": f"{job.flops_per_token() / 1e6:.1f} MFLOP per predicted {job.unit}",
        **job.about(),
        "output": f"{out}, resumed at step {resumed_at}" if resumed_at is not None else str(out),
    }
    for name, text in lines.items():
        print(f"{name:<10} {text}", flush=True)
    parts = job.config.optimization.accumulate
    for note in (*job.notes(), repeated_rows([s.rows // parts for s in job.batches.shapes], job.mesh)):
        if note:
            print(f"{'note':<10} {note}", flush=True)


def _laid_out(abstract: Any, shardings: Any) -> Any:
    """Shapes with the places where they are to lie."""
    return jax.tree.map(
        lambda leaf, sharding: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding), abstract, shardings
    )
