"""How does the loss fall with parameters and tokens, and does the law hold for a size that it was not fitted to?

Claim: the losses of four small decoders, from 14 to 124 thousand parameters without embeddings, follow a power law of
parameters and tokens; a decoder of 301 thousand has the loss that the law predicts for it: it falls into the 95%
interval for a run of that size, which is at most half as wide as what the largest that was fitted gains on the
smallest, and is nearer to the prediction than to the loss of that largest.

All have two layers of the same shape (RMS norm, rotary positions, SwiGLU, four heads). The highest rate falls with the
width, as Adam's should (Yang et al. 2022, table 3), and is constant after the warm-up, so that the looks along a run
are runs of fewer tokens. A seed gives all sizes the same text in the same order; what that moves all of them by is
taken off. The law is that of Hoffmann et al. 2022, loss = E + A / N^alpha + B / D^beta, fitted to the mean over seeds;
the interval comes from fits to seeds drawn anew, with replacement, each with one run's distance from the mean of its
size. The text is the source code of Python's standard library by bytes.

Cost: five minutes on two cores; the smallest width's rate is the best of three. Seen with seeds 0 to 7 on an AMD EPYC:
not shown. The law predicts 2.56 to 2.65, six of eight seeds lie inside, seven were demanded; alpha 0.07 (0.04 to 0.11).
"""

import sys
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from jaxformer.analysis import panels
from jaxformer.analysis.evidence import LEVEL, Finding, Interval, Report, interval
from jaxformer.analysis.scaling import ScalingLaw, fit_scaling_law, resampled_laws, runs_by, seed_levels
from jaxformer.config.decoders import grouped_query, llama
from jaxformer.config.model import DecoderConfig
from jaxformer.config.positions import Rotary
from jaxformer.config.training import AdamW, Cosine, OptimizationConfig
from jaxformer.recipes.experiment import Arrays, Keep, command, compute
from jaxformer.training.study import train
from jaxformer.training.text_study import TextStudyConfig, text_arm


@dataclass(frozen=True)
class ScaleConfig(TextStudyConfig):
    """The widths whose losses the law is fitted to, from a step on, and the one that it is to predict."""

    widths: tuple[int, ...] = (24, 32, 48, 72)
    held_out: int = 112
    fit_from: int = 100
    resamples: int = 200
    schedule: Cosine = Cosine(peak=3e-3, warmup=50, floor=1.0)
    """Of the first width; the peak of another is as many times lower as it is wider."""

    @property
    def tokens(self) -> np.ndarray:
        """Bytes read before each look that the law is fitted to."""
        return self.batch * self.length * np.array([step for step in self.looks if step >= self.fit_from])


CONFIG = ScaleConfig(steps=400, look_every=50, length=64)
QUICK = replace(
    CONFIG, seeds=tuple(range(5)), steps=30, look_every=10, fit_from=10, looks_at=2, widths=(16, 24, 32), held_out=48
)


def decoder(width: int) -> DecoderConfig:
    return llama(width, 2, grouped_query(4, 4, width // 4, Rotary()), 8 * width // 3, context=128, tied=True)


def parameters(width: int) -> int:
    """Of both layers, norms left out: 4 matrices of attention, and 3 of two thirds of 4 times the width."""
    return 2 * width * (4 * width + 3 * (8 * width // 3))


def part(config: ScaleConfig, width: int) -> Arrays:
    """Loss on held-out text, in nats a byte: [looks, seeds]."""
    schedule = replace(config.schedule, peak=config.schedule.peak * config.widths[0] / width)
    config = replace(config, optimization=OptimizationConfig(AdamW(), schedule))
    return {"loss": train(config, text_arm(config, decoder(width))).looks}


def between(values_R: np.ndarray) -> np.ndarray:
    """The ends of the interval that holds all but LEVEL of the values, over the first axis."""
    return np.quantile(values_R, (LEVEL / 2, 1 - LEVEL / 2), axis=0)


def main(config: ScaleConfig, keep: Keep = compute) -> Report:
    """Trains all sizes, fits the law to all but one and judges what it says of that one."""
    sizes, tokens = [parameters(width) for width in (*config.widths, config.held_out)], config.tokens
    looked = [
        keep(f"width {width}", part, config, width)["loss"][-len(tokens) :].T
        for width in (*config.widths, config.held_out)
    ]
    levels_S1D = seed_levels(np.stack(looked[:-1], axis=1))
    loss_SND, measured_SD = np.stack(looked[:-1], axis=1) - levels_S1D, looked[-1] - levels_S1D[:, 0]
    law = fit_scaling_law(sizes[:-1], tokens, loss_SND.mean(0))
    laws = resampled_laws(sizes[:-1], tokens, loss_SND, config.resamples)
    low_D, high_D = between(runs_by(laws, sizes[-1], tokens, loss_SND))
    own = [fit_scaling_law(sizes[:-1], tokens, loss_ND) for loss_ND in loss_SND]
    last_S, smallest_S, largest_S = measured_SD[:, -1], loss_SND[:, 0, -1], loss_SND[:, -1, -1]
    off_S = np.abs(last_S - [law(sizes[-1], tokens[-1]) for law in own]) - np.abs(last_S - largest_S)
    wide_S = (high_D[-1] - low_D[-1]) / (smallest_S - largest_S)
    findings = [
        Finding("loss of the size held out, within the interval", last_S.tolist(), float(low_D[-1]), float(high_D[-1])),
        Finding("width of that interval, relative to what the largest fitted gains", wide_S.tolist(), 0.0, 0.5),
        Finding("exponent of parameters by the law of each seed", [law.alpha for law in own], 0.05, 1.0),
        Finding("distance to the law of its seed, less that to the largest fitted", off_S.tolist(), high=0.0),
        Finding("loss of the size held out, less the largest fitted", (last_S - largest_S).tolist(), high=0.0),
    ]
    figures = {
        "parameters": sizes,
        "tokens": tokens.tolist(),
        "loss": [loss_SD.round(5).tolist() for loss_SD in (*loss_SND.swapaxes(0, 1), measured_SD)],
        "law": law._asdict(),
        "interval of the law": {
            name: between(np.array([getattr(each, name) for each in laws])).tolist() for name in law._fields[:-1]
        },
        "predicted": {"low": low_D.tolist(), "high": high_D.tolist()},
    }
    claim = "losses follow a power law of parameters and tokens, which holds for a size that it was not fitted to"
    return Report(claim, findings, figures)


def draw(path: Path, report: Report) -> str:
    """The loss over parameters, with the law and what it predicts, and over tokens, size by size."""
    figures, loss_NSD = report.figures, np.array(report.figures["loss"])
    law, tokens = ScalingLaw(**figures["law"]), np.array(figures["tokens"]) / 1e3
    sizes, predicted = np.array(figures["parameters"]) / 1e3, figures["predicted"]
    low, high = figures["interval of the law"]["alpha"]
    figure, grid = panels.row([f"After {tokens[-1]:.0f} thousand tokens", "By thousands of parameters"], 4.6, 4.2)
    exponent = f"exponent {law.alpha:.2f} ({low:.2f} to {high:.2f})"
    grid[0].annotate(exponent, (0.03, 0.04), xycoords="axes fraction", color=panels.GREY, fontsize=9)
    fine = np.geomspace(sizes[0], sizes[-1])
    grid[0].plot(fine, law(1e3 * fine, 1e3 * tokens[-1]), color=panels.GREY, linewidth=1.2)
    ends = (
        np.array([end]) for end in (law(1e3 * sizes[-1], 1e3 * tokens[-1]), predicted["low"][-1], predicted["high"][-1])
    )
    panels.points(grid[0], sizes[:-1].tolist(), "fitted", interval(loss_NSD[:-1, :, -1].T))
    panels.points(grid[0], sizes[-1:].tolist(), "held out", interval(loss_NSD[-1:, :, -1].T), 1)
    panels.points(grid[0], [1.06 * sizes[-1]], "predicted", Interval(*ends), 2)
    bands = {f"{size:.0f}": interval(loss_SD) for size, loss_SD in zip(sizes, loss_NSD, strict=True)}
    panels.curves(grid[1], tokens.tolist(), bands, (loss_NSD.mean(1).min() - 0.15, loss_NSD.mean(1).max() + 0.15))
    for size in sizes:
        grid[1].plot(tokens, law(1e3 * size, 1e3 * tokens), color=panels.GREY, linewidth=0.8)
    for axes, x, label in zip(
        grid, (sizes, tokens[::2]), ("parameters without embeddings", "tokens read"), strict=True
    ):
        panels.logarithmic(axes, x.round().tolist())
        axes.set_xlabel(f"thousands of {label}")
    grid[0].set_ylabel("nats a byte of held-out text")
    note = "Grey: the law. Bands, bars: Student's 95% interval, seeds' levels taken off; predicted: bootstrap."
    return panels.save(figure, path, note)


if __name__ == "__main__":
    sys.exit(command(main, draw, CONFIG, QUICK))
