"""The command line of an experiment: results land where they overwrite nothing, the exit code is the verdict."""

import importlib.util
import json
from dataclasses import replace

import pytest

from jaxformer.recipes.experiment import HOLDS, INTERRUPTED, REFUTED, USAGE
from jaxformer.recipes.experiment import command as run_command

TOY = '''
"""Is the offset large?"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from jaxformer.analysis.evidence import Finding, Report, check_seeds


@dataclass(frozen=True)
class ToyConfig:
    """A toy."""

    seeds: tuple[int, ...] = tuple(range(8))
    offset: float = 1.0

    interrupted: bool = False

    def __post_init__(self):
        check_seeds(self.seeds)


def values(config):
    print("computed")
    return {"values": np.array([config.offset + seed for seed in config.seeds])}


def main(config, keep):
    values = keep("values", globals()["values"], config)["values"].tolist()
    if config.interrupted and not Path("go on").exists():
        raise KeyboardInterrupt
    return Report("the offset is large", [Finding("offset", values, low=0.5)], {"offset": config.offset})


def draw(path, report):
    path.write_text(f"offset {report.figures['offset']}")
    return "囍"
'''


@pytest.fixture
def toy(tmp_path, monkeypatch):
    """Runs a toy experiment's command line in an empty folder; (arguments) → exit code."""
    (tmp_path / "experiments").mkdir()
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    file = tmp_path / "experiments" / "toy.py"
    file.write_text(TOY, encoding="utf-8")
    spec = importlib.util.spec_from_file_location("toy_experiment", file)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(importlib.import_module("sys").modules, "toy_experiment", module)
    spec.loader.exec_module(module)
    config = module.ToyConfig()
    quick = replace(config, seeds=tuple(range(5)))
    return lambda *arguments: run_command(module.main, module.draw, config, quick, arguments)


def written(tmp_path):
    return sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("toy.*") if path.suffix != ".py")


@pytest.mark.parametrize(
    "arguments, folder, seeds",
    [
        ([], "experiments/results", 8),
        (["--quick"], "here/runs/experiments", 5),
        (["--seeds", *"123456"], "here/runs/experiments", 6),
        (["--quick", "--out", "there"], "here/there", 5),
    ],
)
def test_only_the_experiments_own_config_writes_the_results_that_are_kept(toy, tmp_path, arguments, folder, seeds):
    assert toy(*arguments) == HOLDS
    assert written(tmp_path) == [f"{folder}/toy.json", f"{folder}/toy.png"]
    document = json.loads((tmp_path / folder / "toy.json").read_text(encoding="utf-8"))
    assert len(document["config"]["seeds"]) == len(document["findings"][0]["values"]) == seeds
    assert document["holds"] is True
    assert document["hardware"]["versions"]["jax"]


@pytest.mark.parametrize("offset, told", [("-9", "DOES NOT hold"), ("-5", "is NOT SHOWN")])
def test_a_claim_that_does_not_hold_or_is_not_shown_fails_and_is_written_too(toy, tmp_path, capsys, offset, told):
    assert toy("--offset", offset) == REFUTED
    assert len(written(tmp_path)) == 2
    assert told in capsys.readouterr().out


def test_who_is_interrupted_goes_on_from_what_is_done(toy, tmp_path, capsys):
    assert toy("--interrupted") == INTERRUPTED
    assert "the same command goes on from its 1 finished parts" in capsys.readouterr().err
    assert written(tmp_path) == []
    (tmp_path / "here" / "go on").touch()
    assert toy("--interrupted", "--offset", "2") == HOLDS
    assert "computed" in capsys.readouterr().out
    assert toy("--interrupted") == HOLDS
    assert "computed" not in capsys.readouterr().out
    assert list((tmp_path / "here").rglob("*.npz")) == []


def test_characters_without_a_font_are_told(toy, capsys):
    toy("--quick")
    assert "no font has 囍: install" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--seeds", "1", "2"], "seeds must be at least 5, all different, for a verdict, got [1, 2]"),
        (["--ofset", "1"], "Unrecognized options: --ofset, 1 (perhaps --offset)"),
        (["--offset", "far"], "Error parsing --offset: could not convert string to float: 'far'"),
        (["more"], "Unrecognized options: more"),
        (["--out", "file"], "cannot write into file: File exists; choose another --out"),
        (["--out", "file/results"], "cannot write into file/results: Not a directory; choose another --out"),
    ],
)
def test_bad_input_is_told_in_a_line_and_computes_nothing(toy, tmp_path, capsys, arguments, message):
    (tmp_path / "here" / "file").touch()
    assert toy(*arguments) == USAGE
    assert capsys.readouterr() == ("", f"toy.py: {message}\n")
    assert written(tmp_path) == []


def test_a_folder_that_may_not_be_written_is_told_before_anything_is_computed(toy, monkeypatch, capsys):
    monkeypatch.setattr("os.access", lambda path, mode: False)
    assert toy("--out", "there") == USAGE
    out, err = capsys.readouterr()
    assert out == "" and err == "toy.py: cannot write into there: permission denied; choose another --out\n"


def test_a_part_that_was_half_written_is_computed_again(toy, tmp_path, capsys):
    toy("--interrupted")
    (part,) = (tmp_path / "here").rglob("*.npz")
    part.rename(part.with_suffix(".part.npz"))
    (tmp_path / "here" / "go on").touch()
    assert toy("--interrupted") == HOLDS
    assert capsys.readouterr().out.count("computed") == 2
    assert list((tmp_path / "here").rglob("*.npz")) == []


def test_help_tells_what_is_asked_and_what_can_be_changed(toy, capsys):
    with pytest.raises(SystemExit) as stop:
        toy("--help")
    assert stop.value.code == 0
    text = capsys.readouterr().out
    assert all(word in text for word in ("Is the offset large?", "--quick", "--seeds", "--offset", "--out"))
