"""Attention against its definition in float64, against jax's own, and at the edges of floating point."""

from dataclasses import dataclass, field
from functools import partial
from itertools import product

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxformer.ops.attention import attention, attention_with_weights
from jaxformer.ops.attention.additive import additive_weights
from jaxformer.ops.attention.biases import Slopes
from jaxformer.ops.attention.chunks import attend_by_chunks
from jaxformer.ops.attention.formula import masked_softmax, read
from jaxformer.ops.attention.lifting import every_head, in_turn, together
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


CHUNK = 16
LONG, KEYS = 2 * CHUNK + 13, 2 * CHUNK + 9


def by_chunks(q, k, v, mask=None, bias=None, sinks_N=None, **how):
    """Attention in turn, by small chunks."""

    def head(*of_head):
        return attend_by_chunks(*of_head[:-2], chunk=CHUNK, **how)

    return together(every_head(head, in_turn, q, k, v, mask, bias, sinks_N))


def masks():
    """By what they are: of one shape for all, different for each sequence, and none."""
    ids_BT = np.sort(np.random.default_rng(5).integers(0, 4, (2, LONG)))
    return {
        "causal": Causal(),
        "window": Causal() & Window(5),
        "either side": Window(20),
        "prefix": (Causal() | Prefix(np.array([3, 30]))) & ~Prefix(np.array([1, 0])),
        "segments": Causal() & Segments(ids_BT, ids_BT[:, :KEYS]),
        "nothing for some": Prefix(np.array([0, 5])) & Causal(),
        "all": None,
    }


@pytest.mark.parametrize("name", masks())
def test_chunk_by_chunk_reads_the_same_with_the_same_gradients(name):
    """With shared heads, a bias with gradients, sinks, a soft-cap, and chunks that are not full."""
    mask, slopes, sinks = masks()[name], np.float32([0.5, 0.01, 0.0, 0.2]), normal(4, 4)
    q, k, v = normal(0, 2, LONG, 4, H), normal(1, 2, KEYS, 2, H), normal(2, 2, KEYS, 2, H)
    weighing = normal(3, 2, LONG, 4, H)

    def weighed(attention, q, k, v, slopes, sinks):
        o_BTNH = attention(q, k, v, mask=mask, bias=Slopes(slopes), sinks_N=sinks, scale=0.7, softcap=3.0)
        return (o_BTNH * weighing).sum(), o_BTNH

    def whole(*args, **where):
        return attention_with_weights(*args, **where)[0]

    def of(attention):
        values = jax.jit(jax.value_and_grad(partial(weighed, attention), argnums=(0, 1, 2, 3, 4), has_aux=True))
        (_, o_BTNH), gradients = values(q, k, v, slopes, sinks)
        return o_BTNH, *gradients

    assert_all_close(of(by_chunks), of(whole), 1e-5)


@pytest.mark.parametrize("sinks", [None, normal(3, 2)], ids=["no sinks", "sinks"])
def test_chunks_whose_window_holds_no_key_read_nothing(sinks):
    q, k, v = normal(0, 2, 60, 2, H), normal(1, 2, 13, 2, H), normal(2, 2, 13, 2, H)

    def whole(q, k, v, mask, bias, sinks):
        return attention_with_weights(q, k, v, mask=mask, bias=bias, sinks_N=sinks)[0]

    def of(form):
        o_BTNH, pull = jax.vjp(lambda *qkv: form(*qkv, Window(4), None, sinks), q, k, v)
        return o_BTNH, *pull(jnp.ones_like(o_BTNH))

    found = of(by_chunks)
    assert not found[0][:, 17:].any()
    assert_all_close(found, of(whole), 1e-5)


def test_chunks_refuse_what_does_not_fit():
    q, k, v = normal(0, 3, 60, 2, H), normal(1, 3, 60, 2, H), normal(2, 3, 60, 2, H)
    for mask in (Prefix(np.array([5])), Prefix(np.array([5, 7]))):
        with pytest.raises(ValueError):
            by_chunks(q, k, v, mask)
    with pytest.raises(ValueError, match="as many values as keys, got 55 and 60"):
        by_chunks(q, k, v[:, :55])
    with pytest.raises(ValueError, match="multiple"):
        by_chunks(q, normal(1, 3, 60, 4, H), normal(2, 3, 60, 4, H))


def test_the_gradient_of_a_small_sink_is_not_lost_among_the_weights():
    scores_TS, v_SH = np.zeros((1, 1000), np.float32), 1 + normal(0, 1000, 3)
    slope = jax.grad(lambda sink: read(scores_TS, v_SH, None, sink)[0].sum())(jnp.float32(-15.0))
    share = np.exp(-15.0) / (1000 + np.exp(-15.0))
    np.testing.assert_allclose(slope, -share * v_SH.astype(float).mean(0).sum(), rtol=1e-5)


def test_long_sequences_are_read_chunk_by_chunk_and_no_array_holds_all_scores(monkeypatch):
    """On one CPU device; several divide the heads instead."""
    T, S = 557, 543
    q, k, v = normal(0, 1, T, 4, H), normal(1, 1, S, 2, H), normal(2, 1, S, 2, H)

    def holds_all_scores():
        gradient = jax.jit(jax.grad(lambda q: attention(q, k, v, mask=Causal()).sum()))
        return f"{T},{S}]" in gradient.lower(q).compile().as_text().replace(" ", "")

    assert holds_all_scores()
    monkeypatch.setattr(jax, "device_count", lambda: 1)
    assert not holds_all_scores()


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
