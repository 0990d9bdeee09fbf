"""Translating and scoring held-out text."""

import math
from collections.abc import Iterable, Sequence
from itertools import takewhile
from typing import Any

import flax.linen as nn
import jax
import numpy as np

from jaxformer.config.translate import SearchConfig
from jaxformer.data.batches import IndexedSources, source_batches
from jaxformer.decoding.beam import beam
from jaxformer.decoding.greedy import greedy
from jaxformer.objectives import Objective, Total
from jaxformer.text.tokenizer import Tokenizer

POSITIONS = 2048
"""Source positions translated at a time, over all rows of a batch."""

BOUNDS = (16, 32, 64)
"""Lengths that sources are padded to, doubled for longer ones: few, since each is a program to compile."""


class Translator:
    """Text in one language → text in the other, with a trained model."""

    def __init__(self, model: nn.Module, tokenizer: Tokenizer, search: SearchConfig) -> None:
        self._model, self._tokenizer, self._search = model, tokenizer, search

    def __call__(self, params: Any, texts: Sequence[str]) -> list[str]:
        """The translation of every text, in order; that of a blank text is empty."""
        return [self._tokenizer.decode(ids) for ids in self.tokens(params, texts)]

    def tokens(self, params: Any, texts: Sequence[str]) -> list[list[int]]:
        """The ids of every translation as they were generated, without the end mark."""
        eos = self._tokenizer.eos
        translations: list[list[int]] = [[] for _ in texts]
        for indices_B, source_BS in self.batches(texts):
            tokens_BT = np.asarray(self._decode(params, source_BS))
            for index, tokens_T in zip(indices_B, tokens_BT, strict=True):
                if index >= 0 and texts[int(index)].strip():
                    translations[index] = list(takewhile(lambda token: token != eos, tokens_T.tolist()))
        return translations

    def batches(self, texts: Sequence[str]) -> list[IndexedSources]:
        """The texts as the model reads them."""
        t = self._tokenizer
        return source_batches(t.encode_batch(texts), BOUNDS, POSITIONS, pad=t.pad, eos=t.eos, vocabulary=t.size)

    def _decode(self, params: Any, source_BS: np.ndarray) -> jax.Array:
        t, s = self._tokenizer, self._search
        marks = {"bos": t.bos, "eos": t.eos, "pad": t.pad}
        if s.beams == 1:
            return greedy(self._model, params, source_BS, length=s.length, alpha=s.alpha, **marks).tokens_BT
        found = beam(self._model, params, source_BS, length=s.length, beams=s.beams, alpha=s.alpha, **marks)
        return found.tokens_BT


def perplexity(nll: float) -> float:
    """e^nll, infinite where that is more than a float can hold."""
    try:
        return math.exp(nll)
    except OverflowError:
        return math.inf


def evaluate_loss(objective: Objective, params: Any, batches: Iterable[Any]) -> Total:
    """The objective's sums over every batch, dropout off; `objective` should be jitted."""
    totals = [objective(params, batch, None) for batch in batches]
    return jax.tree.map(lambda *parts: np.sum(jax.device_get(parts), dtype=np.float64), *totals)
