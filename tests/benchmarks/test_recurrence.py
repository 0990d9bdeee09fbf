"""Every cell is torch's in values and gradients, what is judged stands in the rows, and a verdict can be false."""

import json
from dataclasses import replace

import jax
import pytest

from benchmarks import recurrence as benchmark
from benchmarks.measure import Disagreement
from benchmarks.recurrence import CELLS, GOALS, OURS, THEIRS, Config, judge, quickened, race
from jaxformer.analysis.layers import random_weights

torch = pytest.importorskip("torch", reason="parity needs torch: pip install -e '.[parity]'")

SMALL = replace(quickened(Config()), shapes=((7, 5),), batch=3, seconds=0.0)


@pytest.mark.parametrize("mode", ["training", "forward"])
@pytest.mark.parametrize("name", CELLS)
def test_it_computes_what_torch_does(name, mode):
    ours, theirs = race(name, mode, 7, 5, SMALL)
    assert (ours["contestant"], theirs["contestant"]) == (OURS, THEIRS)
    assert ours["distance"] < 1e-5 and ours["seconds"]["samples"] >= 2
    assert len(ours["choice"]["tried_median_seconds"]) == (4 if mode == "training" else 2)


def test_another_cell_is_found_out(monkeypatch):
    other = benchmark.theirs
    weights = random_weights(CELLS["RNN"], 5, 5, seed=9)
    monkeypatch.setattr(benchmark, "theirs", lambda name, mode, _, x_TBD: other(name, mode, weights, x_TBD))
    with pytest.raises(Disagreement, match="'torch' and 'jaxformer' must agree"):
        race("RNN", "training", 7, 5, SMALL)


def test_it_writes_json_with_verdicts(monkeypatch, tmp_path):
    monkeypatch.setattr(benchmark, "CELLS", {"RNN": CELLS["RNN"]})
    document = benchmark.main(replace(SMALL, out=tmp_path))
    written = json.loads((tmp_path / "recurrence-cpu.json").read_text(encoding="utf-8"))
    assert written == json.loads(json.dumps(document))
    cases = [row["case"] for row in written["rows"][::2]]
    assert cases == [{"cell": "RNN", "mode": mode, "T": 7, "D": 5} for mode in ("training", "forward")]
    (verdict,) = written["verdicts"]
    assert verdict["goal"] == GOALS["RNN"].name and verdict["where"].startswith("T 7, D 5, ")
    assert verdict["value"] == written["rows"][1]["times_first"]["median"]


@pytest.mark.parametrize("name, ratio, met", [("LSTM", 0.99, False), ("LSTM", 1.0, True), ("GRU", 1.39, False)])
def test_a_verdict_can_be_false(name, ratio, met):
    case = {"cell": name, "mode": "training", "T": 7, "D": 5}
    ours = {"choice": {"formulation": "summed", "unroll": 2}, "times_first": {"median": 1.0}}
    rows = [
        {"case": case, "contestant": OURS, **ours},
        {"case": case, "contestant": THEIRS, "times_first": {"median": ratio}},
        {"case": {**case, "mode": "forward"}, "contestant": OURS, **ours},
    ]
    (verdict,) = judge(rows)
    assert verdict.met is met and verdict.where == "T 7, D 5, summed, unroll 2"


def test_weights_have_the_widths_asked_for():
    weights = random_weights(CELLS["GRU"], 5, 7, seed=0)
    assert jax.tree.map(lambda leaf: leaf.shape, weights) == ((5, 21), (7, 21), (21,), (21,))


def test_quick_keeps_its_figures_out_of_the_results():
    assert quickened(Config()).out != Config().out
