"""However a run is broken off, going on with it gives the run without a break, to the last bit."""

import shlex
import subprocess
import sys

import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest

from jaxformer.training.checkpoint import Checkpoints
from tests.cli.toy import EPOCH, ROOT, SIGNALLED, START, STEPS, contents, process, read_metrics, training


def lasting(folder):
    """What two equal runs have in common: all but TensorBoard's and Orbax' files, which hold times."""
    return {name: data for name, data in contents(folder).items() if not name.startswith(("tb", "checkpoints"))}


def assert_same_run(out, trained):
    assert lasting(out) == lasting(trained.out)
    with Checkpoints(out / "checkpoints") as a, Checkpoints(trained.out / "checkpoints") as b:
        assert a.progress(STEPS) == b.progress(STEPS) and a.best_step == b.best_step


def signalled(number, step, awaited, arguments):
    """The command, sent a signal before the step after `step`."""
    return process(number, str(step), str(awaited), *arguments, code=SIGNALLED)


def interrupted(result, step, out):
    """The arguments that the interrupted command says it can be gone on with."""
    assert result.returncode == 130, result.stderr
    assert "Traceback" not in result.stderr
    *_, last = result.stderr.splitlines()
    said, _, again = last.partition("go on with: jaxformer ")
    assert said == f"saved      step {step} in {out}; "
    assert [row["step"] for row in read_metrics(out / "metrics.jsonl")] == list(range(1, step + 1))
    with Checkpoints(out / "checkpoints") as checkpoints:
        assert checkpoints.steps[-1] == step
    return shlex.split(again)


def test_half_and_a_new_process_and_half_are_the_whole(trained, tmp_path):
    out, half = tmp_path / "a run", STEPS // 2
    assert half > EPOCH, "an epoch boundary must lie in each half"
    result = process(*training(trained.data, out, f"--until={half}"))
    assert result.returncode == 0, result.stderr
    assert "testing" not in result.stdout
    first = (out / "metrics.jsonl").read_bytes()
    assert first == b"".join((trained.out / "metrics.jsonl").read_bytes().splitlines(keepends=True)[:half])
    result = process(*training(trained.data, out))
    assert result.returncode == 0, result.stderr
    assert f", resumed at step {half}\n" in result.stdout
    assert_same_run(out, trained)


@pytest.mark.slow
def test_a_run_that_is_interrupted_stopped_and_killed_is_the_same_run(trained, tmp_path):
    out = tmp_path / "a run"
    arguments = training(trained.data, out)
    stopped = signalled("SIGINT", 7, tmp_path, arguments)
    again = interrupted(stopped, 8, out)
    assert again == arguments

    stopped = signalled("SIGTERM", 32, tmp_path, again)
    assert interrupted(stopped, 33, out) == arguments

    stopped = signalled("SIGKILL", 43, out / "checkpoints" / "40", arguments)
    assert stopped.returncode == -9
    # A step is written down when the next one is on its way, which the 44th never was.
    assert [row["step"] for row in read_metrics(out / "metrics.jsonl")] == list(range(1, 43))
    with (out / "metrics.jsonl").open("a", encoding="utf-8") as file:
        file.write('{"step": 43, "accur')  # as if it had been killed while it wrote

    result = process(*arguments)
    assert result.returncode == 0, result.stderr
    assert ", resumed at step 40\n" in result.stdout
    assert_same_run(out, trained)


def saved(out, step):
    """Parameters, average, optimizer state and key of a checkpoint."""
    with ocp.StandardCheckpointer() as checkpointer:
        return [checkpointer.restore(out / "checkpoints" / str(step) / item) for item in ("model", "rest")]


DEFAULTS = """train translate steps=20 checkpoint_every=10 model.width=32 model.heads=2 model.feed_forward=64
    watch.validate_every=20 watch.sentences=3 search.beams=1 search.length=5"""
"""The built-in corpus and everything else as it comes, but for a model of tiny size and a short search."""


@pytest.mark.slow
def test_with_default_settings_and_an_optimizing_compiler_20_steps_are_10_and_10(tmp_path):
    """Loss for loss to the last bit: optimized programs, of all four shapes of batch, sum in an order of their own."""
    whole, halves = tmp_path / "whole", tmp_path / "halves"
    for out, more in ((whole, "--until=20"), (halves, "--until=10"), (halves, "--until=20")):
        result = process(*DEFAULTS.split(), f"--out={out}", more, flags="", cache="")
        assert result.returncode == 0, result.stderr
    assert ", resumed at step 10\n" in result.stdout
    assert len({row["tokens"] for row in read_metrics(whole / "metrics.jsonl")}) > 1
    assert lasting(halves) == lasting(whole)
    with Checkpoints(whole / "checkpoints") as a, Checkpoints(halves / "checkpoints") as b:
        assert a.steps == b.steps == [10, 20]
        assert a.progress(20) == b.progress(20) and a.progress(20).next_batch == 20
    jax.tree.map(np.testing.assert_array_equal, saved(halves, 20), saved(whole, 20))


@pytest.mark.slow
def test_a_reader_that_leaves_is_an_interruption(trained, tmp_path):
    out, first = tmp_path / "run", "import sys; print(next(line for line in sys.stdin if 'step 1/60 ' in line))"
    command = shlex.join([sys.executable, "-c", START, *training(trained.data, out, "watch.log_every=1")])
    line = f"{command} 2>{tmp_path / 'err'} | {shlex.join([sys.executable, '-c', first])}; exit ${{PIPESTATUS[0]}}"
    result = subprocess.run(["bash", "-c", line], cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert result.returncode == 130 and "step 1/60 " in result.stdout
    said = (tmp_path / "err").read_text()
    step = int(said.removeprefix("\nsaved      step ").split()[0])
    assert 2 <= step < STEPS and said.count("\n") == 2
    assert [row["step"] for row in read_metrics(out / "metrics.jsonl")] == list(range(1, step + 1))
    with Checkpoints(out / "checkpoints") as checkpoints:
        assert checkpoints.steps[-1] == step


@pytest.mark.slow
def test_before_the_first_step_there_is_nothing_to_lose(trained, tmp_path):
    out = tmp_path / "run"
    code = "import signal, os; from jaxformer.recipes import translate; " + (
        "translate.TranslationTask.compile = lambda task: os.kill(os.getpid(), signal.SIGTERM); "
        "from jaxformer.cli import main; main()"
    )
    result = process(*training(trained.data, out), code=code)
    assert result.returncode == 130
    *_, last = result.stderr.splitlines()
    assert last.startswith(f"stopped    go on from the last checkpoint in {out} with: jaxformer train translate ")
    result = process(*training(trained.data, out, "--until=2"))
    assert result.returncode == 0, result.stderr
    losses = [row["loss"] for row in read_metrics(out / "metrics.jsonl")]
    assert losses == [row["loss"] for row in read_metrics(trained.out / "metrics.jsonl")[:2]]
