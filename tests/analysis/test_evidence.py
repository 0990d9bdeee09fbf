"""Intervals and tests are those of scipy, a verdict can fail, and results land where they overwrite nothing."""

import importlib.util
import json
import math
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from jaxformer.analysis.evidence import (
    FEWEST_SEEDS,
    HOLDS,
    LEVEL,
    REFUTED,
    USAGE,
    Finding,
    Report,
    check_seeds,
    interval,
)
from jaxformer.analysis.evidence import command as run_command

VALUES = np.random.default_rng(0).normal(3.0, 2.0, size=(11, 3))


def test_the_interval_is_students():
    mean, low, high = interval(VALUES)
    expected = stats.ttest_1samp(VALUES, 0.0, axis=0).confidence_interval(1 - LEVEL)
    np.testing.assert_allclose(mean, VALUES.mean(0))
    np.testing.assert_allclose((low, high), expected)


def test_one_seed_has_no_interval():
    with pytest.raises(ValueError, match="at least 2 seeds, got 1"):
        interval([0.5])


@pytest.mark.parametrize("inside", range(12))
def test_p_is_that_of_the_sign_test(inside):
    values = [0.9] * inside + [0.1] * (11 - inside)
    expected = stats.binomtest(inside, 11, alternative="greater").pvalue
    assert Finding("above", values, low=0.5).p == pytest.approx(expected)
    assert Finding("below", [-value for value in values], high=-0.5).p == pytest.approx(expected)


def test_of_two_bounds_the_worse_one_counts():
    values = [0.0] * 7 + [-1.0] + [1.0] * 3
    assert Finding("between", values, low=-0.5, high=0.5).p == Finding("below", values, high=0.5).p
    assert Finding("between", values, low=-0.5, high=0.5).p > Finding("above", values, low=-0.5).p


def test_the_fewest_seeds_can_just_convince():
    assert Finding("all", [1.0] * FEWEST_SEEDS, low=0.5).holds
    assert not Finding("all", [1.0] * (FEWEST_SEEDS - 1), low=0.5).holds


def test_what_is_no_number_is_within_no_bounds():
    finding = Finding("between", [math.nan] * 8, low=0.0, high=1.0)
    assert finding.p == 1.0
    assert not finding.holds


@pytest.mark.parametrize("bounds", [{}, {"low": 1.0, "high": 1.0}, {"low": 2.0, "high": 1.0}, {"low": math.nan}])
def test_bounds_must_bound(bounds):
    with pytest.raises(ValueError, match="in order and one of them finite"):
        Finding("nothing", [0.0] * 5, **bounds)


@pytest.mark.parametrize("seeds", [(), (0, 1, 2, 3), (0, 1, 2, 3, 3, 4)])
def test_seeds_must_be_enough_and_different(seeds):
    with pytest.raises(ValueError, match=f"at least {FEWEST_SEEDS}, all different"):
        check_seeds(seeds)
    check_seeds(range(FEWEST_SEEDS))


def test_one_finding_that_fails_refutes_the_claim():
    holds, fails = Finding("holds", [1.0] * 5, low=0.5), Finding("fails", [1.0] * 4 + [0.0], low=0.5)
    assert Report("claim", [holds, holds], {}).holds
    report = Report("claim", [holds, fails], {})
    assert not report.holds
    assert "DOES NOT hold" in str(report)
    assert json.loads(json.dumps(report.to_json()))["findings"][1]["values"] == [1.0] * 4 + [0.0]


TOY = '''
"""Is the offset large?"""

from dataclasses import dataclass

from jaxformer.analysis.evidence import Finding, Report, check_seeds


@dataclass(frozen=True)
class ToyConfig:
    """A toy."""

    seeds: tuple[int, ...] = tuple(range(8))
    offset: float = 1.0

    def __post_init__(self):
        check_seeds(self.seeds)


def main(config):
    values = [config.offset + seed for seed in config.seeds]
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


def test_a_claim_that_does_not_hold_fails_and_is_written_too(toy, tmp_path, capsys):
    assert toy("--offset", "-5") == REFUTED
    assert len(written(tmp_path)) == 2
    assert "DOES NOT hold" in capsys.readouterr().out


def test_characters_without_a_font_are_told(toy, capsys):
    toy("--quick")
    assert "no font has 囍: install" in capsys.readouterr().err


def test_bad_input_is_told_and_writes_nothing(toy, tmp_path, capsys):
    assert toy("--seeds", "1", "2") == USAGE
    assert capsys.readouterr().err == "toy.py: seeds must be at least 5, all different, for a verdict, got [1, 2]\n"
    with pytest.raises(SystemExit) as stop:
        toy("--ofset", "1")
    assert stop.value.code == USAGE
    assert "--ofset" in capsys.readouterr().err
    assert written(tmp_path) == []


def test_help_tells_what_is_asked_and_what_can_be_changed(toy, capsys):
    with pytest.raises(SystemExit) as stop:
        toy("--help")
    assert stop.value.code == 0
    text = capsys.readouterr().out
    assert all(word in text for word in ("Is the offset large?", "--quick", "--seeds", "--offset", "--out"))
