"""What a model consists of and what it takes, before anything is trained."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from rich.console import Console
from rich.table import Table

from jaxformer.analysis.flops import forward_flops, training_flops_per_target_token
from jaxformer.analysis.memory import readable, training_memory
from jaxformer.analysis.parameters import (
    Parameter,
    abstract_parameters,
    group_totals,
    non_embedding_count,
    parameter_count,
    parameter_table,
)
from jaxformer.config.model import Seq2SeqConfig
from jaxformer.config.presets import preset
from jaxformer.config.translate import TranslateConfig
from jaxformer.data.batches import PairBatch
from jaxformer.models.build import build
from jaxformer.objectives import translation
from jaxformer.training.optimizers import optimizer
from jaxformer.training.run import RunFolder

WIDTH = 120
"""Columns of a table that goes into a file or a pipe."""


def inspect_preset(name: str, vocabulary: int, tokens: int, length: int) -> None:
    """Print the tables of a preset. Raises UserError for an unknown name."""
    config = TranslateConfig(model=preset(name))
    _print(name, config, vocabulary, tokens, length)


def inspect_run(path: Path, length: int) -> None:
    """Print the tables of a run folder. Raises UserError where there is none."""
    run = RunFolder(path)
    config = run.config(TranslateConfig)
    _print(str(path), config, run.tokenizer().size, config.batches.tokens, length)


def _print(title: str, config: TranslateConfig, vocabulary: int, tokens: int, length: int) -> None:
    # A table is for reading, not for fitting: a pipe has no width to fit.
    console = Console(highlight=False, width=None if sys.stdout.isatty() else WIDTH)
    model = build(config.model, vocabulary)
    abstract = abstract_parameters(model)
    rows = parameter_table(abstract)
    totals = [(name, f"{count:,}") for name, count in group_totals(rows).items()]
    totals += [("without embeddings", f"{non_embedding_count(rows):,}"), ("all", f"{parameter_count(rows):,}")]
    tables = [
        Titled(f"{title}: parameters", _table(("name", "shape", "axes", "count"), [_parameter(row) for row in rows])),
        Titled("totals", _table(("part", "count"), totals)),
        _work(config.model, vocabulary, length),
        _memory(config, model, nn.unbox(abstract), tokens, length),
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


def _work(config: Seq2SeqConfig, vocabulary: int, length: int) -> Titled:
    parts = forward_flops(config, vocabulary, length, length)
    rows = [(part, f"{count / length / 1e6:.3f}") for part, count in parts.items()]
    training = training_flops_per_target_token(config, vocabulary, length, length)
    rows.append(("forward pass", f"{sum(parts.values()) / length / 1e6:.3f}"))
    rows.append(("training", f"{training / 1e6:.3f}"))
    return Titled(f"MFLOP per target token, sentences of {length} tokens", _table(("part", "MFLOP"), rows))


def _memory(config: TranslateConfig, model: nn.Module, params: object, tokens: int, length: int) -> Titled:
    rows = max(1, tokens // length)
    batch = PairBatch(
        *(jax.ShapeDtypeStruct((rows, width), jnp.int32) for width in (length, length + 1))  # pyright: ignore[reportArgumentType]
    )
    objective = translation(model, config.smoothing, config.z_loss)
    update = optimizer(config.optimization, config.steps, config.model.width)
    parts = training_memory(lambda params, batch: objective(params, batch, None).costs.loss, update, params, batch)
    lines = [(part, readable(count)) for part, count in parts.items()]
    lines.append(("all", readable(sum(parts.values()))))
    title = f"memory of a training step, estimated, {rows} sentences of {length} tokens"
    return Titled(title, _table(("part", "size"), lines))


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    table = Table(box=None, pad_edge=False)
    for name in head:
        table.add_column(name, justify="right" if name in ("count", "MFLOP", "size") else "left", overflow="fold")
    for row in rows:
        table.add_row(*row)
    return table
