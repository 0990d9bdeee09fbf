"""Does a Transformer know the order of its words?

Claim: without positions the encoder gives 我爱你 (I love you) and 你爱我 (you love me) the same vectors up to order, to
rounding, before and after training, and "is it 我 who acts?" stays at chance; with sinusoidal positions it is solved.

The task: 我 and one of 16 others around one of 16 verbs. Every bag of words comes in both orders, with opposite
answers, and a quarter of the bags is held out. Who sees only the bag is right in exactly one of its two sentences.

A linear head answers from the encoder's vectors, which it reads in one of three ways. The mean of all, or the vector
of 我 wherever it stands, adds nothing about order to what the encoder knows. The vector in first place is the trap: an
encoder without positions is equivariant, not blind, so to pick a vector by its place puts the order back in. This is
solved without positions too, which also shows that the encoder without positions learns.

Cost: SEEN_COST
Seen: SEEN
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from jaxformer.analysis import panels
from jaxformer.analysis.evidence import Finding, Report, check_seeds, command, interval
from jaxformer.config.model import NoPosition, Sinusoidal, TransformerConfig
from jaxformer.config.training import Cosine, NoAverage, OptimizationConfig
from jaxformer.models.seq2seq import Transformer
from jaxformer.objectives import Objective, Total
from jaxformer.ops.losses import cross_entropy
from jaxformer.training.optimizers import optimizer
from jaxformer.training.population import population
from jaxformer.training.state import TrainState, new_state
from jaxformer.training.step import make_step


@dataclass(frozen=True)
class OrderConfig:
    """Two arms that differ in their positions alone: a seed gives both the same first weights and sentences."""

    seeds: tuple[int, ...] = tuple(range(8))
    steps: int = 200
    look_every: int = 5
    """Steps between two looks at the held-out sentences."""
    batch: int = 32
    """Sentences a step."""
    without: NoPosition | Sinusoidal = NoPosition()
    positions: NoPosition | Sinusoidal = Sinusoidal()
    model: TransformerConfig = TransformerConfig(width=32, encoder_layers=2, heads=4, feed_forward=64, dropout=0.0)
    optimization: OptimizationConfig = OptimizationConfig(schedule=Cosine(peak=3e-3))

    def __post_init__(self):
        check_seeds(self.seeds)
        if self.look_every < 1 or self.steps % self.look_every:
            raise ValueError(f"steps must be a multiple of look_every, got {self.steps} and {self.look_every}")


CONFIG = OrderConfig()
QUICK = replace(CONFIG, seeds=tuple(range(5)), steps=60, look_every=10)

SAME, DIFFERENT = {"high": 16 * float(np.finfo(np.float32).eps)}, {"low": 0.01}
CHANCE, SOLVED = {"low": 0.48, "high": 0.52}, {"low": 0.99}

ME = 1
OTHERS, VERBS = "你他她它妈爸哥姐弟妹师友猫狗鸟鱼", "爱恨看听找问等帮骂打追教救怕养想"
VOCABULARY = "_我" + OTHERS + VERBS  # Token 0 is padding.
TRAP = "vector in first place"
READINGS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "mean of all vectors": lambda tokens: np.full(tokens.shape, 1 / tokens.shape[-1]),
    "vector of 我": lambda tokens: tokens == ME,
    TRAP: lambda tokens: np.full(tokens.shape, [1, 0, 0]),
}
"""What each token's vector counts when a head reads these tokens [..., 3]."""


class Batch(NamedTuple):
    """Sentences, how they are read, and whether 我 acts."""

    tokens_BT: Any
    reading_BT: Any
    acts_B: Any


def words(text: str) -> list[int]:
    """The tokens of a text."""
    return [VOCABULARY.index(word) for word in text]


def sentences(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Sentences [N, 3] to train on and to hold out; every bag of words is in one of them, in both orders."""
    bags = rng.permutation([words(f"我{verb}{other}") for verb in VERBS for other in OTHERS]).astype(np.int32)
    both = np.stack([bags, bags[:, ::-1]], axis=1)
    held_out = len(bags) // 4
    return both[held_out:].reshape(-1, 3), both[:held_out].reshape(-1, 3)


def members(tokens_SBT: np.ndarray) -> Batch:
    """The population's batch, stacked on an axis of readings × seeds: each seed's sentences under each reading."""
    reading_RSBT = np.stack([reading(tokens_SBT) for reading in READINGS.values()]).astype(np.float32)
    tokens_RSBT = np.broadcast_to(tokens_SBT, reading_RSBT.shape)
    acts_RSB = (tokens_RSBT[..., 0] == ME).astype(np.int32)
    return Batch(*(x.reshape(-1, *x.shape[2:]) for x in (tokens_RSBT, reading_RSBT, acts_RSB)))


def encode(model: Transformer, params: Any, tokens_BT: Any) -> Any:
    """The encoder's vectors [B, T, D]."""
    return model.apply(params["encoder"], tokens_BT, method="encode")


def answering(model: Transformer) -> Objective:
    """Is it 我 who acts?"""

    def total(params: Any, batch: Batch, key: Array | None) -> Total:
        x_BD = jnp.einsum("bt,btd->bd", batch.reading_BT, encode(model, params, batch.tokens_BT))
        costs = cross_entropy(x_BD @ params["answer"], batch.acts_B)
        return Total(jax.tree.map(jnp.sum, costs), jnp.float32(batch.acts_B.size))

    return total


def distances(model: Transformer, params: Any) -> Array:
    """How far a word's vector in 我爱你 is from the same word's in 你爱我, relative to its length: one for each, [3]."""
    one_TD, other_TD = encode(model, params, np.array([words("我爱你"), words("你爱我")]))
    return jnp.linalg.norm(one_TD - other_TD[::-1], axis=-1) / jnp.linalg.norm(one_TD, axis=-1)


def train(config: OrderConfig, model: Transformer, rule: Any, begin: Any) -> tuple[np.ndarray, np.ndarray]:
    """Held-out accuracy [looks, readings, seeds] and `distances` [looks, readings, seeds, 3] of one arm."""
    objective = answering(model)
    step = jax.jit(population(make_step(objective, rule)), donate_argnums=0)

    @jax.jit
    @population
    def look(state: TrainState, held_out: Batch) -> tuple[Array, Array]:
        total = objective(state.params, held_out, None)
        return total.costs.correct / total.tokens, distances(model, state.params)

    rngs = [np.random.default_rng(seed) for seed in config.seeds]
    known, unknown = zip(*map(sentences, rngs), strict=True)
    held_out = members(np.stack(unknown))
    states = begin(jax.vmap(jax.random.key)(np.array(config.seeds * len(READINGS))))
    looks = [look(states, held_out)]
    for done in range(1, config.steps + 1):
        drawn = [rng.choice(rows, config.batch) for rng, rows in zip(rngs, known, strict=True)]
        states, _ = step(states, members(np.stack(drawn)))
        if done % config.look_every == 0:
            looks.append(look(states, held_out))
    accuracy, distance = (np.stack(series) for series in zip(*jax.device_get(looks), strict=True))
    shape = (len(looks), len(READINGS), len(config.seeds))
    return accuracy.reshape(shape), distance.reshape(*shape, 3)


def main(config: OrderConfig) -> Report:
    """Trains both arms and judges the claim."""
    positions = {"without": config.without, "with": config.positions}
    models = {arm: Transformer(replace(config.model, position=p), len(VOCABULARY)) for arm, p in positions.items()}
    rule = optimizer(config.optimization, config.steps, config.model.width)

    @jax.jit
    @population
    def begin(key: Array) -> TrainState:
        encoder_key, answer_key = jax.random.split(key)
        encoder = nn.meta.unbox(models["with"].init(encoder_key, np.array([words("我爱你")]), method="encode"))
        answer_DC = jax.random.normal(answer_key, (config.model.width, 2)) * config.model.width**-0.5
        return new_state({"encoder": encoder, "answer": answer_DC}, rule, NoAverage(), key)

    findings: list[Finding] = []
    figures: dict[str, Any] = {"steps": list(range(0, config.steps + 1, config.look_every))}
    for arm, model in models.items():
        with jax.default_matmul_precision("float32"):  # "To rounding" means float32's, also where TF32 is the default.
            accuracy_PRS, distance_PRSW = train(config, model, rule, begin)
        bounds, worst = (SAME, np.max) if arm == "without" else (DIFFERENT, np.min)
        for when, look in (("before", 0), ("after", -1)):
            values_S = worst(distance_PRSW[look], axis=(0, 2)).tolist()
            findings.append(
                Finding(f"{arm} positions, {when} training: a word's two vectors apart", values_S, **bounds)
            )
        for name, values_S in zip(READINGS, accuracy_PRS[-1], strict=True):
            bounds = CHANCE if arm == "without" and name != TRAP else SOLVED
            findings.append(Finding(f"{arm} positions, accuracy from the {name}", values_S.tolist(), **bounds))
        figures[arm] = {
            "accuracy": {name: accuracy_PRS[:, r].T.tolist() for r, name in enumerate(READINGS)},
            "distances": {"before": distance_PRSW[0].tolist(), "after": distance_PRSW[-1].tolist()},
        }
    claim = (
        "without positions 我爱你 and 你爱我 have the same vectors and order stays at chance; with them it is solved"
    )
    return Report(claim, findings, figures)


def draw(path: Path, report: Report) -> str:
    """Accuracy of both arms, and how far apart the vectors of the two sentences are."""
    figure, grid = panels.row(["Without positions", "With positions", "我爱你 and 你爱我: a word's two vectors"])
    groups = {}
    for axes, arm in zip(grid, ("without", "with"), strict=False):
        bands = {name: interval(values_SP) for name, values_SP in report.figures[arm]["accuracy"].items()}
        panels.curves(axes, report.figures["steps"], bands, (0.3, 1.03))
        panels.level(axes, 0.5, "chance")
        axes.set_xlabel("training step")
        for when, distances_RSW in report.figures[arm]["distances"].items():
            groups[f"{arm} positions,\n{when} training"] = np.reshape(distances_RSW, (-1, 3))
    grid[0].set_ylabel("held-out accuracy: is it 我 who acts?")
    panels.dots(grid[2], "我爱你", groups, (1e-8, 10.0))
    panels.level(grid[2], SAME["high"], "16 × float32's rounding")
    grid[2].set_ylabel("distance, relative to the vector's length")
    return panels.save(figure, path, "Bands: Student's 95% interval over seeds. Dots: every seed and reading.")


if __name__ == "__main__":
    sys.exit(command(main, draw, CONFIG, QUICK))
