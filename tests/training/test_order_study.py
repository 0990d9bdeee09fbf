"""The task of order: no bag of words tells who acts, and only one way to read a sentence tells its order."""

import numpy as np

from jaxformer.training.order_study import ME, READINGS, TRAP, read, sentences


def test_every_bag_of_words_has_both_orders_and_both_answers_and_is_never_in_both_halves():
    known, held_out = sentences(0)
    bags = [{tuple(sorted(row)) for row in half} for half in (known, held_out)]
    assert not bags[0] & bags[1]
    for half, distinct in zip((known, held_out), bags, strict=True):
        np.testing.assert_array_equal(half[::2], half[1::2, ::-1])
        assert len({tuple(row) for row in half}) == len(half) == 2 * len(distinct)
        np.testing.assert_array_equal((half == ME).sum(1), 1)
        assert read(half, READINGS[TRAP]).acts_B.mean() == 0.5


def test_readings_but_the_trap_read_the_same_of_a_sentence_in_either_order():
    _, held_out = sentences(0)
    for name, reading in READINGS.items():
        reading_BT, backwards_BT = (read(rows, reading).reading_BT for rows in (held_out, held_out[:, ::-1]))
        np.testing.assert_allclose(reading_BT.sum(-1), 1.0)
        assert np.array_equal(reading_BT, backwards_BT[:, ::-1]) == (name != TRAP)
