"""When does a model learn to copy from its context, and which heads do it?

Claim: a decoder of two layers comes to repeat what it has read, one of one layer never does (Olsson et al. 2022). Heads
of the second layer do it, which read the token after the earlier occurrence of the present one, by means of heads of
the first layer that read the token before; without the best of them the loss rises more than without any other of that
layer. Their score rises with the copying, which alone shows little.

The task: 20 different tokens in random order, then 13 of them again from any place on; only they count, as nothing else
can be told. The distance to look back varies from row to row, so that who knows the place alone is right in one case of
eight; and as older tokens are left out, it is no help to know what was read least recently. A head's score is its
weight on the place to read, the mean over the repetition ("prefix matching") or over all places ("previous token").

Cost: 77 s on two cores. Seen with seeds 0 to 7 on an AMD EPYC: the claim does not hold, for one layer is right in 24%
of the repetition where a fifth was allowed. Two are in 99.7%, in half from step 300 on (200 to 400), by a head of 0.84.
"""

import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jax import Array

from jaxformer.analysis import panels
from jaxformer.analysis.ablation import ablate_each
from jaxformer.analysis.attention_maps import attention_maps
from jaxformer.analysis.evidence import Finding, Report, interval, plain
from jaxformer.analysis.links import after_earlier, followed
from jaxformer.config.blocks import MultiHead
from jaxformer.config.positions import Rotary
from jaxformer.config.training import AdamW, Cosine, OptimizationConfig
from jaxformer.data.packing import TextBatch
from jaxformer.recipes.experiment import Arrays, Keep, command, compute
from jaxformer.training.population import population
from jaxformer.training.study import StudyConfig, stacked, train
from jaxformer.training.synthetic_study import held_out_rows, small_decoder, synthetic_arm


@dataclass(frozen=True)
class InductionConfig(StudyConfig):
    """Two arms that differ in their layers alone."""

    optimization: OptimizationConfig = OptimizationConfig(AdamW(), Cosine(peak=1e-2, warmup=50))
    few: int = 1
    many: int = 2
    width: int = 32
    heads: int = 2


CONFIG = InductionConfig(steps=800, look_every=50)
QUICK = replace(CONFIG, seeds=tuple(range(5)), steps=300, look_every=100)

VOCABULARY, FIRST, AGAIN, LENGTH = 24, 20, 13, 32  # The last token is predicted, not read.
APPEARED = 0.5  # Copying has appeared once so much of the repetition is right.


class Seen(NamedTuple):
    """Rows held out, and what heads could read."""

    batch: TextBatch
    prefix_BTS: np.ndarray
    previous_BTS: np.ndarray


def rows(rng: np.random.Generator, count: int) -> TextBatch:
    """Different tokens in random order, then some of them again from any place on; they alone count, but the first."""
    order_BV = rng.permuted(np.tile(np.arange(VOCABULARY), (count, 1)), axis=1)
    start_B1 = rng.integers(FIRST - AGAIN + 1, size=(count, 1))
    again_BT = np.take_along_axis(order_BV, start_B1 + np.arange(AGAIN), axis=1)
    tokens_BT = np.concatenate([order_BV[:, :FIRST], again_BT], axis=1).astype(np.int32)
    return TextBatch(tokens_BT, None, None, np.broadcast_to(np.arange(LENGTH) >= FIRST, (count, LENGTH)))


def seen(seed: int) -> Seen:
    """What a seed's looks are given."""
    batch = held_out_rows(rows, seed)
    prefix_BTS = np.asarray(after_earlier(batch.tokens_BT[:, :-1]))
    previous_BTS = np.broadcast_to(np.eye(LENGTH, k=-1, dtype=bool), prefix_BTS.shape)
    return Seen(batch, prefix_BTS, previous_BTS)


def part(config: InductionConfig, layers: int) -> Arrays:
    """Loss and accuracy [looks, seeds], scores of heads [looks, seeds, L, N], last loss without each [seeds, L, N]."""
    attention = MultiHead(config.heads, config.heads, config.width // config.heads, bias=False, rotary=Rotary())
    model = small_decoder(attention, layers, config.width, VOCABULARY)
    arm = synthetic_arm(config, model, rows)

    def look(params: Any, seen: Seen) -> dict[str, Array]:
        maps_LBNTS = attention_maps(model, params, seen.batch.tokens_BT[:, :-1])["decoder"]
        scores = {"prefix": followed(maps_LBNTS, seen.prefix_BTS), "previous": followed(maps_LBNTS, seen.previous_BTS)}
        return arm.look(params, seen.batch) | scores

    def without(params: Any, seen: Seen) -> Array:
        return ablate_each(model, params, lambda changed: arm.look(changed, seen.batch)["loss"])["decoder"]

    trained = train(config, arm._replace(held_out=seen, look=look))
    ablated = jax.jit(population(without))(trained.params, stacked([seen(seed) for seed in config.seeds]))
    return trained.looks | {"without": np.asarray(ablated)}


def main(config: InductionConfig, keep: Keep = compute) -> Report:
    """Trains both arms and judges the claim."""
    few, many = (keep(f"{layers} layers", part, config, layers) for layers in (config.few, config.many))
    best_PS, best_of_few_S = many["prefix"][:, :, -1].max(-1), few["prefix"][-1].max((-1, -2))
    together = [float(np.corrcoef(*pair)[0, 1]) for pair in zip(best_PS.T, many["accuracy"].T, strict=True)]
    without_SN = np.take_along_axis(many["without"][:, -1], np.argsort(many["prefix"][-1, :, -1]), axis=-1)
    dearer_S = without_SN[:, -1] - without_SN[:, :-1].max(-1)
    name, previous_S = f"{config.many} layers", many["previous"][-1, :, 0].max(-1)
    # Once there would have been one more look, where it never appears.
    appeared = [config.look_every * int(np.argmax([*right_P, True])) for right_P in many["accuracy"].T >= APPEARED]
    findings = [
        Finding(f"{name}: accuracy in the repetition", many["accuracy"][-1].tolist(), low=0.8),
        Finding(f"{config.few} layer: accuracy in the repetition", few["accuracy"][-1].tolist(), high=0.2),
        Finding(f"{name}: best prefix-matching score, last layer", best_PS[-1].tolist(), low=0.3),
        Finding(f"{config.few} layer: best prefix-matching score", best_of_few_S.tolist(), high=0.15),
        Finding(f"{name}: correlation of that score and accuracy, which both rise", together, low=0.9),
        Finding(f"{name}: best previous-token score, first layer", previous_S.tolist(), low=0.3),
        Finding(f"{name}: loss without the best head less without any other", dearer_S.tolist(), low=0.0),
        Finding(f"{name}: step from which half of the repetition is right", appeared, high=config.steps),
    ]
    found = {f"{config.few} layer": few, name: many}
    claim = "two layers come to copy, by heads that read what followed last time; one layer does not"
    return Report(claim, findings, plain({"steps": config.looks, "appeared": appeared, "found": found}))


def draw(path: Path, report: Report) -> str:
    """Loss and scores over steps, and what removing a head costs against its score."""
    found = {name: {k: np.array(v) for k, v in by.items()} for name, by in report.figures["found"].items()}
    (name, many), steps = list(found.items())[-1], report.figures["steps"]
    figure, grid = panels.row(["Loss in the repetition", f"Copying and its best heads, {name}", f"Every head, {name}"])
    panels.curves(grid[0], steps, {name: interval(by["loss"].T) for name, by in found.items()}, (0.0, 4.0))
    best = {"prefix matching": many["prefix"][:, :, -1].max(-1), "previous token": many["previous"][:, :, 0].max(-1)}
    scores = {name: interval(values_PS.T) for name, values_PS in {"accuracy": many["accuracy"], **best}.items()}
    panels.curves(grid[1], steps, scores, (0.0, 1.05))
    first, *_, last = appeared = sorted(report.figures["appeared"])
    half = f"half is right from step\n{np.mean(appeared):.0f} on ({first} to {last})"
    panels.marks(grid[1], appeared, APPEARED, half)
    cost_SLN = many["without"] - many["loss"][-1][:, None, None]
    of_layer = zip(np.moveaxis(many["prefix"][-1], 1, 0), np.moveaxis(cost_SLN, 1, 0), strict=True)
    panels.clouds(grid[2], {f"layer {i}": (x.ravel(), y.ravel()) for i, (x, y) in enumerate(of_layer, 1)})
    grid[0].set(xlabel="training step", ylabel="nats a token")
    grid[1].set(xlabel="training step", ylabel="part of the tokens, or of the weight")
    grid[2].set(xlabel="prefix-matching score", ylabel="loss without the head less with it, nats")
    return panels.save(figure, path, "Bands: Student's 95% interval over seeds. Dots and ticks: every seed.")


if __name__ == "__main__":
    sys.exit(command(main, draw, CONFIG, QUICK))
