"""Train an encoder to tell hidden tokens, and use what was trained."""

import json
import math
import shlex
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxformer.analysis.flops import training_flops_per_target_token
from jaxformer.config.errors import UserError
from jaxformer.config.masked_lm import MaskedLmConfig
from jaxformer.config.text_data import Masking, WholeWordMasking
from jaxformer.data.buckets import Shape
from jaxformer.data.masking import MaskedBatch, MaskedBatches, marked_rows, most_guessed
from jaxformer.data.text import TextCorpus, load_text
from jaxformer.models.encoder import Encoder
from jaxformer.objectives import Total, masked
from jaxformer.recipes.bundle import Bundle
from jaxformer.recipes.fill import fill
from jaxformer.text.kinds import train_tokenizer
from jaxformer.text.pretrained import PretrainedTokenizer
from jaxformer.training.conduct import FREE, restored, run_job
from jaxformer.training.evaluation import evaluate_loss, perplexity
from jaxformer.training.job import Job
from jaxformer.training.loop import Validation
from jaxformer.training.run import RunFolder, write_whole

SHOWN, WORDS = 3, 12
"""Examples that a finished run fills in, and the words of each."""

FIXED = 0
"""Seed of the masks of a validation: the same ones every time, and for runs of all seeds."""


class MaskedLmTask(Job):
    """Steps over masked rows, and validation by the loss of the tokens that are hidden from the valid split."""

    def __init__(self, config: MaskedLmConfig, corpus: TextCorpus, tokenizer: PretrainedTokenizer) -> None:
        self.corpus = corpus
        model = Encoder(config.model, tokenizer.size, tokenizer.pad)
        batches = masked_batches(config, corpus.train, config.seed, tokenizer)
        super().__init__(config, model, tokenizer, batches, masked(model, config.z_loss))
        self._loss = jax.jit(masked(model))
        self.valid = held_out(config, corpus.valid, tokenizer)

    def inputs(self) -> tuple[Any, ...]:
        """A row of two tokens."""
        return (jnp.zeros((1, 2), jnp.int32),)

    def abstract_batch(self, shape: Shape) -> MaskedBatch:
        """Rows of this shape."""
        return abstract_masked(*shape, self.config.masking)

    def validate(self, step: int, params: Any) -> Validation:
        """Loss, perplexity and accuracy of the hidden tokens."""
        scores = scores_of(evaluate_loss(self._loss, params, self.valid))
        summary = ", ".join(f"{name} {value:.4f}" for name, value in scores.items())
        metrics = {f"valid_{name}": value for name, value in scores.items()}
        return Validation(metrics, -scores["loss"], f"valid {summary}")

    def flops_per_token(self) -> float:
        """Operations of training per guessed token, for rows of the mean length."""
        length = self.batches.mean_length
        guessed = self.config.masking.rate * length
        return training_flops_per_target_token(self.config.model, self.tokenizer.size, length, guessed)

    def about(self) -> dict[str, str]:
        """The text, and what a step reads of it."""
        train, valid = len(self.corpus.train), len(self.corpus.valid)
        return {
            "data": f"{self.config.data}, {train:,} / {valid:,} documents, {self.corpus.bytes:,} bytes, "
            f"vocabulary {self.tokenizer.size:,}",
            "batches": f"{self.config.batches.tokens:,} tokens a step, {self.config.masking.rate:.0%} of them guessed, "
            f"{self.batches.per_epoch:,.0f} steps an epoch",
        }

    def notes(self) -> tuple[str | None, ...]:
        """What was left out."""
        return (self.batches.notice,)


def masked_batches(
    config: MaskedLmConfig, documents: Sequence[str], seed: int, tokenizer: PretrainedTokenizer
) -> MaskedBatches:
    """The stream that hides tokens of some documents as the configuration says."""
    # A WordPiece has all of these.
    marks: Any = tokenizer.specials
    cls, sep, mask = marks.cls, marks.sep, marks.mask
    encoded = tokenizer.encode_batch(documents)
    rows = marked_rows(config.batches, encoded, seed, pad=tokenizer.pad, cls=cls, sep=sep, vocabulary=tokenizer.size)
    # What is unknown is no word that could be told.
    special = tokenizer.pad, marks.unk, cls, sep
    continues_V = continuing(tokenizer) if isinstance(config.masking, WholeWordMasking) else None
    return MaskedBatches(
        config.masking, rows, seed, mask=mask, special=special, vocabulary=tokenizer.size, continues_V=continues_V
    )


def continuing(tokenizer: PretrainedTokenizer) -> np.ndarray:
    """Which ids of a WordPiece go on with a word, bool [V]."""
    return np.array([piece.startswith("##") for piece in tokenizer.pieces(range(tokenizer.size))])


def held_out(config: MaskedLmConfig, documents: Sequence[str], tokenizer: PretrainedTokenizer) -> list[MaskedBatch]:
    """Batches that show every row of some documents, always masked alike; the last one is filled up with rows that are
    shown again, masked otherwise. Raises UserError where no token would be guessed.
    """
    stream = masked_batches(config, documents, FIXED, tokenizer)
    batches = [stream[i] for i in range(math.ceil(stream.per_epoch))]
    if not any(batch.counted_BM.any() for batch in batches):
        raise UserError("the valid split is so short that none of its tokens is guessed; give it more text")
    return batches


def abstract_masked(rows: int, length: int, masking: Masking) -> MaskedBatch:
    """The shapes of a batch of masked rows."""
    shape = rows, most_guessed(masking, length)
    shapes = [jax.ShapeDtypeStruct(shape, kind) for kind in (jnp.int32, jnp.int32, bool)]
    return MaskedBatch(jax.ShapeDtypeStruct((rows, length), jnp.int32), *shapes)  # pyright: ignore[reportArgumentType]


def train(config: MaskedLmConfig, out: Path, until: int | None = None) -> Path:
    """Train in the run folder `out`, or go on with the run that is there; returns the folder.

    `until` pauses the run after that step. Raises UserError for input that a person can mend, before anything is
    written, and otherwise as `run_job`.
    """
    corpus = load_text(config.data)
    run = RunFolder(out)
    run.holds(config, *FREE)
    tokenizer = run.tokenizer_or(lambda: train_tokenizer(config.tokenizer, corpus.train))
    run_job(MaskedLmTask(config, corpus, tokenizer), run, until)
    return out


def load(path: Path | str, average: int = 1) -> Bundle:
    """The encoder of a run's best checkpoint, or of the mean of its last `average` ones. Raises UserError where there
    is no such run.
    """
    run = RunFolder(Path(path))
    config, tokenizer = run.config(MaskedLmConfig), run.tokenizer()
    model = Encoder(config.model, tokenizer.size, tokenizer.pad)
    params, _ = restored(run, config, model, average)
    return Bundle(run.path, model, params, tokenizer)


def evaluate(bundle: Bundle, documents: Sequence[str], config: MaskedLmConfig) -> dict[str, float]:
    """Loss in nats a hidden token, perplexity and accuracy for some documents, masked as in a validation."""
    model: Any = bundle.model
    batches = held_out(config, documents, bundle.reader)
    return scores_of(evaluate_loss(jax.jit(masked(model)), bundle.params, batches))


def scores_of(total: Total) -> dict[str, float]:
    """Loss in nats a token, perplexity and accuracy, from sums over tokens."""
    nll = float(total.costs.nll / total.tokens)
    return {"loss": nll, "perplexity": perplexity(nll), "accuracy": float(total.costs.correct / total.tokens)}


def finish(out: Path) -> None:
    """Score the best checkpoint, let it fill in some words, and say what can be done next."""
    bundle, run = load(out), RunFolder(out)
    config = run.config(MaskedLmConfig)
    corpus = load_text(config.data)
    scores = evaluate(bundle, corpus.valid, config)
    write_whole(out / "valid.json", json.dumps(scores, indent=2) + "\n")
    print("best       " + ", ".join(f"{name} {value:.4f}" for name, value in scores.items()))
    text = ""
    for text in islice(_examples(bundle, corpus.valid), SHOWN):
        guesses = ", ".join(f"{guess.token} {guess.probability:.0%}" for guess in fill(bundle, text).guesses[0])
        print(f"  {text}\n    → {guesses}")
    folder, board, text = (shlex.quote(str(each)) for each in (out, run.tensorboard_path, text))
    print(f"""next       jaxformer fill {folder} {text}
           jaxformer train classify --init {folder} --data FOLDER
           jaxformer inspect {folder}
           tensorboard --logdir {board}""")


def _examples(bundle: Bundle, documents: Sequence[str]) -> Iterator[str]:
    """The beginning of each document, with one word hidden."""
    tokenizer = bundle.reader
    for document in documents:
        words = document.split()[:WORDS]
        words[len(words) // 2] = tokenizer.token("mask")
        text = " ".join(words)
        if len(tokenizer.encode_with_specials(text, read_specials=True).ids) <= bundle.config.context:
            yield text
