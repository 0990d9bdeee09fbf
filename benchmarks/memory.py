"""How much memory do attention and a training step need to work in, by the compiled program?

Nothing is timed. The compiler says what a program takes besides its arguments and results, and which arguments become
results in place.

- Attention, causal, forward and backward: bytes for one sequence, and how those of a further token grow with its
  length. What does not depend on the length is a block of queries and keys.
- A training step of a GPT, its state donated: all of the state's bytes must be results in place.
- For information, the same step with all logits at once in place of the library's cross-entropy by chunks: what it
  takes, and the largest array that any of its instructions writes. Both give the same loss and gradient.

    python -m benchmarks.memory [--quick] [--check]
"""

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from typing import Any

import jax
import jax.numpy as jnp

from benchmarks import measure
from benchmarks.comparison import Row, as_one, label
from benchmarks.goals import TOYS, Asked, Goal, Verdict, command, conduct
from benchmarks.steps import SCANNED, GptShape, Learner, gpt
from jaxformer.analysis.memory import readable, size_of
from jaxformer.models.decoder import Decoder
from jaxformer.objectives import Objective, Total
from jaxformer.ops.attention import attention
from jaxformer.ops.attention.masks import Causal
from jaxformer.ops.losses import cross_entropy

TOLERANCE = 1e-4
"""Relative L2 distance at which losses and gradients count as different."""
ATTENTION, STEP = "attention, forward and backward", "GPT step"
CHUNKS, WHOLE = "cross-entropy by chunks", "all logits at once"

ROOM = Goal("temporaries of attention, forward and backward", at_most=32, unit="MiB")
GROWTH = Goal("bytes of a further token, growth from length to length", at_most=5, unit="%")
DONATED = Goal("of the step's state, results in place", at_least=100, unit="%")


@dataclass(frozen=True)
class Config(Asked):
    """Shapes."""

    lengths: tuple[int, ...] = (2048, 4096, 8192)
    """Tokens of the sequence that attention reads."""
    heads: int = 8
    head_width: int = 64
    gpt: GptShape = GptShape(vocabulary=50_257)
    rows: int = 8
    """Rows of the step's batch."""


def quickened(config: Config) -> Config:
    """The same questions of small shapes."""
    shape = GptShape(2, 16, 2, 32, 97)
    return replace(config, lengths=(16, 32, 64), heads=2, head_width=8, gpt=shape, rows=4, out=TOYS)


def attention_temporaries(length: int, config: Config) -> Row:
    """A row: what attention needs to work in for one sequence."""
    of = jax.ShapeDtypeStruct((1, length, config.heads, config.head_width), jnp.float32)

    def train(q: jax.Array, k: jax.Array, v: jax.Array, cotangent: jax.Array) -> Any:
        o, backward = jax.vjp(partial(attention, mask=Causal()), q, k, v)
        return o, backward(cotangent)

    program = jax.jit(train).lower(of, of, of, of).compile()
    return {"case": {"of": ATTENTION, "T": length}, **weighed(program), "bytes_per_token": _temporary(program) / length}


def _temporary(program: Any) -> int:
    return program.memory_analysis().temp_size_in_bytes


def weighed(program: Any) -> dict[str, int]:
    """What a compiled program takes."""
    return {"temporary_bytes": _temporary(program), "largest_array_bytes": largest_array(program.as_text())}


WIDTHS = {"pred": 1, "s8": 1, "u8": 1, "s16": 2, "u16": 2, "bf16": 2, "f16": 2, "s32": 4, "u32": 4, "f32": 4}
WIDTHS |= {"s64": 8, "u64": 8, "f64": 8}
"""Bytes of the element types of a compiled program."""
_HEAD = re.compile(r"^(?:ENTRY )?%?([\w.\-]+) \(.*\{$")
_ARRAY = re.compile(r"^\s+(?:ROOT )?%?[\w.\-]+ = (\w+)\[([\d,]*)\]\S* ([\w\-]+)\(")
_INSIDE = re.compile(r"fusion\(.*calls=%?([\w.\-]+)")


def largest_array(text: str) -> int:
    """Bytes of the largest array that an instruction of a compiled program writes, arguments left out.

    What happens inside of a fusion is never written.
    """
    fused, largest, skipped = set(_INSIDE.findall(text)), 0, False
    for line in text.splitlines():
        if head := _HEAD.match(line):
            skipped = head[1] in fused
        elif not skipped and (array := _ARRAY.match(line)) and array[3] not in ("parameter", "bitcast", "constant"):
            elements = math.prod(int(size) for size in array[2].split(",") if size)
            largest = max(largest, WIDTHS.get(array[1], 0) * elements)
    return largest


def whole_logits(model: Decoder) -> Objective:
    """What `causal` computes, with the logits [B, T, V] of the whole batch."""

    def total(params: Any, batch: Any, key: Any) -> Total:
        logits_BTV: Any = model.apply(params, batch.tokens_BT[:, :-1])
        costs = cross_entropy(logits_BTV, batch.tokens_BT[:, 1:])
        return Total(jax.tree.map(jnp.sum, costs), jnp.sum(batch.counted_BT, dtype=jnp.float32))

    return total


def step_memory(name: str, learner: Learner) -> Row:
    """A row: what a training step needs to work in, and how much of its state it changes in place."""
    program = learner.step.lower(learner.abstract_state, learner.batch).compile()
    return {
        "case": {"of": STEP, "loss": name},
        **weighed(program),
        "state_bytes": size_of(learner.abstract_state),
        "aliased_bytes": program.memory_analysis().alias_size_in_bytes,
    }


def verify(learners: dict[str, Learner], seed: int) -> float:
    """The distance of the losses and gradients of two objectives, for the same weights."""
    state = jax.jit(next(iter(learners.values())).new_state)(jax.random.key(seed))
    found = {name: jax.jit(learner.loss_and_gradient)(state.params) for name, learner in learners.items()}
    return measure.agree({name: (loss, as_one(gradient)) for name, (loss, gradient) in found.items()}, TOLERANCE)


def measured(config: Config) -> Iterator[Row]:
    """All rows."""
    for length in config.lengths:
        yield attention_temporaries(length, config)
    learner = gpt(config.gpt, config.rows, SCANNED, seed=config.seed)
    learners = {CHUNKS: learner, WHOLE: replace(learner, objective=whole_logits(learner.model))}
    distance = verify(learners, config.seed)
    print(f"both losses agree within {distance:.1e}", flush=True)
    for name, each in learners.items():
        yield step_memory(name, each) | {"distance": distance}


def judge(rows: list[Row]) -> list[Verdict]:
    """What is kept, and that the state is donated."""
    reads = [row for row in rows if row["case"]["of"] == ATTENTION]
    *_, longest = reads
    each = [
        (after["temporary_bytes"] - before["temporary_bytes"]) / (after["case"]["T"] - before["case"]["T"])
        for before, after in pairwise(reads)
    ]
    (step,) = [row for row in rows if row["case"].get("loss") == CHUNKS]
    lengths = " … ".join(f"{row['case']['T']:,}" for row in reads)
    return [
        Verdict(ROOM, f"T {longest['case']['T']:,}", longest["temporary_bytes"] / 2**20),
        Verdict(GROWTH, f"T {lengths}", 100 * (each[-1] - each[0]) / max(each[0], 1.0)),
        Verdict(DONATED, STEP, 100 * step["aliased_bytes"] / step["state_bytes"]),
    ]


def tables(rows: list[Row]) -> str:
    """Markdown."""
    keys = ("temporary_bytes", "largest_array_bytes", "state_bytes", "aliased_bytes")
    lines = [
        [
            label(row["case"]),
            *(readable(row[key]) if key in row else "" for key in keys),
            f"{row['bytes_per_token']:,.0f}" if "bytes_per_token" in row else "",
        ]
        for row in rows
    ]
    headers = ["", "temporaries", "largest array", "state", "of it in place", "temporaries a token (bytes)"]
    return measure.table(headers, lines)


def main(config: Config) -> dict[str, Any]:
    """Measures, judges, prints the tables and writes JSON; returns what the JSON holds."""
    config = quickened(config) if config.quick else config
    return conduct("memory", __doc__, config, measured(config), judge, tables)


if __name__ == "__main__":
    command(Config, main, __doc__)
