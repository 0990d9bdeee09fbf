"""Every form computes the same attention, what is judged stands in the rows, and a verdict can be false."""

import json
from dataclasses import replace

import pytest

from benchmarks import attention_forms as benchmark
from benchmarks.attention_forms import JAX_NN, MATRIX_PRODUCT, OURS, SDPA, WINDOWED, Config, causal, judge, quickened
from benchmarks.measure import Disagreement
from jaxformer.config.errors import UserError
from jaxformer.ops.attention.masks import Prefix

torch = pytest.importorskip("torch", reason="parity needs torch: pip install -e '.[parity]'")

SMALL = replace(quickened(Config()), forward=(13, 17), training=(13,), packed=11, window=5, heads=3, head_width=7)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    out = tmp_path_factory.mktemp("results")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(benchmark, "quickened", lambda config: config)
        return benchmark.main(replace(SMALL, seconds=0.0, quick=True, out=out)), out


def test_it_measures_every_length_and_everyone(run):
    found = [(*row["case"].values(), row["contestant"]) for row in run[0]["rows"]]
    everyone = (OURS, SDPA, JAX_NN)
    assert found == [
        *(("forward", 13, name) for name in (*everyone, MATRIX_PRODUCT)),
        *(("forward", 17, name) for name in (*everyone, WINDOWED, MATRIX_PRODUCT)),
        *(("packed forward", 11, name) for name in (OURS, SDPA)),
        *(("training", 13, name) for name in (*everyone, MATRIX_PRODUCT)),
        *(("packed training", 11, name) for name in (OURS, SDPA)),
    ]
    assert all(row["seconds"]["samples"] >= 2 and row["seconds"]["cpu_median"] > 0 for row in run[0]["rows"])


def test_it_writes_json_with_verdicts(run):
    document, out = run
    written = json.loads((out / "attention_forms-cpu.json").read_text(encoding="utf-8"))
    assert written == json.loads(json.dumps(document))
    assert [(v["goal"], v["where"]) for v in written["verdicts"]] == [
        (benchmark.FORWARD.name, "T 13"),
        (benchmark.FORWARD.name, "T 17"),
        (benchmark.WINDOW.name, "forward, T 17"),
        (benchmark.TRAINING.name, "T 13"),
    ]


def rows(mode, length, **times):
    names = {"ours": OURS, "torch": SDPA, "window": WINDOWED, "product": MATRIX_PRODUCT}
    flops = {OURS: 3.0, MATRIX_PRODUCT: 8.0}
    return [
        {"case": {"mode": mode, "T": length}, "contestant": names[name], "flops": flops.get(names[name])}
        | {"times_first": {"median": value, "quartiles": [value, value]}}
        for name, value in times.items()
    ]


def test_each_goal_is_judged_where_it_belongs_and_can_fail():
    found = judge(
        [
            *rows("forward", 2048, ours=1.0, torch=1.29),
            *rows("forward", 4096, ours=1.0, torch=1.3, product=2.0),
            *rows("forward", 8192, ours=1.0, torch=0.5, product=1.9, window=0.19),
            *rows("training", 2048, ours=1.0, torch=1.19),
            *rows("training", 8192, ours=1.0, torch=1.0, window=0.3),
        ]
    )
    assert [(v.goal, v.where, pytest.approx(v.value), v.met) for v in found] == [
        (benchmark.FORWARD, "T 2,048", 1.29, False),
        (benchmark.FORWARD, "T 4,096", 1.3, True),
        (benchmark.RATE, "T 4,096", 75.0, True),
        (benchmark.RATE, "T 8,192", 71.25, False),
        (benchmark.WINDOW, "forward, T 8,192", 1 / 0.19, True),
        (benchmark.TRAINING, "T 2,048", 1.19, False),
        (benchmark.LONG_TRAINING, "T 8,192", 1.0, True),
        (benchmark.WINDOW, "training, T 8,192", 1 / 0.3, False),
    ]


def test_a_form_that_is_not_causal_is_found_out(monkeypatch):
    right = benchmark.ours
    monkeypatch.setattr(benchmark, "ours", lambda name, mask, *rest: right(name, Prefix(13), *rest))
    for mode in ("forward", "training"):
        with pytest.raises(Disagreement, match="'torch SDPA' and 'jaxformer' must agree"):
            causal(mode, 13, SMALL)
    with pytest.raises(Disagreement):
        benchmark.verify_window(SMALL)


def test_a_table_of_scores_that_is_too_large_is_left_out():
    names = [row["contestant"] for row in causal("forward", 13, replace(SMALL, largest_table=4 * 3 * 13 * 13 - 1))]
    assert names == [OURS, SDPA, MATRIX_PRODUCT]


def test_operations_are_half_of_those_of_the_whole_table():
    assert benchmark.flops("forward", 10, SMALL) == 2 * (2 * 10 * 10 * 7) * 3 / 2
    assert benchmark.flops("training", 10, SMALL) == 3.5 * benchmark.flops("forward", 10, SMALL)


def test_without_its_rival_there_is_no_race(monkeypatch, tmp_path):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match="this benchmark needs PyTorch, which is not installed; pip install torch"):
        benchmark.main(replace(SMALL, out=tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_quick_keeps_its_figures_out_of_the_results():
    assert quickened(Config()).out != Config().out and max(quickened(Config()).forward) < min(Config().forward)
