"""What a model reads: the attention weights of every layer and head, and what follows from them.

The functions of arrays may be jitted, and mapped over the stacked parameters of several seeds.

    >>> maps = jax.jit(partial(attention_maps, model))(params, tokens_BT)["decoder"]  # [L, B, N, T, S]
    >>> entropy_LBNT = entropy(maps)
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from jaxformer.nn.recorder import Recorded, Weights, whole


def attention_maps(model: Any, params: Any, *tokens: Any, each: Callable[[Array], Any] = whole) -> dict[str, Any]:
    """Attention weights float32 [L, B, N, T, S], layer by layer and head by head, by kind.

    A Transformer has "encoder" [L, B, N, S, S], "decoder" [L, B, N, T, T] and "cross" [L, B, N, T, S]; an encoder or a
    decoder alone has one of the first two. A recurrent network has "cross" [1, B, 1, T, S] where it has attention, and
    nothing where not. They are computed by the formula, whichever backend the model is trained by. Each row sums to
    one, or to less where a head has a sink; a row that may read nothing is zero.

    Args:
        tokens: what the model is called with, int32: source [B, S] and target [B, T], or one array.
        each: what is kept of every layer's weights [B, N, T, S]: where all of them are too much to hold, `entropy`, or
            a function that picks a head.

    Raises:
        ValueError: layers that differ in their heads, whose weights cannot be stacked.
    """
    found: dict[str, Recorded] = model.recording(Weights(each=each)).apply(params, *tokens, method="recorded")
    maps = {kind: kept.own.weights for kind, kept in found.items()}
    maps["cross"] = None if found.get("decoder") is None else getattr(found["decoder"].cross, "weights", None)
    return {kind: weights for kind, weights in maps.items() if weights is not None}


def entropy(weights_TS: Array) -> Array:
    """-Σ w log w of each row in nats, [..., T] of weights [..., T, S]: 0 for a query that reads one key, log S for one
    that reads S keys alike. What a sink takes is not counted.
    """
    return -jnp.sum(jax.scipy.special.xlogy(weights_TS, weights_TS), axis=-1)


def distances(queries: int, keys: int) -> np.ndarray:
    """The distances t - s of a query from a key that `distance_profile` has entries for, in order; int [T + S - 1].

    Negative ones lie ahead.
    """
    return np.arange(1 - keys, queries)


def distance_profile(weights_TS: Array, counted_T: Any = True) -> Array:
    """The mean weight of the pairs at each of the `distances`, [..., T + S - 1] of weights [..., T, S].

    Queries that are not flagged in `counted_T`, bool and broadcast to [..., T], are left out, as padding should be; a
    distance that no pair is left for gets 0.
    """
    T, S = weights_TS.shape[-2:]
    place_TS = np.arange(T)[:, None] - np.arange(S) + S - 1
    counted_TS = jnp.broadcast_to(jnp.asarray(counted_T)[..., None], weights_TS.shape).astype(jnp.float32)

    def summed(x_TS: Array) -> Array:
        return jnp.zeros((*x_TS.shape[:-2], T + S - 1), jnp.float32).at[..., place_TS].add(x_TS)

    return summed(weights_TS * counted_TS) / jnp.maximum(summed(counted_TS), 1)


def mean_distance(weights_TS: Array) -> Array:
    """How far each query reads, Σ w |t - s|, [..., T] of weights [..., T, S]; in tokens."""
    T, S = weights_TS.shape[-2:]
    return jnp.sum(weights_TS * np.abs(np.arange(T)[:, None] - np.arange(S)), axis=-1)


def sentence_maps(model: Any, params: Any, *sentences: Sequence[int]) -> dict[str, np.ndarray]:
    """`attention_maps` of one sentence, or of one pair, as NumPy arrays [L, N, T, S], compiled for its length.

    A target begins with the begin mark, and its row t is what the model read to predict the token after target[t].
    Padding at the end is cut off, as far as the model has a token for it.
    """
    tokens = [jnp.asarray([_true_part(sentence, getattr(model, "pad", None))], jnp.int32) for sentence in sentences]
    found = jax.jit(partial(attention_maps, model))(params, *tokens)
    return {kind: np.asarray(weights_LBNTS[:, 0]) for kind, weights_LBNTS in found.items()}


def _true_part(tokens: Sequence[int], pad: int | None) -> list[int]:
    """The tokens up to the last that is no padding."""
    true = np.flatnonzero(np.asarray(tokens) != pad)
    if not true.size:
        raise ValueError("a sentence must have at least one token besides padding, got none")
    return [int(token) for token in tokens[: true[-1] + 1]]
