"""What an encoder takes for the hidden words of a text."""

from typing import Any, NamedTuple

import jax
import numpy as np

from jaxformer.config.errors import UserError
from jaxformer.models.encoder import Encoder
from jaxformer.recipes.bundle import BUCKET, Bundle


class Guess(NamedTuple):
    """A token that may be hidden somewhere."""

    token: str
    probability: float


class Filled(NamedTuple):
    """A text whose hidden words were told."""

    text: str
    """It with the likeliest token at every mask, as the tokenizer writes it down."""
    guesses: list[list[Guess]]
    """For each mask the likeliest tokens, the best one first."""


def fill(bundle: Bundle, text: str, count: int = 5) -> Filled:
    """The `count` likeliest tokens for every mask of a text, such as "The [MASK] sat on the mat."

    Each mask is told by itself: none knows what stands for the others. Raises UserError for a text without a mask or
    too long for the model, and for a model that tells no hidden tokens.
    """
    tokenizer, mask = bundle.reader, bundle.reader.specials.mask
    if not isinstance(bundle.model, Encoder) or not bundle.config.masked_head or mask is None:
        lacks = "mask token" if mask is None else "head that tells masked tokens"
        raise UserError(f"{bundle.path} has no {lacks}; fill needs a BERT that has, as jaxformer train masked-lm makes")
    ids = np.array(tokenizer.encode_with_specials(text, read_specials=True).ids)
    places_M = np.flatnonzero(ids == mask)
    if not len(places_M):
        raise UserError(f"a text to be filled in must hold {tokenizer.token('mask')}, got {text!r}")
    if len(ids) > bundle.config.context:
        raise UserError(f"a text must fit the context of {bundle.config.context} tokens, got {len(ids)}")
    p_MV = _probabilities(bundle, ids, places_M)
    best_MK = np.argsort(-p_MV, axis=1, kind="stable")[:, :count]
    ids[places_M] = best_MK[:, 0]
    guesses = [
        [Guess(*guess) for guess in zip(tokenizer.pieces(best_K.tolist()), p_V[best_K].tolist(), strict=True)]
        for best_K, p_V in zip(best_MK, p_MV, strict=True)
    ]
    return Filled(tokenizer.decode(ids.tolist()), guesses)


def _probabilities(bundle: Bundle, ids: np.ndarray, places_M: np.ndarray) -> np.ndarray:
    """Of every token at each place, float32 [M, V]."""
    width = min(bundle.config.context, -(-len(ids) // BUCKET) * BUCKET)
    tokens_1T = np.full((1, width), bundle.model.pad, np.int32)
    tokens_1T[0, : len(ids)] = ids
    logits: Any = bundle.model.apply(bundle.params, tokens_1T, places_M[None], method="masked_logits")
    return np.asarray(jax.nn.softmax(logits[0]))
