"""Training steps to be measured: a model, what it learns, and one batch, without data, folders or a loop."""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import flax.linen as nn
import jax
import numpy as np

from jaxformer.config.decoders import gpt2
from jaxformer.config.encoders import bert
from jaxformer.config.model import DecoderConfig, Dtype, Layers, TransformerConfig
from jaxformer.config.training import Adam, AdamW, NoAverage, OptimizationConfig
from jaxformer.data.batches import PairBatch
from jaxformer.data.masking import MaskedBatch
from jaxformer.data.packing import TextBatch
from jaxformer.models.decoder import Decoder
from jaxformer.models.encoder import Encoder
from jaxformer.models.seq2seq import Transformer
from jaxformer.objectives import Objective, causal, masked, translation
from jaxformer.training.optimizers import optimizer
from jaxformer.training.state import TrainState, new_state
from jaxformer.training.step import make_step

STEPS = 1000
"""Length of the run that the schedule is made for; no step of it costs more than another."""

UNROLLED, SCANNED = Layers(unroll=True), Layers()


@dataclass(frozen=True)
class Learner:
    """All that a step needs but its state."""

    model: Any
    objective: Objective
    batch: Any
    inputs: tuple[Any, ...]
    """What the model is called with, as small as can be."""
    optimizer: Adam | AdamW = AdamW(weight_decay=0.1)

    def new_state(self, key: jax.Array) -> TrainState:
        """The state before the first step; to be jitted."""
        params = nn.unbox(self.model.init(key, *self.inputs))
        return new_state(params, self._transformation, NoAverage(), key)

    @cached_property
    def abstract_state(self) -> TrainState:
        """Its shapes."""
        return jax.eval_shape(self.new_state, jax.random.key(0))

    @property
    def step(self) -> Any:
        """(state, batch) → (state, metrics), jitted anew, its state donated."""
        return jax.jit(make_step(self.objective, self._transformation), donate_argnums=0)

    def loss_and_gradient(self, params: Any) -> tuple[jax.Array, Any]:
        """The mean loss of the batch, and its gradient; to be jitted."""

        def loss(params: Any) -> jax.Array:
            total = self.objective(params, self.batch, None)
            return total.costs.loss / total.tokens

        return jax.value_and_grad(loss)(params)

    @cached_property
    def _transformation(self) -> Any:
        return optimizer(OptimizationConfig(self.optimizer), STEPS, self.model.config.width)


@dataclass(frozen=True)
class GptShape:
    """A GPT-2 that reads rows of its whole context; unless given, that of nanoGPT for Shakespeare's characters."""

    layers: int = 6
    width: int = 384
    heads: int = 6
    length: int = 256
    vocabulary: int = 65

    def config(self, layout: Layers = UNROLLED, dtype: Dtype = "float32") -> DecoderConfig:
        plain = gpt2(self.width, self.layers, self.heads, context=self.length, dropout=0.0)
        return replace(plain, layers=layout, dtype=dtype)


def gpt(shape: GptShape, rows: int, layout: Layers = UNROLLED, dtype: Dtype = "float32", seed: int = 0) -> Learner:
    """A GPT-2 that learns so many rows of random tokens."""
    model = Decoder(shape.config(layout, dtype), shape.vocabulary)
    tokens_BT = _tokens(seed, rows, shape.length + 1, shape.vocabulary)
    batch = TextBatch(tokens_BT, None, None, np.ones((rows, shape.length), bool))
    return Learner(model, causal(model), batch, (tokens_BT[:1, :2],))


@dataclass(frozen=True)
class PairShape:
    """An encoder-decoder as Vaswani et al. 2017 have it in table 3, "base", with pre-norm, and its sentences; neither
    side is padded.
    """

    layers: int = 6
    """Of each side."""
    width: int = 512
    heads: int = 8
    length: int = 64
    """Tokens of each side."""
    rows: int = 16
    vocabulary: int = 8000


def encoder_decoder(shape: PairShape, layout: Layers = UNROLLED, seed: int = 0) -> Learner:
    """An encoder-decoder that learns pairs of random tokens."""
    config = TransformerConfig(
        shape.width,
        shape.layers,
        shape.layers,
        shape.heads,
        4 * shape.width,
        dropout=0.0,
        layers=layout,
    )
    model = Transformer(config, shape.vocabulary)
    source_BS, target_BT = (_tokens(seed + i, shape.rows, shape.length + i, shape.vocabulary) for i in (0, 1))
    batch = PairBatch(source_BS, target_BT)
    return Learner(model, translation(model), batch, (source_BS[:1, :2], target_BT[:1, :2]), Adam())


@dataclass(frozen=True)
class BertShape:
    """BERT-mini of Turc et al. 2019, of whose tokens one in six or seven is hidden."""

    layers: int = 4
    width: int = 256
    heads: int = 4
    length: int = 128
    hidden: int = 20
    """Tokens of a row that are to be guessed."""
    rows: int = 16
    vocabulary: int = 30_522


def encoder(shape: BertShape, layout: Layers = UNROLLED, seed: int = 0) -> Learner:
    """A BERT that learns random tokens, without the pooler, which has no part in that, and without dropout."""
    config = bert(shape.width, shape.layers, shape.heads, context=shape.length)
    model = Encoder(replace(config, pooler=False, dropout=0.0, layers=layout), shape.vocabulary)
    rng = np.random.default_rng(seed)
    places_BM = np.sort([rng.permutation(shape.length)[: shape.hidden] for _ in range(shape.rows)]).astype(np.int32)
    inputs_BT = _tokens(seed, shape.rows, shape.length, shape.vocabulary)
    labels_BM = _tokens(seed + 1, shape.rows, shape.hidden, shape.vocabulary)
    batch = MaskedBatch(inputs_BT, places_BM, labels_BM, np.ones(places_BM.shape, bool))
    return Learner(model, masked(model), batch, (inputs_BT[:1, :2],), Adam())


def _tokens(seed: int, rows: int, length: int, vocabulary: int) -> np.ndarray:
    """None of them padding, which is 0."""
    return np.random.default_rng(seed).integers(1, vocabulary, (rows, length)).astype(np.int32)
