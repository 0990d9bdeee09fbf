"""Train an encoder to tell the class of a text, and use what was trained."""

import json
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jaxformer.analysis.confusion import table
from jaxformer.analysis.flops import training_flops_per_target_token
from jaxformer.analysis.parameters import abstract_parameters
from jaxformer.config.classify import ClassifyConfig, Labels
from jaxformer.config.encoders import BERT_TINY
from jaxformer.config.errors import UserError
from jaxformer.data.buckets import Shape
from jaxformer.data.labelled import (
    Example,
    LabelledBatch,
    LabelledBatches,
    LabelledCorpus,
    encode_examples,
    load_labelled,
)
from jaxformer.models.classifier import Classifier
from jaxformer.models.encoder import Encoder
from jaxformer.objectives import classification
from jaxformer.recipes.bundle import Bundle
from jaxformer.text.kinds import train_tokenizer
from jaxformer.text.pretrained import PretrainedTokenizer
from jaxformer.training.conduct import FREE, restored, run_job
from jaxformer.training.given import check_as_begun, digest, on_host
from jaxformer.training.job import Job
from jaxformer.training.labelling import Labeller, LabelScores, label_scores, marks_of
from jaxformer.training.loop import Validation
from jaxformer.training.run import RunFolder, write_whole


class ClassifyTask(Job):
    """Steps over labelled examples, and validation by all examples of the valid split."""

    unit = "example"

    def __init__(
        self, config: ClassifyConfig, corpus: LabelledCorpus, tokenizer: PretrainedTokenizer, init: Bundle | None
    ) -> None:
        self.corpus = corpus
        model, labels = model_of(config, tokenizer.size, tokenizer.pad), [each.label for each in corpus.valid]
        examples = encode_examples(corpus.train, tokenizer.encode_batch)
        batches = LabelledBatches(examples, config.batches, config.seed, **marks_of(tokenizer)._asdict())
        given = None if init is None else given_to(model, init)
        super().__init__(config, model, tokenizer, batches, classification(model, config.consistency), given)
        self._labeller, self._labels_N = Labeller(model, tokenizer, config.batches), np.array(labels)
        self._valid = self._labeller.batches([each.sentences for each in corpus.valid])

    def inputs(self) -> tuple[Any, ...]:
        """A text of two tokens."""
        return (jnp.zeros((1, 2), jnp.int32),)

    def abstract_batch(self, shape: Shape) -> LabelledBatch:
        """Texts of this shape."""
        return abstract_examples(*shape)

    def validate(self, step: int, params: Any) -> Validation:
        """Loss, accuracy and F1; accuracy is the score."""
        scores = label_scores(self._labeller.logits(params, self._valid), self._labels_N)
        metrics = {f"valid_{name}": value for name, value in scores.numbers.items()}
        return Validation(metrics, scores.accuracy, f"valid {_line(scores)}")

    def flops_per_token(self) -> float:
        """Operations of training per example, for one of the mean length."""
        model = replace(self.config.model, masked_head=False)
        once = training_flops_per_target_token(model, self.tokenizer.size, self.batches.mean_length, 1)
        return self.config.readings * once

    def about(self) -> dict[str, str]:
        """Where the weights come from, the examples, and what a step reads of them."""
        config, corpus = self.config, self.corpus
        sizes = f"{len(corpus.train):,} / {len(corpus.valid):,} / {len(corpus.test):,}"
        return {
            "init": "drawn" if config.init is None else str(config.init),
            "data": f"{config.data}, {sizes} examples, classes {', '.join(corpus.classes)}",
            "batches": f"{len(corpus.train) / self.batches.per_epoch:,.0f} examples a step, "
            f"{self.batches.per_epoch:,} steps an epoch",
        }

    def notes(self) -> tuple[str | None, ...]:
        """What was cut."""
        cut, longest = self.batches.cut, self.config.batches.max_length
        said = f"cut {cut:,} of {len(self.corpus.train):,} examples longer than max_length={longest} tokens"
        return (said if cut else None,)


def abstract_examples(rows: int, length: int) -> LabelledBatch:
    """The shapes of a batch of examples."""
    tokens, labels = (jax.ShapeDtypeStruct(shape, jnp.int32) for shape in ((rows, length), (rows,)))
    return LabelledBatch(tokens, tokens, labels)  # pyright: ignore[reportArgumentType]


def train(config: ClassifyConfig, out: Path, until: int | None = None) -> Path:
    """Train in the run folder `out`, or go on with the run that is there; returns the folder.

    `until` pauses the run after that step. Raises UserError for input that a person can mend, before anything is
    written, and otherwise as `run_job`.
    """
    corpus, run = _corpus(config), RunFolder(out)
    init = None if config.init is None else _init(config.init)
    config = completed(config, corpus, init)
    run.holds(config, *FREE)
    tokenizer = run.tokenizer_or(lambda: init.reader if init else train_tokenizer(config.tokenizer, _texts(corpus)))
    run_job(ClassifyTask(config, corpus, tokenizer, init), run, until)
    return out


def completed(config: ClassifyConfig, corpus: LabelledCorpus, init: Bundle | None) -> ClassifyConfig:
    """The config with all that the data and `init` tell, so that it alone says how the model is built.

    Raises UserError where it names another model or other labels.
    """
    labels = Labels(corpus.classes, len(corpus.train[0].sentences))
    if config.labels not in (None, labels):
        raise UserError(
            f"labels must be those of {config.data}, which has {labels}, got {config.labels}; leave them out"
        )
    found = {} if init is None else {"vocabulary": init.model.vocabulary, "weights": digest(init.params)}
    check_as_begun(config, init and init.path, found)
    model = config.model or BERT_TINY if init is None else init.config
    own = {"dropout": config.dropout, "dtype": config.dtype}
    model = replace(model, **{name: value for name, value in own.items() if value is not None})
    if init is not None and config.model not in (None, model):
        raise UserError(f"the model is that of --init {config.init}, and --model names another; leave one of them out")
    try:
        return replace(config, init=init and init.path, model=model, labels=labels, **found)
    except ValueError as error:
        raise UserError(str(error)) from None


def model_of(config: ClassifyConfig, vocabulary: int, pad: int = 0) -> Classifier:
    """The module that a run's configuration describes, for so many tokens unless it says how many."""
    if config.model is None or config.labels is None:
        raise UserError("the configuration of a classify run must have model and labels; it was not made by a run")
    return Classifier(config.model, config.vocabulary or vocabulary, len(config.labels.classes), config.pooling, pad)


def given_to(model: Classifier, init: Bundle) -> dict[str, Any]:
    """The weights of an encoder that a classifier has a place for, in that place."""
    wanted = nn.unbox(abstract_parameters(model))["params"]["encoder"]
    return {"params": {"encoder": on_host({name: init.params["params"][name] for name in wanted})}}


@dataclass(frozen=True)
class Trained:
    """A run that can classify."""

    run: RunFolder
    config: ClassifyConfig
    tokenizer: PretrainedTokenizer
    model: Classifier
    params: Any
    step: int
    """The step that the parameters are from; of an average, the last one."""

    @property
    def labels(self) -> Labels:
        """The classes, and the sentences of a text."""
        assert self.config.labels is not None
        return self.config.labels

    @property
    def labeller(self) -> Labeller:
        """Texts to probabilities."""
        return Labeller(self.model, self.tokenizer, self.config.batches)


def load(path: Path | str, average: int = 1) -> Trained:
    """The best checkpoint of a run, or the mean of its last `average` ones. Raises UserError where there is no such
    run.
    """
    run = RunFolder(Path(path))
    config, tokenizer = run.config(ClassifyConfig), run.tokenizer()
    model = model_of(config, tokenizer.size, tokenizer.pad)
    params, step = restored(run, config, model, average)
    return Trained(run, config, tokenizer, model, params, step)


def evaluate(trained: Trained, examples: Sequence[Example]) -> LabelScores:
    """How well the classes of some examples are told."""
    labeller, texts = trained.labeller, [each.sentences for each in examples]
    labels_N = np.array([each.label for each in examples])
    return label_scores(labeller.logits(trained.params, labeller.batches(texts)), labels_N)


def finish(out: Path) -> None:
    """Score the best checkpoint, and say what can be done next."""
    trained = load(out)
    corpus, classes = _corpus(trained.config), trained.labels.classes
    for split, examples in (("valid", corpus.valid), ("test", corpus.test)):
        if examples:
            scores = evaluate(trained, examples)
            told = {"step": trained.step, **scores.numbers, "confusion": scores.counts_CC.tolist()}
            write_whole(out / f"{split}.json", json.dumps(told, indent=2) + "\n")
            print(f"{split:<10} step {trained.step}, {_line(scores)}\n{table(scores.counts_CC, classes)}")
    folder, board = (shlex.quote(str(each)) for each in (out, trained.run.tensorboard_path))
    text = shlex.quote("\t".join(corpus.valid[0].sentences))
    print(f"""next       jaxformer classify {folder} {text}
           jaxformer inspect {folder}
           tensorboard --logdir {board}""")


def _corpus(config: ClassifyConfig) -> LabelledCorpus:
    if not config.data:
        raise UserError("there are no examples to learn from; give --data a folder with train.tsv and valid.tsv")
    return load_labelled(config.data)


def _init(path: Path) -> Bundle:
    """The encoder to begin with, under a path that holds wherever the next command is given."""
    # It reads the runs of this recipe too.
    from jaxformer.recipes.load import load_model

    bundle = load_model(path.expanduser().resolve())
    if not isinstance(bundle.model, Encoder):
        raise UserError(f"{bundle.path} is no encoder, and only encoders learn to classify; give --init a BERT")
    marks_of(bundle.reader)
    return bundle


def _texts(corpus: LabelledCorpus) -> list[str]:
    return [sentence for example in corpus.train for sentence in example.sentences]


def _line(scores: LabelScores) -> str:
    return ", ".join(f"{name.replace('_', ' ')} {value:.4f}" for name, value in scores.numbers.items())
