"""A study of translation reads the grammar's pairs as they are, with links that lie where the words stand."""

from dataclasses import replace

import jax
import numpy as np
import pytest

from jaxformer.config.model import TransformerConfig
from jaxformer.data.grammar import Example, Link
from jaxformer.training.study import train
from jaxformer.training.translation_study import (
    BEGIN,
    END,
    PAD,
    TranslationStudyConfig,
    corpus_of,
    linked,
    translated,
    translation_arm,
    translator,
)

CONFIG = TranslationStudyConfig(
    seeds=(0, 1, 2, 3, 5),
    steps=6,
    look_every=3,
    batch=7,
    pairs=300,
    looks_at=11,
    longest=9,
    model=TransformerConfig(width=8, encoder_layers=1, decoder_layers=1, heads=2, feed_forward=8, dropout=0.0),
)
EXAMPLE = Example(
    ("She", "ate", "an", "apple", "."),
    ("她", "吃", "了", "一", "个", "苹果", "。"),
    ((0, 0), (1, 1), (2, 3), (3, 5), (4, 6)),
    (Link("sense", 3, 1), Link("coreference", 0, 4)),
)


@pytest.fixture(scope="module")
def corpus():
    return corpus_of(CONFIG)


def test_pairs_are_distinct_short_and_their_words_known(corpus):
    assert (len(corpus.train), len(corpus.held_out)) == (CONFIG.pairs, CONFIG.looks_at)
    both = (*corpus.train, *corpus.held_out)
    assert len({example.source for example in both}) == len(both)
    assert max(len(side) for example in both for side in (example.english, example.chinese)) <= CONFIG.longest
    assert {word for example in corpus.held_out for word in (*example.english, *example.chinese)} <= set(corpus.numbers)


def test_rows_are_the_words_with_their_marks(corpus):
    words = {number: word for word, number in corpus.numbers.items()}
    batch = corpus.rows(corpus.held_out)
    assert batch.source_BS.shape == (11, CONFIG.longest + 1) and batch.target_BT.shape == (11, CONFIG.longest + 2)
    for example, source_S, target_T in zip(corpus.held_out, *batch, strict=True):
        english, chinese = ([token for token in row if token != PAD] for row in (source_S, target_T))
        assert english[-1] == chinese[-1] == END and chinese[0] == BEGIN
        assert tuple(words[token] for token in english[:-1]) == example.english
        assert tuple(words[token] for token in chinese[1:-1]) == example.chinese


def test_links_lead_from_a_word_to_its_decider_and_from_before_a_chinese_word_to_the_english_one():
    for kind, expected in {"sense": {(3, 1)}, "coreference": {(0, 4)}}.items():
        assert set(zip(*np.nonzero(linked([EXAMPLE], kind, (7, 7))[0]), strict=True)) == expected
    found = linked([EXAMPLE], "alignment", (11, 7))[0]
    # Row 5 of a decoder has read 个 last and predicts 苹果.
    assert set(zip(*np.nonzero(found), strict=True)) == {(0, 0), (1, 1), (3, 2), (5, 3), (6, 4)}


def test_batches_are_rows_of_the_corpus_in_an_order_of_each_seed(corpus):
    arm = translation_arm(CONFIG)
    known = {row.tobytes() for row in corpus.rows(corpus.train).source_BS}
    batches = [next(arm.batches(seed)) for seed in (0, 0, 1)]
    assert {row.tobytes() for row in batches[0].source_BS} <= known
    np.testing.assert_array_equal(batches[0].target_BT, batches[1].target_BT)
    assert (batches[0].source_BS != batches[2].source_BS).any()


@pytest.mark.slow
def test_every_seed_learns_and_translates(corpus):
    trained = train(CONFIG, translation_arm(CONFIG))
    assert trained.looks["loss"].shape == (3, 5) and (trained.looks["loss"][-1] < trained.looks["loss"][0]).all()
    params, source_BS = jax.tree.map(lambda x: x[0], trained.params), corpus.rows(corpus.held_out).source_BS
    tokens_BT = np.asarray(translated(CONFIG, params, source_BS))
    assert tokens_BT.shape == (CONFIG.looks_at, CONFIG.longest + 1)
    # What is likeliest after its own words is what a model chooses that reads them all at once.
    inputs_BT = np.pad(tokens_BT, ((0, 0), (1, 0)), constant_values=BEGIN)[:, :-1]
    logits_BTV = np.array(translator(CONFIG).apply(params, source_BS, inputs_BT))
    logits_BTV[..., [PAD, BEGIN]] = -np.inf
    said_BT = (tokens_BT != PAD) & (np.arange(tokens_BT.shape[1]) < CONFIG.longest)
    np.testing.assert_array_equal(tokens_BT[said_BT], logits_BTV.argmax(-1)[said_BT])


@pytest.mark.parametrize("wrong", [{"family": "poem"}, {"pairs": 0}, {"looks_at": 0}, {"longest": 0}])
def test_what_no_study_can_use_is_refused_by_name(wrong):
    with pytest.raises(ValueError, match=f"^{next(iter(wrong))} must be"):
        replace(CONFIG, **wrong)
