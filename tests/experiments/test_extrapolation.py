"""The experiment on longer texts: its answers are right, and its verdict follows from the accuracies of each arm."""

import json
from dataclasses import replace

import numpy as np
import pytest

from experiments.extrapolation import (
    CARRYING,
    CONFIG,
    FAILING,
    LENGTH,
    NONE,
    QUICK,
    VOCABULARY,
    draw,
    kinds,
    main,
    texts,
)

RNG = np.random.default_rng(0)
LIKE = {NONE: (0.99, 0.9, 0.8), **dict.fromkeys(CARRYING, (1.0, 1.0, 0.99)), **dict.fromkeys(FAILING, (1.0, 0.9, 0.7))}
"""Accuracies at once, twice and four times the trained length that the claim expects."""


def test_the_answer_is_the_last_speaker():
    batch = texts(np.random.default_rng(3), 23, 4 * LENGTH)
    for tokens_T, last_T in zip(batch.tokens_BT, batch.last_BT, strict=True):
        spoken = None
        for token, last in zip(tokens_T, last_T, strict=True):
            spoken = token if token in (1, 2) else spoken
            assert last == spoken
    assert batch.tokens_BT.min() == 1 and batch.tokens_BT.max() == VOCABULARY - 1
    assert np.mean(batch.last_BT == 1) == pytest.approx(0.5, abs=0.05)
    assert np.mean(batch.tokens_BT[:, 1:] < 3) == pytest.approx(1 / 8, abs=0.02)


def judged(**changed):
    """The report where arms have accuracies like these, instead of trained ones."""

    def keep(name, part, config, shape):
        once, twice, four = (LIKE | changed)[name]
        about = RNG.uniform(-1e-3, 0, (len(config.seeds), 32))
        return {"accuracy": np.repeat([once, twice, four], [8, 8, 16]) + about}

    return main(replace(QUICK, positions=CONFIG.positions), keep)


def refuted(report):
    return {finding.statement for finding in report.findings if not finding.holds}


def test_the_claim_can_hold():
    report = judged()
    assert report.holds, str(report)
    assert len(report.findings) == len(kinds(8)) + 2 * len(CARRYING) + 2 * len(FAILING)


@pytest.mark.parametrize(
    "name, like, statements",
    [
        ("rotary", (0.9, 0.9, 0.7), ["rotary: accuracy at the trained length"]),
        ("ALiBi", (1.0, 0.9, 1.0), ["ALiBi: accuracy at 1 to 2 times that length"]),
        ("T5", (1.0, 1.0, 0.8), ["T5: accuracy at 2 to 4 times that length"]),
        (
            "learned",
            LIKE["ALiBi"],
            [f"learned: accuracy at 2 to 4 times that length{rest}" for rest in ("", ", less that without positions")],
        ),
        (
            "none",
            (1.0, 0.9, 0.6),
            [f"{n}: accuracy at 2 to 4 times that length, less that without positions" for n in FAILING],
        ),
    ],
)
def test_each_finding_can_fail(name, like, statements):
    assert refuted(judged(**{name: like})) == set(statements)


def test_the_picture_and_the_figures_can_be_kept(tmp_path):
    report = judged()
    draw(tmp_path / "extrapolation.png", report)
    assert (tmp_path / "extrapolation.png").stat().st_size > 10_000
    assert json.loads(json.dumps(report.to_json()))["figures"] == report.figures


def test_a_kind_that_does_not_exist_is_named_with_those_that_do():
    with pytest.raises(ValueError, match="positions must be some of sinusoidal, learned, rotary, ALiBi, T5, got alibi"):
        replace(QUICK, positions=("alibi",))


@pytest.fixture(scope="module")
def trained():
    """What short trainings end in, each done once."""
    found = {}

    def keep(name, part, config, shape):
        return found[shape] if shape in found else found.setdefault(shape, part(config, shape))

    return keep


TOY = replace(QUICK, steps=100, look_every=100)


@pytest.mark.slow
def test_with_alibi_longer_texts_are_understood_and_with_learned_positions_not(trained):
    report = main(TOY, trained)
    assert not {statement for statement in refuted(report) if statement.startswith("learned") and "times" in statement}
    alibi, learned = (np.array(report.figures["accuracy"][name]) for name in ("ALiBi", "learned"))
    assert alibi.shape == learned.shape == (5, 32)
    assert alibi[:, :8].mean() > 0.9 and (alibi[:, 16:].mean(1) > learned[:, 16:].mean(1) + 0.05).all()


@pytest.mark.slow
def test_arms_with_the_positions_of_the_other_are_refuted(trained):
    shapes = kinds(4 * LENGTH)
    swapped = {"ALiBi": "learned", "learned": "ALiBi", NONE: NONE}
    wrong = refuted(main(TOY, lambda name, part, config, shape: trained(name, part, config, shapes[swapped[name]])))
    assert {statement for statement in wrong if "2 to 4 times" in statement} == {
        "ALiBi: accuracy at 2 to 4 times that length",
        "learned: accuracy at 2 to 4 times that length",
        "learned: accuracy at 2 to 4 times that length, less that without positions",
    }
