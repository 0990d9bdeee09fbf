"""The memory that training asks for, by what it is for, and which settings would ask for less."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, NamedTuple

import flax.linen as nn
import jax

from jaxformer.analysis.memory import Bytes, readable, size_of, training_memory
from jaxformer.analysis.parameters import abstract_parameters
from jaxformer.config.data import Batching
from jaxformer.config.text_data import TextRows
from jaxformer.recipes.subjects import Subject, subject
from jaxformer.training.lora import adapted
from jaxformer.training.optimizers import optimizer


class Saving(NamedTuple):
    """An option of `jaxformer train`, and the bytes of a step that it would save."""

    option: str
    bytes: int


def step_memory(looked_at: Subject, rows: int, length: int) -> Bytes:
    """Bytes of a training step on so many rows of so many tokens, estimated as `training_memory` does.

    With `accumulate` the rows are taken in parts, whose gradients are summed up beside each part's own.
    """
    config, objective, updates = looked_at.config, looked_at.objective, looked_at.updates
    update = optimizer(config.optimization, config.steps, config.model.width)
    parts = config.optimization.accumulate
    params = nn.unbox(abstract_parameters(looked_at.model))
    batch = looked_at.batch(looked_at.readings * max(1, rows // parts), length)

    def loss(params: Any, batch: Any) -> jax.Array:
        return objective(params, batch, None).costs.loss

    def adapted_loss(trained: Any, batch: Any, base: Any) -> jax.Array:
        return loss(adapted(base, trained, updates.config), batch)  # pyright: ignore[reportOptionalMemberAccess]

    if updates is None:
        taken = training_memory(loss, update, params, batch)
    else:
        inputs = jax.ShapeDtypeStruct((1, 2), jax.numpy.int32)
        trained = jax.eval_shape(updates.init, jax.random.key(0), inputs)
        taken = training_memory(adapted_loss, update, trained, batch, params)
        taken |= {"parameters": taken["parameters"] + size_of(params)}
    return taken if parts == 1 else taken | {"gradients": 2 * taken["gradients"]}


def savings(config: Any, vocabulary: int) -> list[Saving]:
    """The three options that would save the most of what a run's step takes, the best first."""
    whole = sum(_memory(config, vocabulary).values())
    found = [Saving(option, whole - sum(_memory(other, vocabulary).values())) for option, other in _smaller(config)]
    return sorted((each for each in found if each.bytes > 0), key=lambda each: -each.bytes)[:3]


def out_of_memory(config: Any, vocabulary: int) -> str:
    """One line for a person whose device had too little memory for a run."""
    parts = _memory(config, vocabulary)
    shares = ", ".join(f"{name} {readable(count)}" for name, count in parts.items())
    ways = ", ".join(f"{saving.option} would save {readable(saving.bytes)}" for saving in savings(config, vocabulary))
    return (
        f"the device has too little memory: a step was estimated to take {readable(sum(parts.values()))} ({shares}); "
        f"{ways or 'no option of this run would save any, choose a smaller model'}"
    )


def _memory(config: Any, vocabulary: int) -> Bytes:
    batches = config.batches
    length = batches.max_length if isinstance(batches, Batching) else batches.length
    return step_memory(subject(config, vocabulary), max(1, batches.tokens // length), length)


def _smaller(config: Any) -> Iterator[tuple[str, Any]]:
    """Configurations that take less, each with the option that asks for it. The first two learn the same."""
    o, model = config.optimization, config.model
    twice = replace(o, accumulate=2 * o.accumulate)
    yield f"--optimization.accumulate {twice.accumulate}", replace(config, optimization=twice)
    if hasattr(model, "layers") and not model.layers.remat:
        remat = replace(model, layers=replace(model.layers, remat=True))
        yield "--model.layers.remat True", replace(config, model=remat)
    if model.dtype != "bfloat16":
        # What begins with given weights has no model to change.
        option = "--dtype bfloat16" if hasattr(config, "dtype") else "--model.dtype bfloat16"
        yield option, replace(config, model=replace(model, dtype="bfloat16"))
    for option, batches in _half(config.batches):
        yield option, replace(config, batches=batches)


def _half(batches: Batching | TextRows) -> Iterator[tuple[str, Any]]:
    """Batches of half the size."""
    if isinstance(batches, Batching):
        if (tokens := batches.tokens // 2) >= batches.max_length:
            yield f"--batches.tokens {tokens}", replace(batches, tokens=tokens)
    elif (rows := batches.rows // 2) >= 1:
        kind = type(batches).__name__
        yield f'--batches "{kind}(length={batches.length}, rows={rows})"', replace(batches, rows=rows)
