"""What is reproduced is told from what is not, by verdicts and intervals, and stored results stay as they are."""

import copy
import json

import pytest

from jaxformer.analysis.evidence import Exact, Finding, Report
from jaxformer.recipes.reproduce import FIGURES, REPRODUCED, VERDICT, Interrupted, compare, reproduce

TOY = """
'''Is the offset large?'''

import sys
from dataclasses import dataclass, replace

from jaxformer.analysis.evidence import Finding, Report
from jaxformer.recipes.experiment import command


@dataclass(frozen=True)
class Config:
    offset: float = 1.0
    seeds: int = 8


def main(config, keep):
    EXTRA
    return Report("the offset is large", [Finding("offset", [config.offset + s for s in range(config.seeds)], 0.5)], {})


def draw(path, report):
    return ""


if __name__ == "__main__":
    sys.exit(command(main, draw, Config(), replace(Config(), seeds=5)))
"""


def toy(folder, name="toy", extra="pass"):
    path = folder / f"{name}.py"
    path.write_text(TOY.replace("EXTRA", extra), encoding="utf-8")
    return path


def result(offset=1.0, low=0.5, statement="offset", more=(), **others):
    values = [offset + seed for seed in range(8)]
    report = Report("the offset is large", [Finding(statement, values, low), *more], {}).to_json()
    return {**report, "config": {"offset": 1.0, "seeds": 8}, **others}


@pytest.mark.parametrize(
    "stored, outcome, told",
    [
        (result(), REPRODUCED, []),
        (result(offset=1.5), REPRODUCED, []),
        (result(offset=9.0), FIGURES, ["offset: 4.5 [2.45, 6.55], stored: 12.5 [10.5, 14.5]"]),
        (result(low=3.0), VERDICT, ["offset: holds, stored: not shown"]),
        (result(low=9.0), VERDICT, ["offset: holds, stored: contrary"]),
        (result(more=[Exact("size", 3, low=5)]), VERDICT, ["size: only in the stored result"]),
        (result(config={"offset": 2.0}), REPRODUCED, ["the stored result is that of another configuration"]),
        (
            result(statement="shift"),
            FIGURES,
            ["offset: not in the stored result", "shift: only in the stored result"],
        ),
    ],
)
def test_verdicts_and_intervals_decide(stored, outcome, told):
    before = copy.deepcopy(stored)
    assert compare(result(), stored) == (outcome, told)
    assert stored == before


def test_exact_numbers_are_compared_up_to_rounding_and_with_the_copies_that_older_results_keep():
    old = [Finding("size", [0.1 + 0.2] * 7, high=0.5)]
    found, stored = (result(more=more) for more in ([Exact("size", 0.3, high=0.5)], old))
    assert compare(found, stored) == (REPRODUCED, [])
    moved = result(more=[Exact("size", 0.4, high=0.5)])
    assert compare(moved, found) == (FIGURES, ["size: 0.4, stored: 0.3"])
    assert compare(moved, stored) == (FIGURES, ["size: 0.4, stored: 0.3 [0.3, 0.3]"])


def test_a_result_of_earlier_rules_is_judged_by_those_of_today():
    level = [Finding("lead", [0.0] + [0.1] * 4, low=0.0)]
    found, stored = result(more=level), result(more=level)
    stored["findings"] = [
        {name: value for name, value in finding.items() if name != "verdict"} | {"holds": True}
        for finding in stored["findings"]
    ]
    assert compare(found, {**stored, "holds": True}) == (REPRODUCED, [])


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder of experiments, and an empty one to work in."""
    (tmp_path / "experiments" / "results").mkdir(parents=True)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "experiments"


def test_each_is_run_and_compared_and_its_stored_result_stays(here, capfd):
    stored = {
        "same": result(),
        "moved": result(offset=9.0),
        "refuted": result(low=3.0, offset=-9.0),
        "new": None,
    }
    files = {name: toy(here, name) for name in stored}
    for name, document in stored.items():
        if document is not None:
            (here / "results" / f"{name}.json").write_text(json.dumps(document), encoding="utf-8")
    files["broken"] = toy(here, "broken", "raise SystemExit('no such thing')")
    before = {path: path.read_bytes() for path in (here / "results").iterdir()}
    assert not reproduce(files)
    assert not reproduce({"refuted": files["refuted"]})
    out, err = capfd.readouterr()
    for line in (
        "claim: the offset is large",
        "verdict: the claim holds",
        "same     reproduced",
        "moved    same verdict, other figures",
        "refuted  another verdict",
        "new      no stored result",
        "broken   failed",
    ):
        assert f"\n{line}" in out, line
    assert "no such thing" in err
    assert {path: path.read_bytes() for path in (here / "results").iterdir()} == before
    assert list((here.parent / "here").rglob("*.json")) == []


def test_other_figures_with_the_stored_verdict_are_no_failure(here, capfd):
    files = {"moved": toy(here, "moved")}
    (here / "results" / "moved.json").write_text(json.dumps(result(offset=9.0)), encoding="utf-8")
    assert reproduce(files)
    assert "offset: 4.5 [2.45, 6.55], stored: 12.5 [10.5, 14.5]\nmoved: same verdict" in capfd.readouterr().out


def test_a_quick_one_is_compared_with_nothing(here, capfd):
    files = {"toy": toy(here)}
    (here / "results" / "toy.json").write_text(json.dumps(result(low=3.0)), encoding="utf-8")
    assert reproduce(files, quick=True)
    out = capfd.readouterr().out
    assert "verdict: the claim holds" in out and "0.0312" in out and "toy: not compared" in out


def test_an_interruption_tells_what_is_left(here, capfd):
    names = ("first", "second", "third")
    files = {name: toy(here, name, "raise KeyboardInterrupt" if name == "second" else "pass") for name in names}
    with pytest.raises(Interrupted) as stop:
        reproduce(files)
    assert stop.value.left == ["second", "third"]
