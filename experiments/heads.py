"""What do several heads do that one cannot, and does each have an interest of its own?

Claim: at equal width and parameters, eight heads translate no worse than one. Some come to follow the grammar though no
one tells them to: an ambiguous word reads its neighbour that decides ("sense"), a pronoun what it stands for
("coreference"), a Chinese word the English one that it renders ("alignment"), each twice as much as the links of
another sentence, and more than before training. Heads that follow sense more follow coreference less, and those that
align better are dearer to remove.

The task: an encoder-decoder learns to translate the sentences of the built-in grammar that have ambiguous words, with
1, 2, 4, 8 or 16 heads in every attention. A head's score is the weight that it gives to linked words; the links of
another sentence stand for chance, since heads that follow places follow them as well. The best head is chosen on pairs
that were learned from, by its score less that by chance, and judged on others. Which it is tells nothing: all heads of
a layer begin alike, and two of sixteen drawn at random differ 15 times in 16.

Cost: five minutes on two cores. Seen with seeds 0 to 4 on an AMD EPYC: the claim is shown in part. Eight heads lose
0.086 nats less than one; the best heads reach 1.7 (sense), 2.4 (coreference) and 4.0 (alignment) times chance, and have
0.06, 0.11, 0.31 more weight above it than before; sense and coreference correlate by −0.19, alignment and cost by 0.58.
"""

import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array
from scipy.stats import spearmanr

from jaxformer.analysis import panels
from jaxformer.analysis.ablation import ablate_each
from jaxformer.analysis.attention_maps import attention_maps
from jaxformer.analysis.evidence import Finding, Report, interval, plain
from jaxformer.analysis.links import followed_and_by_chance
from jaxformer.data.batches import PairBatch
from jaxformer.recipes.experiment import Arrays, Keep, command, compute
from jaxformer.training import translation_study as study
from jaxformer.training.study import keys, of_each_seed, train


@dataclass(frozen=True)
class HeadsConfig(study.TranslationStudyConfig):
    """Arms that differ in their heads alone."""

    heads: tuple[int, ...] = (1, 2, 4, 8, 16)
    several: int = 8
    """Heads of the arm whose heads are looked at."""


CONFIG = HeadsConfig(seeds=tuple(range(5)), steps=300, look_every=100)
QUICK = replace(CONFIG, steps=50, look_every=50, heads=(1, 8))

READERS = {"sense": "encoder", "coreference": "encoder", "alignment": "cross"}
"""Links, and the attention that could follow them."""


def part(config: HeadsConfig, heads: int) -> Arrays:
    """The looks [looks, seeds]; each head's score for its links and by chance, on held-out and on "known" pairs [seeds,
    2, L, N]; the "cost" in loss of removing it from cross-attention [seeds, L, N]; and how far the best head of the
    "untrained" model is above chance [seeds].
    """
    config = replace(config, model=replace(config.model, heads=heads))
    model, corpus, arm = study.translator(config), study.corpus_of(config), study.translation_arm(config)

    def scores(params: Any, pairs: PairBatch, links: Any) -> dict[str, Array]:
        maps = attention_maps(model, params, pairs.source_BS, pairs.target_BT[:, :-1])
        real_B1S = (pairs.source_BS != study.PAD)[:, None, :]
        return {kind: jnp.stack(followed_and_by_chance(maps[READERS[kind]], links[kind], real_B1S)) for kind in READERS}

    def judged(params: Any, known: Any, new: Any) -> dict[str, Array]:
        return scores(params, *new) | {f"known {kind}": score for kind, score in scores(params, *known).items()}

    def cost(params: Any, pairs: PairBatch) -> Array:
        without_LN = ablate_each(model, params, lambda changed: arm.look(changed, pairs)["loss"])["cross"]
        return without_LN - arm.look(params, pairs)["loss"]

    S = corpus.longest + 1
    known, new = (
        (corpus.rows(examples), {kind: study.linked(examples, kind, (S, S)) for kind in READERS})
        for examples in (corpus.train[: config.looks_at], corpus.held_out)
    )
    before = of_each_seed(lambda key, *pairs: judged(arm.init(key), *pairs), keys(config), known, new)
    found, params = train(config, arm)
    found |= of_each_seed(judged, params, known, new) | {"cost": of_each_seed(cost, params, new[0])}
    return found | {f"untrained {kind}": np.subtract(*best_and_chance(before, kind)) for kind in READERS}


def main(config: HeadsConfig, keep: Keep = compute) -> Report:
    """Trains all arms and judges the claim."""
    found = {heads: keep(f"{heads} heads", part, config, heads) for heads in config.heads}
    several, name = found[config.several], f"{config.several} heads"
    worse_S = several["loss"][-1] - found[config.heads[0]]["loss"][-1]
    findings = [Finding(f"{name}: loss less that with {config.heads[0]}", worse_S.tolist(), high=0.0)]
    for kind in READERS:
        (own_S, chance_S), untrained_S = best_and_chance(several, kind), several[f"untrained {kind}"]
        findings += [
            Finding(f"{name}: best head's score for {kind}, by that by chance", (own_S / chance_S).tolist(), low=2.0),
            Finding(f"{name}: {kind} above chance, less untrained", (own_S - chance_S - untrained_S).tolist(), low=0.0),
        ]
    apart, dear = ranks(*interests(several)), ranks(several["alignment"][:, 0], several["cost"])
    findings += [
        Finding(f"{name}: rank correlation of scores for sense and coreference, 0 by chance", apart, high=0.0),
        Finding(f"{name}: rank correlation of alignment score and cost of removal, 0 by chance", dear, low=0.0),
    ]
    claim = "heads come to follow the grammar unasked, each its own part, and cost what they follow when removed"
    return Report(claim, findings, plain({"heads": config.heads, "several": config.several, "found": found}))


def ranks(a_SLN: np.ndarray, b_SLN: np.ndarray) -> list[float]:
    """Spearman's rank correlation over the heads of each seed."""
    pairs = ((a_LN.ravel(), b_LN.ravel()) for a_LN, b_LN in zip(a_SLN, b_SLN, strict=True))
    return [float(spearmanr(*pair).statistic) for pair in pairs]  # pyright: ignore[reportAttributeAccessIssue]


def interests(found: Mapping[str, np.ndarray]) -> list[np.ndarray]:
    """How far the scores for sense and for coreference are above chance, [seeds, L, N] each."""
    return [found[kind][:, 0] - found[kind][:, 1] for kind in ("sense", "coreference")]


def draw(path: Path, report: Report) -> str:
    """Loss and best scores over heads; of every head two scores, and what removing it costs against another."""
    found = {int(n): {k: np.array(v) for k, v in by.items()} for n, by in report.figures["found"].items()}
    several, heads = report.figures["several"], report.figures["heads"]
    figure, grid = panels.row(["Loss", "Best head", f"Encoder, {several} heads", f"Cross-attention, {several} heads"])
    for axes, label in zip(grid[:2], ("nats a word", "weight of links, relative to chance"), strict=True):
        panels.logarithmic(axes, heads)
        axes.set(xlabel="heads, at equal width", ylabel=label)
    loss = interval(np.stack([by["loss"][-1] for by in found.values()], axis=-1))
    panels.curves(grid[0], heads, {"held-out loss": loss}, (0.0, 1.3 * float(loss.high.max())))
    ratios = {kind: [np.divide(*best_and_chance(by, kind)) for by in found.values()] for kind in READERS}
    panels.curves(grid[1], heads, {kind: interval(np.transpose(ratio)) for kind, ratio in ratios.items()}, (0.0, 8.0))
    panels.level(grid[1], 1.0, "")
    by_seed = interests(found[several]), (found[several]["alignment"][:, 0], found[several]["cost"])
    for axes, (a_SLN, b_SLN) in zip(grid[2:], by_seed, strict=True):
        panels.clouds(axes, {f"seed {i}": (a_SLN[i].ravel(), b_SLN[i].ravel()) for i in range(len(a_SLN))})
    grid[2].set(xlabel="sense, weight above chance", ylabel="coreference, weight above chance")
    grid[3].set(xlabel="weight of the aligned word", ylabel="loss without the head less with it, nats")
    return panels.save(figure, path, "Bands: Student's 95% interval over seeds.")


def best_and_chance(found: Mapping[str, np.ndarray], kind: str) -> np.ndarray:
    """The score of the head that was best on known pairs, and its score by chance, on held-out ones: [2, seeds]."""
    known_S2N, new_S2N = (found[name].reshape(len(found[name]), 2, -1) for name in (f"known {kind}", kind))
    best_S = (known_S2N[:, 0] - known_S2N[:, 1]).argmax(-1)
    return new_S2N[np.arange(len(best_S)), :, best_S].T


if __name__ == "__main__":
    sys.exit(command(main, draw, CONFIG, QUICK))
