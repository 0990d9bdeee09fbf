"""Arms of experiments that learn text by bytes: the source code of Python's standard library, which every user has."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from jaxformer.config.model import DecoderConfig
from jaxformer.config.text_data import Packed
from jaxformer.data.packing import EncodedText, TextBatch, encode_text, eval_windows, text_batches
from jaxformer.data.text import load_text
from jaxformer.models.decoder import Decoder
from jaxformer.objectives import causal
from jaxformer.text.characters import ByteTokenizer
from jaxformer.training.study import TOKENS, Arm, StudyConfig, initial, stacked

TOKENIZER = ByteTokenizer()
_SPECIAL: dict[str, Any] = {"end": TOKENIZER.eos, "vocabulary": TOKENIZER.size}


@dataclass(frozen=True)
class TextStudyConfig(StudyConfig):
    """How an experiment learns text; `batch` counts rows."""

    batch: int = 8
    length: int = 96
    """Bytes in a row."""
    looks_at: int = 16
    """Batches of held-out text in each look."""

    @property
    def rows(self) -> Packed:
        return Packed(length=self.length, rows=self.batch)


@cache
def builtin_text() -> tuple[EncodedText, EncodedText]:
    """The text to train on and the one to hold out, whose documents differ."""
    corpus = load_text("builtin")
    train, held_out = (encode_text(split, TOKENIZER.encode_batch) for split in (corpus.train, corpus.valid))
    return train, held_out


def held_out_text(config: TextStudyConfig) -> TextBatch:
    """Batches [looks_at, rows, ...] from all over the held-out text, whose documents are ordered by name."""
    windows = eval_windows(config.rows, builtin_text()[1], **_SPECIAL).batches
    return stacked(list(windows[:: len(windows) // config.looks_at][: config.looks_at]))


def text_arm(config: TextStudyConfig, decoder: DecoderConfig) -> Arm:
    """A decoder that learns the next byte; a look is its loss on held-out text, in nats a byte.

    A seed gives all arms the same text in the same order.
    """
    model = Decoder(decoder, TOKENIZER.size)
    objective, held_out = causal(model), held_out_text(config)

    def batches(seed: int) -> Iterator[TextBatch]:
        stream = text_batches(config.rows, builtin_text()[0], seed, **_SPECIAL)
        return (stream[i] for i in range(config.steps))

    def look(params: Any, batches: TextBatch) -> Array:
        totals = jax.lax.map(lambda batch: objective(params, batch, None), batches)
        return jnp.sum(totals.costs.nll) / jnp.sum(totals.tokens)

    return Arm(initial(model, TOKENS), objective, batches, lambda seed: held_out, look, decoder.width)
