"""The attention module: shared key/value heads, biases left out, and the record of what was read."""

from functools import partial

import flax.linen as nn
import jax
import numpy as np
import pytest

from jaxformer.config.blocks import MultiHead, RmsNorm
from jaxformer.config.positions import Rotary
from jaxformer.nn.attention import Attention, Where
from jaxformer.nn.recorder import SILENT, Heads, Weights
from jaxformer.ops.attention.masks import Prefix
from tests.parity.compare import assert_all_close, assert_close, normal, random_like

B, T, S, N, K, H, D = 3, 7, 11, 6, 2, 5, 13
LENGTHS = np.array([S, 2, 5])
X_BTD, MEMORY_BSD = normal(0, B, T, D), normal(1, B, S, D)


def applied(config, recorder=SILENT):
    """(output, what was kept) and the parameters of a module that reads a memory."""

    def read(module, x_BTD, memory_BSD):
        return module(x_BTD, module.rows(memory_BSD), Where(Prefix(LENGTHS)))

    module = Attention(config, D, recorder)
    shapes = jax.eval_shape(lambda key: module.init(key, X_BTD, MEMORY_BSD, method=read), jax.random.key(0))
    params = random_like(nn.meta.unbox(shapes), seed=2)
    return jax.jit(lambda params: module.apply(params, X_BTD, MEMORY_BSD, method=read))(params), params["params"]


@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no bias"])
def test_neighbouring_heads_share_keys_and_values(bias):
    """As if every key/value head stood there once for each of its readers, computed in float64."""
    ((o_BTD, kept), p), shared = applied(MultiHead(N, K, H, bias)), N // K
    biases = {name: p.get(f"{name}_bias", 0.0) for name in ("query", "key", "value", "output")}
    q = np.einsum("btd,dnh->btnh", X_BTD.astype(float), p["query"]) + biases["query"]
    k, v = (np.einsum("bsd,dkh->bskh", MEMORY_BSD.astype(float), p[n]) + biases[n] for n in ("key", "value"))
    k, v = np.repeat(k, shared, axis=2), np.repeat(v, shared, axis=2)
    scores = np.einsum("btnh,bsnh->bnts", q, k) / np.sqrt(H)
    weights = np.where(np.arange(S) < LENGTHS[:, None, None, None], np.exp(scores), 0)
    weights /= weights.sum(-1, keepdims=True)
    expected = np.einsum("bnts,bsnh,nhd->btd", weights, v, p["output"]) + biases["output"]
    assert_close(o_BTD, expected, 2e-6)
    assert kept == (None, None) and len(p) == (8 if bias else 4)


def test_a_recorder_keeps_the_weights_or_what_the_output_projection_reads():
    config = MultiHead(N, K, H, gate=True)
    plain_BTD = applied(config)[0][0]
    (o_BTD, kept), p = applied(config, Weights())
    np.testing.assert_allclose(kept.weights.sum(-1), np.ones((B, N, T)), rtol=1e-6)
    assert kept.heads is None
    assert_close(o_BTD, plain_BTD, 1e-6)
    (o_BTD, kept), _ = applied(config, Heads())
    assert kept.weights is None
    assert_close(np.einsum("btnh,nhd->btd", kept.heads, p["output"]) + p["output_bias"], plain_BTD, 1e-6)
    np.testing.assert_array_equal(o_BTD, plain_BTD)


@pytest.mark.parametrize("kv_heads", [N, K, 1])
def test_queries_keys_and_values_of_many_tokens_are_those_of_each_alone(kv_heads, monkeypatch):
    """One product of joined weights, with biases, norms and turns. Three products of fewer tokens than the width, and
    of heads that share where several devices may hold them.
    """
    monkeypatch.setattr(jax, "device_count", lambda: 1)
    module = Attention(MultiHead(N, kv_heads, H + 1, rotary=Rotary(), query_key_norm=RmsNorm()), D)
    positions = np.arange(S)

    def each(module, x_BTD):
        return module.queries(x_BTD, positions), module.rows(x_BTD, positions)

    def joined(module, x_BTD):
        return module.queries_and_rows(x_BTD, positions)

    def through(module, x_BTD):
        return module(x_BTD, module.rows(x_BTD))

    shapes = jax.eval_shape(partial(module.init, method=through), jax.random.key(0), MEMORY_BSD)
    params = random_like(nn.meta.unbox(shapes), seed=2)
    found, expected = (jax.jit(partial(module.apply, method=how))(params, MEMORY_BSD) for how in (joined, each))
    assert_all_close(found, expected, 1e-6)

    def products(tokens):
        jaxpr = jax.make_jaxpr(partial(module.apply, method=joined))(params, tokens)
        return str(jaxpr).count("dot_general")

    assert products(MEMORY_BSD) == 1 and products(MEMORY_BSD[:1]) == 3
    monkeypatch.undo()
    assert products(MEMORY_BSD) == (1 if kv_heads == N else 3)
