"""The experiment on heads: what it says of them follows from their scores, and every finding can fail."""

import json

import numpy as np
import pytest

from experiments.heads import READERS, HeadsConfig, best_and_chance, draw, main
from jaxformer.analysis.evidence import LEVEL
from jaxformer.config.model import TransformerConfig

SEEDS = tuple(range(5))
SMALL = HeadsConfig(
    seeds=SEEDS,
    steps=2,
    look_every=2,
    batch=3,
    pairs=300,
    looks_at=30,
    heads=(1, 3),
    several=3,
    model=TransformerConfig(width=6, encoder_layers=2, decoder_layers=2, heads=1, feed_forward=8, dropout=0.0),
)
STATEMENTS = [
    "3 heads: loss less that with 1",
    *(
        f"3 heads: {said}"
        for kind in READERS
        for said in (f"best head's score for {kind}, by that by chance", f"{kind} above chance, less untrained")
    ),
    "3 heads: rank correlation of scores for sense and coreference, 0 by chance",
    "3 heads: rank correlation of alignment score and cost of removal, 0 by chance",
]


def made(heads, loss=0.5, best=(), untrained=(), lucky=(), together=False, sign=1.0):
    """What a part finds where the best head of each kind has this score, 0.6 or as told, and that before training had
    as much more than chance, 0 or as told; the best on held-out pairs is not that on known ones where it was `lucky`.
    Heads good at sense are bad at coreference, unless both go `together`; removal costs what alignment says, times a
    sign.
    """
    shape = (len(SEEDS), 2, heads)
    found = {"loss": np.array([[5.0], [loss]]) * np.ones(len(SEEDS)), "accuracy": np.ones((2, len(SEEDS)))}
    for kind in READERS:
        score_N = 0.01 * np.arange(2.0 * heads)
        score_N[-1] = dict(best).get(kind, 0.6)
        if kind == "coreference" and not together:
            score_N = score_N[::-1]
        found[kind] = np.stack(np.broadcast_arrays(np.broadcast_to(score_N.reshape(shape[1:]), shape), 0.1), axis=1)
        found[f"known {kind}"] = np.roll(found[kind], 1, axis=-1) if kind in lucky else found[kind]
        found[f"untrained {kind}"] = np.full(len(SEEDS), dict(untrained).get(kind, 0.0))
    return found | {"cost": 0.5 + sign * found["alignment"][:, 0]}


def judged(one, several):
    found = {"1 heads": one, "3 heads": several}
    return main(SMALL, lambda name, part, *arguments: found[name])


def said(report, verdict):
    return [finding.statement for finding in report.findings if finding.verdict == verdict]


def test_the_claim_holds_for_what_it_says_and_its_picture_can_be_kept(tmp_path):
    report = judged(made(1, loss=0.7), made(3))
    assert said(report, "holds") == STATEMENTS
    assert json.loads(json.dumps(report.to_json()))
    assert draw(tmp_path / "heads.png", report) == "" and (tmp_path / "heads.png").stat().st_size > 10_000


@pytest.mark.parametrize(
    "one, several, wrong",
    [
        (made(1, loss=0.3), made(3), [0]),
        (made(1, loss=0.7), made(3, best={"sense": 0.15}), [1]),
        (made(1, loss=0.7), made(3, untrained={"sense": 0.6}), [2]),
        (made(1, loss=0.7), made(3, lucky=["sense"]), [1, 2]),
        (made(1, loss=0.7), made(3, best={"coreference": 0.15}), [3]),
        (made(1, loss=0.7), made(3, untrained={"coreference": 0.6}), [4]),
        (made(1, loss=0.7), made(3, best={"alignment": 0.15}), [5]),
        (made(1, loss=0.7), made(3, untrained={"alignment": 0.6}), [6]),
        (made(1, loss=0.7), made(3, together=True), [7]),
        (made(1, loss=0.7), made(3, sign=-1.0), [8]),
    ],
)
def test_every_finding_fails_where_it_is_not_so(one, several, wrong):
    report = judged(one, several)
    assert said(report, "contrary") == [STATEMENTS[i] for i in wrong] and not said(report, "not shown")


def test_the_best_head_is_that_of_the_largest_lead_on_known_pairs_and_its_scores_are_those_on_others():
    known, new = np.array([[[[0.9, 0.5]], [[0.8, 0.1]]]]), np.array([[[[0.7, 0.3]], [[0.0, 0.2]]]])
    np.testing.assert_array_equal(best_and_chance({"known sense": known, "sense": new}, "sense"), [[0.3], [0.2]])


def test_heads_that_training_has_left_as_they_were_show_nothing():
    report = judged(made(1, loss=0.7), made(3, untrained=dict.fromkeys(READERS, 0.5)))
    assert said(report, "not shown") == STATEMENTS[2:7:2]


def test_heads_drawn_by_chance_pass_for_specialists_as_seldom_as_the_level_says():
    rng, passed = np.random.default_rng(0), 0
    for _ in range(200):
        drawn = {kind: rng.random((len(SEEDS), 2, 2, 3)) for kind in ("sense", "coreference")}
        passed += STATEMENTS[7] in said(judged(made(1), made(3) | drawn), "holds")
    assert passed < 200 * 2 * LEVEL


@pytest.mark.slow
def test_heads_that_have_learned_nothing_follow_nothing(tmp_path):
    report = main(SMALL)
    assert not {*STATEMENTS[1:7]} <= {*said(report, "holds")}
    assert np.shape(report.figures["found"]["3"]["cost"]) == (len(SEEDS), 2, 3)
    assert draw(tmp_path / "heads.png", report) == ""
