"""Blocks that meet: nothing that may be read is left out, and nothing that must be asked is taken as whole."""

import jax.numpy as jnp
import numpy as np
import pytest

from jaxformer.ops.attention.blocks import met, spans
from jaxformer.ops.attention.masks import Causal, Prefix, Window

T, S, QUERIES, KEYS = 59, 53, 4, 8
MASKS = {
    "all": None,
    "causal": Causal(),
    "window": Window(13),
    "causal window": Causal() & Window(19),
    "prefix": Causal() | Prefix(5),
    "not causal": ~Causal(),
}


@pytest.mark.parametrize("name", MASKS)
@pytest.mark.parametrize("turned", [False, True], ids=["by queries", "by keys"])
def test_spans_cover_what_may_be_read_and_ask_where_they_must(name, turned):
    mask = MASKS[name]
    table_TS = np.ones((T, S), bool) if mask is None else np.asarray(mask.table(jnp.arange(T), jnp.arange(S)))
    rows, columns = -(-T // QUERIES), -(-S // KEYS)
    # Keys that are not there may not be read, and nobody minds what queries do that are not there.
    filled = np.pad(table_TS, ((0, rows * QUERIES - T), (0, 0)), constant_values=True)
    filled = np.pad(filled, ((0, 0), (0, columns * KEYS - S))).reshape(rows, QUERIES, columns, KEYS)
    any_IJ = (
        np.pad(table_TS, ((0, rows * QUERIES - T), (0, columns * KEYS - S)))
        .reshape(rows, QUERIES, columns, KEYS)
        .any((1, 3))
    )
    every_IJ = filled.all((1, 3))
    blocks = met(mask, T, S, QUERIES, KEYS)
    if turned:
        any_IJ, every_IJ, blocks = any_IJ.T, every_IJ.T, [block.T for block in blocks]
    visits = np.zeros(any_IJ.shape, int)
    for ask, firsts, lasts in spans(*blocks):
        for i, (first, last) in enumerate(zip(firsts, lasts, strict=True)):
            visits[i, first:last] += 1
            assert ask or every_IJ[i, first:last].all()
    assert visits.max() == 1 and visits[any_IJ].all()


def test_a_causal_mask_is_asked_on_the_diagonal_alone():
    blocks = met(Causal(), 64, 64, 16, 8)
    assert [(ask, *map(list, bounds)) for ask, *bounds in spans(*blocks)] == [
        (False, [0, 0, 0, 0], [0, 2, 4, 6]),
        (True, [0, 2, 4, 6], [2, 4, 6, 8]),
    ]
    assert [(ask, *map(list, bounds)) for ask, *bounds in spans(*(block.T for block in blocks))] == [
        (True, [0, 0, 1, 1, 2, 2, 3, 3], [1, 1, 2, 2, 3, 3, 4, 4]),
        (False, [1, 1, 2, 2, 3, 3, 4, 4], [4, 4, 4, 4, 4, 4, 4, 4]),
    ]
