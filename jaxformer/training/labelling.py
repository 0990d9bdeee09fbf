"""Telling the classes of texts, and how well that goes."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jaxformer.analysis.confusion import accuracy, confusion, f1, macro_f1
from jaxformer.config.data import Batching
from jaxformer.config.errors import UserError
from jaxformer.data.labelled import Example, IndexedLabelled, encode_examples, labelled_batches
from jaxformer.ops.losses import cross_entropy
from jaxformer.text.pretrained import PretrainedTokenizer
from jaxformer.training.evaluation import BOUNDS

Text = tuple[str, ...]
"""One sentence or two."""


class Marks(NamedTuple):
    """The ids that stand around sentences, and the number of all."""

    pad: int
    cls: int
    sep: int
    vocabulary: int


def marks_of(tokenizer: PretrainedTokenizer) -> Marks:
    """Those of a tokenizer; UserError where it has none to begin and end a sentence."""
    cls, sep = tokenizer.specials.cls, tokenizer.specials.sep
    if cls is None or sep is None:
        raise UserError("the tokenizer of an encoder must have a cls and a sep token; take one of the kind of BERT's")
    return Marks(tokenizer.pad, cls, sep, tokenizer.size)


class Labeller:
    """Texts → how likely each class is, with a trained model; texts longer than `config.max_length` are cut."""

    def __init__(self, model: nn.Module, tokenizer: PretrainedTokenizer, config: Batching) -> None:
        self._tokenizer, self._config, self._marks = tokenizer, config, marks_of(tokenizer)
        self._apply = jax.jit(model.apply)

    def batches(self, texts: Sequence[Text]) -> list[IndexedLabelled]:
        """The texts as the model reads them."""
        longest = self._config.max_length
        bounds = [*(bound for bound in BOUNDS if bound < longest), longest]
        return labelled_batches(self._encoded(texts), bounds, self._config, **self._marks._asdict())

    def logits(self, params: Any, batches: Sequence[IndexedLabelled]) -> np.ndarray:
        """float32 [N, C], in the order of the texts that the batches were made of."""
        places_N = np.concatenate([indices_B for indices_B, _ in batches])
        parts = [np.asarray(self._apply(params, batch.tokens_BT, batch.types_BT)) for _, batch in batches]
        logits_NC = np.concatenate(parts)[places_N >= 0]
        return logits_NC[np.argsort(places_N[places_N >= 0])]

    def __call__(self, params: Any, texts: Sequence[Text]) -> np.ndarray:
        """Probabilities float32 [N, C]; there must be a text."""
        return np.asarray(jax.nn.softmax(self.logits(params, self.batches(texts))))

    def cut(self, texts: Sequence[Text]) -> int:
        """How many of the texts are cut."""
        longest = self._config.max_length
        return sum(1 + sum(len(ids) + 1 for ids in each.sentences) > longest for each in self._encoded(texts))

    def _encoded(self, texts: Sequence[Text]) -> Any:
        return encode_examples([Example(-1, text) for text in texts], self._tokenizer.encode_batch)


@dataclass(frozen=True)
class LabelScores:
    """How well classes were told; nats and parts of one."""

    loss: float
    accuracy: float
    macro_f1: float
    """The mean F1 of the classes."""
    f1: float | None
    """That of the second class, where there are two."""
    counts_CC: np.ndarray
    """Rows are the true classes, columns those that were told."""

    @property
    def numbers(self) -> dict[str, float]:
        """All but the counts, and but for an F1 of a class that is neither there nor told, which is no number."""
        named = {name: getattr(self, name) for name in ("loss", "accuracy", "macro_f1", "f1")}
        return {name: value for name, value in named.items() if value is not None and not math.isnan(value)}


def label_scores(logits_NC: np.ndarray, labels_N: np.ndarray) -> LabelScores:
    """The scores of telling the likeliest class each time."""
    classes = logits_NC.shape[1]
    counts_CC = confusion(labels_N, logits_NC.argmax(axis=1), classes)
    loss = float(cross_entropy(jnp.asarray(logits_NC), jnp.asarray(labels_N)).nll.mean())
    second = float(f1(counts_CC)[1]) if classes == 2 else None
    return LabelScores(loss, accuracy(counts_CC), macro_f1(counts_CC), second, counts_CC)
