"""Intervals and tests are those of scipy, and a verdict can fail."""

import json
import math

import numpy as np
import pytest
from scipy import stats

from jaxformer.analysis.evidence import (
    FEWEST_SEEDS,
    LEVEL,
    Exact,
    Finding,
    Report,
    Verdict,
    check_seeds,
    interval,
    plain,
)

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
    assert finding.verdict is Verdict.UNDECIDED and not finding.holds
    assert not Exact("between", math.nan, low=0.0, high=1.0).holds


@pytest.mark.parametrize("bounds", [{}, {"low": 1.0, "high": 1.0}, {"low": 2.0, "high": 1.0}, {"low": math.nan}])
def test_bounds_must_bound(bounds):
    for made in (lambda: Finding("nothing", [0.0] * 5, **bounds), lambda: Exact("nothing", 0.0, **bounds)):
        with pytest.raises(ValueError, match="in order and one of them finite"):
            made()


@pytest.mark.parametrize("sign, side", [(1.0, "low"), (-1.0, "high")])
@pytest.mark.parametrize(
    "values, verdict",
    [
        ([0.1] * 5, "holds"),
        ([0.0] + [0.1] * 4, "not shown"),
        ([0.0] * 5, "not shown"),
        ([0.0] + [-0.1] * 4, "not shown"),
        ([-0.1] * 5, "contrary"),
        ([0.1] * 7 + [0.0], "holds"),
        ([0.1] * 6 + [0.0] * 2, "not shown"),
        ([-0.1] * 7 + [0.0], "contrary"),
        ([-0.1] * 7 + [math.nan], "contrary"),
        ([0.1, -0.1] * 4, "not shown"),
    ],
)
def test_a_value_at_the_bound_speaks_for_neither_side(values, verdict, sign, side):
    assert Finding("difference", [sign * value for value in values], **{side: 0.0}).verdict == verdict


@pytest.mark.parametrize(
    "values, verdict",
    [
        ([0.5] * 5, "holds"),
        ([2.0] * 5, "contrary"),
        ([-1.0] * 5, "contrary"),
        ([-1.0] * 3 + [2.0] * 2, "not shown"),
        ([0.5] * 4 + [1.0], "not shown"),
    ],
)
def test_between_two_bounds_the_contrary_is_a_median_beyond_one_of_them(values, verdict):
    assert Finding("between", values, low=0.0, high=1.0).verdict == verdict


@pytest.mark.parametrize(
    "value, verdict", [(0.0, "holds"), (0.5, "holds"), (1.0, "holds"), (1.1, "contrary"), (-0.1, "contrary")]
)
def test_an_exact_number_is_within_its_bounds_or_the_contrary_is_so(value, verdict):
    assert Exact("between", value, low=0.0, high=1.0).verdict == verdict


@pytest.mark.parametrize("seeds", [(), (0, 1, 2, 3), (0, 1, 2, 3, 3, 4)])
def test_seeds_must_be_enough_and_different(seeds):
    with pytest.raises(ValueError, match=f"at least {FEWEST_SEEDS}, all different"):
        check_seeds(seeds)
    check_seeds(range(FEWEST_SEEDS))


def test_one_finding_that_fails_refutes_the_claim():
    holds, contrary = Finding("holds", [1.0] * 5, low=0.5), Finding("fails", [0.0] * 5, low=0.5)
    assert Report("claim", [holds, holds], {}).holds
    report = Report("claim", [holds, contrary, Exact("size", 2, high=3), Exact("depth", 4, high=3)], {})
    assert not report.holds
    lines = str(report).splitlines()
    assert [line.split()[-1] for line in lines[2:6]] == ["holds", "contrary", "holds", "contrary"]
    assert lines[5].split() == ["depth", "4", "exact", "≤", "3", "contrary"]
    assert "the claim DOES NOT hold (of 4 findings 2 contrary, 0 not shown)" in lines[-1]
    assert [finding["verdict"] for finding in report.to_json()["findings"]] == ["holds", "contrary"] * 2


def test_one_finding_that_is_not_shown_leaves_the_claim_open():
    findings = [Finding("holds", [1.0] * 5, low=0.5), Finding("open", [1.0] * 4 + [0.0], low=0.5)]
    report = Report("claim", findings, {})
    assert not report.holds
    assert "the claim is NOT SHOWN (of 2 findings 0 contrary, 1 not shown)" in str(report)
    assert json.loads(json.dumps(report.to_json()))["findings"][1]["values"] == [1.0] * 4 + [0.0]


def test_figures_are_plain_data_of_five_digits():
    figures = {
        2: np.float32([[0.1234567, 12345678.0]]),
        "steps": [0, 10],
        "none": None,
        "name": "n",
        "count": np.int64(3),
    }
    found = plain(figures | {"tuple": (0.1, 1e-9), "nan": np.float32("nan")})
    assert math.isnan(found.pop("nan"))
    assert found == json.loads(json.dumps(found))
    assert found == {
        "2": [[0.12346, 12346000.0]],
        "steps": [0, 10],
        "none": None,
        "name": "n",
        "count": 3,
        "tuple": [0.1, 1e-9],
    }


def test_a_report_is_the_same_when_it_was_written_and_read():
    within, below = Finding("within", [1.0, 2.0], 0.5, 3.0), Finding("below", [1.0, 2.0], high=3.0)
    report = Report("a claim", [within, below, Exact("size", 2.0, low=1.0)], {})
    assert Report.from_json(json.loads(json.dumps(report.to_json()))) == report
