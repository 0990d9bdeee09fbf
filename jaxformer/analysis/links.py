"""How far attention follows known links between tokens: a pronoun and what it stands for, a word and its translation,
a token and what came after it the last time.
"""

from typing import Any

import jax.numpy as jnp
from jax import Array


def followed(weights_BNTS: Any, links_BTS: Any) -> Array:
    """The weight that each head gives to the keys its query is linked with, the mean over queries with a link;
    [..., N] of weights [..., B, N, T, S]. links_BTS is bool, True where query t is linked with key s.

    It lies between 0 and 1, and is 0 where there are no links. Source: the prefix-matching score of Olsson et al. 2022
    is this, with links from a token to the one after its earlier occurrence.
    """
    links_B1TS = jnp.asarray(links_BTS)[:, None].astype(jnp.float32)
    read_N = jnp.sum(weights_BNTS * links_B1TS, axis=(-1, -2, -4))
    return read_N / jnp.maximum(jnp.sum(jnp.any(links_B1TS > 0, axis=-1)), 1)


def of_another(links_BTS: Any, readable_BTS: Any) -> Array:
    """Links that are as right as by chance: those of the sentence before in the batch, as far as this one may read
    there. A head that follows places alone follows them as well as its own.
    """
    return jnp.roll(jnp.asarray(links_BTS), 1, axis=0) & jnp.asarray(readable_BTS)


def followed_and_by_chance(weights_BNTS: Any, links_BTS: Any, readable_BTS: Any) -> tuple[Array, Array]:
    """What is `followed` of these links, and of `of_another`'s that are none of these; [..., N] each."""
    other_BTS = of_another(links_BTS, jnp.asarray(readable_BTS) & ~jnp.asarray(links_BTS))
    return followed(weights_BNTS, links_BTS), followed(weights_BNTS, other_BTS)


def after_earlier(tokens_BT: Any) -> Array:
    """Links [B, T, T] of each token with those that followed its earlier occurrences, its own place included: what an
    induction head reads (Olsson et al. 2022).
    """
    read_BT = jnp.asarray(tokens_BT)
    before_BS = jnp.pad(read_BT[:, :-1], ((0, 0), (1, 0)))
    T = read_BT.shape[1]
    return (read_BT[:, :, None] == before_BS[:, None, :]) & jnp.tri(T, dtype=bool) & (jnp.arange(T) > 0)
