"""Train an encoder-decoder on a parallel corpus, and use what was trained."""

import json
import shlex
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from jaxformer.analysis.attention_maps import sentence_maps
from jaxformer.analysis.flops import training_flops_per_target_token
from jaxformer.analysis.fonts import ADVICE
from jaxformer.analysis.plots import draw_attention
from jaxformer.config.errors import UserError
from jaxformer.config.model import EncoderDecoderConfig, Learned, NoAttention, RnnConfig
from jaxformer.config.translate import SearchConfig, TranslateConfig
from jaxformer.data.batches import PairBatch, Shape, TranslationBatches, pair_batches
from jaxformer.data.corpora import ParallelCorpus, Split, load_corpus, load_split
from jaxformer.models.build import build
from jaxformer.models.rnn import Rnn
from jaxformer.models.seq2seq import Transformer
from jaxformer.objectives import translation
from jaxformer.recipes.bundle import Bundle
from jaxformer.text.bpe import BpeTokenizer, train_bpe
from jaxformer.training.conduct import FREE, restored, run_job
from jaxformer.training.evaluation import Translator, evaluate_loss, perplexity
from jaxformer.training.given import check_as_begun, digest, model_changes, on_host
from jaxformer.training.job import Job
from jaxformer.training.loop import Validation
from jaxformer.training.run import RunFolder, write_whole
from jaxformer.training.scoring import Scores, score

SHOWN = 8
"""Sentences of the valid split that every validation writes out."""


class TranslationTask(Job):
    """Steps over batches of sentence pairs, and validation by loss and BLEU."""

    def __init__(
        self, config: TranslateConfig, corpus: ParallelCorpus, tokenizer: BpeTokenizer, weights: Any = None
    ) -> None:
        """`weights` are those to begin with; without them all are drawn."""
        self.corpus = corpus
        model = build(config.model, tokenizer.size, tokenizer.pad)
        marks = {"pad": tokenizer.pad, "bos": tokenizer.bos, "eos": tokenizer.eos, "vocabulary": tokenizer.size}
        batches = TranslationBatches(_encode(corpus.train, tokenizer), config.batches, config.seed, **marks)
        learned = translation(model, config.smoothing, config.z_loss, config.consistency)
        super().__init__(config, model, tokenizer, batches, learned, weights)
        self._loss = jax.jit(translation(model))
        self._valid = pair_batches(_encode(corpus.valid, tokenizer), batches.bounds, config.batches.tokens, **marks)
        self._greedy = Translator(model, tokenizer, replace(config.search, beams=1))
        self._check_positions()

    def inputs(self) -> tuple[Any, ...]:
        """A source and a target of two tokens."""
        return (jnp.zeros((1, 2), jnp.int32),) * 2

    def abstract_batch(self, shape: Shape) -> PairBatch:
        """Sentence pairs of this shape."""
        return abstract_pairs(*shape)

    def validate(self, step: int, params: Any) -> Validation:
        """Loss on the valid split, and BLEU of greedy translations of its first sentences."""
        total = evaluate_loss(self._loss, params, [batch for _, batch in self._valid])
        nll = float(total.costs.nll / total.tokens)
        sources, references = self.corpus.valid.references()
        count = self.config.watch.sentences
        hypotheses = self._greedy(params, sources[:count])
        scores = score(hypotheses, references[:count], self.config.target)
        bleu = (scores.bleu_lowercase if self.config.tokenizer.lowercase else scores.bleu).score
        shown = zip(sources[:SHOWN], hypotheses, references, strict=False)
        sample = "".join(f"source     {s}\ntranslated {h}\nreference  {r[0]}\n\n" for s, h, r in shown)
        self.keep_sample(step, sample)
        accuracy = float(total.costs.correct / total.tokens)
        metrics = {"valid_loss": nll, "valid_accuracy": accuracy, "valid_bleu": bleu}
        return Validation(
            metrics, bleu, f"valid loss {nll:.4f}, perplexity {perplexity(nll):.2f}, BLEU {bleu:.2f} (greedy)"
        )

    def flops_per_token(self) -> float:
        """Operations of training per target token, for sentences of the corpus' mean length."""
        source, target = self.batches.mean_lengths
        once = training_flops_per_target_token(self.config.model, self.tokenizer.size, source, target)
        return self.config.readings * once

    def about(self) -> dict[str, str]:
        """The corpus and the totals of an epoch, in which every pair is shown once."""
        config, batches = self.config, self.batches
        source, target = batches.mean_lengths
        pairs = batches.pairs - batches.dropped
        targets = pairs * target / batches.per_epoch
        # A target's begin mark fills a position and is no target.
        positions = pairs * (source + target + 1) / batches.efficiency / batches.per_epoch
        sizes = f"{len(self.corpus.train):,} / {len(self.corpus.valid):,} / {len(self.corpus.test):,}"
        begun = {} if config.init is None else {"init": str(config.init)}
        return begun | {
            "data": f"{config.data} {config.source}→{config.target}, {sizes} pairs, vocabulary {self.tokenizer.size:,}",
            "batches": f"{targets:,.0f} target tokens a step, {positions:,.0f} positions on both sides, "
            f"{batches.efficiency:.0%} of them tokens, {batches.per_epoch} steps an epoch",
        }

    def notes(self) -> tuple[str | None, ...]:
        """What was left out."""
        return self.corpus.notice, self.batches.notice

    def _check_positions(self) -> None:
        """Raises UserError where the run would come upon a sequence without learned positions for all of it."""
        model = self.config.model
        if isinstance(model, RnnConfig) or not isinstance(model.position, Learned):
            return
        sources = self._greedy.batches([*self.corpus.valid.sources, *self.corpus.test.sources])
        lengths = {
            "search.length": self.config.search.length,
            "train batches": self.batches.bounds[-1],
            "valid batches": max(batch.source_BS.shape[1] for _, batch in self._valid),
            "batches to translate": max(source_BS.shape[1] for _, source_BS in sources),
        }
        longer = [f"{length} ({name})" for name, length in lengths.items() if length > model.position.length]
        if longer:
            raise UserError(
                f"model.position must reach to the end of every sentence, padding included, got "
                f"length={model.position.length} for lengths of {', '.join(longer)}; "
                f"raise model.position.length to at least {max(lengths.values())}"
            )


def abstract_pairs(rows: int, length: int) -> PairBatch:
    """The shapes of a batch of sentence pairs."""
    shapes = (rows, length), (rows, length + 1)
    return PairBatch(*(jax.ShapeDtypeStruct(shape, jnp.int32) for shape in shapes))  # pyright: ignore[reportArgumentType]


def train(config: TranslateConfig, out: Path, until: int | None = None) -> Path:
    """Train in the run folder `out`, or go on with the run that is there; returns the folder.

    `until` pauses the run after that step. Raises UserError for input that a person can mend, before anything is
    written, and otherwise as `run_job`.
    """
    corpus, run = load_corpus(config.data, config.source, config.target), RunFolder(out)
    # The path holds wherever the next command is given.
    init = None if config.init is None else load(config.init.expanduser().resolve())
    config = completed(config, init)
    run.holds(config, *FREE)
    sentences = [*corpus.train.sources, *corpus.train.targets]
    tokenizer = run.tokenizer_or(lambda: init.tokenizer if init else train_bpe(sentences, config.tokenizer))
    weights = None if init is None else on_host(init.params)
    run_job(TranslationTask(config, corpus, tokenizer, weights), run, until)
    return out


def completed(config: TranslateConfig, init: "Trained | None") -> TranslateConfig:
    """The config with all that `init` tells. Raises UserError where it names another model."""
    there, found = init and init.run.path, {} if init is None else {"weights": digest(init.params)}
    check_as_begun(config, there, found)
    if init is None:
        return config
    if changes := model_changes(init.config.model, config.model):
        raise UserError(
            f"the model must be that of --init {there} but for dropout, got {'; '.join(changes)}; "
            "give the --model that it was trained with"
        )
    return replace(config, init=there, tokenizer=init.config.tokenizer, **found)


@dataclass(frozen=True)
class Trained:
    """A run that can translate."""

    run: RunFolder
    config: TranslateConfig
    tokenizer: BpeTokenizer
    model: Transformer | Rnn
    params: Any
    step: int
    """The step that the parameters are from; of an average, the last one."""

    @property
    def has_attention(self) -> bool:
        """Whether there is anything that the model looks at."""
        return not (isinstance(self.config.model, RnnConfig) and isinstance(self.config.model.attention, NoAttention))

    def translator(self, search: SearchConfig | None = None) -> Translator:
        """Text to text, by the search of the run unless another one is given."""
        return Translator(self.model, self.tokenizer, search or self.config.search)

    def save(self, folder: str | Path) -> None:
        """Writes the Hugging Face layout, as `Bundle.save`, and how the run searches; theirs divides by length^alpha.

        UserError where no family of theirs computes the model.
        """
        if not isinstance(self.config.model, EncoderDecoderConfig) or isinstance(self.model, Rnn):
            raise UserError(
                f"{self.run.path} holds a model that other libraries do not know, {type(self.config.model).__name__}; "
                "train --model t5-tiny or marian-tiny to export it"
            )
        Bundle(self.run.path, self.model, self.params, self.tokenizer).save(folder)
        t, search = self.tokenizer, self.config.search
        generation = {
            "max_new_tokens": search.length,
            "num_beams": search.beams,
            "length_penalty": search.alpha,
            "decoder_start_token_id": t.bos,
            "bos_token_id": t.bos,
            "eos_token_id": t.eos,
            "forced_eos_token_id": t.eos,
            "pad_token_id": t.pad,
            "bad_words_ids": [[t.pad], [t.bos]],
        }
        write_whole(Path(folder) / "generation_config.json", json.dumps(generation, indent=2) + "\n")


def load(path: Path | str, average: int = 1) -> Trained:
    """The best checkpoint of a run, or the mean of its last `average` ones. Raises UserError where there is no such
    run.
    """
    run = RunFolder(Path(path))
    config, tokenizer = run.config(TranslateConfig), run.tokenizer()
    model = build(config.model, tokenizer.size, tokenizer.pad)
    params, step = restored(run, config, model, average)
    return Trained(run, config, tokenizer, model, params, step)


def evaluate(
    trained: Trained, data: str | None = None, split: str = "test", search: SearchConfig | None = None
) -> Scores:
    """BLEU and chrF on a split, against all references of each source; the run's own corpus unless another one is
    given.
    """
    config = trained.config
    sources, references = load_split(data or config.data, config.source, config.target, split).references()
    return score(trained.translator(search)(trained.params, sources), references, config.target)


def draw(trained: Trained, text: str, path: Path, search: SearchConfig | None = None) -> str:
    """Translate one sentence, draw what every head of the last layer read of it, and return the translation.

    Raises UserError for a model without attention and for a picture format that is not known.
    """
    if not trained.has_attention:
        raise UserError(f"the model of {trained.run.path} has no attention to draw; train one that has")
    t = trained.tokenizer
    # The tokens that were generated: the same text may also be spelled by others, which the model never read.
    target = trained.translator(search).tokens(trained.params, [text])[0]
    source, translated = [*t.encode(text), t.eos], t.decode(target)
    maps = sentence_maps(trained.model, trained.params, source, [t.bos, *target])
    pieces = t.pieces(source), t.pieces([*target, t.eos])
    missing = draw_attention(path, maps["cross"][-1], *pieces, f"{text} → {translated}")
    if missing:
        print(f"no installed font has {missing}; {ADVICE}", file=sys.stderr)
    return translated


def finish(out: Path) -> None:
    """Score the best checkpoint on the test split, show and draw examples, and say what can be done next."""
    trained = load(out)
    config, run = trained.config, trained.run
    print(f"testing    the checkpoint of step {trained.step}, beam {config.search.beams}", flush=True)
    scores = evaluate(trained)
    write_whole(out / "test.json", json.dumps({"step": trained.step, **scores.to_json()}, indent=2) + "\n")
    print(scores.table())
    sources, references = load_split(config.data, config.source, config.target, "test").references()
    shown = sources[:SHOWN]
    for source, translated, known in zip(shown, trained.translator()(trained.params, shown), references, strict=False):
        print(f"  {source}\n    → {translated}" + ("" if translated in known else f"\n      reference: {known[0]}"))
    example = min(sources, key=lambda text: abs(len(text) - 40))
    if trained.has_attention:
        draw(trained, example, out / "attention.png")
        print(f"attention  {out / 'attention.png'}")
    folder, board, sentence = (shlex.quote(str(each)) for each in (out, run.tensorboard_path, example))
    print(f"""next       jaxformer translate {folder} {sentence} --attention attention.png
           jaxformer evaluate {folder} --json
           jaxformer inspect {folder}
           tensorboard --logdir {board}""")


def _encode(split: Split, tokenizer: BpeTokenizer) -> list[tuple[list[int], list[int]]]:
    return list(zip(tokenizer.encode_batch(split.sources), tokenizer.encode_batch(split.targets), strict=True))
