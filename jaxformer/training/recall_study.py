"""Arms of experiments on associative recall: which value belongs to this key?"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from jaxformer.models.lookup import Lookup, Reader, Shelf
from jaxformer.objectives import Total
from jaxformer.ops.losses import cross_entropy
from jaxformer.training.study import Arm, StudyConfig, initial, stacked


@dataclass(frozen=True)
class RecallConfig(StudyConfig):
    """`batch` counts rows; each has one of the numbers of pairs, all learned together."""

    pairs: tuple[int, ...] = (4, 8, 16, 32, 64)
    keys: int = 128
    """What a row draws its keys from, each once, so that a value can be known from the row alone."""
    values: int = 16
    width: int = 32
    """Width D of the vectors of keys and values."""
    questions: int = 16
    rows: int = 64
    """Held-out rows of each number of pairs."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.pairs or not 1 <= min(self.pairs) <= max(self.pairs) <= self.keys:
            raise ValueError(f"pairs must be between 1 and keys={self.keys}, got {self.pairs}")

    def model(self, reader: Reader) -> Lookup:
        """The model with this reader."""
        return Lookup(reader, self.keys, self.values, self.width)


def random_shelf(config: RecallConfig, rng: np.random.Generator, pairs_B: np.ndarray) -> Shelf:
    """Random rows of so many pairs, with room for the most; a pair may be asked for more than once."""
    B, most = len(pairs_B), max(config.pairs)
    keys_BK = rng.permuted(np.tile(np.arange(config.keys), (B, 1)), axis=1)[:, :most]
    values_BK = rng.integers(config.values, size=(B, most))
    asked_BQ = rng.integers(pairs_B[:, None], size=(B, config.questions))
    return Shelf(*(x.astype(np.int32) for x in (keys_BK, values_BK, pairs_B, asked_BQ)))


class Recalled(NamedTuple):
    """What a look sees of each number of pairs, [pairs, ...]."""

    accuracy: Array
    weight: Array
    """The mean weight on the pair that is asked for."""
    pointed: Array
    """Answers that are the value of the pair with most weight."""
    map: Array
    """The weights of one row, [pairs, Q, K]."""
    asked: Array
    """What that row asks for, [pairs, Q]."""


def recall_arm(config: RecallConfig, reader: Reader) -> Arm:
    """A reader that learns to recall; a look gives `Recalled`."""
    model: Any = config.model(reader)

    def objective(params: Any, shelf: Shelf, key: Array | None) -> Total:
        labels_BQ = jnp.take_along_axis(shelf.values_BK, shelf.asked_BQ, axis=1)
        costs = cross_entropy(model.apply(params, shelf)[0], labels_BQ)
        return Total(jax.tree.map(jnp.sum, costs), jnp.float32(labels_BQ.size))

    def look(params: Any, shelf: Shelf) -> Recalled:
        total, (logits_BQV, weights_BQK) = objective(params, shelf, None), model.apply(params, shelf)
        right_BQ1 = jnp.take_along_axis(weights_BQK, shelf.asked_BQ[..., None], axis=-1)
        pointed_BQ = jnp.take_along_axis(shelf.values_BK, jnp.argmax(weights_BQK, axis=-1), axis=1)
        return Recalled(
            total.costs.correct / total.tokens,
            jnp.mean(right_BQ1),
            jnp.mean(pointed_BQ == jnp.argmax(logits_BQV, axis=-1)),
            weights_BQK[0],
            shelf.asked_BQ[0],
        )

    def batches(seed: int) -> Iterator[Shelf]:
        rng = np.random.default_rng((seed, 1))
        return (random_shelf(config, rng, rng.choice(config.pairs, config.batch)) for _ in range(config.steps))

    def held_out(seed: int) -> Shelf:
        rng = np.random.default_rng((seed, 2))
        return stacked([random_shelf(config, rng, np.full(config.rows, pairs)) for pairs in config.pairs])

    def each(params: Any, shelves: Shelf) -> Recalled:
        return jax.lax.map(lambda shelf: look(params, shelf), shelves)

    return Arm(
        initial(model, random_shelf(config, np.random.default_rng(0), np.array([1]))),
        objective,
        batches,
        held_out,
        each,
        config.width,
    )
