"""How a run is conducted, whatever it trains: begin or restore, compile, loop, record, save, go back after trouble."""

import contextlib
import json
import shlex
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import flax.linen as nn

from jaxformer.analysis.hardware import describe, summary, total_peak_flops
from jaxformer.analysis.memory import readable
from jaxformer.analysis.parameters import abstract_parameters, parameter_count, parameter_table
from jaxformer.config.errors import UserError
from jaxformer.config.io import difference, from_json, to_json
from jaxformer.config.training import NoAverage, Stop, TrainingConfig
from jaxformer.ops.attention.backends import watching
from jaxformer.parallel.mesh import repeated_rows
from jaxformer.training import peers
from jaxformer.training.checkpoint import Checkpoints, Progress, Restored
from jaxformer.training.job import Job
from jaxformer.training.journal import Display, Journal, Speed, Unwritten, clock, display
from jaxformer.training.loop import Diverged, TooManyLeftOut, fit
from jaxformer.training.run import JOBS, RunFolder
from jaxformer.training.state import TrainState
from jaxformer.training.stopping import StopRequest
from jaxformer.training.watchdog import Watchdog

FREE = ("watch", "checkpoint_every", "mesh", "bad_numbers")
"""Fields that may change from one part of a run to the next: they decide what is looked at, which devices share the
work and what is done when it fails, not what is computed.
"""


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
    with Checkpoints(run.checkpoints_path, config.watch.keep, config.watch.stop_unsaved) as checkpoints:
        kept = _newest(job, run, checkpoints)
        step = 0 if kept is None else int(kept.state.step)
        _forget_after(step, run, checkpoints)
        if peers.leads() and run.config(type(config)) != config:
            run.keep_config(config)
        _banner(job, env, run.path, step if resumed else None)
        began = time.perf_counter()
        _compile(job)
        _loop(job, run, checkpoints, kept or _new(job), until, stop)
        print(f"trained    {clock(time.perf_counter() - began)} with compilation", flush=True)


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


def _compile(job: Job) -> None:
    """Compile the step, and tell what it will take before the state is made."""
    began = time.perf_counter()
    with watching() as attentions:
        job.compile()
    shapes = ", ".join(f"{rows}x{length}" for rows, length in job.batches.shapes)
    print(f"compiled   {len(job.batches.shapes)} shapes ({shapes}) in {time.perf_counter() - began:.1f} s", flush=True)
    given, besides = job.memory
    print(f"memory     {readable(given)} of state and batch, {readable(besides)} to work in", flush=True)
    for choice in dict.fromkeys(map(str, attentions)):
        print(f"attention  {choice}", flush=True)


def _loop(job: Job, run: RunFolder, checkpoints: Checkpoints, begun: Restored, until: int, stop: StopRequest) -> None:
    config, (state, progress) = job.config, begun
    step = int(state.step)
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
    state, progress = _newest(job, run, checkpoints) or _new(job)
    step = int(state.step)
    _forget_after(step, run, checkpoints)
    shown.line(f"{trouble}: back to step {step}, and on from there with batch {next_batch + 1}")
    return state, replace(progress, next_batch=next_batch)


def _forget_after(step: int, run: RunFolder, checkpoints: Checkpoints) -> None:
    """Drop what was written of later steps, which are taken again, once all processes go on from this one."""
    peers.same(step, f"the newest whole checkpoint in {run.path}")
    if peers.leads():
        run.forget_after(step)
        checkpoints.forget_after(step)
    peers.meet("forgotten")


def _new(job: Job) -> Restored:
    """Where a run begins."""
    configuration = json.dumps(to_json(job.config))
    return Restored(job.new_state(), Progress(job.batches.fingerprint, 0, configuration=configuration))


def _newest(job: Job, run: RunFolder, checkpoints: Checkpoints) -> Restored | None:
    """The newest checkpoint; None where there is none. Raises UserError where it is of other data or another model."""
    fingerprint = job.batches.fingerprint
    if not checkpoints.steps:
        return None
    state, progress = checkpoints.restore(job.abstract)
    _check_model(progress, job.config, run)
    if progress.batches != fingerprint:
        raise UserError(
            f"the data of this run have changed: {job.config.data} gives batches {fingerprint[:12]}, "
            f"the run was started with {progress.batches[:12]}; give it the same corpus, or choose another --out"
        )
    return Restored(state, progress)


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
