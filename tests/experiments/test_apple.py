"""The experiment on the apple: place and form tell nothing of the sense, and every finding can fail."""

import json
from collections import Counter

import numpy as np
import pytest

from experiments.apple import FORMS, SENSES, apples, draw, main
from jaxformer.config.model import TransformerConfig
from jaxformer.training.translation_study import TranslationStudyConfig, corpus_of

SEEDS = tuple(range(5))
SMALL = TranslationStudyConfig(
    seeds=SEEDS,
    steps=2,
    look_every=2,
    batch=3,
    pairs=400,
    looks_at=150,
    model=TransformerConfig(width=8, encoder_layers=2, decoder_layers=1, heads=2, feed_forward=8, dropout=0.0),
)


@pytest.fixture(scope="module")
def corpus():
    return corpus_of(SMALL)


def test_either_sense_has_as_many_of_each_form_in_each_place_and_they_alternate(corpus):
    found = apples(corpus, corpus.train)
    words = {number: word for word, number in corpus.numbers.items()}
    forms = [words[int(row[place])] for row, place in zip(found.pairs.source_BS, found.place_B, strict=True)]
    counts = Counter(zip(forms, found.place_B.tolist(), found.sense_B.tolist(), strict=True))
    assert set(forms) <= set(FORMS) and len(forms) > 20
    assert all(counts[form, place, 0] == counts[form, place, 1] for form, place, _ in counts)
    assert forms[::2] == forms[1::2]
    np.testing.assert_array_equal(found.sense_B, np.arange(len(forms)) % 2)


def test_the_sense_is_that_of_the_translation_and_only_the_word_itself_has_links(corpus):
    found = apples(corpus, corpus.train)
    for target_T, sense in zip(found.pairs.target_BT, found.sense_B, strict=True):
        assert corpus.numbers[SENSES[sense]] in target_T
    row_B, t, s = np.nonzero(found.deciding_BSS)
    np.testing.assert_array_equal(t, found.place_B[row_B])
    assert set(row_B) == set(range(len(found.place_B))) and (s != t).all()


def made(told=(0.5, 0.95, 0.99), before=(0.5, 0.7, 0.7), right=0.97, best=0.5):
    """What a part finds where probes, translations and the best head are as good as this."""
    ones = np.ones((len(SEEDS), 1))
    new = np.full((len(SEEDS), 2, 2), 0.1)
    new[:, 1, 0] = best
    looks = {"loss": np.linspace(5, 1, 2)[:, None] * ones.T, "accuracy": np.array([[0.0], [0.9]]) * ones.T}
    heads = {"known": new, "new": new, "elsewhere": np.full_like(new, 0.1)}
    return looks | heads | {"after": told * ones, "before": before * ones, "right": right * ones[:, 0]}


STATEMENTS = [
    "probe before the first layer: accuracy",
    "probe after the first layer: accuracy",
    "probe after the last layer: accuracy",
    "the same less that before training",
    "translations with the right word for it",
    "best head: weight of the deciding word, by that elsewhere",
]


def judged(found):
    return main(SMALL, lambda name, part, *arguments: found)


def test_the_claim_holds_for_what_it_says_and_its_picture_can_be_kept(tmp_path):
    report = judged(made())
    assert report.holds and [finding.statement for finding in report.findings] == STATEMENTS
    assert json.loads(json.dumps(report.to_json()))
    draw(tmp_path / "apple.png", report)
    assert (tmp_path / "apple.png").stat().st_size > 10_000


@pytest.mark.parametrize(
    "found, wrong",
    [
        (made(told=(0.8, 0.95, 0.99)), [0]),
        (made(told=(0.5, 0.6, 0.99)), [1]),
        (made(told=(0.5, 0.95, 0.9)), [2]),
        (made(before=(0.5, 0.9, 0.95)), [3]),
        (made(right=0.5), [4]),
        (made(best=0.15), [5]),
    ],
)
def test_every_finding_fails_where_it_is_not_so(found, wrong):
    refuted = [finding.statement for finding in judged(found).findings if not finding.holds]
    assert refuted == [STATEMENTS[i] for i in wrong]


@pytest.mark.slow
def test_a_model_that_has_learned_nothing_fails_and_knows_exactly_nothing_before_its_first_layer(tmp_path):
    report = main(SMALL)
    refuted = {finding.statement for finding in report.findings if not finding.holds}
    assert refuted >= {STATEMENTS[3], STATEMENTS[4]} and STATEMENTS[0] not in refuted
    assert np.array(report.figures["after"])[:, 0].tolist() == [0.5] * len(SEEDS)
    draw(tmp_path / "apple.png", report)
