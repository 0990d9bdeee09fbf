"""The task of associative recall: keys of a row differ, and what is asked for is there."""

from dataclasses import replace

import numpy as np
import pytest

from jaxformer.training.recall_study import RecallConfig, random_shelf

CONFIG = RecallConfig(pairs=(2, 5, 7), keys=11, values=3, questions=13)


def test_keys_of_a_row_differ_and_questions_ask_for_pairs_that_are_there():
    shelf = random_shelf(CONFIG, np.random.default_rng(0), np.repeat(CONFIG.pairs, 17))
    assert shelf.keys_BK.shape == shelf.values_BK.shape == (51, 7) and shelf.asked_BQ.shape == (51, 13)
    assert all(len(set(row)) == 7 for row in shelf.keys_BK.tolist())
    assert set(shelf.keys_BK.ravel()) == set(range(11)) and set(shelf.values_BK.ravel()) == set(range(3))
    for pairs in CONFIG.pairs:
        assert set(shelf.asked_BQ[shelf.pairs_B == pairs].ravel()) == set(range(pairs))


def test_a_key_says_nothing_of_its_value():
    """In rows enough every key has had every value, about equally often."""
    shelf = random_shelf(CONFIG, np.random.default_rng(1), np.full(3000, 7))
    counts = np.zeros((11, 3))
    np.add.at(counts, (shelf.keys_BK.ravel(), shelf.values_BK.ravel()), 1)
    np.testing.assert_allclose(counts / counts.sum(1, keepdims=True), 1 / 3, atol=0.06)


@pytest.mark.parametrize("pairs", [(), (0, 3), (3, 12)])
def test_pairs_that_cannot_be_are_refused(pairs):
    with pytest.raises(ValueError, match=r"pairs must be between 1 and keys=11, got \("):
        replace(CONFIG, pairs=pairs)
