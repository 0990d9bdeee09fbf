"""Train a pretrained decoder on chats, and use what was trained."""

import json
import shlex
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from jaxformer.analysis.parameters import abstract_parameters, parameter_count, parameter_table
from jaxformer.config.errors import UserError
from jaxformer.config.instruct import FullWeights, Imitation, InstructConfig, Lora
from jaxformer.config.sampling import Sampling
from jaxformer.data.buckets import Shape
from jaxformer.models.decoder import Decoder
from jaxformer.objectives import Objective, Total
from jaxformer.parallel.gather import gathered
from jaxformer.parallel.mesh import state_shardings
from jaxformer.recipes.bundle import Bundle, Writer
from jaxformer.recipes.lessons import Lesson, abstract_batch, held_out_prompts, lesson, objective
from jaxformer.text.pretrained import PretrainedTokenizer
from jaxformer.text.turns import encode_prompt, template_of
from jaxformer.training.balance import bias_rates
from jaxformer.training.conduct import FREE, restored, run_job
from jaxformer.training.given import check_as_begun, digest, on_host
from jaxformer.training.job import Job
from jaxformer.training.loop import Validation
from jaxformer.training.lora import Updates, adapted, merged
from jaxformer.training.run import RunFolder, write_whole
from jaxformer.weights.spelling import spelled

LORA_PEAK = 2e-4
"""A learning rate that suits imitation by low-rank updates."""

SAMPLE = 100
"""Most tokens of the answer that a finished run gives, to show what it has learned."""


class InstructTask(Job):
    """Steps of a lesson over all weights of a decoder."""

    def __init__(self, config: InstructConfig, tokenizer: PretrainedTokenizer, weights: Any) -> None:
        """`weights` are those to begin with."""
        model = model_of(config)
        self.lesson: Lesson = lesson(config.learning, config, model, tokenizer, weights)
        self.unit = self.lesson.unit
        learned = objective(config.learning, model)
        super().__init__(config, model, tokenizer, self.lesson.batches, learned, self.given(weights))

    def given(self, weights: Any) -> Any:
        """What of the weights is trained."""
        return weights

    def inputs(self) -> tuple[Any, ...]:
        """A row of two tokens."""
        return (jnp.zeros((1, 2), jnp.int32),)

    def abstract_batch(self, shape: Shape) -> Any:
        """What the lesson has for this shape."""
        return abstract_batch(self.config.learning, shape.rows, shape.length - 1)

    def validate(self, step: int, params: Any) -> Validation:
        """The figures of the lesson; the score is the loss, less being better."""
        scores = self.lesson.validate(params)
        return Validation({f"valid_{name}": value for name, value in scores.items()}, -scores["loss"], _line(scores))

    def bias_rates(self) -> dict[str, float]:
        """Those of the model's experts."""
        return bias_rates(self.config.model)

    def flops_per_token(self) -> float:
        """Operations of training per token of an answer, or per pair of answers, on rows of the mean length."""
        return self.lesson.flops_per_token

    def notes(self) -> tuple[str | None, ...]:
        """What was left out."""
        return self.lesson.notes

    def about(self) -> dict[str, str]:
        """Where the model comes from, the chats, and what a step reads of them."""
        config = self.config
        return {
            "init": str(config.init),
            "data": f"{config.data}, {self.lesson.about()}",
            "batches": f"up to {config.batches.tokens:,} tokens a step, {self.batches.per_epoch:,} steps an epoch",
        }


class LoraTask(InstructTask):
    """Steps of a lesson over low-rank updates; the weights of `init` stay as they are."""

    def __init__(self, config: InstructConfig, tokenizer: PretrainedTokenizer, weights: Any) -> None:
        """`weights` are those that are updated, as the config's `Lora` says."""
        self._lora: Any = config.adapter
        self._updates = Updates(model_of(config), self._lora)
        super().__init__(config, tokenizer, weights)
        self._boxed_base = abstract_parameters(self.model)
        self.frozen = jax.device_put(weights, state_shardings(self._boxed_base, self.mesh))
        self._merged = jax.jit(partial(merged, config=self._lora))

    def given(self, weights: Any) -> Any:
        """Nothing: updates are drawn."""

    def drawn(self, key: Any) -> Any:
        """Updates that change nothing yet."""
        return self._updates.init(key, *self.inputs())

    def objective_with(self, frozen: Any) -> Objective:
        """What is learned, of the updates alone."""

        def whole(base: Any, updates: Any, batch: Any, key: Any) -> Total:
            return self.objective(adapted(base, updates, self._lora, key), batch, key)

        return partial(gathered(whole, self._boxed_base, self.mesh), frozen)

    def validate(self, step: int, params: Any) -> Validation:
        """The figures of the lesson for the model with its updates."""
        return super().validate(step, self._merged(self.frozen, params))

    def bias_rates(self) -> dict[str, float]:
        """None: the biases of experts stay as they are."""
        return {}

    def flops_per_token(self) -> float:
        """As for all weights, but for the gradients of the weights, a third of it."""
        return super().flops_per_token() * 2 / 3

    def notes(self) -> tuple[str | None, ...]:
        """What was left out, and a learning rate that is meant for all weights."""
        config = self.config
        low = getattr(config.optimization.schedule, "peak", LORA_PEAK) < LORA_PEAK / 4
        note = f"updates of low rank want a larger learning rate, about optimization.schedule.peak={LORA_PEAK}"
        return (*super().notes(), note if low and isinstance(config.learning, Imitation) else None)

    def about(self) -> dict[str, str]:
        """How many weights are trained, beside the rest."""
        count = parameter_count(parameter_table(self.abstract.params))
        return {"adapter": f"rank {self._lora.rank}, {count:,} weights are trained", **super().about()}


def train(config: InstructConfig, out: Path, until: int | None = None) -> Path:
    """Train in the run folder `out`, or go on with the run that is there; returns the folder.

    `until` pauses the run after that step. Raises UserError for input that a person can mend, before anything is
    written, and otherwise as `run_job`.
    """
    init, run = _init(config), RunFolder(out)
    config = completed(config, init)
    run.holds(config, *FREE)
    tokenizer = run.tokenizer_or(lambda: _speaking(init.speaker))
    task = TASKS[type(config.adapter)]
    run_job(task(config, tokenizer, on_host(init.params)), run, until)
    return out


TASKS = {FullWeights: InstructTask, Lora: LoraTask}
"""How a lesson is trained, by what of the model is."""


def completed(config: InstructConfig, init: Bundle) -> InstructConfig:
    """The config with all that is known of `init`, so that it alone tells how the model is built.

    Raises UserError where it names another model, or rows that the model cannot read.
    """
    model = replace(init.decoder.config, dtype=config.dtype, layers=config.layers)
    found = {"model": model, "vocabulary": init.decoder.vocabulary, "weights": digest(init.params)}
    check_as_begun(config, init.path, found)
    if config.batches.max_length > model.context:
        raise UserError(
            f"batches.max_length must fit the context of {model.context} tokens of {init.path}, "
            f"got max_length={config.batches.max_length}; lower it"
        )
    return replace(config, init=init.path, **found)


def model_of(config: InstructConfig) -> Decoder:
    """The module that a run's configuration describes."""
    if config.model is None or config.vocabulary is None:
        raise UserError("the configuration of an instruct run must have model and vocabulary; it was not made by a run")
    return Decoder(config.model, config.vocabulary)


def load(path: Path | str, average: int = 1) -> Bundle:
    """The decoder of a run's best checkpoint, or of the mean of its last `average` ones. Raises UserError where there
    is no such run.
    """
    return _restored(RunFolder(Path(path)), average)[0]


def _restored(run: RunFolder, average: int = 1) -> tuple[Bundle, int]:
    """The decoder and the step of its checkpoint."""
    config, tokenizer = run.config(InstructConfig), run.tokenizer()
    model = model_of(config)
    if isinstance(config.adapter, FullWeights):
        params, step = restored(run, config, model, average)
    else:
        updates, step = restored(run, config, Updates(model, config.adapter), average)
        params = merged(_base(run, config), updates, config.adapter)
    return Bundle(run.path, model, params, tokenizer), step


def _base(run: RunFolder, config: InstructConfig) -> Any:
    """The weights that a run has updates of. Raises UserError where they are gone or have changed."""
    if config.init is None or not config.init.exists():
        raise UserError(f"{run.path} holds updates of the weights in {config.init}, which is gone; put it back there")
    base = _init(config).params
    if digest(base) != config.weights:
        raise UserError(
            f"{run.path} holds updates of the weights in {config.init}, which have changed since; restore them"
        )
    return base


def finish(out: Path) -> None:
    """Tell the scores of the best checkpoint, let it answer the first held-out chat that it can read, and say what can
    be done next.
    """
    run = RunFolder(out)
    (bundle, step), config = _restored(run), run.config(InstructConfig)
    scores = _scores(run, step)
    write_whole(out / "valid.json", json.dumps(scores, indent=2) + "\n")
    print(f"best       step {step}, {_line(scores)}")
    for prompt in held_out_prompts(config.learning, config.data):
        # Of chats that were too long to be learned from, even the beginning may be too long.
        if len(ids := encode_prompt(bundle.speaker, prompt)) < bundle.config.context:
            print(f"asked      {prompt[-1]['content']}")
            print(f"answered   {''.join(Writer(bundle, Sampling(temperature=0)).say(ids, SAMPLE))}")
            break
    folder, board = (shlex.quote(str(each)) for each in (out, run.tensorboard_path))
    export = f"\n           jaxformer export {folder} FOLDER" if _exports(bundle) else ""
    print(f"""next       jaxformer chat {folder}
           jaxformer generate {folder}{export}
           tensorboard --logdir {board}""")


def _init(config: InstructConfig) -> Bundle:
    """The model to begin with, under a path that holds wherever the next command is given."""
    # It reads the runs of this recipe too.
    from jaxformer.recipes.load import load_model

    if config.init is None:
        raise UserError("there is no model to begin with; give --init a Hugging Face folder, FILE.gguf or a run")
    if not config.data:
        raise UserError("there are no chats to learn from; give --data FILE.jsonl, or a folder with train and valid")
    return load_model(config.init.expanduser().resolve())


def _speaking(tokenizer: PretrainedTokenizer) -> PretrainedTokenizer:
    """The tokenizer with the chat template that it is trained with, so that the run alone tells it."""
    template = template_of(tokenizer)
    return tokenizer if tokenizer.chat_template == template else tokenizer.with_template(template)


def _exports(bundle: Bundle) -> bool:
    """Whether other libraries know such a model."""
    try:
        spelled(bundle.decoder.config, bundle.decoder.vocabulary, bundle.speaker.specials)
    except UserError:
        return False
    return True


def _scores(run: RunFolder, step: int) -> dict[str, float]:
    """What the validation of a step gave."""
    record = next(record for record in run.records() if record["step"] == step)
    return {name.removeprefix("valid_"): value for name, value in record.items() if name.startswith("valid_")}


def _line(scores: dict[str, float]) -> str:
    return "valid " + ", ".join(f"{name} {value:.4f}" for name, value in scores.items())
