"""A run can be run again from its folder, and whoever does is told whether the losses agree."""

import json
import shutil
from dataclasses import replace

import pytest

from jaxformer.config.errors import UserError
from jaxformer.recipes.repeat import agreement, changes, folder_beside, last_step
from jaxformer.training.checkpoint import Checkpoints
from jaxformer.training.run import RunFolder
from tests.cli.toy import process, refusal
from tests.survival.states import progress_of, state_of


def written(folder, losses, **environment):
    folder.mkdir()
    rows = [json.dumps({"step": step, "loss": loss}) + "\n" for step, loss in losses.items()]
    (folder / "metrics.jsonl").write_text("".join(rows))
    (folder / "env.json").write_text(json.dumps(environment))
    return RunFolder(folder)


def test_a_run_of_three_steps_is_repeated_to_the_last_bit(trained, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(trained.out, run)
    lines = (run / "metrics.jsonl").read_text().splitlines()[:3]
    (run / "metrics.jsonl").write_text("".join(f"{line}\n" for line in lines))
    env = json.loads((run / "env.json").read_text())
    (run / "env.json").write_text(json.dumps(env | {"python": "2.7.18"}))
    out = process("train", "--from", str(run)).stdout
    assert out.splitlines()[-1] == "repeated   the losses of 3 steps agree to the last bit"
    assert f"changed    python: 2.7.18 there, {env['python']} here" in out.splitlines()
    assert (tmp_path / "run-again" / "metrics.jsonl").read_text() == (run / "metrics.jsonl").read_text()


def test_losses_that_differ_are_told_with_the_first_step_and_the_largest_difference(tmp_path):
    there = written(tmp_path / "a", {1: 4.0, 2: 3.0, 3: 2.0})
    here = written(tmp_path / "b", {1: 4.0, 2: 3.0 + 3e-6, 3: 2.0 + 4e-6, 4: 1.0})
    found = agreement(there, here)
    assert found[:2] == (3, 2) and found.furthest == pytest.approx(2e-6)
    assert str(found) == "the losses differ from step 2 on, by 2e-06 of their size at most in 3 steps"


def test_what_the_runs_ran_on_is_compared_by_name(tmp_path):
    there = written(tmp_path / "a", {1: 1.0}, cores=2, versions={"jax": "0.10.2", "flax": "0.12"})
    here = written(tmp_path / "b", {1: 1.0}, cores=2, versions={"jax": "0.12.0", "flax": "0.12"})
    assert changes(there, here) == ["versions.jax: 0.10.2 there, 0.12.0 here"]


def test_a_step_that_was_left_out_and_a_line_that_was_not_finished_are_understood(tmp_path):
    there, here = (written(tmp_path / name, {1: 4.0, 2: 3.0}) for name in "ab")
    for run in (there, here):
        with run.metrics_path.open("a") as file:
            file.write('{"step": 3, "skipped": 1.0}\n{"step": 4, "lo')
    assert str(agreement(there, here)) == "the losses of 3 steps agree to the last bit" and last_step(there) == 3
    here.metrics_path.write_text(here.metrics_path.read_text().replace('"skipped": 1.0', '"loss": 2.0'))
    assert agreement(there, here)[1:] == (3, float("inf"))


def test_other_batches_are_told(tmp_path):
    there, here = (written(tmp_path / name, {1: 4.0}) for name in "ab")
    for run, batches in ((there, "abc"), (here, "def")):
        with Checkpoints(run.checkpoints_path) as checkpoints:
            checkpoints.save(state_of(1, rows=5), replace(progress_of(1), batches=batches))
    assert changes(there, here) == ["batches: abc there, def here"]


def test_a_run_is_not_repeated_into_itself(trained, capsys):
    said = refusal(capsys, "train", "--from", str(trained.out), "--out", f"{trained.out}/../{trained.out.name}")
    assert said.startswith("--out must be another folder than the run that is repeated, got ")


def test_a_run_without_steps_cannot_be_repeated(tmp_path):
    with pytest.raises(UserError, match="has no step to repeat; train it"):
        last_step(written(tmp_path / "a", {}))


def test_a_repetition_takes_no_folder_that_is_there(tmp_path):
    assert folder_beside(tmp_path / "run").name == "run-again"
    (tmp_path / "run-again").mkdir()
    assert folder_beside(tmp_path / "run").name == "run-again2"


def test_what_is_no_run_is_refused_in_one_line(tmp_path, capsys):
    told = f"{tmp_path} is not a run folder: it has no config.json; give a folder made by jaxformer train"
    assert refusal(capsys, "train", "--from", str(tmp_path)) == told
