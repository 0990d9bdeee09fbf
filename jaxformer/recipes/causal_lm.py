"""Train a decoder on text, and use what was trained."""

import json
import math
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from jaxformer.analysis.flops import training_flops_per_target_token
from jaxformer.config.causal_lm import CausalLmConfig
from jaxformer.config.sampling import Sampling
from jaxformer.config.text import Characters
from jaxformer.config.text_data import TextRows, Windows
from jaxformer.data.buckets import Shape
from jaxformer.data.packing import TextBatch, encode_text, eval_windows, text_batches
from jaxformer.data.text import TextCorpus, load_text
from jaxformer.models.decoder import Decoder
from jaxformer.objectives import Total, causal
from jaxformer.recipes.bundle import Bundle
from jaxformer.text.kinds import train_tokenizer
from jaxformer.text.tokenizer import Tokenizer
from jaxformer.training.balance import bias_rates
from jaxformer.training.conduct import FREE, restored, run_job
from jaxformer.training.evaluation import evaluate_loss, perplexity
from jaxformer.training.job import Job
from jaxformer.training.loop import Validation
from jaxformer.training.run import RunFolder, write_whole

SAMPLE = 200
"""Tokens that a finished run writes, to show what it has learned."""


class CausalLmTask(Job):
    """Steps over rows of text, and validation by the loss of every token of the valid split."""

    def __init__(self, config: CausalLmConfig, corpus: TextCorpus, tokenizer: Tokenizer) -> None:
        self.corpus = corpus
        model = Decoder(config.model, tokenizer.size)
        marks = {"end": tokenizer.eos, "vocabulary": tokenizer.size}
        train, valid = (encode_text(split, tokenizer.encode_batch) for split in (corpus.train, corpus.valid))
        batches = text_batches(config.batches, train, config.seed, **marks)
        super().__init__(config, model, tokenizer, batches, causal(model, config.z_loss, config.further))
        self._loss = jax.jit(causal(model))
        self.valid = eval_windows(config.batches, valid, **marks)

    def inputs(self) -> tuple[Any, ...]:
        """A row of two tokens."""
        return (jnp.zeros((1, 2), jnp.int32),)

    def abstract_batch(self, shape: Shape) -> TextBatch:
        """Rows of this shape."""
        return abstract_rows(*shape, packed=not isinstance(self.config.batches, Windows))

    def validate(self, step: int, params: Any) -> Validation:
        """Loss, perplexity and bits per byte of the valid split, each of its tokens predicted once."""
        scores = scores_of(evaluate_loss(self._loss, params, self.valid.batches), self.valid.bytes)
        summary = ", ".join(f"{name} {value:.4f}" for name, value in scores.items())
        metrics = {f"valid_{name.replace(' ', '_')}": value for name, value in scores.items()}
        return Validation(metrics, -scores["loss"], f"valid {summary}")

    def bias_rates(self) -> dict[str, float]:
        """Those of the model's experts."""
        return bias_rates(self.config.model)

    def flops_per_token(self) -> float:
        """Operations of training per token, for rows of the length of training."""
        length = self.config.batches.length
        return training_flops_per_target_token(self.config.model, self.tokenizer.size, 0, length)

    def about(self) -> dict[str, str]:
        """The text, and what a step reads of it."""
        train, valid = len(self.corpus.train), len(self.corpus.valid)
        rows = self.config.batches.rows * self.config.batches.length
        each = self.batches.bytes / self.batches.tokens
        return {
            "data": f"{self.config.data}, {train:,} / {valid:,} documents, {self.corpus.bytes:,} bytes, "
            f"vocabulary {self.tokenizer.size:,}, {each:.2f} bytes a token",
            "batches": f"{rows:,} tokens a step, {self.batches.per_epoch:,.0f} steps an epoch",
        }


def abstract_rows(rows: int, length: int, *, packed: bool) -> TextBatch:
    """The shapes of a batch of rows; only those of packed documents have segments and positions."""
    read = jax.ShapeDtypeStruct((rows, length), jnp.int32)
    beside = read if packed else None
    tokens, counted = jax.ShapeDtypeStruct((rows, length + 1), jnp.int32), jax.ShapeDtypeStruct((rows, length), bool)
    return TextBatch(tokens, beside, beside, counted)  # pyright: ignore[reportArgumentType]


def train(config: CausalLmConfig, out: Path, until: int | None = None) -> Path:
    """Train in the run folder `out`, or go on with the run that is there; returns the folder.

    `until` pauses the run after that step. Raises UserError for input that a person can mend, before anything is
    written, and otherwise as `run_job`.
    """
    corpus = load_text(config.data)
    run = RunFolder(out)
    run.holds(config, *FREE)
    # All of it, or a character of the valid split might have no id; a BPE learns from what is trained on alone.
    tokenizer = run.tokenizer_or(lambda: train_tokenizer(config.tokenizer, _texts(config, corpus)))
    run_job(CausalLmTask(config, corpus, tokenizer), run, until)
    return out


def _texts(config: CausalLmConfig, corpus: TextCorpus) -> tuple[str, ...]:
    return (*corpus.train, *corpus.valid) if isinstance(config.tokenizer, Characters) else corpus.train


def load(path: Path | str, average: int = 1) -> Bundle:
    """The decoder of a run's best checkpoint, or of the mean of its last `average` ones. Raises UserError where there
    is no such run.
    """
    run = RunFolder(Path(path))
    config, tokenizer = run.config(CausalLmConfig), run.tokenizer()
    model = Decoder(config.model, tokenizer.size)
    params, _ = restored(run, config, model, average)
    return Bundle(run.path, model, params, tokenizer)


def finish(out: Path) -> None:
    """Score the best checkpoint, let it write, and say what can be done next."""
    bundle, run = load(out), RunFolder(out)
    config = run.config(CausalLmConfig)
    corpus = load_text(config.data)
    scores = evaluate(bundle, corpus.valid, config.batches)
    write_whole(out / "valid.json", json.dumps(scores, indent=2) + "\n")
    print("best       " + ", ".join(f"{name} {value:.4f}" for name, value in scores.items()))
    count = min(SAMPLE, config.model.context - 1)
    print("".join(bundle.generate("", count=count, sampling=Sampling(0.8, top_k=200), seed=config.seed)))
    folder, board = (shlex.quote(str(each)) for each in (out, run.tensorboard_path))
    print(f"""next       jaxformer generate {folder} --temperature 0.8
           jaxformer inspect {folder}
           tensorboard --logdir {board}""")


def scores_of(total: Total, size: int) -> dict[str, float]:
    """Loss in nats a token, perplexity, and bits per byte, from sums over a text of `size` bytes."""
    nll = float(total.costs.nll / total.tokens)
    bits = float(total.costs.nll) / (math.log(2) * size)
    return {"loss": nll, "perplexity": perplexity(nll), "bits per byte": bits}


def evaluate(bundle: Bundle, documents: Sequence[str], rows: TextRows) -> dict[str, float]:
    """Loss in nats a token, perplexity and bits per byte of some documents, in rows as they are read in training."""
    tokenizer = bundle.reader
    encoded = encode_text(documents, tokenizer.encode_batch)
    text = eval_windows(rows, encoded, end=tokenizer.eos, vocabulary=tokenizer.size)
    return scores_of(evaluate_loss(jax.jit(causal(bundle.decoder)), bundle.params, text.batches), text.bytes)
