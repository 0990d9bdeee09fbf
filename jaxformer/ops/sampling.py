"""The next token of one sequence: what a distribution is restricted to, a draw from it, and the check of a draft.

Every function speaks of one vector of logits over V tokens; `jax.vmap` lifts it over a batch. What a `Sampling` leaves
off is not computed, so it is static under `jax.jit`.
"""

import math

import jax
import jax.numpy as jnp
from jax import Array

from jaxformer.config.sampling import Sampling


def penalised(logits_V: Array, seen_V: Array, penalty: float) -> Array:
    """The logits with those of tokens seen before, bool [V], divided by `penalty` if positive, multiplied if negative.

    Source: Keskar et al. 2019 (CTRL), §4.1, with the multiplication that makes a negative logit less likely too.
    """
    return jnp.where(seen_V, jnp.where(logits_V < 0, logits_V * penalty, logits_V / penalty), logits_V)


def restricted(logits_V: Array, sampling: Sampling) -> Array:
    """Logits float32 [V] of the distribution that is drawn from, the highest 0, -∞ for what may not be drawn.

    Temperature, top-k, top-p and min-p act one after another, each on what the one before has left; the likeliest token
    always stays, alone where the temperature is 0. Tokens as likely as the k-th all stay. Sources: see `Sampling`; the
    penalty, which needs the tokens seen before, is `penalised`.
    """
    logits_V = logits_V.astype(jnp.float32)
    if sampling.temperature == 0:
        return jnp.where(jnp.arange(logits_V.shape[0]) == likeliest_token(logits_V), 0.0, -jnp.inf)
    # With the highest logit at 0 no temperature, however small, can make one overflow.
    logits_V = (logits_V - jnp.max(logits_V)) / sampling.temperature
    if 0 < sampling.top_k < logits_V.shape[0]:
        logits_V = _kept(logits_V, logits_V >= jax.lax.top_k(logits_V, sampling.top_k)[0][-1])
    if sampling.top_p < 1:
        logits_V = _kept(logits_V, _nucleus(logits_V, sampling.top_p))
    if sampling.min_p > 0:
        logits_V = _kept(logits_V, logits_V >= math.log(sampling.min_p))
    return logits_V


def _kept(logits_V: Array, kept_V: Array) -> Array:
    return jnp.where(kept_V, logits_V, -jnp.inf)


def _nucleus(logits_V: Array, p: float) -> Array:
    """True for the fewest tokens whose probability together reaches p."""
    order_V = jnp.argsort(logits_V)
    # Summed from the least likely, where small numbers still count. A token goes where it and all below are not needed.
    needed_V = jnp.cumsum(jax.nn.softmax(logits_V[order_V])) > 1 - p
    return jnp.zeros(logits_V.shape, bool).at[order_V].set(needed_V.at[-1].set(True), unique_indices=True)


def likeliest_token(logits_V: Array) -> Array:
    """The first of the likeliest tokens, int32, the last token where a logit is NaN: argmax by two reductions, which a
    CPU does several numbers at a time and in a fifth of the time.
    """
    last = logits_V.shape[0] - 1
    token_V = jnp.arange(logits_V.shape[0], dtype=jnp.int32)
    return jnp.min(jnp.where(logits_V == jnp.max(logits_V), token_V, last))


def sample(key: Array, logits_V: Array, sampling: Sampling) -> Array:
    """A token, int32, drawn from the `restricted` distribution; at temperature 0 the first of the likeliest."""
    if sampling.temperature == 0:
        return likeliest_token(logits_V)
    return jax.random.categorical(key, restricted(logits_V, sampling)).astype(jnp.int32)


def verify(
    key: Array, draft_tokens_K: Array, draft_probabilities_KV: Array, target_probabilities_K1V: Array
) -> tuple[Array, Array]:
    """How many of K drafted tokens stand, int32 in [0, K], and the token that follows them, int32.

    Row i of the probabilities, float32, is what the draft model drew token i from and what the target model expects in
    its place; the target's last row follows the whole draft. The tokens that stand and the one that follows are
    distributed exactly as if the target alone had drawn them. Both models' probabilities are those after `restricted`;
    at temperature 0 the tokens are the target's own. Raises ValueError where the target has not one row more than the
    draft. Source: Leviathan et al. 2023, algorithm 1; Chen et al. 2023, algorithm 2.
    """
    K, V = draft_probabilities_KV.shape
    if target_probabilities_K1V.shape != (K + 1, V):
        raise ValueError(f"target_probabilities must be [{K + 1}, {V}], got {list(target_probabilities_K1V.shape)}")
    stand_key, next_key = jax.random.split(key)
    at_K = jnp.arange(K), draft_tokens_K
    # u < p/q without the division; u is below 1, so p = q always stands.
    stands_K = jax.random.uniform(stand_key, (K,)) * draft_probabilities_KV[at_K] < target_probabilities_K1V[at_K]
    accepted = jnp.sum(jnp.cumprod(stands_K.astype(jnp.int32)), dtype=jnp.int32)
    # Past the draft nothing was proposed, so all of the target is left.
    proposed_K1V = jnp.pad(draft_probabilities_KV, ((0, 1), (0, 0)))
    left_V = leftover(target_probabilities_K1V[accepted], proposed_K1V[accepted])
    return accepted, jax.random.categorical(next_key, jnp.log(left_V)).astype(jnp.int32)


def leftover(target_V: Array, draft_V: Array) -> Array:
    """Probabilities of the token in place of one that was refused: max(0, target - draft), divided by its sum.

    Source: Leviathan et al. 2023, §2.3; Chen et al. 2023, eq. 2.
    """
    left_V = jnp.maximum(target_V - draft_V, 0.0)
    total = jnp.sum(left_V)
    # Nothing is left where both agree, and then nothing is refused but by rounding.
    return jnp.where(total > 0, left_V / jnp.where(total > 0, total, 1.0), target_V)
