"""Backends of attention: each computes what the formula computes, or says why it cannot."""

from functools import partial

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest

from jaxformer.config.attention import Auto, Blockwise, Cudnn, Formula, Kernel, Splash
from jaxformer.ops.attention import attention
from jaxformer.ops.attention.asked import Asked
from jaxformer.ops.attention.backends import refusal, taken, watching
from jaxformer.ops.attention.biases import Slopes
from jaxformer.ops.attention.fused import by_jax, cudnn_refusal, splash_refusal
from jaxformer.ops.attention.masks import Causal, Prefix, Segments, Window
from tests.parity.compare import assert_all_close, assert_close, normal

B, T, N, K, H = 2, 256, 4, 2, 24


def qkv(length=T, dtype=np.float32, width=H):
    q_BTNH, k_BSKH, v_BSKH = (normal(i, B, length, heads, width) for i, heads in enumerate((N, K, K)))
    return [jnp.asarray(x, dtype) for x in (q_BTNH, k_BSKH, v_BSKH)]


def asked(mask=None, **how):
    return Asked(*qkv(how.pop("length", T), how.pop("dtype", np.float32)), mask, **how)


@pytest.fixture
def one_device(monkeypatch):
    monkeypatch.setattr(jax, "device_count", lambda: 1)


def where(monkeypatch, platform):
    monkeypatch.setattr(jax, "device_count", lambda: 1)
    monkeypatch.setattr(jax, "default_backend", lambda: platform)


SEGMENTS = Segments(np.sort(np.random.default_rng(1).integers(0, 3, (B, T))))


@pytest.mark.parametrize(
    "mask",
    [None, Causal(), Causal() & Window(50), Window(30), Causal() & SEGMENTS],
    ids=["all", "causal", "causal window", "window", "segments"],
)
def test_splash_reads_what_the_formula_reads_with_the_same_gradients(mask, one_device):
    """Run step by step, as it would run on a TPU: shared heads, sinks and a soft-cap beside every mask."""
    weighing = normal(5, B, T, N, H)

    def weighed(backend, q, k, v, sinks):
        o_BTNH = attention(q, k, v, mask=mask, sinks_N=sinks, scale=0.3, softcap=3.0, backend=backend)
        return (o_BTNH * weighing).sum(), o_BTNH

    both = [
        jax.jit(jax.value_and_grad(partial(weighed, backend), argnums=(0, 1, 2, 3), has_aux=True))(*qkv(), normal(6, N))
        for backend in (Splash(block=128, interpret=True), Formula())
    ]
    assert_all_close(*both, 1e-5)


def test_splash_compiles_to_a_kernel_for_tpus(one_device):
    attend = partial(attention, mask=Causal() & Window(60), backend=Splash(interpret=False))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jax, "default_backend", lambda: "tpu")
        exported = jax.export.export(jax.jit(attend), platforms=["tpu"])(*qkv(dtype=jnp.bfloat16, width=128))
    assert "tpu_custom_call" in exported.mlir_module()


@pytest.mark.parametrize("mask", [None, Causal(), Causal() & Window(7), Window(7) & Causal()])
def test_masks_mean_the_same_to_jax(mask):
    """What `Cudnn` asks of `jax.nn`, computed by its XLA form."""
    assert cudnn_refusal(asked(mask, length=40, dtype=jnp.bfloat16)) is None
    assert_close(by_jax(asked(mask, length=40), "xla"), attention(*qkv(40), mask=mask, backend=Formula()), 1e-5)


def test_what_cudnn_cannot_do_exactly_is_refused_with_the_reason():
    half = partial(asked, dtype=jnp.bfloat16)
    cases = {
        "float32": asked(),
        "segments": half(Causal() & SEGMENTS),
        "no more than": half(Causal() & Prefix(np.array([3, 5]))),
        "each of them once": half(Window(3) & Window(5)),
        "looks back alone": half(Window(9)),
        "bias": half(bias=Slopes(jnp.ones(N))),
        "sinks": half(sinks_N=jnp.ones(N)),
        "soft-cap": half(softcap=3.0),
        "do not stand": half(query_positions=jnp.arange(T)),
        "one width": half()._replace(v_BSKW=jnp.ones((B, T, K, 16), jnp.bfloat16)),
        "more queries than keys, 256 and 9": half(Causal())._replace(k_BSKH=jnp.ones((B, 9, K, H), jnp.bfloat16)),
        "as many, got 256 and 300": half(Causal())._replace(k_BSKH=jnp.ones((B, 300, K, H), jnp.bfloat16)),
    }
    for reason, case in cases.items():
        assert reason in (cudnn_refusal(case) or ""), reason


def test_what_splash_cannot_do_exactly_is_refused_with_the_reason(one_device):
    cases = {
        "multiples of 128, got 200": asked(length=200),
        "bias": asked(bias=Slopes(jnp.ones(N))),
        "segments of their own": asked(Segments(SEGMENTS.query_ids_T, SEGMENTS.query_ids_T)),
        "no more than": asked(~Causal()),
    }
    for reason, case in cases.items():
        assert reason in (splash_refusal(case) or ""), reason


def test_a_kernel_is_for_one_device():
    assert "here are 8" in splash_refusal(asked())


def test_a_backend_that_cannot_is_an_error_that_says_why():
    with pytest.raises(
        ValueError, match="Cudnn cannot do this: it runs on NVIDIA's GPUs, and here is a CPU; take Auto"
    ):
        attention(*qkv(), backend=Cudnn())
    with pytest.raises(ValueError, match="Splash cannot do this: it runs on TPUs"):
        attention(*qkv(), backend=Splash())
    with pytest.raises(ValueError, match="Blockwise cannot do this: queries or keys do not stand"):
        attention(*qkv(), query_positions=jnp.arange(T), backend=Blockwise())
    with pytest.raises(TypeError, match="needs a backend as Auto\\(\\) or Formula\\(\\), got 'fast'"):
        attention(*qkv(), backend="fast")  # pyright: ignore[reportArgumentType]


def of(case):
    return type(taken(Auto(), case).backend)


def test_auto_takes_what_can_do_it_and_says_why(monkeypatch):
    many = Asked(*qkv(1024), Causal())
    assert of(many) is Formula and "8 devices" in taken(Auto(), many).why
    where(monkeypatch, "cpu")
    assert of(many) is Blockwise and of(asked(length=20)) is Formula
    assert of(many._replace(key_positions=jnp.arange(1024))) is Formula
    where(monkeypatch, "gpu")
    assert of(asked(Causal(), dtype=jnp.bfloat16)) is Cudnn
    assert of(many) is Formula and "float32" in taken(Auto(), many).why
    where(monkeypatch, "tpu")
    assert of(many) is Splash and of(asked(length=200)) is Formula


def test_those_who_watch_see_what_is_taken():
    with watching() as seen:
        jax.eval_shape(attention, *qkv(40))
        jax.eval_shape(partial(attention, backend=Blockwise()), *qkv(30))
    assert [(type(choice.backend), choice.shape[1], choice.keys) for choice in seen] == [
        (Formula, 40, 40),
        (Blockwise, 30, 30),
    ]
    jax.eval_shape(attention, *qkv(20))
    assert len(seen) == 2


def test_every_backend_has_both_of_its_functions():
    for backend in (Formula(), Blockwise(), Cudnn(), Splash(), Kernel()):
        assert refusal.dispatch(type(backend)) is not refusal.dispatch(object)


@pytest.mark.parametrize("block", [0, 100, 200])
def test_blocks_of_no_use_are_refused(block):
    with pytest.raises(ValueError, match=f"multiple of 128, got {block}"):
        Splash(block=block)
