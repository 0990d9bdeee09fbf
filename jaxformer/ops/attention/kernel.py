"""The formula in blocks, as kernels for GPUs that take any mask and any bias.

A block of one head's queries stays where it is while the blocks of keys that its mask lets it reach pass by. The
gradient computes the scores anew, once by blocks of queries and once by blocks of keys, so that every sum has one order
and no two processors write to one place. Masks and biases are the functions that they are elsewhere: a kernel loads of
their arrays what the functions index. Source: Dao et al. 2022, algorithms 1 and 4; Dao 2023, §3.
"""

from collections.abc import Callable
from functools import cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton

from jaxformer.ops.attention import blockwise
from jaxformer.ops.attention.asked import Asked
from jaxformer.ops.attention.blocks import met, spans
from jaxformer.ops.attention.blockwise import LOWEST, Heads
from jaxformer.ops.attention.formula import bent, factors
from jaxformer.ops.attention.masks import Mask

LEAST = 16
"""Rows, and columns, of the smallest product that a GPU's matrix units compute."""

ROOM = 2**15
"""Bytes of a block's vectors, at most: what a kernel holds of several blocks at once fits into the 227 KiB that the
threads of one of an H100's processors share.
"""


class Launch(NamedTuple):
    """How scores are made of queries and keys, and how many of them at a time, at most, in plain numbers."""

    scale: float | None = None
    softcap: float | None = None
    queries: int = 128
    keys: int = 64
    interpret: bool = False


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def attend_by_kernel(launch: Launch, heads: Heads, mask: Mask | None) -> Array:
    """What N query heads read, as by `attend`: o [B, T, N, W] in v's dtype. Queries and keys stand at 0, 1, 2, …

    The arrays are those of `attention`, with queries, keys and values of one dtype. It has a gradient, but no
    derivative in forward mode. The gradient of a bias is `blockwise`'s, which under jit is computed only where it is
    asked for.
    """
    return _forward(launch, heads, mask)[0]


def _forward(launch: Launch, heads: Heads, mask: Mask | None) -> tuple[Array, Any]:
    plan = _plan(launch, heads)
    o_BTNW, log_sum_BNT = _run(_read_kernel, plan, heads, mask, _filled(plan, heads), ("do_BTNW", "log_sum_BNT"))
    read = o_BTNW[:, : plan.T, :, : heads.v_BSKW.shape[-1]], log_sum_BNT[:, :, : plan.T]
    return read[0], (heads, mask, *read)


def _backward(launch: Launch, saved: Any, do_BTNW: Array) -> tuple[Heads, None]:
    heads, mask, o_BTNW, log_sum_BNT = saved
    common_BNT = jnp.einsum("btnw,btnw->bnt", do_BTNW, o_BTNW, preferred_element_type=jnp.float32)
    plan, H, W = _plan(launch, heads), heads.q_BTNH.shape[-1], do_BTNW.shape[-1]
    vectors = _filled(plan, heads, do_BTNW, log_sum_BNT, common_BNT)
    (dq_BTNH,) = _run(_dq_kernel, plan, heads, mask, vectors, ("q_BTNH",))
    dk_BSKH, dv_BSKW = _run(_dkv_kernel, plan, heads, mask, vectors, ("k_BSKH", "v_BSKW"), by_keys=True)
    dbias_N = dsinks_N = None
    if heads.bias_N is not None:
        dbias_N = blockwise.backward(blockwise.Rule(launch.scale, launch.softcap), saved, do_BTNW)[0].bias_N
    if heads.sinks_N is not None:
        shares_BNT = jnp.exp(heads.sinks_N[:, None] - log_sum_BNT)
        dsinks_N = -jnp.sum(shares_BNT * common_BNT, axis=(0, 2)).astype(heads.sinks_N.dtype)
    slopes = dq_BTNH[:, : plan.T, :, :H], dk_BSKH[:, : plan.S, :, :H], dv_BSKW[:, : plan.S, :, :W]
    return Heads(*slopes, dbias_N, dsinks_N), None


attend_by_kernel.defvjp(_forward, _backward)


class Plan(NamedTuple):
    """Sizes, and how scores are made of products: what is known before a kernel is compiled."""

    T: int
    S: int
    group: int
    """Query heads that share a library of keys and values."""
    queries: int
    """In a block."""
    keys: int
    before: float
    """What queries are multiplied by."""
    after: float
    """What products are multiplied by."""
    softcap: float | None
    interpret: bool


def _plan(launch: Launch, heads: Heads) -> Plan:
    (_, T, N, _), (S, K) = heads.q_BTNH.shape, heads.k_BSKH.shape[1:3]
    width = _power(max(heads.q_BTNH.shape[-1], heads.v_BSKW.shape[-1]))
    room = max(LEAST, ROOM // (width * heads.q_BTNH.dtype.itemsize))
    queries, keys = (min(most, room, _power(length)) for most, length in ((launch.queries, T), (launch.keys, S)))
    scales = factors(heads.q_BTNH, launch.scale)
    return Plan(T, S, N // K, queries, keys, *scales, launch.softcap, launch.interpret)


def _power(size: int) -> int:
    return max(LEAST, pl.next_power_of_2(size))


class Vectors(NamedTuple):
    """What kernels read and write: in whole arrays of whole blocks, as specifications of blocks, or as references to
    those of one program.
    """

    q_BTNH: Any
    k_BSKH: Any
    v_BSKW: Any
    do_BTNW: Any
    log_sum_BNT: Any
    """The logarithm of the sum of exp(scores), float32."""
    common_BNT: Any
    """The sum of do ∘ o over the width, float32."""


def _filled(plan: Plan, heads: Heads, do_BTNW: Any = None, log_sum_BNT: Any = None, common_BNT: Any = None) -> Vectors:
    """Whole arrays, filled up to whole blocks and to widths that are powers of two."""

    def fill(x: Any, block: int) -> Any:
        if x is None:
            return None
        return jnp.pad(x, ((0, 0), (0, -x.shape[1] % block), (0, 0), (0, _power(x.shape[3]) - x.shape[3])))

    def fill_sums(x: Any, missing: float) -> Any:
        if x is None:
            return None
        return jnp.pad(x, ((0, 0), (0, 0), (0, -plan.T % plan.queries)), constant_values=missing)

    return Vectors(
        fill(heads.q_BTNH, plan.queries),
        fill(heads.k_BSKH, plan.keys),
        fill(heads.v_BSKW, plan.keys),
        fill(do_BTNW, plan.queries),
        # Queries that are not there get weights of exp(s - ∞) = 0.
        fill_sums(log_sum_BNT, np.inf),
        fill_sums(common_BNT, 0.0),
    )


class Functions(NamedTuple):
    """A mask and a bias in parts, and sinks: their arrays, which have a leading axis of sequences or heads, of length 1
    where all share one; or references to them.
    """

    mask: list[Any]
    bias: list[Any]
    sinks_N: Any


class Inside(NamedTuple):
    """What a kernel knows beside its vectors."""

    plan: Plan
    trees: tuple[Any, Any]
    """Of which parts mask and bias are made."""
    asks: tuple[bool, ...]
    """Whether the mask must be asked, for each span of blocks."""
    functions: Functions
    bounds: Any
    """From which block to which each span goes, int32 [rows, spans, 2]."""

    def of(self, sequence: Any, head: Any) -> tuple[Any, Any]:
        """The mask of a sequence and the bias of a head."""
        return _rebuilt(self.trees[0], self.functions.mask, sequence), _rebuilt(
            self.trees[1], self.functions.bias, head
        )

    def over(self, row: Any, meet: Callable[[bool, Any, Any], Any], first: Any) -> Any:
        """`meet` of a row's blocks with every block that they meet, handed on."""
        for span, ask in enumerate(self.asks):
            first = jax.lax.fori_loop(self.bounds[row, span, 0], self.bounds[row, span, 1], partial(meet, ask), first)
        return first


class Leaf:
    """An array of a mask or of a bias inside a kernel, where it is loaded at integer places, one for each axis.

    Places mean what they mean to an array: negative ones count from the end, and those beyond it are the nearest.
    """

    def __init__(self, ref: Any, place: Any) -> None:
        self._ref, self._place, self.shape, self.dtype, self.ndim = ref, place, ref.shape[1:], ref.dtype, ref.ndim - 1

    def __getitem__(self, places: Any) -> Array:
        places = places if isinstance(places, tuple) else (places,)
        if len(places) != self.ndim or not all(map(_is_integer, places)):
            raise TypeError(f"it does more with an array of shape {self.shape} than load it at integer positions")
        found = [
            jnp.clip(jnp.where(place < 0, place + size, place), 0, size - 1)
            for place, size in zip(places, self.shape, strict=True)
        ]
        return self._ref[(self._place, *jnp.broadcast_arrays(*found))]


def _is_integer(place: Any) -> bool:
    return isinstance(place, int | np.integer | Array) and jnp.issubdtype(jnp.result_type(place), jnp.integer)


def _rebuilt(tree: Any, refs: list[Any], place: Any) -> Any:
    """A function of positions inside a kernel: that of one sequence or head."""

    def leaf(ref: Any) -> Any:
        own = place if ref.shape[0] > 1 else 0
        return ref[own] if ref.ndim == 1 else Leaf(ref, own)

    return jax.tree.unflatten(tree, [leaf(ref) for ref in refs])


def _parts(heads: Heads, mask: Mask | None) -> tuple[tuple[Any, Any], Functions]:
    """Of which parts mask and bias are made, and their arrays."""
    leaves, mask_tree = jax.tree.flatten(mask)
    axes = [] if mask is None else mask_tree.flatten_up_to(mask.batch_axes())
    of_sequences = [jnp.asarray(x) if axis == 0 else jnp.asarray(x)[None] for x, axis in zip(leaves, axes, strict=True)]
    of_heads, bias_tree = jax.tree.flatten(heads.bias_N)
    return (mask_tree, bias_tree), Functions(of_sequences, of_heads, heads.sinks_N)


def _run(
    kernel: Callable[..., None],
    plan: Plan,
    heads: Heads,
    mask: Mask | None,
    vectors: Vectors,
    made: tuple[str, ...],
    by_keys: bool = False,
) -> Any:
    """The vectors that a kernel makes, one program for each block of queries of each head, or `by_keys` for each block
    of keys of each library.
    """
    (B, rows, N, H), (columns, K, W) = vectors.q_BTNH.shape, vectors.v_BSKW.shape[1:]
    blocks = met(mask, plan.T, plan.S, plan.queries, plan.keys)
    if by_keys:
        grid, blocks = (columns // plan.keys, K, B), [block_IJ.T for block_IJ in blocks]
        own = pl.BlockSpec((None, plan.group, rows), lambda j, k, b: (b, k, 0))
        queries = [pl.BlockSpec((None, rows, plan.group, width), lambda j, k, b: (b, 0, k, 0)) for width in (H, W)]
        keys = [pl.BlockSpec((None, plan.keys, None, width), lambda j, k, b: (b, j, k, 0)) for width in (H, W)]
    else:
        grid = rows // plan.queries, N, B
        own = pl.BlockSpec((None, None, plan.queries), lambda i, n, b: (b, n, i))
        queries = [pl.BlockSpec((None, plan.queries, None, width), lambda i, n, b: (b, i, n, 0)) for width in (H, W)]
        keys = [pl.BlockSpec((None, columns, None, w), lambda i, n, b: (b, 0, n // plan.group, 0)) for w in (H, W)]
    specs = Vectors(queries[0], keys[0], keys[1], queries[1], own, own)
    o_BTNW = jax.ShapeDtypeStruct((B, rows, N, W), vectors.v_BSKW.dtype)
    shapes = vectors._replace(do_BTNW=o_BTNW, log_sum_BNT=jax.ShapeDtypeStruct((B, N, rows), jnp.float32))
    trees, functions = _parts(heads, mask)
    found = spans(*blocks)
    bounds = jnp.asarray(np.stack([np.stack(span[1:], -1) for span in found], 1), jnp.int32)

    def program(functions: Functions, bounds: Any, vectors: Vectors, *made: Any) -> None:
        kernel(Inside(plan, trees, tuple(span[0] for span in found), functions, bounds), vectors, *made)

    return pl.pallas_call(
        program,
        tuple(jax.ShapeDtypeStruct(x.shape, x.dtype) for x in (getattr(shapes, name) for name in made)),
        grid=grid,
        in_specs=(
            jax.tree.map(lambda x: pl.BlockSpec(), functions),
            pl.BlockSpec(),
            Vectors(*(None if x is None else spec for x, spec in zip(vectors, specs, strict=True))),
        ),
        out_specs=tuple(getattr(specs, name) for name in made),
        compiler_params=triton.CompilerParams(num_warps=4 if max(H, W) <= 64 else 8, num_stages=2),
        interpret=plan.interpret,
        name=f"attention{kernel.__name__}",
    )(functions, bounds, vectors)


def _read_kernel(inside: Inside, see: Vectors, o_QW: Any, log_sum_Q: Any) -> None:
    """What a block of one head's queries reads."""
    i, n, b = (pl.program_id(axis) for axis in range(3))
    plan, (mask, bias) = inside.plan, inside.of(b, n)
    q_QH = see.q_BTNH[...] * plan.before

    def meet(ask: bool, j: Any, sums: Any) -> Any:
        top_Q1, total_Q1, o_QW = sums
        here = pl.ds(j * plan.keys, plan.keys)
        s_QK, allowed_QK, _ = _scores(plan, ask, mask, bias, q_QH, see.k_BSKH[here, :], i, j)
        s_QK = s_QK if allowed_QK is None else jnp.where(allowed_QK, s_QK, LOWEST)
        higher_Q1 = jnp.maximum(top_Q1, jnp.max(s_QK, axis=-1, keepdims=True))
        p_QK = jnp.exp(s_QK - higher_Q1)
        # Of queries that have read nothing yet, the highest score is that of what is hidden.
        p_QK = p_QK if allowed_QK is None else jnp.where(allowed_QK, p_QK, 0.0)
        less_Q1 = jnp.exp(top_Q1 - higher_Q1)
        v_KW = see.v_BSKW[here, :]
        part_QW = _product("qk,kw->qw", p_QK.astype(v_KW.dtype), v_KW)
        return higher_Q1, total_Q1 * less_Q1 + jnp.sum(p_QK, axis=-1, keepdims=True), o_QW * less_Q1 + part_QW

    # A sink is a score of which nothing is read.
    sinks_N = inside.functions.sinks_N
    top, total = (LOWEST, 0.0) if sinks_N is None else (sinks_N[n].astype(jnp.float32), 1.0)
    of_query = partial(jnp.full, (plan.queries, 1), dtype=jnp.float32)
    nothing = of_query(top), of_query(total), jnp.zeros(o_QW.shape, jnp.float32)
    top_Q1, total_Q1, sum_QW = inside.over(i, meet, nothing)
    total_Q1 = jnp.where(total_Q1 == 0, 1.0, total_Q1)
    o_QW[...] = (sum_QW / total_Q1).astype(o_QW.dtype)
    log_sum_Q[...] = (top_Q1 + jnp.log(total_Q1)).reshape(plan.queries)


def _dq_kernel(inside: Inside, see: Vectors, dq_QH: Any) -> None:
    """The gradient of a block of one head's queries."""
    i, n, b = (pl.program_id(axis) for axis in range(3))
    plan, (mask, bias) = inside.plan, inside.of(b, n)
    q_QH, do_QW = see.q_BTNH[...] * plan.before, see.do_BTNW[...]
    sums = see.log_sum_BNT[...], see.common_BNT[...]

    def meet(ask: bool, j: Any, sum_QH: Any) -> Any:
        here = pl.ds(j * plan.keys, plan.keys)
        k_KH, v_KW = see.k_BSKH[here, :], see.v_BSKW[here, :]
        _, dproducts_QK = _slopes(plan, ask, mask, bias, q_QH, k_KH, v_KW, do_QW, *sums, i, j)
        return sum_QH + _product("qk,kh->qh", dproducts_QK, k_KH)

    sum_QH = inside.over(i, meet, jnp.zeros(dq_QH.shape, jnp.float32))
    dq_QH[...] = (plan.before * sum_QH).astype(dq_QH.dtype)


def _dkv_kernel(inside: Inside, see: Vectors, dk_KH: Any, dv_KW: Any) -> None:
    """The gradients of a block of one library's keys and values, of all heads that share it."""
    j, k, b = (pl.program_id(axis) for axis in range(3))
    plan, k_KH, v_KW = inside.plan, see.k_BSKH[...], see.v_BSKW[...]

    def head(g: Any, sums: Any) -> Any:
        mask, bias = inside.of(b, k * plan.group + g)

        def meet(ask: bool, i: Any, sums: Any) -> Any:
            sum_KH, sum_KW = sums
            here = pl.ds(i * plan.queries, plan.queries)
            q_QH, do_QW = see.q_BTNH[here, g, :] * plan.before, see.do_BTNW[here, g, :]
            per_query = see.log_sum_BNT[g, here], see.common_BNT[g, here]
            p_QK, dproducts_QK = _slopes(plan, ask, mask, bias, q_QH, k_KH, v_KW, do_QW, *per_query, i, j)
            sum_KH += _product("qk,qh->kh", dproducts_QK, q_QH)
            return sum_KH, sum_KW + _product("qk,qw->kw", p_QK.astype(do_QW.dtype), do_QW)

        return inside.over(j, meet, sums)

    nothing = jnp.zeros(dk_KH.shape, jnp.float32), jnp.zeros(dv_KW.shape, jnp.float32)
    sum_KH, sum_KW = jax.lax.fori_loop(0, plan.group, head, nothing)
    dk_KH[...], dv_KW[...] = sum_KH.astype(dk_KH.dtype), sum_KW.astype(dv_KW.dtype)


_product = partial(jnp.einsum, preferred_element_type=jnp.float32)


def _scores(
    plan: Plan, ask: bool, mask: Any, bias: Any, q_QH: Array, k_KH: Array, i: Any, j: Any
) -> tuple[Array, Array | None, Callable[[Array], tuple[Array]]]:
    """Scores float32 [Q, K] of the i-th block of queries and the j-th block of keys, which of them count (all of them
    where None), and what gives the gradient of the products from that of the scores.
    """
    t_Q, s_K = i * plan.queries + jnp.arange(plan.queries), j * plan.keys + jnp.arange(plan.keys)
    there_1K = s_K[None, :] < plan.S
    # Nobody is asked of places where nothing stands.
    t_Q, s_K = jnp.minimum(t_Q, plan.T - 1), jnp.minimum(s_K, plan.S - 1)
    bias_QK = None if bias is None else bias.table(t_Q, s_K)
    s_QK, pull = jax.vjp(lambda x: bent(x, plan.after, bias_QK, plan.softcap), _product("qh,kh->qk", q_QH, k_KH))
    if not ask:
        return s_QK, None, pull
    there_QK = jnp.broadcast_to(there_1K, s_QK.shape)
    return s_QK, there_QK if mask is None else mask.table(t_Q, s_K) & there_QK, pull


def _slopes(
    plan: Plan,
    ask: bool,
    mask: Any,
    bias: Any,
    q_QH: Array,
    k_KH: Array,
    v_KW: Array,
    do_QW: Array,
    log_sum_Q: Array,
    common_Q: Array,
    i: Any,
    j: Any,
) -> tuple[Array, Array]:
    """Weights P float32 [Q, K] of a block, and the gradient of its products in the dtype of the queries: that of the
    scores is P ∘ (do Vᵀ - common).
    """
    s_QK, allowed_QK, pull = _scores(plan, ask, mask, bias, q_QH, k_KH, i, j)
    p_QK = jnp.exp(s_QK - log_sum_Q[:, None])
    p_QK = p_QK if allowed_QK is None else jnp.where(allowed_QK, p_QK, 0.0)
    (dproducts_QK,) = pull(p_QK * (_product("qw,kw->qk", do_QW, v_KW) - common_Q[:, None]))
    return p_QK, dproducts_QK.astype(q_QH.dtype)


def kernel_refusal(asked: Asked, interpret: bool) -> str | None:
    """What these kernels cannot do, on a GPU or step by step."""
    types = {str(x.dtype) for x in (asked.q_BTNH, asked.k_BSKH, asked.v_BSKW)}
    if jax.device_count() > 1:
        return f"a kernel is for one device, and here are {jax.device_count()}"
    if len(types) > 1 or not types <= {"float32", "bfloat16", "float16"}:
        return f"queries, keys and values must all be float32, bfloat16 or float16, got {', '.join(sorted(types))}"
    heads = Heads(asked.q_BTNH, asked.k_BSKH, asked.v_BSKW, asked.bias, asked.sinks_N)
    trees, functions = _parts(heads, asked.mask)
    for name, tree, arrays in zip(("mask", "bias"), trees, functions, strict=False):
        shapes = tuple(jax.ShapeDtypeStruct(jnp.shape(x), jnp.result_type(x)) for x in arrays)
        if obstacle := _obstacle(tree, shapes, interpret):
            return f"its {name} is not for a kernel: {obstacle}"
    return None


@cache
def _obstacle(tree: Any, shapes: tuple[jax.ShapeDtypeStruct, ...], interpret: bool) -> str | None:
    """What keeps a mask or a bias from being computed inside a kernel, as found by tracing it by itself and, unless it
    is to be interpreted, by lowering it, for which later versions of jax need a GPU.
    """

    def program(refs: Any, out: Any) -> None:
        table = _rebuilt(tree, refs, 0).table(jnp.arange(LEAST), jnp.arange(LEAST))
        out[...] = jnp.broadcast_to(table, out.shape).astype(out.dtype)

    if tree == jax.tree.structure(None):
        return None
    table = jax.ShapeDtypeStruct((LEAST, LEAST), jnp.float32)
    alone = jax.jit(pl.pallas_call(program, table, compiler_params=triton.CompilerParams()))
    try:
        traced = alone.trace(list(shapes))
        if not interpret:
            traced.lower(lowering_platforms=("cuda",))
    except Exception as error:  # Whatever stops a function stops it for its own reason.
        return str(error).splitlines()[0]
    return None
