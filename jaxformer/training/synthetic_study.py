"""Arms of experiments whose rows of tokens are written by a function: recall, copying and their like."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from jax import Array

from jaxformer.config.blocks import Block, FeedForward, Group, LayerNorm, MultiHead
from jaxformer.config.model import DecoderConfig
from jaxformer.data.packing import TextBatch
from jaxformer.models.decoder import Decoder
from jaxformer.objectives import causal
from jaxformer.training.study import TOKENS, Arm, StudyConfig, initial, mean_costs

Rows = Callable[[np.random.Generator, int], TextBatch]
"""(random numbers, count) → so many rows; what is not counted is given and not asked."""

LOOKED_AT = 128
"""Rows in each look, of a seed's own and the same at every step."""


def small_decoder(attention: MultiHead, layers: int, width: int, vocabulary: int) -> Decoder:
    """Equal layers with layer norms before their parts; positions are those of the attention, if it has any."""
    group = Group((Block(attention, FeedForward(2 * width), LayerNorm()),), layers)
    return Decoder(DecoderConfig(width, (group,), norm=LayerNorm(), tied_output=False), vocabulary)


def synthetic_arm(config: StudyConfig, model: Decoder, rows: Rows) -> Arm:
    """A decoder that learns the next token of new rows at every step; a look is its "loss", in nats a token that
    counts, and its "accuracy" on rows held out.

    A seed gives all arms with as large a batch the same rows.
    """
    objective = causal(model)

    def batches(seed: int) -> Iterator[TextBatch]:
        rng = np.random.default_rng((seed, 1))
        return (rows(rng, config.batch) for _ in range(config.steps))

    def look(params: Any, held_out: TextBatch) -> dict[str, Array]:
        return mean_costs(objective(params, held_out, None))

    return Arm(
        initial(model, TOKENS), objective, batches, lambda seed: held_out_rows(rows, seed), look, model.config.width
    )


def held_out_rows(rows: Rows, seed: int) -> TextBatch:
    """What a seed's looks are given."""
    return rows(np.random.default_rng((seed, 2)), LOOKED_AT)
