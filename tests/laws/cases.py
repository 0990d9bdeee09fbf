"""The models that the laws are tried on: small, a different prime for every dimension, every weight random."""

from dataclasses import replace
from functools import cache, cached_property, partial
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import numpy as np
import pytest

from jaxformer.config.blocks import FeedForward, PostNorm
from jaxformer.config.encoder_decoders import marian, t5
from jaxformer.config.model import (
    Bahdanau,
    Gru,
    Learned,
    Lstm,
    NoPosition,
    RnnConfig,
    Seq2SeqConfig,
    TransformerConfig,
)
from jaxformer.models.build import build
from jaxformer.objectives import translation
from tests.parity.compare import random_like

B, S, T, V = 11, 17, 13, 23
PAD = 0

PRE_NORM = TransformerConfig(width=2 * 7, heads=2, encoder_layers=5, decoder_layers=3, feed_forward=19, dropout=0.0)
POST_NORM = replace(PRE_NORM, norm=PostNorm(), position=Learned(29), bias=False, tied_output=False)
NO_POSITION = replace(PRE_NORM, position=NoPosition())
RNN = RnnConfig(cell=Lstm(), embedding=7, width=2 * 5, layers=2, dropout=0.0)
RNN_ATTENTION = replace(RNN, cell=Gru(), attention=Bahdanau(19))

CONFIGS = {"pre-norm": PRE_NORM, "post-norm": POST_NORM, "rnn": RNN, "rnn with attention": RNN_ATTENTION}
LATER = {
    "t5": t5(2 * 7, 3, 2, 5, FeedForward(19, "relu", bias=False), dropout=0.0),
    "marian": marian(2 * 7, 3, 2, 19, dropout=0.0),
}
"""What has parts that the others lack, and is tried where these matter."""
MODELS = [pytest.param(config, id=name) for name, config in CONFIGS.items()]


class Pairs(NamedTuple):
    """A batch as the objectives read it."""

    source_BS: np.ndarray
    target_BT: np.ndarray


class Case:
    """A model with random weights, and its functions, each compiled once for all tests."""

    def __init__(self, config: Seq2SeqConfig):
        self.model = build(config, V, PAD)
        batch = pairs()
        shapes = jax.eval_shape(self.model.init, jax.random.key(0), *batch)
        self.params: Any = random_like(nn.meta.unbox(shapes), seed=3)
        self.compiled = cache(self._compiled)

    def _compiled(self, method: str = "__call__", **static: Any):
        """(params, *args, rngs=None) → what the model's method returns, with its static arguments filled in."""
        return jax.jit(partial(self.model.apply, method=method, **static))

    def logits(self, *args: Any, **kwargs: Any) -> np.ndarray:
        """The model's logits [B, T, V] with its random weights."""
        return np.asarray(self.compiled()(self.params, *args, **kwargs))

    @cached_property
    def loss_and_gradient(self):
        """(params, batch, key=None) → the loss summed over all tokens, and its gradient."""
        objective = translation(self.model, smoothing=0.1, z_weight=1e-3)
        return jax.jit(jax.value_and_grad(lambda params, batch, key=None: objective(params, batch, key).costs.loss))


@cache
def case(config: Seq2SeqConfig) -> Case:
    """The one case of this config in this process."""
    return Case(config)


def every_model(test):
    """Runs the test for each architecture."""
    return pytest.mark.parametrize("model", MODELS)(test)


def tokens(seed: int, *shape: int) -> np.ndarray:
    """Random tokens, none of which is padding."""
    return np.random.default_rng(seed).integers(1, V, size=shape, dtype=np.int32)


def padded(tokens_BT: np.ndarray, lengths_B: Any) -> np.ndarray:
    """The tokens with padding after each row's length."""
    return np.where(np.arange(tokens_BT.shape[1]) < np.asarray(lengths_B)[:, None], tokens_BT, PAD)


SOURCE_LENGTHS = np.array([S, 1, 0, 5, 16, 2, 9, S, 3, 11, 7])
TARGET_LENGTHS = np.array([T, 2, 0, 7, T, 5, 0, 12, 3, 11, 8])


def pairs(seed: int = 0) -> Pairs:
    """A batch with rows of all lengths; the third row is padding alone, the seventh has nothing to predict."""
    return Pairs(padded(tokens(seed, B, S), SOURCE_LENGTHS), padded(tokens(seed + 1, B, T), TARGET_LENGTHS))
