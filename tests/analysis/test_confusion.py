"""Accuracy and F1 against their definitions, example by example."""

import numpy as np
import pytest

from jaxformer.analysis.confusion import accuracy, confusion, f1, macro_f1, table

LABELS = np.array([0, 0, 0, 1, 1, 2, 2, 2, 2])
TOLD = np.array([0, 0, 1, 1, 2, 2, 2, 0, 2])


def test_counts_stand_in_the_row_of_the_true_class():
    counts_CC = confusion(LABELS, TOLD, 4)
    assert counts_CC.tolist() == [[2, 1, 0, 0], [0, 1, 1, 0], [1, 0, 3, 0], [0, 0, 0, 0]]


def test_accuracy_and_f1_are_those_of_the_definitions():
    counts_CC = confusion(LABELS, TOLD, 3)
    by_class = []
    for c in range(3):
        precision, recall = (c == LABELS)[c == TOLD].mean(), (c == TOLD)[c == LABELS].mean()
        by_class.append(2 * precision * recall / (precision + recall))
    assert accuracy(counts_CC) == (LABELS == TOLD).mean()
    np.testing.assert_allclose(f1(counts_CC), by_class)
    assert macro_f1(counts_CC) == pytest.approx(np.mean(by_class))


def test_a_class_that_is_always_missed_has_no_f1_and_one_that_is_nowhere_does_not_count():
    counts_CC = confusion(np.array([0, 0, 1]), np.array([0, 0, 2]), 4)
    np.testing.assert_array_equal(f1(counts_CC), [1, 0, 0, np.nan])
    assert macro_f1(counts_CC) == pytest.approx(1 / 3)


def test_the_table_has_a_row_and_a_column_for_each_class():
    lines = table(np.array([[412, 6], [20, 1404]]), ("negative", "yes")).splitlines()
    assert [line.split() for line in lines] == [
        ["true", "\\", "told", "negative", "yes"],
        ["negative", "412", "6"],
        ["yes", "20", "1404"],
    ]
    assert len({len(line) for line in lines}) == 1
