"""A disk that fills up costs the state that it does not take, and nothing that was saved before."""

import shutil
import subprocess
import sys

import jax.numpy as jnp
import pytest

from jaxformer.training.checkpoint import Checkpoints, NotSaved
from tests.cli.toy import read_metrics, training, write_corpus
from tests.survival.disk import files_of_at_most
from tests.survival.states import abstract, is_of_step, progress_of, state_of, write

SMALL = 100_000
"""Bytes that the arrays of a state do not fit into."""


def save(checkpoints, step):
    checkpoints.save(state_of(step), progress_of(step))


def test_what_does_not_fit_is_tried_again_later(tmp_path, capfd):
    with Checkpoints(tmp_path, keep=1) as checkpoints:
        save(checkpoints, 1)
        checkpoints.finish()
        with files_of_at_most(SMALL):
            for step in (2, 3):
                save(checkpoints, step)
                with pytest.raises(NotSaved, match=rf"^checkpoint {step} could not be saved .* go on from step 1$"):
                    checkpoints.finish()
                assert [path.name for path in tmp_path.iterdir()] == ["1"], "half a step is left on a full disk"
        save(checkpoints, 4)
    assert capfd.readouterr().err.splitlines() == [
        f"warning    checkpoint {step} could not be saved in {tmp_path}: File too large; those before it are whole, "
        f"and step {step + 1} is tried"
        for step in (2, 3)
    ]
    with Checkpoints(tmp_path, keep=1) as checkpoints:
        assert checkpoints.steps == [4] and is_of_step(*checkpoints.restore(abstract()))


def test_a_run_that_is_to_stop_there_does_at_the_next_save(tmp_path):
    with pytest.raises(NotSaved, match=r"^checkpoint 2 could not be saved .* go on from step 1$"):  # noqa: SIM117
        with Checkpoints(tmp_path, stop_unsaved=True) as checkpoints:
            save(checkpoints, 1)
            checkpoints.finish()
            with files_of_at_most(SMALL):
                save(checkpoints, 2)
                save(checkpoints, 3)
    with Checkpoints(tmp_path) as checkpoints:
        assert checkpoints.steps == [1]


def test_many_writes_that_fail_are_told_in_one_line(tmp_path, capfd):
    """TensorStore goes on to print a traceback for each of them, Orbax several pages."""
    state = state_of(1)._replace(params={str(index): jnp.full((2000, 31), index, jnp.float32) for index in range(60)})
    with files_of_at_most(2000), pytest.raises(NotSaved) as told, Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(state, progress_of(1))
    assert "\n" not in str(told.value) and "go on from the start" in str(told.value)
    assert capfd.readouterr().err == ""


def test_a_run_whose_last_state_is_not_saved_fails(tmp_path):
    write(tmp_path, 1)
    with pytest.raises(NotSaved), files_of_at_most(SMALL), Checkpoints(tmp_path) as checkpoints:
        save(checkpoints, 2)
    with Checkpoints(tmp_path) as checkpoints:
        assert is_of_step(*checkpoints.restore(abstract())) and checkpoints.steps == [1]


def test_what_ends_a_run_is_told_rather_than_what_was_not_saved(tmp_path):
    with pytest.raises(ZeroDivisionError), files_of_at_most(SMALL), Checkpoints(tmp_path) as checkpoints:
        save(checkpoints, 1)
        raise ZeroDivisionError


def test_a_folder_that_cannot_be_written_is_told(tmp_path):
    (tmp_path / "file").write_text("in the way")
    where = tmp_path / "file"
    with pytest.raises(NotSaved, match=r": (Not a directory|File exists); "), Checkpoints(where) as checkpoints:
        save(checkpoints, 1)


@pytest.fixture
def small_disk(tmp_path):
    """A file system of so little room, where this user may mount one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("this user may not mount a small file system")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


PROGRAM = """
import os, sys, time
from jaxformer.cli import run
from jaxformer.recipes.translate import TranslationTask

filler, saved, full, free, *arguments = sys.argv[1:]
step = TranslationTask.step

def with_the_disk_full_for_a_while(task, state, batch):
    if int(state.step) == int(full):
        while not os.path.isdir(saved):
            time.sleep(0.01)
        with open(filler, "wb", buffering=0) as file:
            try:
                while file.write(bytes(1000)):
                    pass
            except OSError:
                pass
    if int(state.step) == int(free):
        os.remove(filler)
    return step(task, state, batch)

TranslationTask.step = with_the_disk_full_for_a_while
sys.exit(run(arguments))
"""


def trained_on(small_disk, tmp_path, free, *more):
    """The run folder, and how a run ended on a disk that is full from step 12 to step `free`."""
    out = small_disk / "run"
    changes = ["steps=40", "checkpoint_every=8", "watch.validate_every=20", "watch.keep=1", *more]
    arguments = training(write_corpus(tmp_path / "corpus"), out, *changes)
    command = [sys.executable, "-c", PROGRAM, small_disk / "filler", out / "checkpoints" / "8", "12", str(free)]
    result = subprocess.run([*command, *arguments], capture_output=True, text=True, timeout=300)
    assert "Traceback" not in result.stderr
    return out, result


@pytest.mark.slow
@pytest.mark.parametrize("free", [30, 99], ids=["for a while", "to the end"])
def test_a_training_goes_on_while_the_disk_is_full(small_disk, tmp_path, free):
    out, result = trained_on(small_disk, tmp_path, free)
    said = result.stderr.splitlines()
    assert any(line.startswith("warning    checkpoint 16 could not be saved in ") for line in said)
    assert all(" No space left on device" in line for line in said if line.startswith("warning "))
    with Checkpoints(out / "checkpoints") as checkpoints:
        if free < 40:
            assert result.returncode == 0 and max(checkpoints.steps) == 40
            assert [row["step"] for row in read_metrics(out / "metrics.jsonl")] == list(range(1, 41))
        else:
            assert result.returncode == 1 and max(checkpoints.steps) == 8
            assert said[-1].startswith("jaxformer: checkpoint 40 could not be saved in ")
            assert f"go on from step 8 (the run is in {out})" in said[-1]


@pytest.mark.slow
def test_a_training_that_is_to_stop_on_a_full_disk_does(small_disk, tmp_path):
    out, result = trained_on(small_disk, tmp_path, 99, "watch.stop_unsaved=True")
    # It saves at 16, and next where it is validated.
    assert result.returncode == 1 and read_metrics(out / "metrics.jsonl")[-1]["step"] == 20
    assert result.stderr.splitlines()[-1].startswith("jaxformer: checkpoint 16 could not be saved in ")
