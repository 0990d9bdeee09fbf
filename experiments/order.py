"""Does a Transformer know the order of its words?

Claim: without positions an encoder gives 我爱你 (I love you) and 你爱我 (you love me) the same vectors up to order, to
rounding, before and after training, and "is it 我 who acts?" stays at chance. Sinusoidal, learned, rotary and T5
positions solve it; so does a causal decoder with ALiBi, which was made for that, or without positions. ALiBi does not
help an encoder: distance has no direction, and one sentence is the other in the mirror.

The task: 我 and one of 16 others around one of 16 verbs, every bag of words in both orders, a quarter of the bags held
out. A linear head answers from the mean of the vectors, or from that of 我 wherever it stands, which add nothing about
order to what it knows. The vector in first place is the trap: to pick a vector by its place puts the order back in.

Cost: a minute and a half on two cores, most of it compiling; --quick (5 seeds) little less. Seen with seeds 0 to 7 on
an AMD EPYC: the claim holds. A blind word's two vectors differ by at most 4e-7 of their length, and exactly 50.0% is
right; the others are right in every held-out sentence, from step 20 to 50 on, with T5 from step 180 on.
"""

import sys
from collections import namedtuple
from dataclasses import replace
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jaxformer.analysis import panels
from jaxformer.analysis.evidence import Finding, Report, interval
from jaxformer.config.blocks import Block, FeedForward, Group, MultiHead
from jaxformer.config.model import DecoderConfig, Learned, NoPosition, Sinusoidal, TransformerConfig
from jaxformer.config.positions import Alibi, RelativeBuckets, Rotary
from jaxformer.models.decoder import Decoder
from jaxformer.models.seq2seq import Transformer
from jaxformer.objectives import Total
from jaxformer.ops.losses import cross_entropy
from jaxformer.recipes.experiment import Arrays, Keep, command, compute
from jaxformer.training.study import Arm, StudyConfig, train_variants

CONFIG = StudyConfig(look_every=10)
QUICK = replace(CONFIG, seeds=tuple(range(5)))

PLAIN = TransformerConfig(32, 2, heads=4, feed_forward=64, dropout=0.0, position=NoPosition()).written_out()
CAUSAL = DecoderConfig(32, PLAIN.encoder, PLAIN.norm, embedding_scale=PLAIN.embedding_scale)
NONE, MEAN, TRAP = "no positions", "mean of all vectors", "vector in first place"
BLIND = {NONE: PLAIN, "ALiBi": replace(PLAIN, relative=Alibi())}
SEEING = {
    "sinusoidal": replace(PLAIN, position=Sinusoidal()),
    "learned": replace(PLAIN, position=Learned(3)),
    "rotary": replace(PLAIN, encoder=(Group((Block(MultiHead(4, 4, 8, rotary=Rotary()), FeedForward(64)),), 2),)),
    "T5": replace(PLAIN, relative=RelativeBuckets()),
    "causal, ALiBi": replace(CAUSAL, relative=Alibi()),
    "causal, no positions": CAUSAL,
}
ROUNDING = 16 * float(np.finfo(np.float32).eps)

ME, OTHERS, VERBS, VOCABULARY = 1, range(2, 18), range(18, 34), 34  # Token 0 is padding.
READINGS = {  # What each token's vector counts when a head reads these tokens [..., 3].
    MEAN: lambda tokens: np.full(tokens.shape, 1 / 3),
    "vector of 我": lambda tokens: tokens == ME,
    TRAP: lambda tokens: np.full(tokens.shape, [1, 0, 0]),
}
Batch = namedtuple("Batch", "tokens_BT reading_BT acts_B")  # acts_B: whether it is 我 who acts.


def sentences(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Sentences [N, 3] to train on and to hold out; every bag of words is in one of them, in both orders."""
    bags = np.random.default_rng(seed).permutation([(ME, verb, other) for verb in VERBS for other in OTHERS])
    both, held_out = np.stack([bags, bags[:, ::-1]], axis=1), len(bags) // 4
    return both[held_out:].reshape(-1, 3), both[:held_out].reshape(-1, 3)


def read(tokens_BT: np.ndarray, reading: Any) -> Batch:
    """The batch of these sentences under a reading."""
    return Batch(tokens_BT, reading(tokens_BT).astype(np.float32), (tokens_BT[:, 0] == ME).astype(np.int32))


def arm(config: StudyConfig, shape: Any) -> Arm:
    """A model of this shape and a linear head, trained to tell who acts."""
    model: Any = Decoder(shape, VOCABULARY) if isinstance(shape, DecoderConfig) else Transformer(shape, VOCABULARY)

    def init(key: jax.Array) -> Any:
        params = nn.meta.unbox(model.init(key, sentences(0)[0][:1], method="encode"))
        return {"model": params, "answer": jax.random.normal(key, (shape.width, 2)) / shape.width**0.5}

    def answer(params: Any, batch: Batch) -> Any:
        x_BTD = model.apply(params["model"], batch.tokens_BT, method="encode")
        logits_BC = jnp.einsum("bt,btd,dc->bc", batch.reading_BT, x_BTD, params["answer"])
        return x_BTD, jax.tree.map(jnp.sum, cross_entropy(logits_BC, batch.acts_B))

    def objective(params: Any, batch: Batch, key: jax.Array | None) -> Total:
        return Total(answer(params, batch)[1], jnp.float32(len(batch.acts_B)))

    def look(params: Any, held_out: Batch) -> Any:
        """Accuracy, and how far a word's vectors in a sentence and in the reversed one, which follows, are apart."""
        x_BTD, costs = answer(params, held_out)
        apart_BT = jnp.linalg.norm(x_BTD[::2] - x_BTD[1::2, ::-1], axis=-1) / jnp.linalg.norm(x_BTD[::2], axis=-1)
        return {"accuracy": costs.correct / len(x_BTD), "distance": jnp.max(apart_BT)}

    def batches(seed: int, reading: Any) -> Any:
        rng, (known, _) = np.random.default_rng((seed, 1)), sentences(seed)
        return (read(rng.choice(known, config.batch), reading) for _ in range(config.steps))

    return Arm(init, objective, batches, lambda seed, reading: read(sentences(seed)[1], reading), look)


def part(config: StudyConfig, shape: Any, readings: tuple[str, ...]) -> Arrays:
    """Accuracy and distance after each look, [readings, seeds, looks]."""
    with jax.default_matmul_precision("float32"):  # "To rounding" means float32's, also where TF32 is the default.
        arms = train_variants(config, arm(config, shape), {name: READINGS[name] for name in readings}).values()
    return {name: np.stack([trained.looks[name].T for trained in arms]) for name in ("accuracy", "distance")}


def main(config: StudyConfig, keep: Keep = compute) -> Report:
    """Trains all arms and judges the claim."""
    findings: list[Finding] = []
    figures: dict[str, Any] = {"steps": config.looks, "accuracy": {}, "distance": {}}
    for name, shape in (BLIND | SEEING).items():
        readings = tuple(READINGS) if name == NONE else (MEAN,)
        found = keep(name, part, config, shape, readings)
        distance_XS = found["distance"].max(axis=0).T[[0, -1]]
        for when, distance_S in zip(("before", "after"), distance_XS, strict=True) if name in BLIND else ():
            findings.append(Finding(f"{name}: vectors apart {when} training", distance_S.tolist(), high=ROUNDING))
        for reading, accuracy_SP in zip(readings, found["accuracy"], strict=True):
            bounds = {"low": 0.48, "high": 0.52} if name in BLIND and reading != TRAP else {"low": 0.99}
            findings.append(Finding(f"{name}: accuracy from the {reading}", accuracy_SP[:, -1].tolist(), **bounds))
        figures["accuracy"][name] = dict(zip(readings, found["accuracy"].tolist(), strict=True))
        figures["distance"][name] = distance_XS.T.tolist()
    claim = "without positions 我爱你 and 你爱我 look the same and order stays at chance; with them it is solved"
    return Report(claim, findings, figures)


def draw(path: Path, report: Report) -> str:
    """Accuracy, and how far apart the vectors of a sentence and of the reversed one are."""
    figure, grid = panels.row(["No positions, read in three ways", "The mean is read", "A word in both orders"], 4.6)
    accuracy, apart = report.figures["accuracy"], report.figures["distance"]
    read_mean = {name: y[MEAN] for name, y in accuracy.items() if name != NONE}
    for axes, curves in zip(grid, (accuracy[NONE], read_mean), strict=False):
        panels.curves(axes, report.figures["steps"], {name: interval(y) for name, y in curves.items()}, (0.3, 1.03))
        panels.level(axes, 0.5, "chance")
        axes.set(xlabel="training step", ylabel="held-out accuracy: who acts?")
    shown = {name: np.array(apart[name]) for name in (*BLIND, "sinusoidal", "T5")}
    panels.dots(grid[2], ("before training", "after training"), shown, (1e-8, 10.0))
    panels.level(grid[2], ROUNDING, "16 × float32's rounding")
    grid[2].set_ylabel("largest distance / vector's length")
    return panels.save(figure, path, "Bands: Student's 95% interval over seeds. Dots: every seed.")


if __name__ == "__main__":
    sys.exit(command(main, draw, CONFIG, QUICK))
