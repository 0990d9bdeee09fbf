"""Arms of experiments that learn the English sentences of the built-in grammar by words, and fill gaps in them."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from jaxformer.config.model import DecoderConfig, EncoderConfig
from jaxformer.config.ranges import at_least
from jaxformer.config.text_data import TokenMasking
from jaxformer.data.english_chinese import english_chinese
from jaxformer.data.masking import mask_tokens
from jaxformer.data.packing import TextBatch
from jaxformer.models.decoder import Decoder
from jaxformer.models.encoder import Encoder
from jaxformer.objectives import Objective, causal, masked
from jaxformer.ops.losses import cross_entropy
from jaxformer.training.study import TOKENS, Arm, StudyConfig, initial

PAD, BEGIN, MASK, FIRST = range(4)
"""What is no word; words are numbered from FIRST on."""


@dataclass(frozen=True)
class SentenceStudyConfig(StudyConfig):
    """How an experiment learns sentences; `batch` counts them."""

    shortest: int = 5
    """Fewest words of a sentence, the mark at its end among them."""
    longest: int = 12
    masking: TokenMasking = TokenMasking(0.2)
    """What an encoder guesses."""
    gaps: int = 1000
    """Gaps that each look fills."""

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least(self, 3, "shortest")
        at_least(self, 1, "gaps")
        if self.longest < self.shortest:
            raise ValueError(f"longest must be at least shortest, got {self.longest} and {self.shortest}")


class Sentences(NamedTuple):
    """Rows of ids, int32 [N, 1 + longest]: a mark where they begin, the words, padding."""

    known_NT: np.ndarray
    held_out_NT: np.ndarray
    vocabulary: int
    """Number of ids."""


class Gaps(NamedTuple):
    """Whole sentences int32 [G, T], and the place in its row of the word that each is to lack, int32 [G]."""

    rows_GT: Any
    place_G: Any

    @property
    def word_G(self) -> Array:
        """The missing word's number among the words, from 0 on."""
        return _at(self.rows_GT, self.place_G) - FIRST


Fill = Callable[[Any, Gaps], Array]
"""(params, gaps) → scores float32 [G, words] whose softmax is the probability of each word."""


@cache
def builtin_sentences(shortest: int, longest: int) -> Sentences:
    """Sentences of so many words, in lower case, to train on and to hold out."""
    splits = english_chinese()
    sides = [[[w.lower() for w in e.english] for e in side] for side in (splits.train, splits.valid + splits.test)]
    ids = {word: i for i, word in enumerate(sorted({w for side in sides for s in side for w in s}), FIRST)}
    rows = [[[BEGIN, *(ids[w] for w in s)] for s in side if shortest <= len(s) <= longest] for side in sides]
    known, held_out = (np.array([row + [PAD] * (longest + 1 - len(row)) for row in side], np.int32) for side in rows)
    return Sentences(known, held_out, FIRST + len(ids))


def held_out_gaps(config: SentenceStudyConfig, seed: int) -> Gaps:
    """Gaps in held-out sentences, each any word but the mark at the end."""
    rng = np.random.default_rng((seed, 1))
    rows_GT = rng.choice(_sentences(config).held_out_NT, config.gaps)
    return Gaps(rows_GT, rng.integers(1, (rows_GT != PAD).sum(1) - 1).astype(np.int32))


def filled(scores_GW: Array, gaps: Gaps) -> dict[str, Array]:
    """What it costs to fill each gap, "nll" in nats, and whether the likeliest word is "right": [G]."""
    costs = cross_entropy(scores_GW, gaps.word_G)
    return {"nll": costs.nll, "right": costs.correct}


def masked_arm(config: SentenceStudyConfig, encoder: EncoderConfig) -> Arm:
    """An encoder that learns hidden words from those before and behind; a look is what it fills into the gaps."""
    vocabulary = _sentences(config).vocabulary
    model, others = Encoder(encoder, vocabulary, PAD), np.arange(FIRST, vocabulary)

    def batch(rows_BT: np.ndarray, entropy: tuple[int, int]) -> Any:
        return mask_tokens(config.masking, rows_BT, rows_BT >= FIRST, None, entropy, mask=MASK, others=others)

    def fill(params: Any, gaps: Gaps) -> Any:
        hidden_GT = jnp.arange(gaps.rows_GT.shape[1]) == gaps.place_G[:, None]
        shown_GT = jnp.where(hidden_GT, MASK, gaps.rows_GT)
        logits_G1V: Any = model.apply(params, shown_GT, gaps.place_G[:, None], method="masked_logits")
        return logits_G1V[:, 0, FIRST:]

    return _arm(config, model, masked(model), batch, fill)


def causal_arm(config: SentenceStudyConfig, decoder: DecoderConfig) -> Arm:
    """A decoder that learns every next word of the same sentences in the same order; a look is its guess at the word
    of each gap from those before it.
    """
    model = Decoder(decoder, _sentences(config).vocabulary)

    def batch(rows_BT: np.ndarray, entropy: tuple[int, int]) -> TextBatch:
        return TextBatch(rows_BT, None, None, rows_BT[:, 1:] != PAD)

    def fill(params: Any, gaps: Gaps) -> Any:
        return _at(model.apply(params, gaps.rows_GT[:, :-1]), gaps.place_G - 1)[:, FIRST:]

    return _arm(config, model, causal(model), batch, fill)


def by_sentence(config: SentenceStudyConfig, decoder: DecoderConfig) -> Fill:
    """A decoder's guess at the word of each gap from those before and behind it: log p of the whole sentence with every
    word of the vocabulary in the gap. It costs as many passes as there are words.
    """
    vocabulary = _sentences(config).vocabulary
    model = Decoder(decoder, vocabulary)

    def fill(params: Any, gaps: Gaps) -> Array:
        def log_p(gap: Gaps) -> Array:
            hidden_T = jnp.arange(gap.rows_GT.shape[0]) == gap.place_G
            rows_WT = jnp.where(hidden_T, jnp.arange(FIRST, vocabulary)[:, None], gap.rows_GT)
            nll_WT = cross_entropy(jnp.asarray(model.apply(params, rows_WT[:, :-1])), rows_WT[:, 1:]).nll
            return -jnp.sum(jnp.where(rows_WT[:, 1:] != PAD, nll_WT, 0.0), axis=1)

        return jax.lax.map(log_p, gaps)

    return fill


def _sentences(config: SentenceStudyConfig) -> Sentences:
    return builtin_sentences(config.shortest, config.longest)


def _at(x_GT: Any, place_G: Any) -> Any:
    """Of each row the entry at its place."""
    return jax.vmap(lambda x_T, place: x_T[place])(x_GT, place_G)


def _arm(config: SentenceStudyConfig, model: nn.Module, objective: Objective, batch: Callable, fill: Fill) -> Arm:
    def batches(seed: int) -> Iterator[Any]:
        rng, known_NT = np.random.default_rng(seed), _sentences(config).known_NT
        return (batch(rng.choice(known_NT, config.batch), (seed, step)) for step in range(config.steps))

    def look(params: Any, gaps: Gaps) -> Any:
        return filled(fill(params, gaps), gaps)

    return Arm(initial(model, TOKENS), objective, batches, lambda seed: held_out_gaps(config, seed), look)
