"""Beam search with a length penalty."""

from functools import partial
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array

from jaxformer.decoding.scoring import Decoded, Marks, begin, length_penalty, likeliest


class _Search(NamedTuple):
    """K sentences that go on, and the best of those that have ended, for each source."""

    step: Array
    tokens_BKT: Array
    logp_BK: Array
    parents_BK: Array
    """Whom each goes on from, among the K before the last step."""
    greedy_B: Array
    """Whether beam 0 is the greedy path; False once that has ended."""
    ended_B: Array
    """How many have ended."""
    best_BT: Array
    score_B: Array


class _Candidates(NamedTuple):
    """Every beam with each of its likeliest next tokens, [B, N]."""

    logp_BN: Array
    token_BN: Array
    parent_BN: Array
    rank_BN: Array
    """What they are sorted by."""

    def take(self, index_BM: Array) -> "_Candidates":
        return jax.tree.map(lambda x_BN: jnp.take_along_axis(x_BN, index_BM, axis=1), self)


@partial(jax.jit, static_argnames=("model", "length", "beams", "bos", "eos", "pad"))
def beam(
    model: nn.Module,
    params: Any,
    source_BS: Array,
    *,
    length: int,
    beams: int,
    alpha: Array | float = 0.6,
    bos: int,
    eos: int,
    pad: int,
) -> Decoded:
    """The best-scored sentence that a search with `beams` hypotheses at a time finds: one loop over the model's cache.

    A hypothesis ends when its end mark is among the K = `beams` likeliest continuations of all. It is then kept apart,
    and the next likeliest takes its place, so that K always go on. The search for a sentence stops when K have ended,
    or as soon as none that goes on can still beat the best: a log-probability only falls, so no score that comes of it
    is above what it is now, divided by the penalty of the greatest length.

    The greedy path keeps its place among the K until it has ended or can no longer win, even where K others are
    likelier or have ended already. That costs no row, and makes two laws hold without exception, up to rounding: one
    beam is `greedy`, and no score is below greedy's.

    A longer `length` can change what is found only for a sentence that the shorter one cut, or where a hypothesis that
    it had ruled out could still have won by its length. Sources: Sutskever et al. 2014, §3.2, for the search; Wu et al.
    2016, eq. 14, for the score, without its coverage penalty.

    Arguments as in `greedy`; `beams` is static, and alpha ≥ 0 decides which sentence is best.
    """
    if beams < 1:
        raise ValueError(f"beams must be at least 1, got {beams}")
    marks = Marks(bos, eos, pad)
    rows = source_BS.shape[0]

    def searching(search: _Search) -> Array:
        """Whether anything is left to be found, bool [B]."""
        may_win_BK = search.logp_BK / length_penalty(length, alpha) > search.score_B[:, None]
        wanted_BK = (search.ended_B < beams)[:, None] | (search.greedy_B[:, None] & (jnp.arange(beams) == 0))
        return jnp.any(may_win_BK & wanted_BK, axis=1)

    def candidates(search: _Search, logits_BKV: Array) -> _Candidates:
        # Of one beam at most K can go on and one can end.
        count = min(beams + 1, logits_BKV.shape[-1])
        logp_BKC, token_BKC = likeliest(logits_BKV, count, search.step == length - 1, marks)
        logp_BN = (search.logp_BK[..., None] + logp_BKC).reshape(rows, -1)
        parent_BN = jnp.broadcast_to(jnp.repeat(jnp.arange(beams), count), logp_BN.shape)
        rank_BN = logp_BN.at[:, 0].set(jnp.where(search.greedy_B, jnp.inf, logp_BN[:, 0]))
        return _Candidates(logp_BN, token_BKC.reshape(rows, -1), parent_BN, rank_BN)

    def with_best_ended(search: _Search, found: _Candidates) -> _Search:
        """The search after noting those of the K likeliest candidates that end."""
        top = found.take(jax.lax.top_k(found.rank_BN, beams)[1])
        ends_BK = (top.token_BN == eos) & (top.logp_BN > -jnp.inf) & searching(search)[:, None]
        logp_BK = jnp.where(ends_BK, top.logp_BN, -jnp.inf)
        winner_B1 = jnp.argmax(logp_BK, axis=1, keepdims=True)
        score_B = jnp.max(logp_BK, axis=1) / length_penalty(search.step + 1, alpha)
        parent_B1 = jnp.take_along_axis(top.parent_BN, winner_B1, axis=1)
        sentence_BT = jnp.take_along_axis(search.tokens_BKT, parent_B1[..., None], axis=1)[:, 0]
        sentence_BT = sentence_BT.at[:, search.step].set(eos)
        return search._replace(
            ended_B=search.ended_B + jnp.sum(ends_BK, axis=1),
            best_BT=jnp.where((score_B > search.score_B)[:, None], sentence_BT, search.best_BT),
            score_B=jnp.maximum(score_B, search.score_B),
        )

    def extend(search: _Search, logits_BKV: Array) -> _Search:
        found = candidates(search, logits_BKV)
        search = with_best_ended(search, found)
        goes_on_BN = found.token_BN != eos
        found = found._replace(
            logp_BN=jnp.where(goes_on_BN, found.logp_BN, -jnp.inf),
            rank_BN=jnp.where(goes_on_BN, found.rank_BN, -jnp.inf),
        )
        kept = found.take(jax.lax.top_k(found.rank_BN, beams)[1])
        tokens_BKT = jnp.take_along_axis(search.tokens_BKT, kept.parent_BN[..., None], axis=1)
        return search._replace(
            step=search.step + 1,
            tokens_BKT=tokens_BKT.at[:, :, search.step].set(kept.token_BN),
            logp_BK=kept.logp_BN,
            parents_BK=kept.parent_BN,
            greedy_B=search.greedy_B & goes_on_BN[:, 0],
        )

    def advance(state: tuple[_Search, Any]) -> tuple[_Search, Any]:
        search, cache = state
        rows_R = (jnp.arange(rows)[:, None] * beams + search.parents_BK).reshape(-1)
        latest_BK = jax.lax.dynamic_index_in_dim(search.tokens_BKT, search.step - 1, axis=2, keepdims=False)
        logits_R1V, cache = model.apply(params, latest_BK.reshape(-1, 1), cache.reorder(rows_R), method="decode")
        return extend(search, logits_R1V.reshape(rows, beams, -1)), cache

    logits_BV, cache = begin(model, params, source_BS, length, marks)
    search = _first(source_BS, length, beams, pad)
    search = extend(search, jnp.broadcast_to(logits_BV[:, None], (rows, beams, logits_BV.shape[-1])))
    cache = cache.select(jnp.repeat(jnp.arange(rows), beams))
    search, _ = jax.lax.while_loop(lambda state: jnp.any(searching(state[0])), advance, (search, cache))
    return Decoded(search.best_BT, search.score_B)


def _first(source_BS: Array, length: int, beams: int, pad: int) -> _Search:
    """Before the first token: one empty hypothesis for each source, the others impossible."""
    rows = source_BS.shape[0]
    empty_B = jnp.all(source_BS == pad, axis=1)
    return _Search(
        step=jnp.zeros((), jnp.int32),
        tokens_BKT=jnp.full((rows, beams, length), pad, jnp.int32),
        logp_BK=jnp.broadcast_to(jnp.where(jnp.arange(beams) == 0, 0.0, -jnp.inf), (rows, beams)),
        parents_BK=jnp.zeros((rows, beams), jnp.int32),
        greedy_B=jnp.ones(rows, bool),
        ended_B=jnp.zeros(rows, jnp.int32),
        best_BT=jnp.full((rows, length), pad, jnp.int32),
        # Nothing beats the score of a row without a source, so there is nothing to search for.
        score_B=jnp.where(empty_B, 0.0, -jnp.inf),
    )
