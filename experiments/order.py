"""PLACEHOLDER"""

import itertools
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from jaxformer.analysis.evidence import Finding, Report, command, interval
from jaxformer.config.model import NoPosition, Position, Sinusoidal, TransformerConfig
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
    """Without positions order is invisible; with them it is learned."""

    seeds: tuple[int, ...] = tuple(range(8))
    """Each seed draws its own weights, its own training sentences and its own test."""
    steps: int = 300
    look_every: int = 10
    """Steps between two looks at the held-out sentences."""
    batch: int = 32
    """Sentences of a step."""
    blind: Position = NoPosition()
    """The positions of the arm that should fail."""
    sighted: Position = Sinusoidal()
    """The positions of the arm that should not."""
    model: TransformerConfig = TransformerConfig(width=32, encoder_layers=2, heads=4, feed_forward=64, dropout=0.0)
    optimization: OptimizationConfig = OptimizationConfig(schedule=Cosine(peak=3e-3, warmup=30))


CONFIG = OrderConfig()
QUICK = replace(CONFIG, steps=60)

PAD, ME = 0, 1
PEOPLE, VERBS = "你他她它妈爸哥姐弟妹师友猫狗鸟鱼", "爱恨看听找问等帮骂打追教救怕养想"
WORDS = "□我" + PEOPLE + VERBS

READINGS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "mean": lambda tokens_BT: np.full(tokens_BT.shape, 1 / tokens_BT.shape[1]),
    "word": lambda tokens_BT: tokens_BT == ME,
    "place": lambda tokens_BT: np.broadcast_to(np.arange(tokens_BT.shape[1]) == 0, tokens_BT.shape),
}


class Batch(NamedTuple):
    tokens_BT: Any
    reading_BT: Any
    label_B: Any


def encode(text: str) -> list[int]:
    return [WORDS.index(word) for word in text]


def batch(reading: str, tokens_BT: np.ndarray) -> Batch:
    weights = READINGS[reading](tokens_BT).astype(np.float32)
    return Batch(tokens_BT, weights, (tokens_BT[:, 0] == ME).astype(np.int32))


def sentences(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    bags = rng.permutation([encode(f"我{verb}{other}") for verb, other in itertools.product(VERBS, PEOPLE)])
    both = np.stack([bags, bags[:, ::-1]], axis=1).astype(np.int32)
    cut = len(bags) // 4
    return both[cut:].reshape(-1, 3), both[:cut].reshape(-1, 3)


class Reader(nn.Module):
    config: TransformerConfig

    def setup(self):
        self.transformer = Transformer(self.config, len(WORDS), PAD)
        self.answer_DC = weight(self, "answer", (self.config.width, 2), ("embed", "answer"))

    def vectors(self, tokens_BT: Array) -> Array:
        return self.transformer.encode(tokens_BT)

    def __call__(self, batch: Batch) -> Array:
        x_BTD = self.vectors(batch.tokens_BT)
        return jnp.einsum("bt,btd,dc->bc", batch.reading_BT, x_BTD, self.answer_DC)


def answers(model: Reader) -> Objective:
    def total(params: Any, batch: Batch, key: Array | None) -> Total:
        costs = cross_entropy(model.apply(params, batch), batch.label_B)
        return Total(jax.tree.map(jnp.sum, costs), jnp.float32(batch.label_B.size))

    return total


def difference(model: Reader, params: Any) -> Array:
    pair = jnp.array([encode("我爱你"), encode("你爱我")])
    one_TD, other_TD = model.apply(params, pair, method="vectors")
    return jnp.linalg.norm(one_TD - other_TD[::-1], axis=-1) / jnp.linalg.norm(one_TD, axis=-1)


def train(config: OrderConfig, position: Position):
    model = Reader(replace(config.model, position=position))
    rule = optimizer(config.optimization, config.steps, config.model.width)
    members = list(itertools.product(READINGS, config.seeds))
    rngs = [np.random.default_rng(seed) for _, seed in members]
    splits = [sentences(rng) for rng in rngs]

    def stacked(batches):
        return jax.tree.map(lambda *x: np.stack(x), *batches)

    test = stacked([batch(reading, split[1]) for (reading, _), split in zip(members, splits)])

    def begin(key, example) -> TrainState:
        params = nn.meta.unbox(model.init(key, example))
        return new_state(params, rule, NoAverage(), key)

    def look(state, test):
        total = answers(model)(state.params, test, None)
        return total.costs.correct / total.tokens, difference(model, state.params)

    keys = jax.vmap(jax.random.key)(jnp.array([seed for _, seed in members]))
    import time
    t=time.perf_counter()
    states = jax.block_until_ready(jax.jit(population(begin))(keys, test)); print("begin", time.perf_counter()-t); t=time.perf_counter()
    step = jax.jit(population(make_step(answers(model), rule)), donate_argnums=0)
    look = jax.jit(population(look))
    looks = [jax.device_get(look(states, test))]; print("look", time.perf_counter()-t); t=time.perf_counter()
    for done in range(1, config.steps + 1):
        b = stacked([batch(r, rng.choice(split[0], config.batch)) for (r, _), rng, split in zip(members, rngs, splits)])
        states, m = step(states, b)
        if done == 1: jax.block_until_ready(states); print("step", time.perf_counter()-t); t=time.perf_counter()
        if done % config.look_every == 0:
            looks.append(jax.device_get(look(states, test)))
            a = looks[-1][0].reshape(3, -1); print(done, a.mean(1).round(3), a.min(1).round(3), looks[-1][1].max(), looks[-1][1].min(), flush=True)
    print("train", time.perf_counter()-t)

if __name__ == "__main__":
    import sys
    c = QUICK if "--quick" in sys.argv else CONFIG
    train(c, c.blind); train(c, c.sighted)
