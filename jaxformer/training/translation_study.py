"""Arms of experiments that learn to translate the built-in grammar's sentences, word by word, with its gold links."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
from jax import Array

from jaxformer.config.model import TransformerConfig
from jaxformer.config.training import AdamW, Cosine, OptimizationConfig
from jaxformer.data.batches import PairBatch
from jaxformer.data.english_chinese import FAMILIES, sentences
from jaxformer.data.grammar import Example
from jaxformer.decoding.greedy import greedy
from jaxformer.models.seq2seq import Transformer
from jaxformer.objectives import translation
from jaxformer.training.study import TOKENS, Arm, StudyConfig, initial, mean_costs

PAD, BEGIN, END = range(3)
_MARKS = ("<pad>", "<begin>", "<end>")


@dataclass(frozen=True)
class TranslationStudyConfig(StudyConfig):
    """How an experiment learns to translate English into Chinese; `batch` counts pairs."""

    optimization: OptimizationConfig = OptimizationConfig(AdamW(), Cosine(peak=5e-3, warmup=50))
    model: TransformerConfig = TransformerConfig(
        width=64, encoder_layers=2, decoder_layers=2, heads=4, feed_forward=128, dropout=0.0
    )
    family: str = "sense"
    """Of sentences: one of `english_chinese.FAMILIES`, or "sentence" for all of them."""
    pairs: int = 6000
    """Pairs to train on."""
    looks_at: int = 256
    """Pairs in each look."""
    longest: int = 12
    """Most words of a sentence, in either language."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.family not in ("sentence", *FAMILIES):
            raise ValueError(f"family must be one of {', '.join(['sentence', *FAMILIES])}, got {self.family!r}")
        for name in ("pairs", "looks_at", "longest"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")


class Corpus(NamedTuple):
    """Sentence pairs of the grammar, none of them twice, and the words of those to train on."""

    train: tuple[Example, ...]
    held_out: tuple[Example, ...]
    """As many as each look takes; all their words are among those to train on."""
    numbers: Mapping[str, int]
    """The token of every word of both languages, after the marks."""
    longest: int

    def rows(self, examples: Sequence[Example]) -> PairBatch:
        """Pairs as tokens, `longest` words and their marks wide."""
        source = [(*example.english, _MARKS[END]) for example in examples]
        target = [(_MARKS[BEGIN], *example.chinese, _MARKS[END]) for example in examples]
        return PairBatch(self._padded(source, self.longest + 1), self._padded(target, self.longest + 2))

    def _padded(self, rows: Sequence[Sequence[str]], width: int) -> np.ndarray:
        tokens_BT = np.full((len(rows), width), PAD, np.int32)
        for tokens_T, row in zip(tokens_BT, rows, strict=True):
            tokens_T[: len(row)] = [self.numbers[word] for word in row]
        return tokens_BT


@cache
def corpus(family: str, pairs: int, looks_at: int, longest: int) -> Corpus:
    """The same for the same arguments on every machine."""
    stream = (example for example in sentences(0, family) if _length(example) <= longest)
    train = tuple(islice(stream, pairs))
    words = sorted({word for example in train for word in (*example.english, *example.chinese)})
    numbers = {word: number for number, word in enumerate((*_MARKS, *words))}
    known = (example for example in stream if numbers.keys() >= {*example.english, *example.chinese})
    return Corpus(train, tuple(islice(known, looks_at)), numbers, longest)


def _length(example: Example) -> int:
    return max(len(example.english), len(example.chinese))


def corpus_of(config: TranslationStudyConfig) -> Corpus:
    """What a study learns and looks at."""
    return corpus(config.family, config.pairs, config.looks_at, config.longest)


def linked(examples: Sequence[Example], kind: str, shape: tuple[int, int]) -> np.ndarray:
    """Gold links of sentences as flags [B, T, S] of queries and keys, a query for each row of an attention map.

    "sense" and "coreference" lead from the English word to the one that decides its translation; "alignment" from the
    place where a Chinese word is predicted, which is the word or mark before it, to the English word that it renders.
    """
    flags_BTS = np.zeros((len(examples), *shape), bool)
    for flags_TS, example in zip(flags_BTS, examples, strict=True):
        for t, s in _pairs(example, kind):
            flags_TS[t, s] = True
    return flags_BTS


def _pairs(example: Example, kind: str) -> Iterable[tuple[int, int]]:
    if kind == "alignment":
        return ((chinese, english) for english, chinese in example.alignment)
    return ((link.word, link.decider) for link in example.links if link.kind == kind)


def translator(config: TranslationStudyConfig) -> Transformer:
    """The model of a study, for the words of its corpus."""
    return Transformer(config.model, len(corpus_of(config).numbers), PAD)


def translated(config: TranslationStudyConfig, params: Any, source_BS: Any) -> Array:
    """The likeliest Chinese words one by one, and their end mark: [B, longest + 1], padded."""
    marks = {"bos": BEGIN, "eos": END, "pad": PAD}
    return greedy(translator(config), params, source_BS, length=config.longest + 1, **marks).tokens_BT


def translation_arm(config: TranslationStudyConfig) -> Arm:
    """An encoder-decoder that learns to translate; a look is its "loss" on held-out pairs, in nats a word, and the
    "accuracy" of a word after the true ones before it.

    All seeds learn from the same pairs, each in an order of its own.
    """
    model, text = translator(config), corpus_of(config)
    objective, pairs, held_out = translation(model), text.rows(text.train), text.rows(text.held_out)

    def batches(seed: int) -> Iterator[PairBatch]:
        rng = np.random.default_rng((seed, 1))
        for _ in range(config.steps):
            rows_B = rng.integers(len(text.train), size=config.batch)
            yield PairBatch(pairs.source_BS[rows_B], pairs.target_BT[rows_B])

    def look(params: Any, batch: PairBatch) -> dict[str, Array]:
        return mean_costs(objective(params, batch, None))

    return Arm(initial(model, TOKENS, TOKENS), objective, batches, lambda seed: held_out, look, config.model.width)
