"""The task of memory: one fact about who is asked, early, and nothing else about them up to the question."""

from dataclasses import replace

import numpy as np
import pytest

from jaxformer.training.memory_study import EARLY, FILLERS, KINDS, MemoryConfig, told

CONFIG = MemoryConfig(names=3)
DISTANCES = np.repeat([1, 5, 31], 67)
ROWS = told(CONFIG, np.random.default_rng(0), DISTANCES, 31 + EARLY + 1)
FIRST_QUESTION = KINDS + KINDS * CONFIG.names


def at(places_B):
    return np.take_along_axis(ROWS.tokens_BT, places_B[:, None], axis=1)[:, 0]


def test_the_fact_stands_early_and_its_answer_is_what_the_question_asks_for():
    assert set(ROWS.fact_B) == set(range(EARLY))
    np.testing.assert_array_equal(ROWS.question_B - ROWS.fact_B - 1, DISTANCES)
    name_B, kind_B = np.divmod(at(ROWS.fact_B) - KINDS, KINDS)
    np.testing.assert_array_equal(at(ROWS.question_B), FIRST_QUESTION + name_B)
    np.testing.assert_array_equal(kind_B, ROWS.answer_B)
    assert set(name_B) == set(range(3)) and abs(ROWS.answer_B.mean() - 0.5) < 0.15


def test_nothing_else_is_said_of_who_is_asked_and_nothing_else_is_asked():
    name_B = at(ROWS.question_B) - FIRST_QUESTION
    says_BT = (ROWS.tokens_BT - KINDS) // KINDS == name_B[:, None]
    np.testing.assert_array_equal(says_BT.sum(1), 1)
    asks_BT = (ROWS.tokens_BT >= FIRST_QUESTION) & (ROWS.tokens_BT < FIRST_QUESTION + CONFIG.names)
    np.testing.assert_array_equal(asks_BT.sum(1), 1)
    assert ROWS.tokens_BT.min() >= KINDS and ROWS.tokens_BT.max() < CONFIG.vocabulary


def test_half_of_the_rest_are_facts_about_others_and_the_others_are_cats_as_often_as_mice():
    facts_BT = ROWS.tokens_BT < FIRST_QUESTION
    assert abs(facts_BT.mean() - 0.5) < 0.03
    assert abs(((ROWS.tokens_BT - KINDS) % KINDS)[facts_BT].mean() - 0.5) < 0.03
    fillers = ROWS.tokens_BT[ROWS.tokens_BT >= FIRST_QUESTION + CONFIG.names]
    assert len(set(fillers.tolist())) == FILLERS


@pytest.mark.parametrize(
    "change, message",
    [
        ({"names": 1}, "names must be at least 2, for others to be spoken of, got 1"),
        ({"near": (8, 65)}, r"near distances must be within those learned, \(1, .*, 64\), got \(8, 65\)"),
        ({"felt": 33}, "felt must be between 1 and held_out=32, got 33"),
    ],
)
def test_a_config_that_cannot_be_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        replace(CONFIG, **change)
