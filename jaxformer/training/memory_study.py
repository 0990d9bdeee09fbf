"""Arms of experiments on memory: a fact is stated early, much else is said, then it is asked for."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from jaxformer.analysis.token_gradients import gradient_by_token
from jaxformer.config.model import DecoderConfig, RecurrentDecoderConfig
from jaxformer.models.decoder import Decoder
from jaxformer.models.recurrent_decoder import RecurrentDecoder
from jaxformer.objectives import Total
from jaxformer.ops.losses import cross_entropy
from jaxformer.training.study import TOKENS, Arm, StudyConfig, initial, stacked

KINDS = 2
"""A cat or a mouse: tokens 0 and 1 are the answers."""
FILLERS = 8
"""Words that say nothing of anybody."""
EARLY = 8
"""The fact is one of the first so many tokens."""


@dataclass(frozen=True)
class MemoryConfig(StudyConfig):
    """Distances count the tokens between the fact and the question."""

    names: int = 4
    """Of whom something is said. A fact is a token of its own for each name and kind, a question one for each name;
    every other token between them is a random fact about somebody else, the rest are fillers."""
    learned: tuple[int, ...] = (1, 2, 4, 8, 16, 32, 64)
    """Distances of the rows to train on, all equally often."""
    near: tuple[int, ...] = (8, 16, 32, 64)
    """Distances to be looked at in rows of the length that was learned."""
    far: tuple[int, ...] = (128, 256, 512, 1024)
    """Distances to be looked at in longer rows."""
    held_out: int = 32
    """Held-out rows of each distance."""
    felt: int = 8
    """Rows of those whose gradients are taken."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.names < 2:
            raise ValueError(f"names must be at least 2, for others to be spoken of, got {self.names}")
        if max(self.near) > max(self.learned):
            raise ValueError(f"near distances must be within those learned, {self.learned}, got {self.near}")
        if not 1 <= self.felt <= self.held_out:
            raise ValueError(f"felt must be between 1 and held_out={self.held_out}, got {self.felt}")

    @property
    def distances(self) -> tuple[int, ...]:
        """All that are looked at, in order."""
        return self.near + self.far

    @property
    def vocabulary(self) -> int:
        """Answers, facts, questions, fillers."""
        return KINDS + self.names * (KINDS + 1) + FILLERS

    def model(self, config: DecoderConfig | RecurrentDecoderConfig) -> Decoder | RecurrentDecoder:
        """The model of this config that knows the words."""
        module = Decoder if isinstance(config, DecoderConfig) else RecurrentDecoder
        return module(config, self.vocabulary)  # pyright: ignore[reportArgumentType]


class Told(NamedTuple):
    """Rows of tokens, where the fact and the question stand, and the answer. What follows the question, a causal model
    cannot see.
    """

    tokens_BT: Any
    fact_B: Any
    question_B: Any
    answer_B: Any


def told(config: MemoryConfig, rng: np.random.Generator, distances_B: np.ndarray, length: int) -> Told:
    """Random rows of these distances. Between fact and question, and before, nothing else is said of who is asked."""
    B, rows_B = len(distances_B), np.arange(len(distances_B))
    name_B, answer_B = rng.integers(config.names, size=B), rng.integers(KINDS, size=B)
    others_BT = (name_B[:, None] + rng.integers(1, config.names, size=(B, length))) % config.names
    facts_BT = KINDS + KINDS * others_BT + rng.integers(KINDS, size=(B, length))
    fillers_BT = config.vocabulary - 1 - rng.integers(FILLERS, size=(B, length))
    tokens_BT = np.where(rng.random((B, length)) < 0.5, facts_BT, fillers_BT)
    fact_B = rng.integers(EARLY, size=B)
    question_B = fact_B + distances_B + 1
    tokens_BT[rows_B, fact_B] = KINDS + KINDS * name_B + answer_B
    tokens_BT[rows_B, question_B] = KINDS + KINDS * config.names + name_B
    return Told(*(x.astype(np.int32) for x in (tokens_BT, fact_B, question_B, answer_B)))


class Remembered(NamedTuple):
    """What a look sees of each distance."""

    accuracy: Array
    fact: Array
    """log10 of the length of the gradient of what speaks for the right answer, its logit less the other, with respect
    to the embedding of the fact: the mean over rows, in which a length below `SMALLEST` counts as that."""
    share: Array
    """The fact's part of the lengths of all tokens' gradients, the mean over rows."""


SMALLEST = 1e-37
"""Near the end of what float32 holds at full precision, 1.2e-38; stands for all lengths below it."""


def memory_arm(config: MemoryConfig, decoder: DecoderConfig | RecurrentDecoderConfig) -> Arm:
    """A decoder that learns to answer; a look gives `Remembered`, each [distances]."""
    model: Any = config.model(decoder)
    span = max(config.learned) + EARLY + 1

    def answers(params: Any, rows: Told) -> Array:
        """Logits [B, 2] of the two answers."""
        logits_BTV = model.apply(params, rows.tokens_BT)
        return logits_BTV[jnp.arange(rows.answer_B.size), rows.question_B, :KINDS]

    def objective(params: Any, rows: Told, key: Array | None) -> Total:
        costs = cross_entropy(answers(params, rows), rows.answer_B)
        return Total(jax.tree.map(jnp.sum, costs), jnp.float32(rows.answer_B.size))

    def look(params: Any, rows: Told) -> Remembered:
        total, few = objective(params, rows, None), jax.tree.map(lambda x: x[: config.felt], rows)

        def margin(params: Any) -> Array:
            logits_BC = answers(params, few)
            return (logits_BC[:, 1] - logits_BC[:, 0]) * (2 * few.answer_B - 1)

        (length_BT,) = gradient_by_token(margin, params)
        fact_B = jnp.take_along_axis(length_BT, few.fact_B[:, None], axis=1)[:, 0]
        decades = jnp.mean(jnp.log10(jnp.maximum(fact_B, SMALLEST)))
        share_B = fact_B / jnp.maximum(jnp.sum(length_BT, axis=1), SMALLEST)
        return Remembered(total.costs.correct / total.tokens, decades, jnp.mean(share_B))

    def batches(seed: int) -> Iterator[Told]:
        rng = np.random.default_rng((seed, 1))
        return (told(config, rng, rng.choice(config.learned, config.batch), span) for _ in range(config.steps))

    def held_out(seed: int) -> tuple[Told, Told]:
        rng = np.random.default_rng((seed, 2))

        def of(distances: Sequence[int], length: int) -> Told:
            return stacked([told(config, rng, np.full(config.held_out, d), length) for d in distances])

        return of(config.near, span), of(config.far, max(config.far) + EARLY + 1)

    def each(params: Any, parts: tuple[Told, Told]) -> Remembered:
        seen = [jax.lax.map(lambda rows: look(params, rows), part) for part in parts]
        return jax.tree.map(lambda *found: jnp.concatenate(found), *seen)

    return Arm(initial(model, TOKENS), objective, batches, held_out, each)
