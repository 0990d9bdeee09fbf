"""What is compiled is compiled anew, a process of its own takes the same step, and a verdict can be false."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import jax
import pytest

from benchmarks import compile_time as benchmark
from benchmarks.compile_time import COLD, COMPILATION, COMPILE_SCANNED, COMPILE_UNROLLED, START, WARM, Config, judge
from benchmarks.measure import Disagreement
from benchmarks.steps import SCANNED, GptShape, gpt

SMALL = replace(benchmark.quickened(Config()), gpt=GptShape(1, 6, 2, 5, 29), rows=3, seed=7, quick=True)


def entries(folder):
    return {path.name for path in Path(folder).iterdir() if not path.name.endswith("-atime")}


@pytest.mark.slow
def test_a_process_of_its_own_takes_the_step_and_leaves_its_programs_in_the_cache(tmp_path):
    given = benchmark.start(str(tmp_path), SMALL)
    assert given == pytest.approx(benchmark.loss(gpt(SMALL.gpt, 3, SCANNED), seed=7), rel=1e-5)
    assert any("step" in name for name in entries(tmp_path))


@pytest.fixture
def events():
    """What JAX tells of its compilations."""
    seen = []

    def listen(event, **_):
        seen.append(event.rsplit("/", 1)[-1])

    jax.monitoring.register_event_listener(listen)
    yield seen
    jax.monitoring.unregister_event_listener(listen)


def test_without_cache_everything_is_compiled_again(events):
    def compiled():
        events.clear()
        jax.clear_caches()
        jax.jit(lambda x: jax.numpy.sin(x) @ x).lower(jax.ShapeDtypeStruct((7, 7), "float32")).compile()
        return "compile_requests_use_cache" in events

    assert compiled()
    with benchmark.without_cache():
        assert not compiled()
    assert compiled()


class Traced(NamedTuple):
    """A step that costs nothing."""

    step: Any
    abstract_state: Any = jax.ShapeDtypeStruct((3,), "float32")
    batch: Any = jax.ShapeDtypeStruct((3,), "float32")


def test_tracing_is_done_anew_each_time():
    traces = []
    step = jax.jit(lambda state, batch: traces.append(1) or state + batch)
    contestant = benchmark.compiling("toy", Traced(step))
    assert contestant.run() is None and len(traces) == 1
    contestant.run()
    assert len(traces) == 2


def test_it_writes_json_with_verdicts(monkeypatch, tmp_path):
    given = benchmark.loss(gpt(SMALL.gpt, 3, SCANNED), seed=7)
    monkeypatch.setattr(benchmark, "start", lambda folder, config: given)
    monkeypatch.setattr(benchmark, "quickened", lambda config: config)
    monkeypatch.setattr(benchmark, "UNROLLED", SCANNED)
    compiled = []
    monkeypatch.setattr(
        benchmark, "compiling", lambda name, learner: benchmark.Contestant(name, lambda: compiled.append(learner))
    )
    document = benchmark.main(replace(SMALL, out=tmp_path))
    written = json.loads((tmp_path / "compile_time-cpu.json").read_text(encoding="utf-8"))
    assert written == json.loads(json.dumps(document)) and compiled
    assert [row["contestant"] for row in written["rows"]] == [COMPILE_SCANNED, COMPILE_UNROLLED, WARM, COLD]
    assert [verdict["goal"] for verdict in written["verdicts"]] == [COMPILATION.name, START.name]


def test_a_start_that_takes_another_step_is_found_out(monkeypatch):
    monkeypatch.setattr(benchmark, "start", lambda folder, config: 3.3)
    with pytest.raises(Disagreement, match="'start to first step, warm' and 'this process' must agree"):
        benchmark.starts(3.0, SMALL)


@pytest.mark.parametrize(
    "cpu, wall, met", [(4.0, 4.0, [True, True]), (4.1, 3.9, [False, True]), (3.9, 4.1, [True, False])]
)
def test_a_verdict_can_be_false(cpu, wall, met):
    case = {"layers": 12, "D": 384}
    rows = [
        {
            "case": {"of": "compile", **case},
            "contestant": COMPILE_SCANNED,
            "seconds": {"cpu_median": cpu, "median": 99.0},
        },
        {"case": {"of": "start", **case}, "contestant": WARM, "seconds": {"cpu_median": 99.0, "median": wall}},
    ]
    assert [verdict.met for verdict in judge(rows)] == met


def test_the_step_has_twelve_layers_and_quick_keeps_its_figures_apart():
    assert Config().gpt.layers == 12 and benchmark.quickened(Config()).out != Config().out
