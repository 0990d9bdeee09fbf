"""Train a pretrained decoder on chats, and use what was trained."""

import hashlib
import json
import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxformer.config.errors import UserError
from jaxformer.config.instruct import InstructConfig
from jaxformer.config.sampling import Sampling
from jaxformer.data.buckets import Shape
from jaxformer.models.decoder import Decoder
from jaxformer.recipes.bundle import Bundle, Writer
from jaxformer.recipes.lessons import Lesson, held_out_prompt, lesson
from jaxformer.text.pretrained import PretrainedTokenizer
from jaxformer.text.turns import encode_prompt, template_of
from jaxformer.training.balance import bias_rates
from jaxformer.training.job import FREE, Job, restored, run_job
from jaxformer.training.loop import Validation
from jaxformer.training.run import RunFolder, write_whole

SAMPLE = 100
"""Most tokens of the answer that a finished run gives, to show what it has learned."""


class InstructTask(Job):
    """Steps of a lesson over all weights of a decoder."""

    def __init__(self, config: InstructConfig, init: Bundle, tokenizer: PretrainedTokenizer) -> None:
        model = model_of(config)
        self.lesson: Lesson = lesson(config.learning, config, model, tokenizer)
        # As numpy, for what a checkpoint gave lies on one device, and here it goes to all.
        given = jax.tree.map(np.asarray, init.params)
        super().__init__(config, model, tokenizer, self.lesson.batches, self.lesson.objective, given)

    def inputs(self) -> tuple[Any, ...]:
        """A row of two tokens."""
        return (jnp.zeros((1, 2), jnp.int32),)

    def abstract_batch(self, shape: Shape) -> Any:
        """What the lesson has for this shape."""
        return self.lesson.abstract_batch(shape)

    def validate(self, step: int, params: Any) -> Validation:
        """The figures of the lesson; the score is the loss, less being better."""
        scores = self.lesson.validate(params)
        return Validation({f"valid_{name}": value for name, value in scores.items()}, -scores["loss"], _line(scores))

    def bias_rates(self) -> dict[str, float]:
        """Those of the model's experts."""
        return bias_rates(self.config.model)

    def flops_per_token(self) -> float:
        """Operations of training per token of an answer, on rows of the mean length."""
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


def train(config: InstructConfig, out: Path, until: int | None = None) -> Path:
    """Train in the run folder `out`, or go on with the run that is there; returns the folder.

    `until` pauses the run after that step. Raises UserError for input that a person can mend, before anything is
    written, and otherwise as `run_job`.
    """
    init, run = _init(config), RunFolder(out)
    config = completed(config, init)
    run.holds(config, *FREE)
    tokenizer = run.tokenizer_or(lambda: _speaking(init.speaker))
    run_job(InstructTask(config, init, tokenizer), run, until)
    return out


def completed(config: InstructConfig, init: Bundle) -> InstructConfig:
    """The config with all that is known of `init`, so that it alone tells how the model is built.

    Raises UserError where it names another model, or rows that the model cannot read.
    """
    model = replace(init.decoder.config, dtype=config.dtype, layers=config.layers)
    found = {"model": model, "vocabulary": init.decoder.vocabulary, "weights": digest(init.params)}
    for name, value in found.items():
        if getattr(config, name) not in (None, value):
            raise UserError(
                f"{init.path} has another {name} than the run began with; give the same --init as then, and no --{name}"
            )
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


def digest(params: Any) -> str:
    """SHA-256 of all weights, in hexadecimal."""
    total = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        total.update(f"{jax.tree_util.keystr(path)} {leaf.dtype} {leaf.shape}\n".encode())
        total.update(np.ascontiguousarray(leaf).data)
    return total.hexdigest()


def load(path: Path | str, average: int = 1) -> Bundle:
    """The decoder of a run's best checkpoint, or of the mean of its last `average` ones. Raises UserError where there
    is no such run.
    """
    return _restored(RunFolder(Path(path)), average)[0]


def _restored(run: RunFolder, average: int = 1) -> tuple[Bundle, int]:
    """The decoder and the step of its checkpoint."""
    config, tokenizer = run.config(InstructConfig), run.tokenizer()
    model = model_of(config)
    params, step = restored(run, config, model, average)
    return Bundle(run.path, model, params, tokenizer), step


def finish(out: Path) -> None:
    """Tell the scores of the best checkpoint, let it answer, and say what can be done next."""
    run = RunFolder(out)
    (bundle, step), config = _restored(run), run.config(InstructConfig)
    scores = _scores(run, step)
    write_whole(out / "valid.json", json.dumps(scores, indent=2) + "\n")
    print(f"best       step {step}, {_line(scores)}")
    prompt = held_out_prompt(config.learning, config.data)
    print(f"asked      {prompt[-1]['content']}")
    ids = encode_prompt(bundle.speaker, prompt)
    print(f"answered   {''.join(Writer(bundle, Sampling(temperature=0)).say(ids, SAMPLE))}")
    folder, board = (shlex.quote(str(each)) for each in (out, run.tensorboard_path))
    print(f"""next       jaxformer chat {folder}
           jaxformer generate {folder}
           jaxformer export {folder} FOLDER
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


def _scores(run: RunFolder, step: int) -> dict[str, float]:
    """What the validation of a step gave."""
    records = map(json.loads, run.metrics_path.read_text(encoding="utf-8").splitlines())
    record = next(record for record in records if record["step"] == step)
    return {name.removeprefix("valid_"): value for name, value in record.items() if name.startswith("valid_")}


def _line(scores: dict[str, float]) -> str:
    return "valid " + ", ".join(f"{name} {value:.4f}" for name, value in scores.items())
