"""The experiment on heads: what it says of them follows from their scores, and every finding can fail."""

import json

import numpy as np
import pytest

from experiments.heads import READERS, HeadsConfig, crossing, draw, main
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
    *(f"3 heads: best head's score for {kind}, by that by chance" for kind in READERS),
    "3 heads: sense and coreference have different best heads",
    "3 heads: kinds whose best head is that of another seed",
    "3 heads: rank correlation of alignment score and cost of removal",
]


def made(heads, loss=0.5, best=None, same=False, fixed=False, sign=1.0):
    """What a part finds where each kind has a best head of this score: another in each seed, unless it is `fixed`, and
    another for each kind, unless they are the `same`; removal costs what alignment says, times a sign.
    """
    shape, best = (len(SEEDS), 2, heads), best or dict.fromkeys(READERS, 0.6)
    found = {"loss": np.array([[5.0], [loss]]) * np.ones(len(SEEDS)), "accuracy": np.ones((2, len(SEEDS)))}
    spread_SLN = 0.01 * np.arange(2 * heads).reshape(1, 2, heads) + np.zeros(shape)
    for number, kind in enumerate(READERS):
        found[kind], found[f"{kind} by chance"] = spread_SLN.copy(), np.full(shape, 0.1)
        for seed in SEEDS:
            place = (0 if fixed else seed) + (0 if same else number)
            found[kind][seed].reshape(-1)[place % (2 * heads)] = best[kind]
    without = loss + 0.5 + sign * found["alignment"]
    return found | {"without encoder": without, "without cross": without}


def judged(one, several):
    found = {"1 heads": one, "3 heads": several}
    return main(SMALL, lambda name, part, *arguments: found[name])


def refuted(report):
    return [finding.statement for finding in report.findings if not finding.holds]


def test_the_claim_holds_for_what_it_says_and_its_picture_can_be_kept(tmp_path):
    report = judged(made(1, loss=0.7), made(3))
    assert refuted(report) == [] and [finding.statement for finding in report.findings] == STATEMENTS
    assert json.loads(json.dumps(report.to_json()))
    assert draw(tmp_path / "heads.png", report) == "" and (tmp_path / "heads.png").stat().st_size > 10_000


@pytest.mark.parametrize(
    "one, several, wrong",
    [
        (made(1, loss=0.3), made(3), [0]),
        (made(1, loss=0.7), made(3, best={"sense": 0.15, "coreference": 0.6, "alignment": 0.6}), [1]),
        (made(1, loss=0.7), made(3, best={"sense": 0.6, "coreference": 0.15, "alignment": 0.6}), [2]),
        (made(1, loss=0.7), made(3, best={"sense": 0.6, "coreference": 0.6, "alignment": 0.15}), [3]),
        (made(1, loss=0.7), made(3, same=True), [4]),
        (made(1, loss=0.7), made(3, fixed=True), [5]),
        (made(1, loss=0.7), made(3, sign=-1.0), [6]),
    ],
)
def test_every_finding_fails_where_it_is_not_so(one, several, wrong):
    assert refuted(judged(one, several)) == [STATEMENTS[i] for i in wrong]


def test_what_a_head_costs_is_the_loss_without_it_less_that_with_all():
    for score_N, cost_N in crossing(made(3, loss=0.5)):
        np.testing.assert_allclose(cost_N - 0.5, score_N)


@pytest.mark.slow
def test_heads_that_have_learned_nothing_follow_nothing(tmp_path):
    report = main(SMALL)
    assert set(STATEMENTS[1:4]) & set(refuted(report))
    assert np.shape(report.figures["found"]["3"]["without cross"]) == (len(SEEDS), 2, 3)
    assert draw(tmp_path / "heads.png", report) == ""
