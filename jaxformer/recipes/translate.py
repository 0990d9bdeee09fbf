"""Train an encoder-decoder on a parallel corpus, and use what was trained."""

import json
import math
import shlex
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxformer.analysis.attention_maps import attention_maps
from jaxformer.analysis.flops import training_flops_per_target_token
from jaxformer.analysis.fonts import ADVICE
from jaxformer.analysis.hardware import describe, summary, total_peak_flops
from jaxformer.analysis.parameters import abstract_parameters, parameter_count, parameter_table
from jaxformer.analysis.plots import draw_attention
from jaxformer.config.errors import UserError
from jaxformer.config.model import Learned, NoAttention, RnnConfig, TransformerConfig
from jaxformer.config.training import NoAverage
from jaxformer.config.translate import SearchConfig, TranslateConfig
from jaxformer.data.batches import PairBatch, TranslationBatches, pair_batches
from jaxformer.data.corpora import ParallelCorpus, Split, load_corpus, load_split
from jaxformer.models.build import build
from jaxformer.models.rnn import Rnn
from jaxformer.models.seq2seq import Transformer
from jaxformer.objectives import translation
from jaxformer.parallel.gather import gathered
from jaxformer.parallel.mesh import batch_shardings, make_mesh, place, repeated_rows, replicated, state_shardings
from jaxformer.text.bpe import BpeTokenizer, train_bpe
from jaxformer.training.checkpoint import Checkpoints, Progress
from jaxformer.training.evaluation import Translator, evaluate_loss
from jaxformer.training.journal import Journal, Speed, clock, display
from jaxformer.training.loop import Validation, fit
from jaxformer.training.optimizers import optimizer
from jaxformer.training.run import RunFolder, write_whole
from jaxformer.training.scoring import Scores, score
from jaxformer.training.state import TrainState, new_state
from jaxformer.training.step import Metrics, ShapedStep, make_step

SHOWN = 8
"""Sentences of the valid split that every validation writes out."""

FREE = ("watch", "checkpoint_every")
"""Fields that may change from one part of a run to the next: they decide what is looked at, not what is computed."""


class TranslationTask:
    """What the training loop runs: steps over batches of sentence pairs, and validation by loss and BLEU."""

    def __init__(self, config: TranslateConfig, corpus: ParallelCorpus, tokenizer: BpeTokenizer) -> None:
        self.config, self.corpus, self.tokenizer = config, corpus, tokenizer
        self.model = build(config.model, tokenizer.size, tokenizer.pad)
        marks = {"pad": tokenizer.pad, "bos": tokenizer.bos, "eos": tokenizer.eos, "vocabulary": tokenizer.size}
        self.batches = TranslationBatches(_encode(corpus.train, tokenizer), config.batches, config.seed, **marks)
        _check_accumulation(config.optimization.accumulate, self.batches)
        self.mesh = make_mesh(config.mesh)
        self.place = partial(place, mesh=self.mesh)
        self._optimizer = optimizer(config.optimization, config.steps, config.model.width)
        abstract = jax.eval_shape(self._new_state)
        self._boxed_params = abstract.params
        self.shardings = state_shardings(abstract, self.mesh)
        self.abstract = _laid_out(nn.unbox(abstract), self.shardings)
        self._loss = jax.jit(translation(self.model))
        self._valid = pair_batches(
            _encode(corpus.valid, tokenizer), self.batches.bounds, config.batches.tokens, **marks
        )
        self._greedy = Translator(self.model, tokenizer, replace(config.search, beams=1))
        self._samples: Callable[[int, str], None] = lambda step, text: None
        self._check_positions()

    def new_state(self) -> TrainState:
        """The state before the first step, on its devices."""
        return jax.jit(lambda: nn.unbox(self._new_state()), out_shardings=self.shardings)()

    def compile(self) -> None:
        """Compile the step for every shape of batch."""
        batches = [self._abstract_batch(*shape) for shape in self.batches.shapes]
        self._step = ShapedStep(self.sharded_step(), self.abstract, batches)

    def sharded_step(self) -> Any:
        """The step over the mesh, jitted: the state is donated and comes back laid out as it was."""
        objective = translation(self.model, self.config.smoothing, self.config.z_loss)
        o = self.config.optimization
        step = make_step(gathered(objective, self._boxed_params, self.mesh), self._optimizer, o.average, o.accumulate)
        return jax.jit(step, out_shardings=(self.shardings, replicated(self.mesh)), donate_argnums=0)

    def step(self, state: TrainState, batch: PairBatch) -> tuple[TrainState, Metrics]:
        """One update."""
        return self._step(state, batch)

    def validate(self, step: int, params: Any) -> Validation:
        """Loss on the valid split, and BLEU of greedy translations of its first sentences."""
        total = evaluate_loss(self._loss, params, self._valid)
        nll = float(total.costs.nll / total.tokens)
        sources, references = self.corpus.valid.references()
        count = self.config.watch.sentences
        hypotheses = self._greedy(params, sources[:count])
        scores = score(hypotheses, references[:count], self.config.target)
        bleu = (scores.bleu_lowercase if self.config.tokenizer.lowercase else scores.bleu).score
        shown = zip(sources[:SHOWN], hypotheses, references, strict=False)
        self._samples(step, "".join(f"source     {s}\ntranslated {h}\nreference  {r[0]}\n\n" for s, h, r in shown))
        accuracy = float(total.costs.correct / total.tokens)
        metrics = {"valid_loss": nll, "valid_accuracy": accuracy, "valid_bleu": bleu}
        return Validation(metrics, bleu, f"valid loss {nll:.4f}, perplexity {_exp(nll):.2f}, BLEU {bleu:.2f} (greedy)")

    def write_samples_to(self, run: RunFolder) -> None:
        """Let every validation leave its sample translations in the run."""
        run.samples_path.mkdir(exist_ok=True)
        self._samples = lambda step, text: write_whole(run.samples_path / f"{step:07}.txt", text)

    def flops_per_token(self) -> float:
        """Operations of training per target token, for sentences of the corpus' mean length."""
        source, target = self.batches.mean_lengths
        return training_flops_per_target_token(self.config.model, self.tokenizer.size, source, target)

    def _check_positions(self) -> None:
        """Raises UserError where the run would come upon a sequence without learned positions for all of it."""
        model = self.config.model
        if not (isinstance(model, TransformerConfig) and isinstance(model.position, Learned)):
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

    def _new_state(self) -> TrainState:
        init, run = jax.random.split(jax.random.key(self.config.seed))
        tokens = jnp.zeros((1, 2), jnp.int32)
        params = self.model.init(init, tokens, tokens)
        return new_state(params, self._optimizer, self.config.optimization.average, run)

    def _abstract_batch(self, rows: int, length: int) -> Any:
        shapes = (rows, length), (rows, length + 1)
        batch: Any = PairBatch(*(jax.ShapeDtypeStruct(shape, jnp.int32) for shape in shapes))  # pyright: ignore[reportArgumentType]
        return _laid_out(batch, batch_shardings(batch, self.mesh))


def train(config: TranslateConfig, out: Path, until: int | None = None) -> Path:
    """Train in the run folder `out`, or go on with the run that is there; returns the folder.

    `until` pauses the run after that step. Raises UserError for input that a person can mend, before anything is
    written, and where another process trains in `out`; Interrupted on Ctrl-C or SIGTERM, with everything saved;
    Diverged where the loss is no longer finite.
    """
    corpus = load_corpus(config.data, config.source, config.target)
    run = RunFolder(out)
    run.holds(config, *FREE)
    known = run.tokenizer_path.exists()
    tokenizer = (
        run.tokenizer() if known else train_bpe([*corpus.train.sources, *corpus.train.targets], config.tokenizer)
    )
    task = TranslationTask(config, corpus, tokenizer)
    # All input has been looked at: from here on things are written, by one process at a time.
    with run.locked():
        _train(task, run, config.steps if until is None else min(until, config.steps))
    return out


def _train(task: TranslationTask, run: RunFolder, until: int) -> None:
    config, env = task.config, describe()
    # Asked again, since another process may have been here before the lock was had.
    resumed = run.holds(config, *FREE)
    if not resumed:
        run.begin(config, env)
    if not run.tokenizer_path.exists():
        run.keep_tokenizer(task.tokenizer)
    task.write_samples_to(run)
    with Checkpoints(run.checkpoints_path, config.watch.keep) as checkpoints:
        state, progress = _start(task, checkpoints)
        step = int(state.step)
        run.forget_after(step)
        if run.config(TranslateConfig) != config:
            run.keep_config(config)
        _banner(task, env, run.path, step if resumed else None)
        began = time.perf_counter()
        task.compile()
        shapes = ", ".join(f"{rows}x{length}" for rows, length in task.batches.shapes)
        print(
            f"compiled   {len(task.batches.shapes)} shapes ({shapes}) in {time.perf_counter() - began:.1f} s",
            flush=True,
        )
        journal = Journal(run, step)
        try:
            with display(step, config.steps, config.watch.log_every) as shown:
                fit(
                    task,
                    state,
                    progress,
                    steps=config.steps,
                    until=until,
                    checkpoint_every=config.checkpoint_every,
                    watch=config.watch,
                    checkpoints=checkpoints,
                    journal=journal,
                    display=shown,
                    speed=Speed(until - step, task.flops_per_token(), total_peak_flops(config.model.dtype)),
                )
        finally:
            journal.close()
        print(f"trained    {clock(time.perf_counter() - began)} with compilation", flush=True)


def _start(task: TranslationTask, checkpoints: Checkpoints) -> tuple[TrainState, Progress]:
    """The newest checkpoint, or a new state where there is none."""
    fingerprint = task.batches.fingerprint
    if not checkpoints.steps:
        return task.new_state(), Progress(fingerprint, 0)
    state, progress = checkpoints.restore(task.abstract, checkpoints.steps[-1])
    if progress.batches != fingerprint:
        raise UserError(
            f"the data of this run have changed: {task.config.data} gives batches {fingerprint[:12]}, "
            f"the run was started with {progress.batches[:12]}; give it the same corpus, or choose another --out"
        )
    return state, progress


def _banner(task: TranslationTask, env: dict[str, Any], out: Path, resumed_at: int | None) -> None:
    config, batches = task.config, task.batches
    parameters = parameter_count(parameter_table(abstract_parameters(task.model)))
    # Totals of an epoch, in which every pair is shown once; a target's begin mark fills a position and is no target.
    source, target = batches.mean_lengths
    pairs = batches.pairs - batches.dropped
    targets = pairs * target / batches.per_epoch
    positions = pairs * (source + target + 1) / batches.efficiency / batches.per_epoch
    sizes = f"{len(task.corpus.train):,} / {len(task.corpus.valid):,} / {len(task.corpus.test):,}"
    lines = {
        "devices": f"{summary(env)}, mesh {dict(task.mesh.shape)}",
        "model": f"{parameters:,} parameters, {config.model.dtype}",
        "work": f"{task.flops_per_token() / 1e6:.1f} MFLOP per target token",
        "data": f"{config.data} {config.source}→{config.target}, {sizes} pairs, vocabulary {task.tokenizer.size:,}",
        "batches": f"{targets:,.0f} target tokens a step, {positions:,.0f} positions on both sides, "
        f"{batches.efficiency:.0%} of them tokens, {batches.per_epoch} steps an epoch",
        "output": f"{out}, resumed at step {resumed_at}" if resumed_at is not None else str(out),
    }
    for name, text in lines.items():
        print(f"{name:<10} {text}", flush=True)
    for note in (task.corpus.notice, batches.notice, repeated_rows([s.rows for s in batches.shapes], task.mesh)):
        if note:
            print(f"{'note':<10} {note}", flush=True)


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


def load(path: Path | str, average: int = 1) -> Trained:
    """The best checkpoint of a run, or the mean of its last `average` ones. Raises UserError where there is no such
    run.
    """
    run = RunFolder(Path(path))
    config, tokenizer = run.config(TranslateConfig), run.tokenizer()
    if not run.checkpoints_path.is_dir():
        raise _nothing_saved(run)
    model = build(config.model, tokenizer.size, tokenizer.pad)
    abstract = nn.unbox(abstract_parameters(model))
    with Checkpoints(run.checkpoints_path, config.watch.keep) as checkpoints:
        step = checkpoints.best_step
        if step is None:
            raise _nothing_saved(run)
        averaged = not isinstance(config.optimization.average, NoAverage)
        if average > 1:
            params, step = checkpoints.mean_params(abstract, averaged, average), checkpoints.steps[-1]
        else:
            params = checkpoints.restore_params(abstract, averaged, step)
    return Trained(run, config, tokenizer, model, params, step)


def _nothing_saved(run: RunFolder) -> UserError:
    again = f"jaxformer train translate --out {shlex.quote(str(run.path))}"
    return UserError(f"{run.path} has no checkpoint yet; go on with it: {again}")


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
    maps = attention_maps(trained.model, trained.params, source, [t.bos, *target])
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


def _laid_out(abstract: Any, shardings: Any) -> Any:
    """Shapes with the places where they are to lie."""
    return jax.tree.map(
        lambda leaf, sharding: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding), abstract, shardings
    )


def _exp(x: float) -> float:
    """eˣ, infinite where that is more than a float can hold."""
    try:
        return math.exp(x)
    except OverflowError:
        return math.inf


def _encode(split: Split, tokenizer: BpeTokenizer) -> list[tuple[list[int], list[int]]]:
    return list(zip(tokenizer.encode_batch(split.sources), tokenizer.encode_batch(split.targets), strict=True))


def _check_accumulation(parts: int, batches: TranslationBatches) -> None:
    """Raises UserError where a batch cannot be cut into so many parts."""
    rows = sorted({shape.rows for shape in batches.shapes if shape.rows % parts})
    if rows:
        raise UserError(
            f"optimization.accumulate must divide the rows of every batch, got accumulate={parts} for batches of "
            f"{' and '.join(map(str, rows))} rows; lower it, or raise batches.tokens"
        )
