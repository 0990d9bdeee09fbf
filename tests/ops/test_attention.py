"""Attention against its definition in float64, against jax's own, and at the edges of floating point."""

from dataclasses import dataclass, field
from functools import partial
from itertools import product

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxformer.config.attention import Blockwise, Formula
from jaxformer.ops.attention import attention, attention_with_weights
from jaxformer.ops.attention.additive import additive_weights
from jaxformer.ops.attention.biases import Slopes
from jaxformer.ops.attention.formula import masked_softmax, read
from jaxformer.ops.attention.masks import Causal, Mask, Prefix, Segments, Window
from tests.parity.compare import assert_all_close, assert_close, normal

B, T, S, H = 3, 7, 11, 5
HEADS = [pytest.param(2, 2, id="multi-head"), pytest.param(6, 2, id="grouped"), pytest.param(6, 1, id="multi-query")]


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Table(Mask):
    """Any table of who may read whom."""

    table_TS: np.ndarray = field(metadata={"rank": 2})

    def __call__(self, t, s):
        return jnp.asarray(self.table_TS)[t, s]


def inputs(N, K, dtype=np.float32):
    return normal(0, B, T, N, H, dtype=dtype), normal(1, B, S, K, H, dtype=dtype), normal(2, B, S, K, H, dtype=dtype)


def allowed_at_random(least):
    """A table [B, T, S] in which every query may read `least` keys or more."""
    allowed_BTS = np.random.default_rng(3).random((B, T, S)) < 0.4
    allowed_BTS[..., :least] = True
    return allowed_BTS


def one_by_one(q_BTNH, k_BSKH, v_BSKH, allowed_BTS):
    """The definition in float64: the output, query by query and key by key, and the weights."""
    (B, T, N, H), (_, S, K, _) = q_BTNH.shape, k_BSKH.shape
    o_BTNH, weights_BNTS = np.zeros((B, T, N, H)), np.zeros((B, N, T, S))
    for b, t, n in product(range(B), range(T), range(N)):
        library = n // (N // K)
        read = np.flatnonzero(allowed_BTS[b, t])
        scores = np.array([np.dot(np.float64(q_BTNH[b, t, n]), k_BSKH[b, s, library]) / H**0.5 for s in read])
        for s, score in zip(read, scores, strict=True):
            weights_BNTS[b, n, t, s] = np.exp(score) / np.exp(scores).sum()
            o_BTNH[b, t, n] += weights_BNTS[b, n, t, s] * v_BSKH[b, s, library]
    return o_BTNH, weights_BNTS


@pytest.mark.smoke
@pytest.mark.parametrize("N, K", HEADS)
def test_values_are_those_of_the_definition(N, K):
    """Some queries may read nothing here, and get zeros."""
    q, k, v = inputs(N, K)
    allowed_BTS = allowed_at_random(least=0)
    allowed_BTS[1, 2] = False
    assert_all_close(
        jax.jit(attention_with_weights)(q, k, v, mask=Table(allowed_BTS)), one_by_one(q, k, v, allowed_BTS), 1e-6
    )
    assert_close(jax.jit(attention)(q, k, v), one_by_one(q, k, v, np.ones((B, T, S), bool))[0], 1e-6)


@pytest.mark.parametrize("masked", [False, True], ids=["everything", "masked"])
@pytest.mark.parametrize("N, K", HEADS)
def test_values_and_gradients_are_those_of_jax(N, K, masked):
    allowed_BTS, weight = allowed_at_random(least=1) if masked else None, normal(4, B, T, N, H)

    def ours(*qkv):
        o_BTNH = attention(*qkv, mask=Table(allowed_BTS) if masked else None)
        return (o_BTNH * weight).sum(), o_BTNH

    def theirs(*qkv):
        mask = allowed_BTS[:, None] if masked else None
        o_BTNH = jax.nn.dot_product_attention(*qkv, mask=mask, implementation="xla")
        return (o_BTNH * weight).sum(), o_BTNH

    both = [jax.jit(jax.value_and_grad(f, argnums=(0, 1, 2), has_aux=True))(*inputs(N, K)) for f in (ours, theirs)]
    assert_all_close(*both, 2e-6)


def test_a_query_that_may_read_nothing_gets_zeros_and_gives_no_gradient():
    q, k, v = inputs(2, 2)
    allowed_BTS = allowed_at_random(least=1)
    allowed_BTS[1] = False
    allowed_BTS[2, 3] = False

    def weighed(*qkv):
        o_BTNH, weights_BNTS = attention_with_weights(*qkv, mask=Table(allowed_BTS))
        return (o_BTNH * normal(4, *o_BTNH.shape)).sum() + (weights_BNTS**2).sum(), (o_BTNH, weights_BNTS)

    gradients, (o_BTNH, weights_BNTS) = jax.jit(jax.grad(weighed, argnums=(0, 1, 2), has_aux=True))(q, k, v)
    assert not o_BTNH[1].any() and not o_BTNH[2, 3].any() and not weights_BNTS[1].any()
    for gradient in gradients:
        assert np.isfinite(gradient).all() and not gradient[1].any() and gradient[0].any()
    assert not gradients[0][2, 3].any()


@pytest.mark.parametrize("masked", [False, True], ids=["everything", "masked"])
def test_huge_scores_neither_overflow_nor_spoil_gradients(masked):
    """Scores of ±1e6: every query reads the one key of its largest score, also where a hidden key has a larger one."""
    q, k, v = inputs(2, 2)
    q, k = 1e3 * q, 1e3 * k
    allowed_BTS = allowed_at_random(least=1) if masked else np.ones((B, T, S), bool)
    mask = Table(allowed_BTS) if masked else None
    scores_BNTS = np.where(allowed_BTS[:, None], np.einsum("btnh,bsnh->bnts", q, k), -np.inf)
    o_BTNH = jax.jit(attention)(q, k, v, mask=mask)
    best_BNT = scores_BNTS.argmax(-1)
    for n in range(2):
        assert_close(o_BTNH[:, :, n], np.take_along_axis(v[:, :, n], best_BNT[:, n, :, None], axis=1), 1e-6)
    gradients = jax.jit(jax.grad(lambda *qkv: attention(*qkv, mask=mask).sum(), argnums=(0, 1, 2)))(q, k, v)
    assert all(np.isfinite(gradient).all() for gradient in gradients)


def test_half_precision_sums_and_softmax_run_in_float32():
    q, k, v = (jnp.asarray(x, jnp.bfloat16) for x in inputs(6, 2))
    o_BTNH, weights_BNTS = jax.jit(attention_with_weights)(q, k, v)
    wide = [np.asarray(x, np.float32) for x in (q, k, v)]
    expected_o, expected_weights = one_by_one(*wide, np.ones((B, T, S), bool))
    assert o_BTNH.dtype == jnp.bfloat16 and weights_BNTS.dtype == jnp.float32
    assert_close(weights_BNTS, expected_weights, 1e-6)
    assert_close(o_BTNH, expected_o, 2.0**-7)


def test_the_rule_for_what_is_read_is_that_of_its_formula():
    """Forwards and backwards, with a sink and without, also where a query may read nothing."""
    scores_TS, v_SH, sink, mask_TS = normal(0, T, S), normal(1, S, H), normal(2), allowed_at_random(least=0)[0]
    mask_TS[3] = False

    def formula(scores_TS, v_SH, sink):
        weights_TS = masked_softmax(scores_TS, mask_TS, sink)
        return weights_TS @ v_SH, weights_TS

    for operands in ((scores_TS, v_SH, sink), (scores_TS, v_SH, None)):
        moved = tuple(None if x is None else normal(3 + i, *np.shape(x)) for i, x in enumerate(operands))
        found = jax.jvp(lambda s, v, sink: read(s, v, mask_TS, sink), operands, moved)
        assert_all_close(found, jax.jvp(formula, operands, moved), 2e-6)
        weighing = normal(7, T, H), normal(8, T, S)
        pulled = jax.vjp(lambda s, v, sink: read(s, v, mask_TS, sink), *operands)[1](weighing)
        assert_all_close(pulled, jax.vjp(formula, *operands)[1](weighing), 2e-6)


def test_queries_stand_where_they_are_said_to():
    """The last three queries alone, at their positions, read what they read among all."""
    q, k, v = inputs(2, 2)
    read = jax.jit(partial(attention, mask=Causal() & Prefix(np.array([S, 3, 5]))))
    assert_close(read(q[:, 4:], k, v, query_positions=np.arange(4, T)), read(q, k, v)[:, 4:], 1e-6)


def test_heads_that_do_not_divide_are_refused():
    with pytest.raises(ValueError, match="multiple of key/value heads, got 5 and 2"):
        attention(normal(0, B, T, 5, H), normal(1, B, S, 2, H), normal(2, B, S, 2, H))


def test_additive_weights_are_those_of_the_definition():
    A = 13
    query_A, keys_SA, v_A = normal(0, A), normal(1, S, A), normal(2, A)
    mask_S = np.arange(S) % 3 != 1
    scores_S = np.tanh(np.float64(query_A) + keys_SA) @ v_A
    expected_S = np.where(mask_S, np.exp(scores_S), 0) / np.exp(scores_S)[mask_S].sum()
    weights = partial(jax.jit(additive_weights), query_A, keys_SA)
    assert_close(weights(v_A, mask_S), expected_S, 1e-6)
    assert np.all(np.asarray(weights(1e6 * v_A, mask_S))[~mask_S] == 0)


BLOCK = 16
LONG, KEYS = 2 * BLOCK + 13, 2 * BLOCK + 9


def masks():
    """By what they are: of one shape for all, different for each sequence, and none."""
    ids_BT = np.sort(np.random.default_rng(5).integers(0, 4, (2, LONG)))
    return {
        "causal": Causal(),
        "window": Causal() & Window(5),
        "wide window": Causal() & Window(30),
        "either side": Window(20),
        "prefix": (Causal() | Prefix(np.array([3, 30]))) & ~Prefix(np.array([1, 0])),
        "segments": Causal() & Segments(ids_BT, ids_BT[:, :KEYS]),
        "nothing for some": Prefix(np.array([0, 5])) & Causal(),
        "all": None,
    }


def slopes_of(backend, weighing, *operands, **how):
    """What is read, and the gradients of its weighed sum with respect to all operands."""

    def weighed(q, k, v, slopes, sinks):
        bias = None if slopes is None else Slopes(slopes)
        o_BTNH = attention(q, k, v, bias=bias, sinks_N=sinks, backend=backend, **how)
        return (o_BTNH * weighing).sum(), o_BTNH

    gradients, o_BTNH = jax.jit(jax.grad(weighed, argnums=(0, 1, 2, 3, 4), has_aux=True))(*operands)
    return o_BTNH, *gradients


@pytest.mark.parametrize("name", masks())
def test_block_by_block_reads_the_same_with_the_same_gradients(name):
    """With shared heads, values of another width, a bias with gradients, sinks, a soft-cap, and blocks that are not
    full.
    """
    how = {"mask": masks()[name], "scale": 0.7, "softcap": 3.0}
    operands = normal(0, 2, LONG, 4, H), normal(1, 2, KEYS, 2, H), normal(2, 2, KEYS, 2, 7)
    extra, weighing = (np.float32([0.5, 0.01, 0.0, 0.2]), normal(4, 4)), normal(3, 2, LONG, 4, 7)
    found, expected = (
        slopes_of(backend, weighing, *operands, *extra, **how) for backend in (Blockwise(BLOCK), Formula())
    )
    assert_all_close(found, expected, 1e-5)


@pytest.mark.parametrize("name", ["causal", "segments", "nothing for some", "all"])
def test_block_by_block_in_half_precision_sums_in_single(name):
    """The distance from the formula in float32 is that of the formula in bfloat16, or less."""
    how, weighing = {"mask": masks()[name]}, normal(3, 2, LONG, 2, H)
    operands = normal(0, 2, LONG, 2, H), normal(1, 2, KEYS, 2, H), normal(2, 2, KEYS, 2, H)
    rounded = [jnp.asarray(x, jnp.bfloat16) for x in operands]
    exact = slopes_of(Formula(), weighing, *(x.astype(jnp.float32) for x in rounded), None, None, **how)
    found = slopes_of(Blockwise(BLOCK), weighing, *rounded, None, None, **how)
    assert all(x.dtype == jnp.bfloat16 for x in found[:4])
    assert_all_close([x.astype(jnp.float32) for x in found[:4]], exact[:4], 2.0**-6)


@pytest.mark.parametrize("sinks", [None, normal(3, 2)], ids=["no sinks", "sinks"])
def test_blocks_whose_window_holds_no_key_read_nothing(sinks):
    operands = normal(0, 2, 60, 2, H), normal(1, 2, 13, 2, H), normal(2, 2, 13, 2, H)
    found, expected = (
        slopes_of(backend, np.ones((2, 60, 2, H)), *operands, None, sinks, mask=Window(4))
        for backend in (Blockwise(BLOCK), Formula())
    )
    assert not found[0][:, 17:].any()
    assert_all_close(found, expected, 1e-5)


@pytest.mark.parametrize("backend", [Formula(), Blockwise(BLOCK)], ids=["formula", "blockwise"])
def test_what_does_not_fit_is_refused(backend):
    q, k, v = normal(0, 3, 60, 2, H), normal(1, 3, 60, 2, H), normal(2, 3, 60, 2, H)
    with pytest.raises(ValueError, match="as many values as keys, got 55 and 60"):
        attention(q, k, v[:, :55], backend=backend)
    with pytest.raises(ValueError, match="multiple of key/value heads, got 2 and 4"):
        attention(q, normal(1, 3, 60, 4, H), normal(2, 3, 60, 4, H), backend=backend)


def test_the_gradient_of_a_small_sink_is_not_lost_among_the_weights():
    scores_TS, v_SH = np.zeros((1, 1000), np.float32), 1 + normal(0, 1000, 3)
    slope = jax.grad(lambda sink: read(scores_TS, v_SH, None, sink)[0].sum())(jnp.float32(-15.0))
    share = np.exp(-15.0) / (1000 + np.exp(-15.0))
    np.testing.assert_allclose(slope, -share * v_SH.astype(float).mean(0).sum(), rtol=1e-5)


def test_long_sequences_are_read_block_by_block_and_no_array_holds_all_scores(monkeypatch):
    """On one CPU device; several divide the heads instead."""
    T, S = 557, 543
    q, k, v = normal(0, 1, T, 4, H), normal(1, 1, S, 2, H), normal(2, 1, S, 2, H)

    def holds_all_scores():
        gradient = jax.jit(jax.grad(lambda q: attention(q, k, v, mask=Causal()).sum()))
        return f"{T},{S}]" in gradient.lower(q).compile().as_text().replace(" ", "")

    assert holds_all_scores()
    monkeypatch.setattr(jax, "device_count", lambda: 1)
    assert not holds_all_scores()


@pytest.mark.parametrize("mask", [None, Causal(), Causal() & Window(60)], ids=["all", "causal", "window"])
def test_temporaries_grow_with_the_length_and_not_with_its_square(mask):
    def temporaries(T):
        q, k, v = (jax.ShapeDtypeStruct((1, T, 3, 32), jnp.float32) for _ in range(3))
        gradient = jax.grad(lambda *qkv: attention(*qkv, mask=mask, backend=Blockwise(64)).sum(), argnums=(0, 1, 2))
        return jax.jit(gradient).lower(q, k, v).compile().memory_analysis().temp_size_in_bytes

    assert temporaries(2048) < 2.1 * temporaries(1024)


def test_a_mask_reaches_all_that_may_be_read():
    rng = np.random.default_rng(0)
    for mask in (Causal(), Window(4), Causal() & Window(4), Causal() | Prefix(5), ~Causal(), Window(3) & ~Window(2)):
        for _ in range(20):
            start = int(rng.integers(0, 12))
            stop = start + int(rng.integers(1, 6))
            first, last = mask.reach(start, stop, 9)
            read = np.asarray(mask.table(jnp.arange(start, stop), jnp.arange(9))).any(0)
            assert 0 <= first <= last <= 9 and not read[:first].any() and not read[last:].any()
    assert Causal().reach(3, 5, 9) == (0, 5)
    assert (Causal() & Window(3)).reach(4, 6, 9) == (2, 6) and (Window(2) | Window(3)).reach(4, 5, 9) == (2, 7)


def test_what_a_mask_calls_whole_may_be_read_by_every_query():
    rng = np.random.default_rng(0)
    for mask in (Causal(), Window(4), Causal() & Window(4), Causal() | Window(6), ~Causal(), Prefix(5)):
        for _ in range(20):
            start = int(rng.integers(0, 12))
            stop = start + int(rng.integers(1, 6))
            first, last = mask.whole(start, stop, 9)
            read = np.asarray(mask.table(jnp.arange(start, stop), jnp.arange(9))).all(0)
            assert 0 <= first <= last <= 9 and read[first:last].all()
    assert Causal().whole(3, 5, 9) == (0, 4) and Window(4).whole(4, 6, 9) == (2, 8)
    assert (Causal() & Window(4)).whole(4, 6, 9) == (2, 5) and (Causal() | Window(2)).whole(4, 6, 9) == (0, 5)
