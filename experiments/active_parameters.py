"""What do experts and latent attention give a decoder that may do no more work for it?

Claim: at equal active parameters, which are those that a token passes through, a decoder with a mixture of experts
reaches a lower loss on held-out text than the dense one with grouped-query attention, and one with latent attention
reaches a loss that is no higher than that, with a smaller cache.

The three arms differ in one part each: all have the same width, layers, norms and heads. `dense` has grouped-query
attention (two heads share a key and a value) and SwiGLU; `experts` has eight experts in place of each SwiGLU, a token
passes through two of half its width; `latent` has multi-head latent attention in place of the grouped-query one, its
widths chosen so that the weights are as many within a hundredth. A seed gives all arms the same text in the same order.

The text is the source code of Python's standard library by bytes, which changes a little with the version of Python.

Cost: nine minutes on two cores, most of it the experts, which XLA computes on a CPU as eight dense products;
--quick (20 steps of short rows) a minute of processor time.
Seen with seeds 0 to 4 on an AMD EPYC: the claim does not hold. After 1,000 steps the dense decoder is at
2.10 to 2.26 nats a byte; experts are lower in four seeds of five, by 0.018 on average and by 0.049 at most, and in one
higher by 0.027; latent attention is higher in all, by 0.10 on average, with 0.625 of the cache. Its heads are half as
wide where they compare what they say, and share one key that tells where; at this size that costs more than grouping.
With seed 2 all arms stand at 3.5 to 3.7 after 600 steps, at less than 2.5 before and after: what they read then, which
they share, is unlike the rest.
"""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

from jaxformer.analysis import panels
from jaxformer.analysis.evidence import Finding, Report, interval
from jaxformer.analysis.flops import feed_forward, projections
from jaxformer.config.blocks import Block, Latent
from jaxformer.config.decoders import grouped_query, in_every_block, llama
from jaxformer.config.experts import MixtureOfExperts
from jaxformer.config.model import DecoderConfig
from jaxformer.config.positions import Rotary
from jaxformer.recipes.experiment import Arrays, Keep, command, compute
from jaxformer.training.study import train
from jaxformer.training.text_study import TextStudyConfig, text_arm

DENSE = llama(64, 2, grouped_query(4, 2, 16, Rotary()), 176, context=128, tied=True)
LATENT = Latent(heads=4, latent_width=32, head_width=8, rotary_width=8, value_width=12)

ARMS = {
    "dense": DENSE,
    "experts": in_every_block(DENSE, feed_forward=MixtureOfExperts(experts=8, active=2, hidden=88)),
    "latent": in_every_block(DENSE, attention=LATENT),
}

CONFIG = TextStudyConfig(seeds=tuple(range(5)), steps=1000, look_every=100)
QUICK = replace(CONFIG, steps=20, look_every=10, looks_at=2, length=32)


def active(config: DecoderConfig) -> float:
    """Weights of all layers that a token passes through: half the operations of its products."""
    (block,) = config.groups[0].blocks
    return config.groups[0].times * (projections(block.attention, config.width, 1, 1) + _fed(block, config.width)) / 2


def _fed(block: Block, width: int) -> float:
    return feed_forward(block.feed_forward, width)


def cached(config: DecoderConfig) -> int:
    """Numbers that a token leaves in the caches of all layers."""
    (block,) = config.groups[0].blocks
    return config.groups[0].times * sum(int(np.prod(row)) for row in block.attention.rows)


def part(config: TextStudyConfig, decoder: DecoderConfig) -> Arrays:
    """Loss on held-out text, in nats a byte: [looks, seeds]."""
    return {"loss": train(config, text_arm(config, decoder)).looks}


def main(config: TextStudyConfig, keep: Keep = compute) -> Report:
    """Trains all arms and judges the claim."""
    losses = {name: keep(name, part, config, arm)["loss"] for name, arm in ARMS.items()}
    last = {name: loss_LS[-1] for name, loss_LS in losses.items()}
    findings = [
        Finding("experts: loss less that of the dense decoder", (last["experts"] - last["dense"]).tolist(), high=0.0),
        Finding("latent: loss less that of the dense decoder", (last["latent"] - last["dense"]).tolist(), high=0.0),
    ]
    figures = {
        "steps": config.looks,
        "loss": {name: loss_LS.T.tolist() for name, loss_LS in losses.items()},
        "active parameters": {name: active(arm) for name, arm in ARMS.items()},
        "cached numbers a token": {name: cached(arm) for name, arm in ARMS.items()},
    }
    claim = (
        "at equal active parameters experts reach a lower loss than the dense decoder, and latent attention no higher"
    )
    return Report(claim, findings, figures)


def draw(path: Path, report: Report) -> str:
    """Loss over steps, and the difference to the dense arm."""
    figure, grid = panels.row(["Loss on held-out text", "Less that of the dense decoder"])
    loss = {name: np.array(loss_SL) for name, loss_SL in report.figures["loss"].items()}
    steps = report.figures["steps"][1:]
    top = max(loss_SL[:, 1:].max() for loss_SL in loss.values())
    low = min(loss_SL.min() for loss_SL in loss.values())
    panels.curves(grid[0], steps, {name: interval(loss_SL[:, 1:]) for name, loss_SL in loss.items()}, (low - 0.3, top))
    apart = {name: interval((loss_SL - loss["dense"])[:, 1:]) for name, loss_SL in loss.items()}
    widest = max(float(np.abs(band).max()) for band in apart.values())
    panels.curves(grid[1], steps, apart, (-1.1 * widest, 1.1 * widest))
    grid[0].set_ylabel("nats a byte")
    for axes in grid:
        axes.set_xlabel("training step")
    return panels.save(figure, path, "Bands: Student's 95% interval over seeds.")


if __name__ == "__main__":
    sys.exit(command(main, draw, CONFIG, QUICK))
