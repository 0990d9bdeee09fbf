"""What a model consists of and what it takes, before anything is trained."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from rich.console import Console
from rich.table import Table

from jaxformer.analysis.flops import forward_flops, training_flops_per_target_token
from jaxformer.analysis.memory import readable
from jaxformer.analysis.parameters import (
    Parameter,
    abstract_parameters,
    group_totals,
    non_embedding_count,
    parameter_count,
    parameter_table,
)
from jaxformer.config.presets import PRESETS, preset
from jaxformer.ops.attention.backends import Taken, watching
from jaxformer.recipes.room import step_memory
from jaxformer.recipes.subjects import CONFIGS, Subject, subject, trained_by
from jaxformer.training.run import RunFolder

WIDTH = 120
"""Columns of a table that goes into a file or a pipe."""


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
        memory = _memory(looked_at, tokens, length)
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
    training = looked_at.readings * training_flops_per_target_token(model, vocabulary, length, predicted)
    rows.append(("forward pass", f"{sum(parts.values()) / predicted / 1e6:.3f}"))
    rows.append(("training", f"{training / 1e6:.3f}"))
    return Titled(f"MFLOP per predicted {looked_at.unit}, rows of {length} tokens", _table(("part", "MFLOP"), rows))


def _memory(looked_at: Subject, tokens: int, length: int) -> Titled:
    rows = max(1, tokens // length)
    parts = step_memory(looked_at, rows, length)
    lines = [(part, readable(count)) for part, count in parts.items()]
    lines.append(("all", readable(sum(parts.values()))))
    title = f"memory of a training step, estimated, {rows} rows of {length} tokens"
    return Titled(title, _table(("part", "size"), lines))


def _attention(attentions: Sequence[Taken]) -> Titled:
    lines = [(" x ".join(map(str, a.shape)), str(a.keys), str(a.backend), a.why) for a in attentions]
    table = _table(("queries", "keys", "by", "because"), list(dict.fromkeys(lines)))
    return Titled("attention in such a step, batch x queries x heads x width", table)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    table = Table(box=None, pad_edge=False)
    for name in head:
        table.add_column(name, justify="right" if name in ("count", "MFLOP", "size") else "left", overflow="fold")
    for row in rows:
        table.add_row(*row)
    return table
