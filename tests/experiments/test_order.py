"""The experiment on order: its task gives a bag of words no chance, and its claim holds, and fails where it should."""

import json
from dataclasses import replace

import jax
import numpy as np
import pytest

from experiments import order
from experiments.order import BLIND, NONE, PLAIN, QUICK, ROUNDING, SEEING
from jaxformer.training.order_study import MEAN, READINGS, TRAP, order_arm

SOON = replace(QUICK, steps=60, arms=("sinusoidal",))


@pytest.mark.slow
@pytest.mark.parametrize("name", BLIND | SEEING)
def test_before_training_the_blind_alone_see_a_sentence_as_its_mirror(name):
    arm = order_arm(QUICK, (BLIND | SEEING)[name])
    distance = arm.look(arm.init(jax.random.key(7)), arm.held_out(7, READINGS[MEAN]))["distance"]
    assert distance < ROUNDING if name in BLIND else distance > 1e-3


def run(without, with_):
    """The report of two arms, which have these shapes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(order, "BLIND", {NONE: without})
        patch.setattr(order, "SEEING", {"sinusoidal": with_})
        return order.main(SOON)


def test_an_arm_that_does_not_exist_is_named_with_those_that_do():
    with pytest.raises(ValueError, match=r"arms must be some of no positions, ALiBi, .*, got alibi"):
        replace(QUICK, arms=("alibi",))


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
    order.draw(tmp_path / "order.png", report)
    assert (tmp_path / "order.png").stat().st_size > 10_000
    assert json.loads(json.dumps(report.to_json()))["figures"] == report.figures
