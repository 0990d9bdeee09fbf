"""Laws of the measurement: turns alternate, a check comes first, spread is reported."""

import pytest

from jaxformer.analysis.timing import Contestant, Effort, Timing, alternate

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
        raise ValueError("A and B")

    with pytest.raises(ValueError, match="A and B"):
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
