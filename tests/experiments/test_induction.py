"""The experiment on induction: its task asks for a copy that one place tells, and every finding can fail."""

import json

import numpy as np
import pytest

from experiments.induction import AGAIN, FIRST, LENGTH, InductionConfig, draw, main, rows, seen

SEEDS = tuple(range(5))
SMALL = InductionConfig(seeds=SEEDS, steps=8, look_every=2, batch=3, width=8)


def test_a_row_is_different_tokens_and_a_part_of_them_again():
    starts = set()
    for tokens in rows(np.random.default_rng(0), 100).tokens_BT:
        first, again = tokens[:FIRST].tolist(), tokens[FIRST:].tolist()
        start = first.index(again[0])
        assert len(set(first)) == FIRST and again == first[start : start + AGAIN]
        starts.add(start)
    assert starts == set(range(FIRST - AGAIN + 1)) and len(starts) == 8


def test_what_counts_is_the_repetition_but_its_first_and_the_link_tells_the_next_token():
    batch, prefix_BTS, previous_BTS = seen(3)
    for tokens, counted, prefix_TS in zip(batch.tokens_BT, batch.counted_BT, prefix_BTS, strict=True):
        np.testing.assert_array_equal(np.flatnonzero(counted), np.arange(FIRST, LENGTH))
        t, s = np.nonzero(prefix_TS)
        np.testing.assert_array_equal(t, np.arange(FIRST, LENGTH))
        np.testing.assert_array_equal(tokens[s], tokens[t + 1])
    _, t, s = np.nonzero(previous_BTS)
    assert (t - s == 1).all()


def made(layers, accuracy, prefix, previous=0.6, dearer=1.0):
    """What a part finds where copying of this accuracy is reached by heads of this score."""
    rise = np.linspace(0, 1, 5)[:, None] + np.linspace(0, 0.01, len(SEEDS))
    scores = np.full((5, len(SEEDS), layers, 2), 0.01)
    scores[:, :, -1, 1] = 0.02 + prefix * rise
    places = np.full((5, len(SEEDS), layers, 2), previous)
    without = np.full((len(SEEDS), layers, 2), 1.5)
    without[:, -1, 1] += dearer
    return {"loss": 3 - 2 * rise, "accuracy": accuracy * rise, "prefix": scores, "previous": places, "without": without}


FEW, MANY = made(1, 0.1, 0.05), made(2, 0.95, 0.7)
STATEMENTS = [
    "2 layers: accuracy in the repetition",
    "1 layer: accuracy in the repetition",
    "2 layers: best prefix-matching score, last layer",
    "1 layer: best prefix-matching score",
    "2 layers: correlation of that score and accuracy, which both rise",
    "2 layers: best previous-token score, first layer",
    "2 layers: loss without the best head less without any other",
    "2 layers: step from which half of the repetition is right",
]


def judged(few, many):
    found = {"1 layers": few, "2 layers": many}
    return main(SMALL, lambda name, part, *arguments: found[name])


def test_the_claim_holds_for_what_it_says_and_its_picture_can_be_kept(tmp_path):
    report = judged(FEW, MANY)
    assert report.holds and [finding.statement for finding in report.findings] == STATEMENTS
    assert report.figures["appeared"] == [6] * len(SEEDS)
    assert json.loads(json.dumps(report.to_json()))
    assert draw(tmp_path / "induction.png", report) == "" and (tmp_path / "induction.png").stat().st_size > 10_000


@pytest.mark.parametrize(
    "few, many, wrong",
    [
        (FEW, made(2, 0.1, 0.7), [0, 7]),
        (FEW, made(2, 0.95, 0.1), [2]),
        (FEW, MANY | {"prefix": np.where(MANY["prefix"] > 0.01, 1 - MANY["prefix"] / 2, 0.01)}, [4]),
        (FEW, made(2, 0.95, 0.7, previous=0.1), [5]),
        (FEW, made(2, 0.95, 0.7, dearer=-1.0), [6]),
        (made(1, 0.95, 0.7), MANY, [1, 3]),
    ],
)
def test_every_finding_fails_where_it_is_not_so(few, many, wrong):
    report = judged(few, many)
    assert [finding.statement for finding in report.findings if not finding.holds] == [STATEMENTS[i] for i in wrong]
    assert not report.holds


@pytest.mark.slow
def test_models_with_few_steps_do_not_copy(tmp_path):
    report = main(SMALL)
    assert {STATEMENTS[0], STATEMENTS[2], STATEMENTS[7]} <= {
        finding.statement for finding in report.findings if not finding.holds
    }
    assert report.figures["appeared"] == [SMALL.steps + SMALL.look_every] * len(SEEDS)
    assert draw(tmp_path / "induction.png", report) == ""
