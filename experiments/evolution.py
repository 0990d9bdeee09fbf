"""Which of the parts that were rebuilt since 2017 make a decoder better, and what do they cost?

Claim: pre-norm, SwiGLU, rotary positions, experts and Muon each lower the loss on held-out text at the same budget;
RMS norm, grouped-query and latent attention, which save work or cache, raise it by 0.02 nats a byte at most; and all
together reach a lower loss than any one of them.

The base is the decoder of 2017: post-norm, layer norm, ReLU, sinusoidal positions, multi-head attention, Adam. An arm
throws one switch of it, the last one all in turn but latent attention: that turns its heads too and stands in place of
rotary and grouped-query, so it is compared with rotary. Base and all together have rates of their own, looked for with
another seed, the other arms that of the base. A switch of your own is a line of SWITCHES; `--list` prints them,
`--switches pre-norm Muon` runs some. The text is the source of Python's standard library by bytes; a seed gives all
arms the same.

Cost: nine minutes on two cores. Seen with seeds 0 to 4 on an AMD EPYC: the claim does not hold in all its parts. Rotary
positions do most, 0.188 nats a byte, then SwiGLU 0.018 and Muon 0.015; pre-norm, grouped-query and experts are within
the spread, latent attention loses 0.074 against rotary. All together gain 0.269, 0.081 more than the best alone.
"""

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import reduce
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxformer.analysis import panels
from jaxformer.analysis.evidence import Finding, Interval, Report, interval
from jaxformer.config.blocks import Block, FeedForward, Gated, Group, Latent, MultiHead, PostNorm, PreNorm, RmsNorm
from jaxformer.config.decoders import in_every_block
from jaxformer.config.experts import MixtureOfExperts
from jaxformer.config.model import DecoderConfig, NoPosition, Sinusoidal
from jaxformer.config.positions import Rotary
from jaxformer.config.training import Adam, Cosine, Muon, OptimizationConfig
from jaxformer.recipes.experiment import Arrays, Keep, command, compute
from jaxformer.training.step_cost import StepCost, step_costs
from jaxformer.training.study import Arm, check_names, train
from jaxformer.training.text_study import TextStudyConfig, text_arm

LAYER = Block(MultiHead(4, 4, 12), FeedForward(192), placement=PostNorm())
DECODER = DecoderConfig(48, (Group((LAYER,), 2),), None, Sinusoidal(), embedding_scale=48**0.5, context=128)


class Recipe(NamedTuple):
    """What a switch may change."""

    decoder: DecoderConfig
    optimization: OptimizationConfig

    @property
    def block(self) -> Any:
        return self.decoder.groups[0].blocks[0]

    def rebuilt(self, around: Mapping[str, Any] | None = None, **parts: Any) -> "Recipe":
        """With other parts in every block, and around the blocks."""
        return self._replace(decoder=replace(in_every_block(self.decoder, **parts), **(around or {})))


def experts(recipe: Recipe) -> Recipe:
    """A token passes through two of four, each of half the width."""
    dense = recipe.block.feed_forward
    mixture = MixtureOfExperts(4, 2, dense.hidden // 2, activation=dense.activation, gated=isinstance(dense, Gated))
    return recipe.rebuilt(feed_forward=mixture)


UNPLACED = {"position": NoPosition()}
SWITCHES: dict[str, Callable[[Recipe], Recipe]] = {
    "pre-norm": lambda old: old.rebuilt({"norm": old.block.norm}, placement=PreNorm()),
    "RMS norm": lambda old: old.rebuilt({"norm": old.decoder.norm and RmsNorm()}, norm=RmsNorm()),
    "SwiGLU": lambda old: old.rebuilt(feed_forward=Gated(old.block.feed_forward.hidden * 2 // 3)),
    "rotary": lambda old: old.rebuilt(UNPLACED, attention=replace(old.block.attention, rotary=Rotary())),
    "grouped": lambda old: old.rebuilt(attention=replace(old.block.attention, kv_heads=2)),
    "latent": lambda old: old.rebuilt(UNPLACED, attention=Latent(4, 28, 8, 8, 12)),
    "experts": experts,
    "Muon": lambda old: old._replace(optimization=replace(old.optimization, optimizer=Muon(weight_decay=0.0))),
}
INSTEAD = {"latent": "rotary"}  # Compared with another than the base, and left out of all together.
LEANER, ALLOWED = ("RMS norm", "grouped", "latent"), 0.02  # They are there to save something, not to lower the loss.
BASE, ALL = "2017", "all together"


@dataclass(frozen=True)
class EvolutionConfig(TextStudyConfig):
    """One arm for the base, one for each switch, and one for all of them where they are several."""

    optimization: OptimizationConfig = OptimizationConfig(Adam(), Cosine(peak=3e-3, warmup=50))
    of_all: OptimizationConfig = OptimizationConfig(Adam(), Cosine(peak=1e-2, warmup=50))  # Of all together.
    switches: tuple[str, ...] = tuple(SWITCHES)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_names("switches", self.switches, SWITCHES)

    @property
    def arms(self) -> dict[str, Recipe]:
        base = Recipe(DECODER, self.optimization)
        single = dict.fromkeys(name for switch in self.switches for name in (INSTEAD.get(switch, switch), switch))
        joint = [name for name in self.switches if name not in INSTEAD]
        arms = {BASE: base} | {name: SWITCHES[name](base) for name in single}
        every = reduce(lambda old, name: SWITCHES[name](old), joint, Recipe(DECODER, self.of_all))
        return arms | ({ALL: every} if len(joint) > 1 else {})


CONFIG = EvolutionConfig(seeds=tuple(range(5)), steps=600, look_every=100, length=64)
QUICK = replace(CONFIG, steps=20, look_every=10, looks_at=4, switches=("pre-norm",))


def run(config: EvolutionConfig, recipe: Recipe) -> tuple[EvolutionConfig, Arm]:
    return replace(config, optimization=recipe.optimization), text_arm(config, recipe.decoder)


def part(config: EvolutionConfig, recipe: Recipe) -> Arrays:
    """Loss on held-out text, in nats a byte: [looks, seeds]."""
    return {"loss": train(*run(config, recipe)).looks}


def main(config: EvolutionConfig, keep: Keep = compute) -> Report:
    """Trains all arms and judges the claim."""
    losses = {name: keep(name, part, config, recipe)["loss"] for name, recipe in config.arms.items()}
    cost = keep("cost", step_costs, {name: run(config, recipe) for name, recipe in config.arms.items()})
    last, findings = {name: loss_LS[-1] for name, loss_LS in losses.items()}, []
    for name in list(last)[1:]:
        other, high = INSTEAD.get(name, BASE), ALLOWED if name in LEANER else 0.0
        findings.append(Finding(f"{name}: loss less that of {other}", (last[name] - last[other]).tolist(), high=high))
    if ALL in last:
        apart_S = last[ALL] - np.min([loss_S for name, loss_S in last.items() if name != ALL], axis=0)
        findings.append(Finding(f"{ALL}: loss less that of the best other", apart_S.tolist(), high=0.0))
    loss = {name: loss_LS.T.tolist() for name, loss_LS in losses.items()}
    costs = {name: StepCost(*numbers)._asdict() for name, numbers in cost.items()}
    claim = f"each part rebuilt since {BASE} lowers the loss, or costs less at the same; all together are best"
    return Report(claim, findings, {"steps": config.looks, "loss": loss, "cost": costs})


def draw(path: Path, report: Report) -> str:
    """A row for each arm: what it changes the loss by, and what a step of it costs."""
    loss_AS = np.array(list(report.figures["loss"].values()))[:, :, -1]
    low, median, high, *sizes = np.array([list(cost.values()) for cost in report.figures["cost"].values()]).T
    figure, grid = panels.row(["Loss", "Time", "Memory", "Parameters"], 3.2, 4.2)
    values = interval((loss_AS - loss_AS[0]).T), (median, low, high), *([size] * 3 for size in sizes)
    units = f"nats a byte less those of {BASE}", "milliseconds a step", "MiB of a step", "thousands"
    for axes, each, unit in zip(grid, values, units, strict=True):
        panels.rows(axes, list(report.figures["loss"]) if axes is grid[0] else [""] * len(loss_AS), Interval(*each))
        axes.set(xlabel=unit, xlim=(None if axes is grid[0] else 0.0, None))
    grid[0].axvline(0.0, color=panels.GREY, linewidth=0.8)
    return panels.save(figure, path, "Bars: Student's 95% interval of the loss over seeds; quartiles of the time.")


if __name__ == "__main__":
    sys.exit(print("\n".join(SWITCHES)) if "--list" in sys.argv else command(main, draw, CONFIG, QUICK))
