"""Masks are predicates: their algebra against plain Python, for one sequence and for a batch with a mask each."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxformer.ops.attention import attention
from jaxformer.ops.attention.masks import And, Causal, Mask, Not, Or, Prefix, Segments, Valid, Window
from tests.parity.compare import assert_close, normal

B, T, S = 3, 5, 7
LONGEST = 11
"""Queries stand anywhere below; the keys are 0 … S-1."""


class Both(NamedTuple):
    """A mask, and what it should say of a query at t and a key at s in row b."""

    mask: Mask
    rule: Callable[[int, int, int], Any]


def per_row(values, draw_shared):
    """Values that all rows share, or a row of them for each; as the array and as a function of the row."""
    return values[0] if draw_shared else values, (lambda b: values[0]) if draw_shared else (lambda b: values[b])


@st.composite
def prefixes(draw):
    lengths, of = per_row(np.array(draw(st.lists(st.integers(0, S), min_size=B, max_size=B))), draw(st.booleans()))
    return Both(Prefix(lengths), lambda b, t, s: s < of(b))


@st.composite
def flags(draw):
    row = st.lists(st.booleans(), min_size=S, max_size=S)
    flags, of = per_row(np.array(draw(st.lists(row, min_size=B, max_size=B))), draw(st.booleans()))
    return Both(Valid(flags), lambda b, t, s: of(b)[s])


@st.composite
def documents(draw):
    def ids(length):
        row = st.lists(st.integers(0, 2), min_size=length, max_size=length)
        return per_row(np.array(draw(st.lists(row, min_size=B, max_size=B))), draw(st.booleans()))

    (queries, query_of), (keys, key_of) = ids(LONGEST), ids(S)
    return Both(Segments(queries, keys), lambda b, t, s: query_of(b)[t] == key_of(b)[s])


windows = st.integers(1, 5).map(lambda size: Both(Window(size), lambda b, t, s: abs(t - s) < size))
causal = st.just(Both(Causal(), lambda b, t, s: s <= t))


def combined(parts):
    either = st.tuples(parts, parts)
    return (
        either.map(lambda p: Both(p[0].mask & p[1].mask, lambda b, t, s: p[0].rule(b, t, s) and p[1].rule(b, t, s)))
        | either.map(lambda p: Both(p[0].mask | p[1].mask, lambda b, t, s: p[0].rule(b, t, s) or p[1].rule(b, t, s)))
        | parts.map(lambda p: Both(~p.mask, lambda b, t, s: not p.rule(b, t, s)))
    )


masks = st.recursive(causal | windows | prefixes() | flags() | documents(), combined, max_leaves=5)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(masks, st.integers(0, LONGEST - T))
def test_masks_say_what_the_predicates_say(both, first):
    queries_T = jnp.arange(first, first + T)
    table = jax.vmap(lambda mask: mask.table(queries_T, jnp.arange(S)), in_axes=(both.mask.batch_axes(),), axis_size=B)
    expected = [[[bool(both.rule(b, t, s)) for s in range(S)] for t in range(first, first + T)] for b in range(B)]
    np.testing.assert_array_equal(table(both.mask), expected)


@pytest.mark.parametrize(
    "mask",
    [
        Prefix(np.array([S, 2, 5])),
        Causal() & Valid(np.arange(B * S).reshape(B, S) % 3 != 0),
        Segments(np.arange(B * S).reshape(B, S) // 4) & ~Window(2),
        Prefix(3) | Causal(),
        Causal(),
    ],
    ids=["lengths", "causal, flags", "segments, window", "shared prefix or causal", "causal"],
)
def test_attention_reads_what_each_rows_mask_allows(mask):
    """One batch with its masks, under jit, is each row with its own mask as a plain table."""
    N, H = 2, 3
    q, k, v = normal(0, B, S, N, H), normal(1, B, S, N, H), normal(2, B, S, N, H)
    tables = jax.vmap(lambda m: m.table(jnp.arange(S), jnp.arange(S)), in_axes=(mask.batch_axes(),), axis_size=B)(mask)
    scores = np.einsum("btnh,bsnh->bnts", q, k) / np.sqrt(H)
    weights = np.where(tables[:, None], np.exp(scores), 0)
    weights = weights / np.maximum(weights.sum(-1, keepdims=True), 1e-30)
    assert_close(jax.jit(attention)(q, k, v, mask=mask), np.einsum("bnts,bsnh->btnh", weights, v), 2e-6)


def test_a_causal_window_holds_its_size():
    table_TS = (Causal() & Window(3)).table(jnp.arange(LONGEST), jnp.arange(LONGEST))
    np.testing.assert_array_equal(table_TS.sum(-1), [1, 2, *[3] * (LONGEST - 2)])


def test_operators_build_the_algebra():
    assert (Causal() & Window(3) | ~Causal()) == Or(And(Causal(), Window(3)), Not(Causal()))


def test_an_empty_window_is_refused():
    with pytest.raises(ValueError, match="at least 1 position, got size=0"):
        Window(0)
