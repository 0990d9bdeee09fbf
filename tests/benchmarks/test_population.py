"""All ways train the same, the shape is that of the experiment, and a verdict can be false."""

import json
from dataclasses import replace

import jax
import numpy as np
import pytest

from benchmarks import population as benchmark
from benchmarks.measure import Disagreement
from benchmarks.population import (
    ALONE,
    DEVICES,
    MAPPINGS,
    ONE_BY_ONE,
    PROCESSES,
    SIDE_BY_SIDE,
    STEP,
    TRAINING,
    Config,
    Shape,
    alone,
    judge,
    quickened,
    together,
)
from experiments.active_parameters import CONFIG, DENSE
from jaxformer.analysis.timing import Contestant

TOY = replace(quickened(Config()), seconds=0.0)
FIVE_STEPS, SEEDS = replace(TOY.shape, steps=5), [3, 7]


def test_the_model_and_its_rows_are_those_of_the_experiment():
    shape = Config().shape
    assert shape.decoder() == DENSE
    assert (shape.rows, shape.length) == (CONFIG.batch, CONFIG.length)


@pytest.fixture
def instant(monkeypatch):
    """Trainings and steps that are nothing."""
    monkeypatch.setattr(benchmark, "alone", lambda shape, seeds: np.ones((3, len(seeds))))
    monkeypatch.setattr(benchmark, "together", lambda shape, seeds, mapping: np.ones((3, len(seeds))))
    monkeypatch.setattr(benchmark, "in_two_processes", lambda config: np.ones((3, config.members)))
    monkeypatch.setattr(benchmark, "stepping", lambda name, *rest: Contestant(name, lambda: np.ones(3)))


def test_all_ways_are_measured_and_written(instant, tmp_path):
    document = benchmark.main(replace(TOY, out=tmp_path))
    written = json.loads((tmp_path / "population-cpu.json").read_text(encoding="utf-8"))
    assert written == json.loads(json.dumps(document))
    of = {kind: [row for row in written["rows"] if row["case"]["of"] == kind] for kind in (STEP, TRAINING)}
    assert [row["contestant"] for row in of[STEP]] == [ALONE, ONE_BY_ONE, SIDE_BY_SIDE, DEVICES]
    assert [row["contestant"] for row in of[TRAINING]] == [ALONE, ONE_BY_ONE, SIDE_BY_SIDE, DEVICES, PROCESSES]
    (verdict,) = written["verdicts"]
    assert verdict["value"] == of[TRAINING][1]["times_first"]["median"]


def test_another_training_is_found_out(instant, monkeypatch):
    monkeypatch.setattr(benchmark, "in_two_processes", lambda config: 1.01 * np.ones((3, config.members)))
    with pytest.raises(Disagreement, match="'two processes' and 'alone' must agree"):
        benchmark.trainings(TOY)


@pytest.mark.slow
def test_losses_of_two_processes_are_those_of_one():
    config = replace(TOY, seed=3)
    expected = together(config.shape, config.seeds, MAPPINGS[ONE_BY_ONE])
    np.testing.assert_allclose(benchmark.in_two_processes(config), expected, rtol=1e-5)


@pytest.fixture(scope="module")
def expected():
    return alone(FIVE_STEPS, SEEDS)


@pytest.mark.slow
@pytest.mark.parametrize("name", MAPPINGS)
def test_losses_are_those_of_runs_alone(name, expected):
    np.testing.assert_allclose(together(FIVE_STEPS, SEEDS, MAPPINGS[name]), expected, rtol=1e-5)


@pytest.mark.parametrize("ratio, met", [(0.75, True), (0.76, False)])
def test_a_verdict_can_be_false(ratio, met):
    case = {"of": TRAINING, "seeds": 8, "steps": 300}
    rows = [
        {"case": {"of": STEP, "seeds": 8}, "contestant": ALONE, "times_first": {"median": 1.0}},
        {"case": case, "contestant": ALONE, "times_first": {"median": 1.0}},
        {"case": case, "contestant": ONE_BY_ONE, "times_first": {"median": ratio}},
    ]
    (verdict,) = judge(rows)
    assert verdict.met is met and verdict.where == "8 seeds, 300 steps, one by one"


def test_members_must_fill_two_devices():
    with pytest.raises(ValueError, match="members must be a multiple of 2, for two devices, got 3"):
        Config(members=3)


def test_one_device_is_refused(monkeypatch):
    monkeypatch.setattr(jax, "devices", lambda: [None])
    with pytest.raises(benchmark.UserError, match="needs two devices, got one; set XLA_FLAGS"):
        benchmark.main(TOY)


def test_quick_keeps_its_figures_out_of_the_results():
    assert quickened(Config()).out != Config().out
    assert quickened(Config()).shape != Shape()
