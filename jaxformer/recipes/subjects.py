"""What each kind of run trains and on what, as shapes: enough to count its work and its memory."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial, singledispatch
from typing import Any, NamedTuple

import flax.linen as nn

from jaxformer.config.causal_lm import CausalLmConfig
from jaxformer.config.classify import ClassifyConfig
from jaxformer.config.errors import UserError
from jaxformer.config.instruct import InstructConfig, Lora
from jaxformer.config.masked_lm import MaskedLmConfig
from jaxformer.config.model import DecoderConfig, EncoderConfig, EncoderDecoderConfig, RnnConfig, TransformerConfig
from jaxformer.config.translate import TranslateConfig
from jaxformer.models.build import build
from jaxformer.models.decoder import Decoder
from jaxformer.models.encoder import Encoder
from jaxformer.objectives import Objective, causal, classification, masked, translation
from jaxformer.recipes import classify, lessons
from jaxformer.recipes.causal_lm import abstract_rows
from jaxformer.recipes.instruct import model_of
from jaxformer.recipes.masked_lm import abstract_masked
from jaxformer.recipes.translate import abstract_pairs
from jaxformer.training.lora import Updates

CONFIGS = {
    "TranslateConfig": TranslateConfig,
    "CausalLmConfig": CausalLmConfig,
    "MaskedLmConfig": MaskedLmConfig,
    "ClassifyConfig": ClassifyConfig,
    "InstructConfig": InstructConfig,
}


class Subject(NamedTuple):
    """What is looked at: a model, what it is trained for, and on what."""

    config: Any
    """A `TrainingConfig` with a model."""
    model: nn.Module
    objective: Objective
    batch: Callable[[int, int], Any]
    """The shapes of a batch of so many rows of such a length."""
    predicted: Callable[[int], float] = float
    """Tokens of a row of such a length that are predicted, or texts."""
    unit: str = "token"
    """What is predicted."""
    updates: Updates | None = None
    """What is trained instead of the weights."""
    readings: int = 1
    """How often a step reads every row of its batch."""


@singledispatch
def subject(config: Any, vocabulary: int) -> Subject:
    """What a configuration of a run trains, for so many tokens. A new job registers itself here."""
    raise UserError(f"there is no table for {type(config).__name__}")


@subject.register
def _(config: TranslateConfig, vocabulary: int) -> Subject:
    model = build(config.model, vocabulary)
    learned = translation(model, config.smoothing, config.z_loss)
    return Subject(config, model, learned, abstract_pairs, readings=config.readings)


@subject.register
def _(config: CausalLmConfig, vocabulary: int) -> Subject:
    model = Decoder(config.model, vocabulary)
    return Subject(config, model, causal(model, config.z_loss, config.further), partial(abstract_rows, packed=True))


@subject.register
def _(config: InstructConfig, vocabulary: int) -> Subject:
    model, adapter = model_of(config), config.adapter
    updates = Updates(model, adapter) if isinstance(adapter, Lora) else None
    batch = partial(lessons.abstract_batch, config.learning)
    return Subject(config, model, lessons.objective(config.learning, model), batch, updates=updates)


@subject.register
def _(config: MaskedLmConfig, vocabulary: int) -> Subject:
    model, masking = Encoder(config.model, vocabulary), config.masking
    batch = partial(abstract_masked, masking=masking)
    return Subject(config, model, masked(model, config.z_loss), batch, lambda length: masking.rate * length)


@subject.register
def _(config: ClassifyConfig, vocabulary: int) -> Subject:
    model = classify.model_of(config, vocabulary)
    # The head for masked tokens is left out of it.
    config = replace(config, model=replace(model.config, masked_head=False))
    learned, predicted = classification(model), lambda length: 1.0
    return Subject(config, model, learned, classify.abstract_examples, predicted, "example", readings=config.readings)


@singledispatch
def trained_by(model: Any) -> Any:
    """The configuration of a run that would train a model. A new kind of model registers itself here."""
    raise UserError(f"no job trains {type(model).__name__}")


@trained_by.register(TransformerConfig)
@trained_by.register(EncoderDecoderConfig)
@trained_by.register(RnnConfig)
def _(model: Any) -> TranslateConfig:
    return TranslateConfig(model=model)


@trained_by.register
def _(model: DecoderConfig) -> CausalLmConfig:
    return CausalLmConfig(model=model)


@trained_by.register
def _(model: EncoderConfig) -> MaskedLmConfig:
    return MaskedLmConfig(model=model)
