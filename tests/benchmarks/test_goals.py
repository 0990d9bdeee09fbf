"""A goal is a bound, a verdict may come out false, and `--check` tells it by the exit code."""

import json
import math
from dataclasses import replace

import jax
import pytest

from benchmarks import goals
from benchmarks.comparison import alike, cases, compare, share, table, times
from benchmarks.goals import Asked, Goal, Verdict, command, conduct, verdict_table
from benchmarks.measure import Disagreement
from jaxformer.analysis.timing import Contestant, Effort
from jaxformer.config.errors import UserError

FASTER, SMALLER = Goal("faster", at_least=1.3), Goal("smaller", at_most=32, unit="MiB")
ONCE = Effort(seconds=0.0, sample_seconds=0.0)


@pytest.mark.parametrize(
    "goal, value, met",
    [
        (FASTER, 1.3, True),
        (FASTER, 1.29, False),
        (SMALLER, 32.0, True),
        (SMALLER, 32.1, False),
        (FASTER, math.nan, False),
        (SMALLER, math.nan, False),
    ],
)
def test_a_bound_is_reached_or_not(goal, value, met):
    assert Verdict(goal, "here", value).met is met


@pytest.mark.parametrize("bounds", [{}, {"at_least": 1.0, "at_most": 2.0}])
def test_a_goal_has_one_bound(bounds):
    with pytest.raises(ValueError, match="a goal has one bound, got at_least="):
        Goal("vague", **bounds)


def test_the_table_shows_what_falls_short_beside_its_goal():
    lines = verdict_table([Verdict(FASTER, "T 7", 1.1), Verdict(SMALLER, "T 7", 12.3)]).splitlines()[2:]
    assert [[cell.strip() for cell in line.split("|")[3:6]] for line in lines] == [
        ["1.10×", "≥ 1.3×", "falls short"],
        ["12 MiB", "≤ 32 MiB", "yes"],
    ]


def main_of(value):
    def main(asked):
        return conduct("toy", "A question?\nmore", asked, iter([{"figure": value}]), judged, str)

    return main


def judged(rows):
    return [Verdict(FASTER, "here", row["figure"]) for row in rows]


@pytest.mark.parametrize("value, options, code", [(1.0, ["--check"], 1), (1.0, [], 0), (2.0, ["--check"], 0)])
def test_the_exit_code_tells_whether_goals_are_reached(monkeypatch, tmp_path, capsys, value, options, code):
    monkeypatch.setattr("sys.argv", ["toy", "--out", str(tmp_path), *options])
    if code:
        with pytest.raises(SystemExit) as stopped:
            command(Asked, main_of(value), "A toy.")
        assert stopped.value.code == code
        assert "1 of 1 figures fall short" in capsys.readouterr().err
    else:
        command(Asked, main_of(value), "A toy.")
    written = json.loads((tmp_path / "toy-cpu.json").read_text(encoding="utf-8"))
    assert written["question"] == "A question?" and written["rows"] == [{"figure": value}]
    assert written["verdicts"] == [
        {"goal": "faster", "bound": "≥ 1.3×", "where": "here", "value": value, "met": value > 1.3}
    ]
    assert {"versions", "processor", "rivals", "variables"} <= written["environment"].keys()


def test_goals_for_a_cpu_are_not_judged_elsewhere(monkeypatch, tmp_path):
    monkeypatch.setattr(goals.jax, "default_backend", lambda: "gpu")
    with pytest.raises(UserError, match="toy has goals for a CPU, got gpu; set JAX_PLATFORMS=cpu"):
        main_of(1.0)(replace(Asked(), out=tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_five_rounds_are_taken_unless_shapes_are_toys():
    assert Asked().effort.least == 5 and Asked(quick=True).effort.most < 5


def test_a_comparison_relates_everything_to_the_first_contestant():
    x = jax.numpy.ones((5, 7))
    contestants = [Contestant(name, lambda: x) for name in "AB"]
    rows = compare({"mode": "toy", "T": 1234}, contestants, ONCE, alike(1e-6), {"A": 6.0, "B": 12.0})
    a, b = rows
    assert a["times_first"] == {"median": 1.0, "quartiles": [1.0, 1.0]} and a["distance"] == 0.0
    low, high = b["times_first"]["quartiles"]
    assert 0 < low <= b["times_first"]["median"] <= high
    (case,) = cases(rows)
    assert times(case, "B") == b["times_first"]["median"] and times(case, "B", "B") == 1.0
    assert share(case, "A", "B") == pytest.approx(100 * 6 / 12 * times(case, "B"))
    assert share(case, "B", "A") == pytest.approx(100 * 12 / 6 / times(case, "B"))
    assert "| toy, T 1,234 |" in table(rows)


def test_contestants_that_compute_something_else_are_not_compared():
    contestants = [
        Contestant(name, lambda value=value: jax.numpy.full(3, value))
        for name, value in zip("AB", (1.0, 2.0), strict=True)
    ]
    with pytest.raises(Disagreement, match="'B' and 'A' must agree"):
        compare({"mode": "toy"}, contestants, ONCE, alike(1e-3))
