"""The experiment on order: its task gives a bag of words no chance, and its claim holds, and fails where it should."""

import json
from dataclasses import replace

import numpy as np
import pytest

from experiments.order import ME, QUICK, READINGS, TRAP, draw, main, read, sentences
from jaxformer.config.model import NoPosition, Sinusoidal


def test_every_bag_of_words_has_both_orders_and_both_answers_and_is_never_in_both_halves():
    known, held_out = sentences(0)
    bags = [{tuple(sorted(row)) for row in half} for half in (known, held_out)]
    assert not bags[0] & bags[1]
    for half, distinct in zip((known, held_out), bags, strict=True):
        assert {tuple(row) for row in half} == {tuple(row[::-1]) for row in half}
        assert len({tuple(row) for row in half}) == len(half) == 2 * len(distinct)
        np.testing.assert_array_equal((half == ME).sum(1), 1)
        assert read(half, READINGS[TRAP]).acts_B.mean() == 0.5


def test_readings_but_the_trap_read_the_same_of_a_sentence_in_either_order():
    _, held_out = sentences(0)
    for name, reading in READINGS.items():
        reading_BT, backwards_BT = (read(rows, reading).reading_BT for rows in (held_out, held_out[:, ::-1]))
        np.testing.assert_allclose(reading_BT.sum(-1), 1.0)
        assert np.array_equal(reading_BT, backwards_BT[:, ::-1]) == (name != TRAP)


@pytest.fixture(scope="module")
def report():
    return main(QUICK)


def test_the_claim_holds(report):
    assert report.holds, str(report)


def test_without_positions_exactly_half_is_right_and_not_about_half(report):
    for name, accuracy_SP in report.figures["without"]["accuracy"].items():
        assert (np.array(accuracy_SP) == 0.5).all() == (name != TRAP)


def refuted(report):
    return {finding.statement for finding in report.findings if not finding.holds}


def statements(arm):
    accuracies = [f"{arm} positions, accuracy from the {name}" for name in READINGS if name != TRAP]
    return {*accuracies, *(f"{arm} positions, {w} training: a word's two vectors apart" for w in ("before", "after"))}


@pytest.mark.slow
@pytest.mark.parametrize(
    "arm, broken",
    [("without", replace(QUICK, without=Sinusoidal())), ("with", replace(QUICK, positions=NoPosition()))],
    ids=["positions in both arms", "positions in neither"],
)
def test_the_claim_fails_where_an_arm_has_the_other_ones_positions(arm, broken):
    report = main(broken)
    assert not report.holds
    assert refuted(report) == statements(arm)


def test_the_picture_and_the_figures_can_be_kept(report, tmp_path):
    draw(tmp_path / "order.png", report)
    assert (tmp_path / "order.png").stat().st_size > 10_000
    assert json.loads(json.dumps(report.to_json()))["figures"] == report.figures
