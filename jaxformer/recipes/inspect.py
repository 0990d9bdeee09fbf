"""What a model consists of and what it takes, before anything is trained."""

import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial, singledispatch
from pathlib import Path
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from rich.console import Console
from rich.table import Table

from jaxformer.analysis.flops import forward_flops, training_flops_per_target_token
from jaxformer.analysis.memory import Bytes, readable, size_of, training_memory
from jaxformer.analysis.parameters import (
    Parameter,
    abstract_parameters,
    group_totals,
    non_embedding_count,
    parameter_count,
    parameter_table,
)
from jaxformer.config.causal_lm import CausalLmConfig
from jaxformer.config.classify import ClassifyConfig
from jaxformer.config.errors import UserError
from jaxformer.config.instruct import InstructConfig, Lora
from jaxformer.config.masked_lm import MaskedLmConfig
from jaxformer.config.model import DecoderConfig, EncoderConfig, EncoderDecoderConfig, RnnConfig, TransformerConfig
from jaxformer.config.presets import PRESETS, preset
from jaxformer.config.translate import TranslateConfig
from jaxformer.models.build import build
from jaxformer.models.decoder import Decoder
from jaxformer.models.encoder import Encoder
from jaxformer.objectives import Objective, causal, classification, masked, translation
from jaxformer.ops.attention.backends import Taken, watching
from jaxformer.recipes import classify, lessons
from jaxformer.recipes.causal_lm import abstract_rows
from jaxformer.recipes.instruct import model_of
from jaxformer.recipes.masked_lm import abstract_masked
from jaxformer.recipes.translate import abstract_pairs
from jaxformer.training.lora import Updates, adapted
from jaxformer.training.optimizers import optimizer
from jaxformer.training.run import RunFolder

CONFIGS = {
    "TranslateConfig": TranslateConfig,
    "CausalLmConfig": CausalLmConfig,
    "MaskedLmConfig": MaskedLmConfig,
    "ClassifyConfig": ClassifyConfig,
    "InstructConfig": InstructConfig,
}

WIDTH = 120
"""Columns of a table that goes into a file or a pipe."""


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


@singledispatch
def subject(config: Any, vocabulary: int) -> Subject:
    """What a configuration of a run trains, for so many tokens. A new job registers itself here."""
    raise UserError(f"there is no table for {type(config).__name__}")


@subject.register
def _(config: TranslateConfig, vocabulary: int) -> Subject:
    model = build(config.model, vocabulary)
    return Subject(config, model, translation(model, config.smoothing, config.z_loss), abstract_pairs)


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
    return Subject(config, model, classification(model), classify.abstract_examples, lambda length: 1.0, "example")


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


def inspect_preset(name: str, vocabulary: int | None, tokens: int, length: int) -> None:
    """Print the tables of a preset, for its own number of tokens unless another is given. Raises UserError for an
    unknown name.
    """
    config, vocabulary = trained_by(preset(name)), vocabulary or PRESETS[name].vocabulary
    _print(name, subject(config, vocabulary), vocabulary, tokens, length)


def inspect_run(path: Path, length: int) -> None:
    """Print the tables of a run folder. Raises UserError where there is none."""
    run = RunFolder(path)
    config, vocabulary = run.config(CONFIGS[run.kind()]), run.tokenizer().size
    _print(str(path), subject(config, vocabulary), vocabulary, config.batches.tokens, length)


def _print(title: str, looked_at: Subject, vocabulary: int, tokens: int, length: int) -> None:
    # A table is for reading, not for fitting: a pipe has no width to fit.
    console = Console(highlight=False, width=None if sys.stdout.isatty() else WIDTH)
    abstract = abstract_parameters(looked_at.model)
    with watching() as attentions:
        memory = _memory(looked_at, nn.unbox(abstract), tokens, length)
    rows = parameter_table(abstract)
    totals = [(name, f"{count:,}") for name, count in group_totals(rows).items()]
    totals += [("without embeddings", f"{non_embedding_count(rows):,}"), ("all", f"{parameter_count(rows):,}")]
    tables = [
        Titled(f"{title}: parameters", _table(("name", "shape", "axes", "count"), [_parameter(row) for row in rows])),
        Titled("totals", _table(("part", "count"), totals)),
        _work(looked_at, vocabulary, length),
        memory,
        *([_attention(attentions)] if attentions else []),
    ]
    for line, table in tables:
        # A line of its own, since a table's own title is folded to the width of the table.
        console.print(line, markup=False, soft_wrap=True, style="italic")
        console.print(table)


class Titled(NamedTuple):
    """A table and the line above it."""

    title: str
    table: Table


def _parameter(row: Parameter) -> tuple[str, str, str, str]:
    axes = ", ".join(str(axis) for axis in row.axes)
    return row.path, " x ".join(map(str, row.shape)), axes, f"{row.count:,}"


def _work(looked_at: Subject, vocabulary: int, length: int) -> Titled:
    model, predicted = looked_at.config.model, looked_at.predicted(length)
    parts = forward_flops(model, vocabulary, length, predicted)
    rows = [(part, f"{count / predicted / 1e6:.3f}") for part, count in parts.items()]
    training = training_flops_per_target_token(model, vocabulary, length, predicted)
    rows.append(("forward pass", f"{sum(parts.values()) / predicted / 1e6:.3f}"))
    rows.append(("training", f"{training / 1e6:.3f}"))
    return Titled(f"MFLOP per predicted {looked_at.unit}, rows of {length} tokens", _table(("part", "MFLOP"), rows))


def _memory(looked_at: Subject, params: object, tokens: int, length: int) -> Titled:
    rows = max(1, tokens // length)
    config, objective = looked_at.config, looked_at.objective
    update = optimizer(config.optimization, config.steps, config.model.width)
    batch = looked_at.batch(rows, length)
    if looked_at.updates is None:
        parts = training_memory(lambda params, batch: objective(params, batch, None).costs.loss, update, params, batch)
    else:
        parts = _beside_frozen(looked_at.updates, objective, update, params, batch)
    lines = [(part, readable(count)) for part, count in parts.items()]
    lines.append(("all", readable(sum(parts.values()))))
    title = f"memory of a training step, estimated, {rows} rows of {length} tokens"
    return Titled(title, _table(("part", "size"), lines))


def _attention(attentions: Sequence[Taken]) -> Titled:
    lines = [(" x ".join(map(str, a.shape)), str(a.keys), str(a.backend), a.why) for a in attentions]
    table = _table(("queries", "keys", "by", "because"), list(dict.fromkeys(lines)))
    return Titled("attention in such a step, batch x queries x heads x width", table)


def _beside_frozen(
    updates: Updates, objective: Objective, update: optax.GradientTransformation, base: object, batch: Any
) -> Bytes:
    """The memory of a step where weights are frozen and only their updates are trained."""

    def loss(trained: Any, batch: Any, base: Any) -> jax.Array:
        return objective(adapted(base, trained, updates.config), batch, None).costs.loss

    trained = jax.eval_shape(updates.init, jax.random.key(0), jax.ShapeDtypeStruct((1, 2), jnp.int32))
    parts = training_memory(loss, update, trained, batch, base)
    return parts | {"parameters": parts["parameters"] + size_of(base)}


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    table = Table(box=None, pad_edge=False)
    for name in head:
        table.add_column(name, justify="right" if name in ("count", "MFLOP", "size") else "left", overflow="fold")
    for row in rows:
        table.add_row(*row)
    return table
