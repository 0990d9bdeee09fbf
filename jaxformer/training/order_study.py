"""Arms of an experiment on order: 我爱你 (I love you) or 你爱我 (you love me), who acts?"""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jaxformer.config.model import DecoderConfig
from jaxformer.models.decoder import Decoder
from jaxformer.models.seq2seq import Transformer
from jaxformer.objectives import Total
from jaxformer.ops.losses import cross_entropy
from jaxformer.training.study import Arm, StudyConfig

MEAN, TRAP = "mean of all vectors", "vector in first place"
ME, OTHERS, VERBS, VOCABULARY = 1, range(2, 18), range(18, 34), 34  # Token 0 is padding.
READINGS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    MEAN: lambda tokens: np.full(tokens.shape, 1 / 3),
    "vector of 我": lambda tokens: tokens == ME,
    TRAP: lambda tokens: np.full(tokens.shape, [1, 0, 0]),
}
"""What each token's vector counts when a head reads these tokens [..., 3]."""


class Asked(NamedTuple):
    """Sentences, what each token's vector counts in the reading of them, and whether it is 我 who acts."""

    tokens_BT: Any
    reading_BT: Any
    acts_B: Any


def sentences(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Sentences [N, 3] to train on and to hold out; every bag of words is in one of them, in both orders."""
    bags = np.random.default_rng(seed).permutation([(ME, verb, other) for verb in VERBS for other in OTHERS])
    both, held_out = np.stack([bags, bags[:, ::-1]], axis=1), len(bags) // 4
    return both[held_out:].reshape(-1, 3), both[:held_out].reshape(-1, 3)


def read(tokens_BT: np.ndarray, reading: Any) -> Asked:
    """The batch of these sentences under a reading."""
    return Asked(tokens_BT, reading(tokens_BT).astype(np.float32), (tokens_BT[:, 0] == ME).astype(np.int32))


def order_arm(config: StudyConfig, shape: Any) -> Arm:
    """A model of this shape and a linear head, trained to tell who acts."""
    model: Any = Decoder(shape, VOCABULARY) if isinstance(shape, DecoderConfig) else Transformer(shape, VOCABULARY)

    def init(key: jax.Array) -> Any:
        params = nn.meta.unbox(model.init(key, sentences(0)[0][:1], method="encode"))
        return {"model": params, "answer": jax.random.normal(key, (shape.width, 2)) / shape.width**0.5}

    def answer(params: Any, batch: Asked) -> Any:
        x_BTD = model.apply(params["model"], batch.tokens_BT, method="encode")
        logits_BC = jnp.einsum("bt,btd,dc->bc", batch.reading_BT, x_BTD, params["answer"])
        return x_BTD, jax.tree.map(jnp.sum, cross_entropy(logits_BC, batch.acts_B))

    def objective(params: Any, batch: Asked, key: jax.Array | None) -> Total:
        return Total(answer(params, batch)[1], jnp.float32(len(batch.acts_B)))

    def look(params: Any, held_out: Asked) -> Any:
        """Accuracy, and how far a word's vectors in a sentence and in the reversed one, which follows, are apart."""
        x_BTD, costs = answer(params, held_out)
        apart_BT = jnp.linalg.norm(x_BTD[::2] - x_BTD[1::2, ::-1], axis=-1) / jnp.linalg.norm(x_BTD[::2], axis=-1)
        return {"accuracy": costs.correct / len(x_BTD), "distance": jnp.max(apart_BT)}

    def batches(seed: int, reading: Any) -> Iterator[Asked]:
        rng, (known, _) = np.random.default_rng((seed, 1)), sentences(seed)
        return (read(rng.choice(known, config.batch), reading) for _ in range(config.steps))

    return Arm(init, objective, batches, lambda seed, reading: read(sentences(seed)[1], reading), look)
