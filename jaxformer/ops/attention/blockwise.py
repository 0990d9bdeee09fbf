"""The formula in blocks: a block of one head's queries meets a block of its keys at a time.

No array holds all scores: of what was read, the output and the logarithm of each query's sum are kept, and the gradient
computes the scores anew from them. Blocks that the mask empties are never entered, and the mask is not asked where it
allows a whole block. Source: Rabe & Staats 2021; Dao et al. 2022, algorithms 1 and 4, with one head at a time instead
of many side by side, so that a head's keys and values stay in a processor's cache.
"""

import os
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from jaxformer.ops.attention.biases import Bias
from jaxformer.ops.attention.blocks import Span, met, spans
from jaxformer.ops.attention.formula import bent, factors
from jaxformer.ops.attention.masks import Mask

SHORT, LONG, FEW = 128, 256, 1024
"""Queries, and keys, at a time, where queries read few keys and where they read many: their scores fit beside their
vectors into the cache of a processor's core, and few of them lie beyond what a causal mask allows.
"""

SHARED = 512
"""The same where several cores share the work: XLA leaves smaller products to one of them."""

LOWEST = float(np.finfo(np.float32).min)


class Rule(NamedTuple):
    """How scores are made of queries and keys, in plain numbers."""

    scale: float | None = None
    softcap: float | None = None
    block: int | None = None
    """Queries, and keys, at a time."""


class Heads(NamedTuple):
    """What every head of every sequence reads with and from, or the gradients of that."""

    q_BTNH: Array
    k_BSKH: Array
    v_BSKW: Array
    bias_N: Bias | None
    sinks_N: Array | None


class Head(NamedTuple):
    """The same of one head of one sequence."""

    q_TH: Array
    k_SH: Array
    v_SW: Array
    bias: Bias | None
    sink: Array | None


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def attend_blockwise(rule: Rule, heads: Heads, mask: Mask | None) -> Array:
    """What N query heads read, as by `attend`: o [B, T, N, W] in v's dtype. Queries and keys stand at 0, 1, 2, …

    The arrays are those of `attention`. It has a gradient, but no derivative in forward mode.
    """
    return _forward(rule, heads, mask)[0]


def _forward(rule: Rule, heads: Heads, mask: Mask | None) -> tuple[Array, Any]:
    (B, T, N, _), W = heads.q_BTNH.shape, heads.v_BSKW.shape[-1]

    def head(at: Place, read: tuple[Array, Array]) -> tuple[Array, Array]:
        o_BTNW, log_sum_BNT = read
        o_TW, log_sum_T = _read(rule, _one(heads, at), _of_sequence(mask, at.sequence))
        return o_BTNW.at[at.sequence, :, at.head].set(o_TW), log_sum_BNT.at[at.sequence, at.head].set(log_sum_T)

    empty = jnp.zeros((B, T, N, W), heads.v_BSKW.dtype), jnp.zeros((B, N, T), jnp.float32)
    read = _each_head(heads, head, empty)
    return read[0], (heads, mask, *read)


def backward(rule: Rule, saved: Any, do_BTNW: Array) -> tuple[Heads, None]:
    """The gradients of heads, and none of the mask, from what is saved: both of them, what was read, and the logarithms
    of sums of exp(scores), float32 [B, N, T].
    """
    heads, mask, o_BTNW, log_sum_BNT = saved
    # All at once, so that the memory of o is free for what comes.
    common_BNT = jnp.einsum("btnw,btnw->bnt", do_BTNW, o_BTNW, preferred_element_type=jnp.float32)

    def head(at: Place, gradients: Heads) -> Heads:
        own, row = _one(heads, at), (at.sequence, slice(None), at.head)
        sums = log_sum_BNT[at.sequence, at.head], common_BNT[at.sequence, at.head]
        slopes = _slopes(rule, own, _of_sequence(mask, at.sequence), do_BTNW[row], *sums)
        shared = (at.sequence, slice(None), at.library)
        return Heads(
            gradients.q_BTNH.at[row].set(slopes.q_TH.astype(own.q_TH.dtype)),
            gradients.k_BSKH.at[shared].add(slopes.k_SH),
            gradients.v_BSKW.at[shared].add(slopes.v_SW),
            *jax.tree.map(lambda total, part: total.at[at.head].add(part), gradients[3:], slopes[3:]),
        )

    summed = jax.tree.map(lambda x: jnp.zeros(x.shape, jnp.float32), heads)
    gradients = _each_head(heads, head, summed._replace(q_BTNH=jnp.zeros_like(heads.q_BTNH)))
    return jax.tree.map(lambda gradient, x: gradient.astype(x.dtype), gradients, heads), None


attend_blockwise.defvjp(_forward, backward)


class Place(NamedTuple):
    """Which head of which sequence, and which library of keys and values it reads."""

    sequence: Array
    head: Array
    library: Array


def _each_head(heads: Heads, turn: Callable[[Place, Any], Any], first: Any) -> Any:
    """`turn` of every head of every sequence, one after the other, each handed what the one before returned."""
    (B, _, N, _), K = heads.q_BTNH.shape, heads.k_BSKH.shape[2]

    def body(i: Array, carry: Any) -> Any:
        return turn(Place(i // N, i % N, i % N // (N // K)), carry)

    return jax.lax.fori_loop(0, B * N, body, first)


def _one(heads: Heads, at: Place) -> Head:
    """One head of one sequence."""
    q_TH = heads.q_BTNH[at.sequence, :, at.head]
    k_SH, v_SW = (x[at.sequence, :, at.library] for x in (heads.k_BSKH, heads.v_BSKW))
    bias: Any = jax.tree.map(lambda x: x[at.head], heads.bias_N)
    return Head(q_TH, k_SH, v_SW, bias, None if heads.sinks_N is None else heads.sinks_N[at.head])


def _of_sequence(mask: Mask | None, sequence: Array) -> Mask | None:
    """The mask of one sequence."""

    def own(leaf: Any, axis: int | None) -> Any:
        return leaf if axis is None else jnp.asarray(leaf)[sequence]

    return None if mask is None else jax.tree.map(own, mask, mask.batch_axes(), is_leaf=lambda leaf: leaf is None)


class Grid(NamedTuple):
    """A head's queries and keys in blocks, and for each block of queries which blocks of keys it reads."""

    queries: int
    """In a block."""
    keys: int
    """In a block."""
    spans: list[Span]


def _grid(block: int | None, T: int, S: int, mask: Mask | None) -> Grid:
    """Blocks of equal size, as few as keep to `block`."""
    if block is None and _cores() > 1:
        block = SHARED
    if block is None:
        reach = [(0, S) if mask is None else mask.reach(start, start + LONG, S) for start in range(0, T, LONG)]
        block = SHORT if max(last - first for first, last in reach) <= FEW else LONG
    Q, K = (-(-length // -(-length // block)) for length in (T, S))
    return Grid(Q, K, spans(*met(mask, T, S, Q, K)))


def _cores() -> int:
    """That this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _blocks(x: Array, size: int) -> Array:
    """[length, ...] → [blocks, size, ...], filled up with zeros."""
    count = -(-x.shape[0] // size)
    return jnp.pad(x, [(0, count * size - x.shape[0])] + [(0, 0)] * (x.ndim - 1)).reshape(count, size, *x.shape[1:])


def _whole(blocks: Array, length: int) -> Array:
    """What `_blocks` cut."""
    return blocks.reshape(-1, *blocks.shape[2:])[:length]


def _over_keys(grid: Grid, i: Array, meet: Callable[[bool, Array, Any], Any], first: Any) -> Any:
    """`meet` of the i-th block of queries with every block of keys that it reads, handed on."""
    for ask, starts, stops in grid.spans:
        first = jax.lax.fori_loop(jnp.asarray(starts)[i], jnp.asarray(stops)[i], partial(meet, ask), first)
    return first


def _allowed(mask: Mask | None, t_T: Array, s_S: Array, S: int) -> Array:
    """The mask's table, of keys that are there."""
    there_1S = s_S[None] < S
    return jnp.broadcast_to(there_1S, (t_T.size, s_S.size)) if mask is None else mask.table(t_T, s_S) & there_1S


def _read(rule: Rule, head: Head, mask: Mask | None) -> tuple[Array, Array]:
    """What one head's queries read, o_TW in v's dtype, and the logarithm of the sum of exp(scores), float32 [T]."""
    T, S, W = head.q_TH.shape[0], head.k_SH.shape[0], head.v_SW.shape[-1]
    grid = _grid(rule.block, T, S, mask)
    before, after = factors(head.q_TH, rule.scale)
    k_JKH, v_JKW = _blocks(head.k_SH, grid.keys), _blocks(head.v_SW, grid.keys)

    def read_by(block: tuple[Array, Array]) -> tuple[Array, Array]:
        i, q_QH = block
        q_QH = q_QH * before

        def meet(ask: bool, j: Array, sums: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
            top_Q1, total_Q1, o_QW = sums
            t_Q, s_K = i * grid.queries + jnp.arange(grid.queries), j * grid.keys + jnp.arange(grid.keys)
            products_QK = jnp.einsum("qh,kh->qk", q_QH, k_JKH[j], preferred_element_type=jnp.float32)
            s_QK = _bent(rule, after, products_QK, head.bias, t_Q, s_K)
            allowed_QK = _allowed(mask, t_Q, s_K, S) if ask else None
            s_QK = s_QK if allowed_QK is None else jnp.where(allowed_QK, s_QK, LOWEST)
            higher_Q1 = jnp.maximum(top_Q1, jnp.max(s_QK, axis=-1, keepdims=True))
            p_QK = jnp.exp(s_QK - higher_Q1)
            # Of queries that have read nothing yet, the highest score is that of what is hidden.
            p_QK = p_QK if allowed_QK is None else jnp.where(allowed_QK, p_QK, 0.0)
            less_Q1 = jnp.exp(top_Q1 - higher_Q1)
            part_QW = jnp.matmul(p_QK.astype(v_JKW.dtype), v_JKW[j], preferred_element_type=jnp.float32)
            total_Q1 = total_Q1 * less_Q1 + jnp.sum(p_QK, axis=-1, keepdims=True)
            return higher_Q1, total_Q1, o_QW * less_Q1 + part_QW

        # A sink is a score of which nothing is read.
        top, total = (LOWEST, 0.0) if head.sink is None else (head.sink, 1.0)
        of_query = partial(jnp.full, (grid.queries, 1), dtype=jnp.float32)
        nothing = of_query(top), of_query(total), jnp.zeros((grid.queries, W), jnp.float32)
        top_Q1, total_Q1, o_QW = _over_keys(grid, i, meet, nothing)
        total_Q1 = jnp.where(total_Q1 == 0, 1.0, total_Q1)
        return (o_QW / total_Q1).astype(head.v_SW.dtype), (top_Q1 + jnp.log(total_Q1))[:, 0]

    q_IQH = _blocks(head.q_TH, grid.queries)
    o_IQW, log_sum_IQ = jax.lax.map(read_by, (jnp.arange(q_IQH.shape[0]), q_IQH))
    return _whole(o_IQW, T), _whole(log_sum_IQ, T)


def _slopes(rule: Rule, head: Head, mask: Mask | None, do_TW: Array, log_sum_T: Array, common_T: Array) -> Head:
    """The gradients of what one head reads, float32: with weights P, dV = Pᵀ do, dS = P ∘ (do Vᵀ - common), where
    common is the sum of do ∘ o over the width, which a query's keys share.

    Those of keys and values are summed as [H, K]: XLA's product for CPUs takes half the time where the result is wide
    and not tall.
    """
    T, S = head.q_TH.shape[0], head.k_SH.shape[0]
    grid = _grid(rule.block, T, S, mask)
    before, after = factors(head.q_TH, rule.scale)
    k_JKH, v_JKW = _blocks(head.k_SH, grid.keys), _blocks(head.v_SW, grid.keys)

    def slopes_of(sums: tuple[Array, Array, Any], block: tuple[Array, ...]) -> tuple[Any, Array]:
        i, q_QH, do_QW, log_sum_Q, common_Q = block
        q_QH = q_QH * before
        q_HQ, do_WQ = q_QH.T, do_QW.T

        def meet(ask: bool, j: Array, sums: tuple[Array, Array, Array, Any]) -> tuple[Array, Array, Array, Any]:
            dq_QH, dk_JHK, dv_JWK, dbias = sums
            t_Q, s_K = i * grid.queries + jnp.arange(grid.queries), j * grid.keys + jnp.arange(grid.keys)
            products_QK = jnp.einsum("qh,kh->qk", q_QH, k_JKH[j], preferred_element_type=jnp.float32)
            of_products = partial(_bent, rule, after, t_Q=t_Q, s_K=s_K)
            s_QK, pull = jax.vjp(of_products, products_QK, head.bias)
            p_QK = jnp.exp(s_QK - log_sum_Q[:, None])
            p_QK = jnp.where(_allowed(mask, t_Q, s_K, S), p_QK, 0.0) if ask else p_QK
            dp_QK = jnp.einsum("qw,kw->qk", do_QW, v_JKW[j], preferred_element_type=jnp.float32)
            dproducts_QK, dbias_part = pull(p_QK * (dp_QK - common_Q[:, None]))
            dproducts_QK = dproducts_QK.astype(q_QH.dtype)
            dq_QH += jnp.matmul(dproducts_QK, k_JKH[j], preferred_element_type=jnp.float32)
            dk_HK = jnp.matmul(q_HQ, dproducts_QK, preferred_element_type=jnp.float32)
            dv_WK = jnp.matmul(do_WQ, p_QK.astype(do_WQ.dtype), preferred_element_type=jnp.float32)
            dbias = jax.tree.map(jnp.add, dbias, dbias_part)
            return dq_QH, dk_JHK.at[j].add(dk_HK), dv_JWK.at[j].add(dv_WK), dbias

        dq_QH, *summed = _over_keys(grid, i, meet, (jnp.zeros(q_QH.shape, jnp.float32), *sums))
        return tuple(summed), before * dq_QH

    of_queries = (_blocks(x, grid.queries) for x in (head.q_TH, do_TW, log_sum_T, common_T))
    turned = (jnp.swapaxes(x, 1, 2) for x in (k_JKH, v_JKW))
    zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, jnp.float32), (*turned, head.bias))
    blocks = (jnp.arange(-(-T // grid.queries)), *of_queries)
    (dk_JHK, dv_JWK, dbias), dq_IQH = jax.lax.scan(slopes_of, zeros, blocks)
    dk_SH, dv_SW = (_whole(jnp.swapaxes(x, 1, 2), S) for x in (dk_JHK, dv_JWK))
    dsink = None if head.sink is None else -jnp.sum(jnp.exp(head.sink - log_sum_T) * common_T)
    return Head(_whole(dq_IQH, T), dk_SH, dv_SW, dbias, dsink)


def _bent(rule: Rule, factor: float, products_QK: Array, bias: Bias | None, t_Q: Array, s_K: Array) -> Array:
    """Scores of a block's products."""
    return bent(products_QK, factor, None if bias is None else bias.table(t_Q, s_K), rule.softcap)
