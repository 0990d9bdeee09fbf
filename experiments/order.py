"""Does a Transformer know the order of its words?

Claim: without positions the encoder gives 我爱你 (I love you) and 你爱我 (you love me) the same vectors up to order, to
rounding, before and after training, and "is it 我 who acts?" stays at chance; with sinusoidal positions it is solved.

The task: 我 and one of 16 others around one of 16 verbs. Every set of words stands in both orders, with opposite
answers, and sets held out from training are asked about: whoever sees a bag of words is right in exactly one of two.

One head answers from the encoder's vectors, read in three ways. The mean of all, and the vector of 我 wherever it
stands, know no more about order than the encoder does. The vector in first place is the trap: an encoder without
positions is equivariant, not blind, so whoever picks a vector by its place has put the order back in. It is solved
without positions too, and thereby shows that this encoder learns.

Cost: about 40 s of one CPU core, two thirds of it compiling; --quick half of that.
Seen:
"""

import itertools
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

from jaxformer.analysis.evidence import Finding, Report, check_seeds, command, interval
from jaxformer.analysis.fonts import lettering
from jaxformer.config.model import NoPosition, Sinusoidal, TransformerConfig
from jaxformer.config.training import Cosine, NoAverage, OptimizationConfig
from jaxformer.models.seq2seq import Transformer
from jaxformer.nn.weight import weight
from jaxformer.objectives import Objective, Total
from jaxformer.ops.losses import cross_entropy
from jaxformer.training.optimizers import optimizer
from jaxformer.training.population import population
from jaxformer.training.state import TrainState, new_state
from jaxformer.training.step import make_step


@dataclass(frozen=True)
class OrderConfig:
    """Two arms that differ in their positions alone: a seed gives both the same weights and sentences."""

    seeds: tuple[int, ...] = tuple(range(8))
    steps: int = 200
    look_every: int = 5
    """Steps between two looks at the held-out sentences."""
    batch: int = 32
    """Sentences a step."""
    without: NoPosition | Sinusoidal = NoPosition()
    sighted: NoPosition | Sinusoidal = Sinusoidal()
    model: TransformerConfig = TransformerConfig(width=32, encoder_layers=2, heads=4, feed_forward=64, dropout=0.0)
    optimization: OptimizationConfig = OptimizationConfig(schedule=Cosine(peak=3e-3))

    def __post_init__(self):
        check_seeds(self.seeds)


CONFIG = OrderConfig()
QUICK = replace(CONFIG, seeds=tuple(range(5)), steps=60, look_every=10)

SAME = {"high": 16 * float(np.finfo(np.float32).eps)}
DIFFERENT = {"low": 0.01}
CHANCE, SOLVED = {"low": 0.48, "high": 0.52}, {"low": 0.99}


class Reading(NamedTuple):
    """How the head reads a sentence."""

    weights: Callable[[np.ndarray], np.ndarray]
    """Tokens [..., T] → what each token's vector counts."""
    without_positions: dict[str, float]
    """The accuracy that the claim demands without positions."""


PAD, ME = 0, 1
OTHERS, VERBS = "你他她它妈爸哥姐弟妹师友猫狗鸟鱼", "爱恨看听找问等帮骂打追教救怕养想"
WORDS = "_我" + OTHERS + VERBS
READINGS = {
    "mean of all vectors": Reading(lambda tokens: np.full(tokens.shape, 1 / tokens.shape[-1]), CHANCE),
    "vector of 我": Reading(lambda tokens: tokens == ME, CHANCE),
    "vector in first place": Reading(lambda tokens: np.full(tokens.shape, [1, 0, 0]), SOLVED),
}


class Batch(NamedTuple):
    """Sentences, how they are read, and whether 我 acts."""

    tokens_BT: Any
    reading_BT: Any
    acts_B: Any


def words(text: str) -> list[int]:
    """Tokens of a text."""
    return [WORDS.index(word) for word in text]


def sentences(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Sentences to train on and held-out ones, [N, 3] each: every bag of words in both orders, in one of the two."""
    bags = rng.permutation([words(f"我{verb}{other}") for verb in VERBS for other in OTHERS]).astype(np.int32)
    both = np.stack([bags, bags[:, ::-1]], axis=1)
    held_out = len(bags) // 4
    return both[held_out:].reshape(-1, 3), both[:held_out].reshape(-1, 3)


def members(tokens_SBT: np.ndarray) -> Batch:
    """Each seed's sentences under each reading: a leading axis of readings × seeds, the population."""
    reading_RSBT = np.stack([reading.weights(tokens_SBT) for reading in READINGS.values()]).astype(np.float32)
    tokens_RSBT = np.broadcast_to(tokens_SBT, reading_RSBT.shape)
    acts_RSB = (tokens_RSBT[..., 0] == ME).astype(np.int32)
    return Batch(*(x.reshape(-1, *x.shape[2:]) for x in (tokens_RSBT, reading_RSBT, acts_RSB)))


class Reader(nn.Module):
    """The library's encoder, and a linear answer, no or yes, from a weighted sum of its vectors."""

    config: TransformerConfig

    def setup(self):
        self.transformer = Transformer(self.config, vocabulary=len(WORDS), pad=PAD)
        self.answer_DC = weight(self, "answer", (self.config.width, 2), ("embed", "answer"))

    def vectors(self, tokens_BT: Array) -> Array:
        """The encoder's vectors [B, T, D]."""
        return self.transformer.encode(tokens_BT)

    def __call__(self, tokens_BT: Array, reading_BT: Array) -> Array:
        """Logits [B, 2]."""
        return jnp.einsum("bt,btd->bd", reading_BT, self.vectors(tokens_BT)) @ self.answer_DC


def answering(model: Reader) -> Objective:
    """Is it 我 who acts?"""

    def total(params: Any, batch: Batch, key: Array | None) -> Total:
        costs = cross_entropy(model.apply(params, batch.tokens_BT, batch.reading_BT), batch.acts_B)  # pyright: ignore
        return Total(jax.tree.map(jnp.sum, costs), jnp.float32(batch.acts_B.size))

    return total


def distances(model: Reader, params: Any) -> Array:
    """How far each word's vector in 我爱你 is from the same word's in 你爱我, relative to its length, [3]."""
    one_TD, other_TD = model.apply(params, jnp.array([words("我爱你"), words("你爱我")]), method="vectors")
    return jnp.linalg.norm(one_TD - other_TD[::-1], axis=-1) / jnp.linalg.norm(one_TD, axis=-1)


def train(config: OrderConfig, begin: Callable[[Array], TrainState], model: Reader) -> tuple[np.ndarray, np.ndarray]:
    """One arm: held-out accuracy [looks, readings, seeds] and distances [looks, readings, seeds, 3], before step 1 too."""
    objective, rule = answering(model), optimizer(config.optimization, config.steps, config.model.width)
    step = jax.jit(population(make_step(objective, rule)), donate_argnums=0)

    @jax.jit
    @population
    def look(state: TrainState, held_out: Batch) -> tuple[Array, Array]:
        total = objective(state.params, held_out, None)
        return total.costs.correct / total.tokens, distances(model, state.params)

    rngs = [np.random.default_rng(seed) for seed in config.seeds]
    splits = [sentences(rng) for rng in rngs]
    held_out = members(np.stack([split[1] for split in splits]))
    states = begin(jax.vmap(jax.random.key)(jnp.array(config.seeds * len(READINGS))))
    looks = [look(states, held_out)]
    for done in range(1, config.steps + 1):
        drawn = [rng.choice(split[0], config.batch) for rng, split in zip(rngs, splits, strict=True)]
        states, _ = step(states, members(np.stack(drawn)))
        if done % config.look_every == 0 or done == config.steps:
            looks.append(look(states, held_out))
    accuracy, distance = (np.stack(jax.device_get(series)) for series in zip(*looks, strict=True))
    shape = (len(looks), len(READINGS), len(config.seeds))
    return accuracy.reshape(shape), distance.reshape(*shape, 3)
