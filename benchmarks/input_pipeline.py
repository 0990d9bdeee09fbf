"""Are batches made faster than a training step uses them?

For a preset of each kind, the time that one thread takes to make a batch, from the encoded corpus to the arrays that a
step is given, beside the time of the step itself, the two taking turns. A pipeline that makes them four times as fast
as they are used can feed four such devices, and its thread takes a quarter of a core.

    python -m benchmarks.input_pipeline [--quick] [--check]
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import count
from typing import Any

import jax

from benchmarks.comparison import Row, cases, compare, times
from benchmarks.goals import TOYS, Asked, Goal, Verdict, command, conduct
from benchmarks.measure import Contestant
from jaxformer.config.causal_lm import CausalLmConfig
from jaxformer.config.masked_lm import MaskedLmConfig
from jaxformer.config.presets import preset
from jaxformer.config.translate import TranslateConfig
from jaxformer.data.corpora import Split, load_corpus
from jaxformer.data.text import TextCorpus, load_text
from jaxformer.recipes.causal_lm import CausalLmTask
from jaxformer.recipes.masked_lm import MaskedLmTask
from jaxformer.recipes.translate import TranslationTask
from jaxformer.text.bpe import train_bpe
from jaxformer.text.kinds import train_tokenizer
from jaxformer.text.wordpiece import train_wordpiece
from jaxformer.training.job import Job

BATCH, STEP = "a batch", "a step"
FED = Goal("batches made in the time of a step", at_least=4, unit="")


@dataclass(frozen=True)
class Config(Asked):
    """What is trained."""

    documents: int = 2000
    """Documents, or pairs, of the built-in corpora."""


def translating(config: Config) -> Job:
    """The job of the README's first command."""
    asked, corpus = TranslateConfig(), load_corpus("builtin", "en", "zh")
    corpus = replace(corpus, train=Split(corpus.train.pairs[: config.documents]))
    return TranslationTask(asked, corpus, train_bpe([*corpus.train.sources, *corpus.train.targets], asked.tokenizer))


def continuing(config: Config) -> Job:
    """`jaxformer train causal-lm`."""
    asked, corpus = CausalLmConfig(), _text(config)
    return CausalLmTask(asked, corpus, train_tokenizer(asked.tokenizer, corpus.train))


def filling(config: Config) -> Job:
    """`jaxformer train masked-lm --model bert-tiny`."""
    asked, corpus = replace(MaskedLmConfig(), model=preset("bert-tiny")), _text(config)
    return MaskedLmTask(asked, corpus, train_wordpiece(corpus.train, asked.tokenizer))


def _text(config: Config) -> TextCorpus:
    corpus = load_text("builtin")
    return replace(corpus, train=corpus.train[: config.documents], valid=corpus.valid[:8])


JOBS: dict[str, Callable[[Config], Job]] = {
    "translate, transformer-mini": translating,
    "causal-lm, gpt2-tiny": continuing,
    "masked-lm, bert-tiny": filling,
}


def contestants(job: Job) -> list[Contestant]:
    """A step of the job, and the batches that its stream gives one after the other."""
    job.compile()
    state, indices = [job.new_state()], count(1)
    batch = job.place(job.batches[0])

    def step() -> Any:
        state[0], metrics = job.step(state[0], batch)
        return metrics

    return [Contestant(BATCH, lambda: job.batches[next(indices)]), Contestant(STEP, step)]


def measured(config: Config) -> Iterator[Row]:
    """A row for each side of each job."""
    for name, make in JOBS.items():
        yield from compare({"job": name}, contestants(make(config)), config.effort, lambda results: None)
        jax.clear_caches()


def judge(rows: list[Row]) -> list[Verdict]:
    """How many batches are made in the time of a step."""
    return [Verdict(FED, case[BATCH]["case"]["job"], times(case, STEP)) for case in cases(rows)]


def main(config: Config) -> dict[str, Any]:
    """Measures, judges, prints the tables and writes JSON; returns what the JSON holds."""
    config = replace(config, documents=60, out=TOYS) if config.quick else config
    return conduct("input_pipeline", __doc__, config, measured(config), judge)


if __name__ == "__main__":
    command(Config, main, __doc__)
