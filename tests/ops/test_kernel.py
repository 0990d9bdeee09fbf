"""The kernel for GPUs, run step by step: it reads what the formula reads, with the same gradients, for any mask and
bias; and it lowers for a GPU where there is none.
"""

from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest

from jaxformer.config.attention import Formula, Kernel
from jaxformer.ops.attention import attention
from jaxformer.ops.attention.biases import Bias, Buckets, Slopes
from jaxformer.ops.attention.masks import Causal, Mask, Prefix, Segments, Valid, Window
from tests.parity.compare import assert_all_close, normal

B, T, S, N, K, H, W = 2, 37, 41, 6, 3, 5, 7
SMALL = Kernel(queries=16, keys=16, interpret=True)
RANDOM = np.random.default_rng(5)


@pytest.fixture(autouse=True)
def one_device(monkeypatch):
    monkeypatch.setattr(jax, "device_count", lambda: 1)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Dilated(Mask):
    """A user's own: every so many keys, counted from the query, and those of a table of either position."""

    stride: Any = field(metadata={"rank": 0})
    table_TS: Any = field(metadata={"rank": 2})

    def __call__(self, t, s):
        return ((t - s) % self.stride == 0) | self.table_TS[t, s]


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Sorted(Mask):
    """One that no GPU's kernel can compute."""

    flags_S: Any = field(metadata={"rank": 1})

    def __call__(self, t, s):
        return jnp.sort(self.flags_S)[s]


IDS = np.sort(RANDOM.integers(0, 4, (B, S)))
MASKS = {
    "all": None,
    "causal": Causal(),
    "window": Window(20),
    "nothing for some": Causal() & Window(7) & Prefix(np.array([0, 23])),
    "prefix language model": (Causal() | Prefix(np.array([3, 30]))) & ~Prefix(np.array([1, 0])),
    "segments": Causal() & Segments(IDS[:, :T], IDS),
    "shared segments, padding": Segments(IDS[0, :T], IDS[0]) & Valid(RANDOM.random((B, S)) < 0.6),
    "a user's own": Dilated(np.array([3, 5]), RANDOM.random((T, S)) < 0.1),
}


def operands(dtype=np.float32):
    q, k, v = normal(0, B, T, N, H), normal(1, B, S, K, H), normal(2, B, S, K, W)
    return [jnp.asarray(x, dtype) for x in (q, k, v)]


def slopes_of(backend, *operands, **how):
    """What is read, and the gradients of its weighed sum with respect to all operands."""

    def weighed(q, k, v, bias, sinks):
        o_BTNW = attention(q, k, v, bias=bias, sinks_N=sinks, backend=backend, **how)
        return (o_BTNW * normal(3, B, T, N, W)).sum(), o_BTNW

    gradients, o_BTNW = jax.jit(jax.grad(weighed, argnums=(0, 1, 2, 3, 4), has_aux=True))(*operands)
    return o_BTNW, *gradients


@pytest.mark.parametrize("name", MASKS)
def test_it_reads_what_the_formula_reads_with_the_same_gradients(name):
    """With shared heads, values of another width, sinks, a soft-cap, and blocks that are not full."""
    how = {"mask": MASKS[name], "scale": 0.7, "softcap": 3.0}
    found, expected = (slopes_of(backend, *operands(), None, normal(4, N), **how) for backend in (SMALL, Formula()))
    assert_all_close(found, expected, 1e-5)


def test_a_query_that_may_read_nothing_gets_zeros_and_gives_no_gradient():
    o_BTNW, *gradients = slopes_of(SMALL, *operands(), None, None, mask=MASKS["nothing for some"])[:4]
    assert not o_BTNW[0].any() and not any(gradient[0].any() for gradient in gradients)
    assert o_BTNW[1].any() and all(gradient[1].any() for gradient in gradients)


@pytest.mark.parametrize(
    "bias",
    [Slopes(np.float32([0.5, 0.01, 0.0, 0.2, 0.1, 0.3])), Buckets(normal(6, N, 8), reach=20, bidirectional=True)],
    ids=["slopes", "buckets"],
)
def test_biases_are_added_and_have_gradients(bias):
    found, expected = (slopes_of(at, *operands(), bias, None, mask=Causal()) for at in (SMALL, Formula()))
    assert_all_close(found, expected, 1e-5)


def test_half_precision_is_summed_in_single():
    """The distance from the formula in float32 is that of rounding."""
    rounded = operands(jnp.bfloat16)
    exact = slopes_of(Formula(), *(x.astype(jnp.float32) for x in rounded), None, None, mask=MASKS["segments"])
    found = slopes_of(SMALL, *rounded, None, None, mask=MASKS["segments"])
    assert all(x.dtype == jnp.bfloat16 for x in found[:4])
    assert_all_close([x.astype(jnp.float32) for x in found[:4]], exact[:4], 2.0**-6)


def test_blocks_that_nobody_may_read_are_not_read():
    """Were they met and hidden, what is not a number there would spoil the sums."""
    q, k, v = operands()
    poisoned = v.at[:, 32:].set(np.nan)
    o_BTNW = jax.jit(partial(attention, mask=Causal(), backend=SMALL))(q, k, poisoned)
    assert np.isfinite(o_BTNW[:, :32]).all() and np.isnan(o_BTNW[:, 32:]).any()


def an_h100():
    """Where jax asks for a GPU to lower for, one that is not there."""
    if not hasattr(jax.sharding, "AbstractDevice"):
        return nullcontext()
    device = jax.sharding.AbstractDevice("NVIDIA H100 80GB HBM3", 132, "gpu")
    return jax.sharding.use_abstract_mesh(jax.sharding.AbstractMesh((1,), ("x",), abstract_device=device))


@pytest.mark.parametrize(
    "name, dtype", [("all", jnp.float32), ("a user's own", jnp.bfloat16), ("segments", jnp.float16)]
)
def test_it_lowers_for_nvidias_gpus_where_there_is_none(monkeypatch, name, dtype):
    """Forwards one kernel, backwards two more, with blocks as large as they are on a GPU."""
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")

    def weighed(q, k, v, sinks, table):
        bias = Buckets(table, reach=20, bidirectional=False)
        return attention(q, k, v, mask=MASKS[name], bias=bias, sinks_N=sinks, softcap=3.0, backend=Kernel()).sum()

    target = "__gpu$xla.gpu.triton"
    export = partial(
        jax.export.export, platforms=["cuda"], disabled_checks=[jax.export.DisabledSafetyCheck.custom_call(target)]
    )
    for function, kernels in ((weighed, 1), (jax.grad(weighed, argnums=(0, 1, 2)), 3)):
        arrays = [*operands(dtype), normal(4, N), normal(6, N, 8)]
        shapes = [jax.ShapeDtypeStruct(x.shape, x.dtype) for x in arrays]
        with an_h100():
            exported = export(jax.jit(function))(*shapes)
        assert exported.mlir_module().count(target) == kernels


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Places(Bias):
    """Numbers from behind the beginning and beyond the end of an array."""

    table_NR: Any

    def __call__(self, t, s):
        return self.table_NR[s - t]


def test_places_mean_what_they_mean_to_an_array():
    bias = Places(normal(6, N, 11))
    found, expected = (
        jax.jit(partial(attention, backend=backend))(*operands(), bias=bias) for backend in (SMALL, Formula())
    )
    assert_all_close([found], [expected], 1e-5)


def test_what_it_cannot_do_is_refused_with_the_reason(monkeypatch):
    q, k, v = operands()
    cases: dict[str, dict[str, Any]] = {
        "its mask is not for a kernel: .*Leaf": {"mask": Sorted(np.ones((B, S), bool))},
        "do not stand": {"query_positions": jnp.arange(T)},
        "it runs on GPUs, and here is a CPU": {"backend": Kernel()},
    }
    for reason, how in cases.items():
        with pytest.raises(ValueError, match=f"Kernel cannot do this: .*{reason}"):
            attention(q, k, v, **{"backend": SMALL, **how})
    with pytest.raises(ValueError, match="must all be float32, bfloat16 or float16, got bfloat16, float32"):
        attention(q, k, v.astype(jnp.bfloat16), backend=SMALL)
    monkeypatch.setattr(jax, "device_count", lambda: 8)
    with pytest.raises(ValueError, match="for one device, and here are 8"):
        attention(q, k, v, backend=SMALL)


@pytest.mark.parametrize("sizes", [{"queries": 8}, {"keys": 48}])
def test_blocks_of_no_use_are_refused(sizes):
    with pytest.raises(ValueError, match="must be a power of two of at least 16, got"):
        Kernel(**sizes)
