"""Rows that a function writes: new at every step, the same for every arm of a seed, and never those held out."""

from itertools import islice

import numpy as np

from jaxformer.config.blocks import MultiHead
from jaxformer.data.packing import TextBatch
from jaxformer.training.study import StudyConfig, train
from jaxformer.training.synthetic_study import LOOKED_AT, held_out_rows, small_decoder, synthetic_arm

V, T, B = 11, 5, 7
CONFIG = StudyConfig(seeds=(0, 1, 2, 3, 5), steps=120, look_every=120, batch=B)


def rows(rng, count):
    """The first token of a row, again and again; the first time it cannot be told and does not count."""
    tokens_BT = np.repeat(rng.integers(V, size=(count, 1)), T + 1, axis=1).astype(np.int32)
    return TextBatch(tokens_BT, None, None, np.ones((count, T), bool))


def test_a_decoder_learns_the_rows_and_looks_at_others():
    arm = synthetic_arm(CONFIG, small_decoder(MultiHead(1, 1, 8), 1, 8, V), rows)
    first, again = (list(islice(arm.batches(2), 3)) for _ in range(2))
    for batch, same in zip(first, again, strict=True):
        np.testing.assert_array_equal(batch.tokens_BT, same.tokens_BT)
    assert len({batch.tokens_BT.tobytes() for batch in (*first, *islice(arm.batches(3), 3))}) == 6
    held_out = arm.held_out(2)
    assert held_out.tokens_BT.shape == (LOOKED_AT, T + 1)
    np.testing.assert_array_equal(held_out.tokens_BT, held_out_rows(rows, 2).tokens_BT)
    assert held_out.tokens_BT[:B].tobytes() != first[0].tokens_BT.tobytes()
    looks = train(CONFIG, arm).looks
    assert (looks["accuracy"][0] < 0.4).all() and (looks["accuracy"][-1] > 0.8).all()
    assert (looks["loss"][-1] < looks["loss"][0] / 2).all()
