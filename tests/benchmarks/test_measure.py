"""Laws of the measurement: turns alternate, disagreement stops, spread is reported."""

import json

import numpy as np
import pytest

from benchmarks import measure
from benchmarks.measure import Contestant, Disagreement, Effort, Timing, alternate
from jaxformer.analysis.hardware import describe

ONCE = Effort(seconds=0.0, least=5, most=5, sample_seconds=0.0)


def recording(names):
    log = []
    return log, [Contestant(name, lambda name=name: log.append(name)) for name in names]


def test_contestants_take_turns_and_the_first_place_rotates():
    log, contestants = recording("ABC")
    alternate(contestants, ONCE)
    warm_up, timed = log[:6], ["".join(log[i : i + 3]) for i in range(6, len(log), 3)]
    assert warm_up == list("ABCABC")
    assert timed == ["ABC", "BCA", "CAB", "ABC", "BCA"]


def test_every_round_gives_each_contestant_one_sample():
    _, contestants = recording("AB")
    timings = alternate(contestants, ONCE)
    assert [t.name for t in timings] == ["A", "B"]
    assert all(len(t.wall) == len(t.cpu) == 5 and min(t.wall) > 0 for t in timings)


def test_check_sees_results_before_anything_is_timed():
    log, contestants = recording("AB")

    def refuse(results):
        assert list(results) == ["A", "B"] and log == ["A", "B"]
        raise Disagreement("A and B")

    with pytest.raises(Disagreement):
        alternate(contestants, ONCE, check=refuse)
    assert log == ["A", "B"]


def test_two_contestants_of_one_name_are_refused():
    with pytest.raises(ValueError, match="different names, got \\['A', 'A'\\]"):
        alternate(recording("AA")[1], ONCE)


def test_effort_keeps_between_least_and_most():
    effort = Effort(seconds=10.0, least=5, most=30, sample_seconds=0.01)
    assert [effort.rounds(seconds) for seconds in (0.0, 0.1, 1.0, 60.0)] == [30, 30, 10, 5]
    assert [effort.calls(seconds) for seconds in (0.0001, 0.004, 3.0)] == [100, 2, 1]
    with pytest.raises(ValueError, match="least=3, most=2"):
        Effort(least=3, most=2)


def test_median_and_quartiles_withstand_an_outlier():
    summary = Timing("A", wall=(3.0, 1.0, 2.0, 4.0, 1000.0), cpu=(1.0, 1.0, 1.0, 1.0, 9.0), calls=7).summary()
    assert (summary["median"], summary["quartiles"], summary["fastest"]) == (3.0, [2.0, 4.0], 1.0)
    assert (summary["cpu_median"], summary["samples"], summary["calls_per_sample"]) == (1.0, 5, 7)


def test_distance_is_that_of_the_worst_array():
    reference = {"a": np.array([3.0, 4.0]), "b": np.array([0.0, 10.0])}
    result = {"a": np.array([3.0, 4.5]), "b": np.array([2.0, 10.0])}
    assert measure.distance(result, reference) == pytest.approx(0.2)


def test_agreement_names_who_is_off():
    results = {"formula": np.ones(3), "close": np.ones(3) * 1.001, "far": np.ones(3) * 1.5}
    with pytest.raises(Disagreement, match=r"'far' and 'formula' must agree within 0\.01, got a distance of 0\.5"):
        measure.agree(results, 0.01)
    assert measure.agree(results, 0.6) == pytest.approx(0.5)


def test_a_result_that_is_not_a_number_does_not_agree():
    with pytest.raises(Disagreement):
        measure.agree({"formula": np.ones(3), "broken": np.full(3, np.nan)}, 1e9)


def test_written_floats_keep_their_last_bit(tmp_path):
    path = tmp_path / "new" / "figures.json"
    measure.write(path, {"value": 0.1 + 0.2, "name": "注意力"})
    assert json.loads(path.read_text(encoding="utf-8")) == {"value": 0.1 + 0.2, "name": "注意力"}


def test_environment_can_be_written_and_is_the_hardware_and_the_moment(tmp_path):
    environment = measure.environment()
    measure.write(tmp_path / "environment.json", environment)
    assert environment | describe() == environment
    assert {"time", "revision", "load_average", "variables"} <= environment.keys()


def test_table_is_markdown():
    assert measure.table(["length", "speed"], [["8", "1.5 ±2%"], ["1024", "9"]]).splitlines() == [
        "| length |   speed |",
        "| ------ | ------: |",
        "| 8      | 1.5 ±2% |",
        "| 1024   |       9 |",
    ]
