"""The experiment on order: its task gives a bag of words no chance, and its claim holds, and fails where it should."""

import json
from dataclasses import replace

import jax
import numpy as np
import pytest

from experiments import order
from experiments.order import BLIND, ME, MEAN, NONE, PLAIN, QUICK, READINGS, ROUNDING, SEEING, TRAP, read, sentences

SOON = replace(QUICK, steps=60)


def test_every_bag_of_words_has_both_orders_and_both_answers_and_is_never_in_both_halves():
    known, held_out = sentences(0)
    bags = [{tuple(sorted(row)) for row in half} for half in (known, held_out)]
    assert not bags[0] & bags[1]
    for half, distinct in zip((known, held_out), bags, strict=True):
        np.testing.assert_array_equal(half[::2], half[1::2, ::-1])
        assert len({tuple(row) for row in half}) == len(half) == 2 * len(distinct)
        np.testing.assert_array_equal((half == ME).sum(1), 1)
        assert read(half, READINGS[TRAP]).acts_B.mean() == 0.5


def test_readings_but_the_trap_read_the_same_of_a_sentence_in_either_order():
    _, held_out = sentences(0)
    for name, reading in READINGS.items():
        reading_BT, backwards_BT = (read(rows, reading).reading_BT for rows in (held_out, held_out[:, ::-1]))
        np.testing.assert_allclose(reading_BT.sum(-1), 1.0)
        assert np.array_equal(reading_BT, backwards_BT[:, ::-1]) == (name != TRAP)


@pytest.mark.slow
@pytest.mark.parametrize("name", BLIND | SEEING)
def test_before_training_the_blind_alone_see_a_sentence_as_its_mirror(name):
    arm = order.arm(QUICK, (BLIND | SEEING)[name])
    distance = arm.look(arm.init(jax.random.key(7)), arm.held_out(7, READINGS[MEAN]))["distance"]
    assert distance < ROUNDING if name in BLIND else distance > 1e-3


def run(without, with_):
    """The report of two arms, which have these shapes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(order, "BLIND", {NONE: without})
        patch.setattr(order, "SEEING", {"sinusoidal": with_})
        return order.main(SOON)


@pytest.fixture(scope="module")
def report():
    return run(PLAIN, SEEING["sinusoidal"])


def test_the_claim_holds(report):
    assert report.holds, str(report)
    assert len(report.findings) == 2 + 3 + 1


def test_without_positions_exactly_half_is_right_and_not_about_half(report):
    for name, accuracy_SP in report.figures["accuracy"][NONE].items():
        assert (np.array(accuracy_SP) == 0.5).all() == (name != TRAP)


@pytest.mark.slow
def test_the_claim_fails_where_an_arm_has_the_other_ones_positions():
    swapped = run(SEEING["sinusoidal"], PLAIN)
    holding = [finding.statement for finding in swapped.findings if finding.holds]
    assert len(swapped.findings) == 6 and holding == [f"{NONE}: accuracy from the {TRAP}"]


def test_the_picture_and_the_figures_can_be_kept(report, tmp_path):
    figures = dict(report.figures)
    for name in ("ALiBi", "T5"):  # They stand in for two arms that the picture shows.
        figures = {**figures, "accuracy": {**figures["accuracy"], name: figures["accuracy"]["sinusoidal"]}}
        figures["distance"] = {**figures["distance"], name: figures["distance"]["sinusoidal"]}
    order.draw(tmp_path / "order.png", replace(report, figures=figures))
    assert (tmp_path / "order.png").stat().st_size > 10_000
    assert json.loads(json.dumps(report.to_json()))["figures"] == report.figures
