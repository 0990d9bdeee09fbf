"""Why are scores divided by √d_k?

Claim: the products of queries and keys have a variance of d_k, divided by √d_k one of 1, whatever the width of a head.
Without the division a wide head's softmax reads one key alone and hardly passes a gradient on; so a model trained
without it has learned less after as many steps, with 2 layers and, by more, with 24.

At the start, all is independent and standard normal. The gradient is the Frobenius norm of the softmax's Jacobian, of
the median query: a few with two equally good keys keep theirs. In training, eight tokens each join a key and a value,
then all keys come in another order, after each of which the model is to tell its value; a layer has one head. Where a
config multiplies scores by more, the library's queries start smaller by as much: that is a third arm, "made up for".

Cost: 270 s of processor time. Seen with seeds 0 to 7 on a busy AMD EPYC: the claim holds. At d_k 1024 the variance is
1,024 against 1, the entropy 3% of its most against 89%, the gradient 0.2% of that at d_k 4 against 105%. After 100
steps the loss is 1.26 nats without the division and 0.05 with it (2 layers), 1.81 and 0.28 (24); where the start makes
up for it, 0.17 and 0.71: most of what it does, it does at the start.
"""

import math
import sys
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from jaxformer.analysis import panels
from jaxformer.analysis.attention_maps import attention_maps, entropy
from jaxformer.analysis.evidence import Finding, Interval, Report, interval, plain
from jaxformer.config.blocks import MultiHead
from jaxformer.data.packing import TextBatch
from jaxformer.ops.attention.formula import masked_softmax, scores
from jaxformer.recipes.experiment import Arrays, Keep, command, compute
from jaxformer.training.population import population
from jaxformer.training.study import StudyConfig, train
from jaxformer.training.synthetic_study import small_decoder, synthetic_arm


@dataclass(frozen=True)
class ScalingConfig(StudyConfig):
    """Arms that differ in what scores are multiplied by, 1/√d_k where that is None; and two depths."""

    arms: tuple[Literal["with", "without", "made up for"], ...] = ("with", "without", "made up for")
    divided: float | None = None
    undivided: float | None = 1.0
    layers: tuple[int, int] = (2, 24)
    width: int = 32
    head_width: int = 64


CONFIG = ScalingConfig(steps=100, look_every=10)
QUICK = replace(CONFIG, seeds=tuple(range(5)), steps=10, layers=(2, 12), arms=("with", "without"))

WIDTHS = (4, 16, 64, 256, 1024)
QUERIES, KEYS, PAIRS = 128, 64, 8  # Tokens of a row are of 64 pairs, then of 8 keys, then of 8 values.
BOUNDS = {"with": ("1", 0, {"low": 0.8}, {"low": 0.5}), "without": ("d_k", 1, {"high": 0.1}, {"high": 0.01})}
LIMITS = {"variance": (0.1, 4000), "entropy": (0.01, 2), "gradient": (1e-5, 2)}


def start(config: ScalingConfig, scale: float | None) -> Arrays:
    """Variance of scores, entropy relative to log KEYS, and gradient, before any training: [widths, seeds]."""

    def measured(scores_TS: Array) -> dict[str, Array]:
        norms_T = jnp.linalg.norm(jax.vmap(jax.jacobian(masked_softmax))(scores_TS), axis=(1, 2))
        spread = jnp.mean(entropy(masked_softmax(scores_TS))) / math.log(KEYS)
        return {"variance": jnp.var(scores_TS), "entropy": spread, "gradient": jnp.median(norms_T)}

    def drawn(seed: int, width: int) -> Array:
        rng = np.random.default_rng(seed)
        q_T1H, k_TSH = (jnp.array(rng.normal(size=(QUERIES, n, width)), jnp.float32) for n in (1, KEYS))
        return jax.vmap(partial(scores, scale=scale))(q_T1H, k_TSH)[:, 0]

    each = jax.jit(population(population(measured)))
    return jax.device_get(each(jnp.array([[drawn(seed, width) for seed in config.seeds] for width in WIDTHS])))


def rows(rng: np.random.Generator, count: int) -> TextBatch:
    """Pairs of every key with a value, then every key with its value behind it, which alone counts."""
    told_BK, asked_BK = (rng.permuted(np.tile(np.arange(PAIRS), (count, 1)), axis=1) for _ in range(2))
    value_of_BK = rng.integers(PAIRS, size=(count, PAIRS))
    pairs_BK = PAIRS * told_BK + np.take_along_axis(value_of_BK, told_BK, 1)
    answers_BK = PAIRS**2 + PAIRS + np.take_along_axis(value_of_BK, asked_BK, 1)
    asked_BT = np.stack([PAIRS**2 + asked_BK, answers_BK], axis=-1).reshape(count, -1)
    tokens_BT = np.concatenate([pairs_BK, asked_BT], axis=1, dtype=np.int32)
    return TextBatch(tokens_BT, None, None, tokens_BT[:, 1:] >= PAIRS**2 + PAIRS)


def part(config: ScalingConfig, layers: int, scale: float | None, made_up_for: bool = False) -> Arrays:
    """Loss in nats a value, and entropy relative to that of reading all alike: [looks, seeds]."""
    attention = MultiHead(1, 1, config.head_width, bias=False, scale=scale)
    model = small_decoder(attention, layers, config.width, PAIRS**2 + 2 * PAIRS)
    arm, most = synthetic_arm(config, model, rows), np.mean(np.log(np.arange(1, 3 * PAIRS)))
    size = 1.0 if made_up_for else attention.score_scale * math.sqrt(config.head_width)

    def init(key: Array) -> Any:
        sizes = jax.tree_util.tree_map_with_path(lambda path, _: size if path[-1].key == "query" else 1, arm.init(key))
        return jax.tree.map(jnp.multiply, arm.init(key), sizes)

    def look(params: Any, held_out: TextBatch) -> dict[str, Array]:
        entropy_LBNT = attention_maps(model, params, held_out.tokens_BT[:, :-1], each=entropy)["decoder"]
        return {"loss": arm.look(params, held_out)["loss"], "entropy": jnp.mean(entropy_LBNT) / most}

    return train(config, arm._replace(init=init, look=look)).looks


def main(config: ScalingConfig, keep: Keep = compute) -> Report:
    """Measures the formula at its start and models in training, and judges the claim."""
    arms = {"with": (config.divided,), "without": (config.undivided,), "made up for": (config.undivided, True)}
    arms = {name: arms[name] for name in config.arms}
    first = {name: keep(f"start {name}", start, config, arms[name][0]) for name in ("with", "without")}
    found = {n: {a: keep(f"{n} {a}", part, config, n, *arm) for a, arm in arms.items()} for n in config.layers}
    findings = []
    for name, (formula, power, spread, gradient) in BOUNDS.items():
        off_S = np.abs(first[name]["variance"].T / np.power(WIDTHS, power) - 1).max(-1).tolist()
        kept_S, entropy_S = first[name]["gradient"][-1] / first[name]["gradient"][0], first[name]["entropy"][-1]
        findings += [
            Finding(f"{name} division: variance of scores, furthest from {formula}, relative", off_S, high=0.2),
            Finding(f"{name} division, d_k 1024: entropy, relative", entropy_S.tolist(), **spread),
            Finding(f"{name} division: gradient at d_k 1024, relative to d_k 4", kept_S.tolist(), **gradient),
        ]
    worse = {f"{n} layers": by["without"]["loss"][-1] - by["with"]["loss"][-1] for n, by in found.items()}
    worse["by how much more in the latter"] = np.subtract(*reversed(worse.values()))
    for name, worse_S in worse.items():
        findings.append(Finding(f"{name}: loss without less with", worse_S.tolist(), low=0.0))
    claim = "√d_k keeps the variance of scores at 1; without it heads read one key and models learn less, deep most"
    return Report(claim, findings, plain({"widths": WIDTHS, "start": first, "steps": config.looks, "training": found}))


def draw(path: Path, report: Report) -> str:
    """Variance, entropy and gradient over d_k, and the loss of both models over steps."""
    units = ["variance", "entropy / log 64", "norm of the Jacobian, median query"]
    figure, grid = panels.row(["Scores", "Attention", "Gradient of the softmax", "Models in training"])
    for axes, unit, (name, limits) in zip(grid, units, LIMITS.items(), strict=False):
        axes.set(yscale="log", xlabel="d_k, width of a head", ylabel=unit)
        logs = {arm: interval(np.log(np.transpose(by[name]))) for arm, by in report.figures["start"].items()}
        bands = {f"{arm} division": Interval(*map(np.exp, log)) for arm, log in logs.items()}
        panels.curves(axes, WIDTHS, bands, limits)
        panels.logarithmic(axes, WIDTHS)
    losses = {(layers, arm): by[arm]["loss"] for layers, by in report.figures["training"].items() for arm in BOUNDS}
    bands = {f"{layers} layers, {arm}": interval(np.transpose(loss)) for (layers, arm), loss in losses.items()}
    panels.curves(grid[3], report.figures["steps"], bands, (0.0, 5.5))
    grid[3].set(xlabel="training step", ylabel="held-out loss, nats a value")
    return panels.save(figure, path, "Bands: Student's 95% interval over seeds, of logarithms where the axis has them.")


if __name__ == "__main__":
    sys.exit(command(main, draw, CONFIG, QUICK))
