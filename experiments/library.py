"""Is attention a library: does a query that is made of a key find the value that belongs to it?

Claim: one head reads 4 to 64 pairs and tells which value belongs to a key, because its map is a look-up table: nearly
all weight lies on the pair of that key, where chance is one in so many, and the answer is the value that the map points
to. What a head can tell apart depends on its width: a narrow one loses the more, the more pairs there are. A recurrent
layer of as many parameters, which must keep all pairs in its state, does not come to do so in 3 times the steps.

The task: a pair is the vector of its key plus that of its value; every row draws its keys from 128, each once, and its
values from 16. Then come 16 questions, each the vector of a key that is there. A reader learns rows of 4, 8, 16, 32 and
64 pairs together. The head has no residual, no feed-forward layer and no positions beside it: values come out through
its weights or not at all. The recurrent layer, a GRU, reads the pairs, then the questions; its width gives it the
parameters of the widest head, and it trains three times as long. Whether it forgets pairs or has not learnt to keep
them, this cannot tell.

Cost: two minutes on two cores. Seen with seeds 0 to 7 on an AMD EPYC: the claim holds. The widest head is
right always, with 95% of its weight on the pair asked for, of 64; the narrowest loses 42 points from 4 pairs to 64; the
recurrent layer is right in 31% of 4 pairs and 11% of 64.
"""

import sys
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from jaxformer.analysis import panels
from jaxformer.analysis.evidence import Finding, Report, interval
from jaxformer.analysis.parameters import equally_large, model_size
from jaxformer.config.blocks import MultiHead
from jaxformer.config.training import AdamW, Cosine, OptimizationConfig
from jaxformer.models.lookup import Reader, RecurrentReader
from jaxformer.recipes.experiment import Arrays, Keep, command, compute
from jaxformer.training.recall_study import RecallConfig, random_shelf, recall_arm
from jaxformer.training.study import train


@dataclass(frozen=True)
class LibraryConfig(RecallConfig):
    """Heads of several widths, from narrow to wide, and a recurrent layer."""

    head_widths: tuple[int, ...] = (2, 3, 4, 8, 16)
    recurrent: Reader = RecurrentReader()
    """It gets the width that gives it the parameters of the widest head."""
    patience: int = 3
    """Times as many steps for the recurrent layer."""


OPTIMIZATION = OptimizationConfig(AdamW(), Cosine(peak=1e-2, warmup=50))
CONFIG = LibraryConfig(steps=800, look_every=800, optimization=OPTIMIZATION)
QUICK = replace(CONFIG, seeds=tuple(range(5)), steps=300, look_every=300, head_widths=(2, 16), patience=1)


def readers(config: LibraryConfig) -> dict[str, Reader]:
    """A head of each width, and the recurrent layer with as many parameters as the last."""
    heads = {f"width {width}": MultiHead(1, 1, width, bias=False) for width in config.head_widths}
    recurrent, shelf = config.recurrent, random_shelf(config, np.random.default_rng(0), np.array([1]))
    if isinstance(recurrent, RecurrentReader):
        size = model_size(config.model(heads[f"width {config.head_widths[-1]}"]), shelf)
        recurrent = equally_large(config.model, recurrent, size, shelf)
    return {**heads, "recurrent": recurrent}


def part(config: RecallConfig, reader: Reader) -> Arrays:
    """What the trained readers recall, each [seeds, pairs, ...], and the weight before training."""
    looks = train(config, recall_arm(config, reader)).looks
    return {name: seen[-1] for name, seen in looks._asdict().items()} | {"weight before": looks.weight[0]}


def main(config: LibraryConfig, keep: Keep = compute) -> Report:
    """Trains all readers and judges the claim."""
    *heads, (_, recurrent) = readers(config).items()
    longer = replace(config, steps=config.patience * config.steps, look_every=config.patience * config.steps)
    found = {name: keep(name, part, config, reader) for name, reader in heads}
    narrow, wide, other = found[heads[0][0]], found[heads[-1][0]], keep("recurrent", part, longer, recurrent)
    few, many = config.pairs[0], config.pairs[-1]
    lost_S = narrow["accuracy"][:, 0] - narrow["accuracy"][:, -1]
    findings = [
        *(
            Finding(f"widest head: accuracy at {pairs} pairs", values_S.tolist(), low=0.99)
            for pairs, values_S in zip(config.pairs, wide["accuracy"].T, strict=True)
        ),
        Finding(f"widest head: weight on the pair asked for, of {many}", wide["weight"][:, -1].tolist(), low=0.9),
        Finding("the same before training, times the pairs", (many * wide["weight before"][:, -1]).tolist(), 0.5, 2.0),
        Finding("widest head: answers that the map points to", wide["pointed"].mean(1).tolist(), low=0.99),
        Finding(f"narrowest head: accuracy at {few} pairs less that at {many}", lost_S.tolist(), low=0.1),
        Finding(f"recurrent: accuracy at {few} pairs", other["accuracy"][:, 0].tolist(), high=0.9),
        Finding(f"recurrent: accuracy at {many} pairs", other["accuracy"][:, -1].tolist(), high=0.5),
    ]
    shown = int(np.argmin(np.abs(np.subtract(config.pairs, config.questions))))
    figures = {
        "pairs": list(config.pairs),
        "values": config.values,
        "accuracy": {name: seen["accuracy"].tolist() for name, seen in {**found, "recurrent": other}.items()},
        "weight": {name: seen["weight"].tolist() for name, seen in found.items()},
        "map": wide["map"][0, shown, :, : config.pairs[shown]].round(4).tolist(),
        "asked": wide["asked"][0, shown].tolist(),
    }
    claim = (
        "a head looks values up by their keys, its map the table; a narrow one loses them; a recurrent layer learns few"
    )
    return Report(claim, findings, figures)


def draw(path: Path, report: Report) -> str:
    """Accuracy and the weight on the pair that is asked for, against the number of pairs; and one map."""
    headings = ["Which value belongs to this key?", "Does the query find its key?", "The widest head's map of one row"]
    figure, grid = panels.row(headings)
    pairs, figures = report.figures["pairs"], report.figures
    for axes, name in zip(grid, ("accuracy", "weight"), strict=False):
        bands = {arm: interval(values_SP) for arm, values_SP in figures[name].items()}
        panels.curves(axes, pairs, bands, (0.0, 1.03))
        panels.logarithmic(axes, pairs)
        axes.set_xlabel("pairs in the row")
    panels.level(grid[0], 1 / figures["values"], "")
    grid[0].set_ylabel("accuracy on new rows")
    grid[1].set_ylabel("attention weight on the pair asked for")
    grid[1].plot(pairs, [1 / n for n in pairs], color=panels.GREY, linewidth=0.8)
    order = np.argsort(figures["asked"], kind="stable")
    panels.heat(grid[2], np.array(figures["map"])[order], "attention weight")
    grid[2].set(xlabel="pair", ylabel="question, sorted by the pair asked for")
    return panels.save(figure, path, "Bands: Student's 95% interval over seeds. Grey: chance, one in so many.")


if __name__ == "__main__":
    sys.exit(command(main, draw, CONFIG, QUICK))
