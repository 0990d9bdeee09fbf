"""Generation: a prompt is read at once, then token follows token in one compiled loop over the cache."""

from functools import partial
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array

from jaxformer.config.sampling import Sampling
from jaxformer.ops.sampling import penalised, sample

PLAIN = Sampling()
"""The model's own distribution."""


class Writing(NamedTuple):
    """Sequences under way: all that the next token depends on. What was written is in the cache."""

    cache: Any
    logits_BV: Array
    """Of the next token."""
    seen_BV: Array
    """Which tokens have occurred, prompt included."""
    ended_B: Array


class Written(NamedTuple):
    """What was added to each sequence."""

    tokens_BN: Array
    """int32; the stop token is the last one of a sequence that met it, then padding."""
    count_B: Array
    """Tokens added, a stop token included."""


@partial(jax.jit, static_argnames=("model", "room", "slack"))
def begin(model: nn.Module, params: Any, tokens_BT: Array, length_B: Array, *, room: int, slack: int = 0) -> Writing:
    """Reads prompts of unequal length side by side, int32 [B, T] of which the first `length_B` ≥ 1 tokens are true.

    `room` is how many tokens each sequence may come to, its prompt included; static, and at least T. Of a window, the
    last `slack` tokens may be taken back.
    """
    if tokens_BT.shape[1] > room:
        raise ValueError(f"room must hold the prompts, got room={room} for {tokens_BT.shape[1]} tokens")
    logits_BV, cache = model.apply(params, tokens_BT, length_B, room, slack, method="prefill")
    nothing_BV = jnp.zeros(logits_BV.shape, bool)
    seen_BV = _also_seen(nothing_BV, tokens_BT, length_B)
    return Writing(cache, logits_BV, seen_BV, jnp.zeros(length_B.shape, bool))


@partial(jax.jit, static_argnames="model", donate_argnames="writing")
def read_on(model: nn.Module, params: Any, writing: Writing, tokens_BT: Array, length_B: Array) -> Writing:
    """Reads more text after what was written, such as the next turn of a conversation; sequences that had ended go on.

    There must be room for it: what was begun with is all there is.
    """
    logits_BTV, cache = model.apply(params, tokens_BT, writing.cache, length_B, method="decode")
    last_B1V = jnp.take_along_axis(logits_BTV, (length_B - 1)[:, None, None], axis=1)
    seen_BV = _also_seen(writing.seen_BV, tokens_BT, length_B)
    return Writing(cache, last_B1V[:, 0], seen_BV, jnp.zeros_like(writing.ended_B))


@partial(jax.jit, static_argnames=("model", "count", "sampling", "stops", "pad"), donate_argnames="writing")
def write(
    model: nn.Module,
    params: Any,
    writing: Writing,
    keys_B: Array,
    *,
    count: int,
    sampling: Sampling = PLAIN,
    stops: tuple[int, ...] = (),
    pad: int = 0,
) -> tuple[Written, Writing]:
    """Up to `count` more tokens for each sequence, until it meets one of `stops`.

    A sequence draws with its own key and position, so what it becomes does not depend on its neighbours in the batch,
    nor on how many tokens are asked for at a time. The loop ends as soon as every sequence has.
    """
    rows = writing.logits_BV.shape[0]

    def draw(key: Array, position: Array, logits_V: Array, seen_V: Array) -> Array:
        if sampling.repetition_penalty != 1:
            logits_V = penalised(logits_V, seen_V, sampling.repetition_penalty)
        return sample(jax.random.fold_in(key, position), logits_V, sampling)

    def more(state: tuple[Array, Array, Writing]) -> Array:
        step, _, writing = state
        return (step < count) & ~jnp.all(writing.ended_B)

    def advance(state: tuple[Array, Array, Writing]) -> tuple[Array, Array, Writing]:
        step, tokens_BN, writing = state
        goes_on_B = ~writing.ended_B
        token_B = jax.vmap(draw)(keys_B, writing.cache.length_B, writing.logits_BV, writing.seen_BV)
        token_B = jnp.where(goes_on_B, token_B, pad)
        added_B = goes_on_B.astype(jnp.int32)
        logits_B1V, cache = model.apply(params, token_B[:, None], writing.cache, added_B, method="decode")
        logits_BV = jnp.where(goes_on_B[:, None], logits_B1V[:, 0], writing.logits_BV)
        seen_BV = _also_seen(writing.seen_BV, token_B[:, None], added_B)
        ended_B = writing.ended_B | (goes_on_B & _is_any(token_B, stops))
        return step + 1, tokens_BN.at[:, step].set(token_B), Writing(cache, logits_BV, seen_BV, ended_B)

    before_B = writing.cache.length_B
    first = jnp.zeros((), jnp.int32), jnp.full((rows, count), pad, jnp.int32), writing
    _, tokens_BN, writing = jax.lax.while_loop(more, advance, first)
    return Written(tokens_BN, writing.cache.length_B - before_B), writing


def generate(
    model: nn.Module,
    params: Any,
    tokens_BT: Array,
    length_B: Array,
    *,
    count: int,
    sampling: Sampling = PLAIN,
    stops: tuple[int, ...] = (),
    pad: int = 0,
    seed: int = 0,
) -> Written:
    """Continues prompts by up to `count` tokens; see `begin` and `write`."""
    writing = begin(model, params, tokens_BT, length_B, room=tokens_BT.shape[1] + count)
    keys_B = keys_of(seed, tokens_BT.shape[0])
    return write(model, params, writing, keys_B, count=count, sampling=sampling, stops=stops, pad=pad)[0]


def keys_of(seed: int, rows: int) -> Array:
    """A key for each sequence of a batch, that of a sequence the same in batches of any size."""
    return jax.vmap(lambda row: jax.random.fold_in(jax.random.key(seed), row))(jnp.arange(rows))


def _also_seen(seen_BV: Array, tokens_BT: Array, count_B: Array) -> Array:
    """The tokens that have occurred, with the first `count_B` of some more."""
    counted_BT = jnp.arange(tokens_BT.shape[1]) < count_B[:, None]
    return jax.vmap(lambda seen_V, tokens_T, counted_T: seen_V.at[tokens_T].max(counted_T))(
        seen_BV, tokens_BT, counted_BT
    )


def _is_any(token_B: Array, stops: tuple[int, ...]) -> Array:
    return jnp.isin(token_B, jnp.asarray(stops, jnp.int32)) if stops else jnp.zeros(token_B.shape, bool)
