"""Commands for runs that translate: evaluate, translate; and inspect."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal

from jaxformer.cli.options import Option, Positional, parse, standard_input, utf8
from jaxformer.config.errors import UserError
from jaxformer.config.presets import PRESETS
from jaxformer.config.ranges import at_least
from jaxformer.config.translate import SearchConfig, TranslateConfig


@dataclass(frozen=True)
class Evaluate:
    """BLEU and chrF of a run on held-out text, with signatures; all references of a repeated source count."""

    run: Positional[Path]
    """A run folder."""
    data: str | None = None
    """Another corpus than the run's."""
    split: Literal["train", "valid", "test"] = "test"
    beams: int | None = None
    """Hypotheses of the beam search, instead of the run's; 1 is greedy."""
    alpha: float | None = None
    """Exponent of the length penalty, instead of the run's; the larger, the longer the translations."""
    average: int = 1
    """Evaluate the mean of the parameters of the last so many checkpoints, instead of the best one."""
    as_json: Annotated[bool, Option(name="json")] = False
    """Print JSON."""

    def __post_init__(self) -> None:
        at_least(self, 1, "beams", "average")
        at_least(self, 0, "alpha")


@dataclass(frozen=True)
class Translate:
    """Translate with a trained run: each argument, or each line of standard input, to a line of standard output."""

    run: Positional[Path]
    """A run folder."""
    text: Positional[tuple[str, ...]] = ()
    """Sentences; standard input where none are given."""
    attention: Path | None = None
    """Draw what each head of the last layer read of the one sentence given, into this picture (.png, .svg, .pdf)."""
    beams: int | None = None
    """Hypotheses of the beam search, instead of the run's; 1 is greedy."""
    alpha: float | None = None
    """Exponent of the length penalty, instead of the run's; the larger, the longer the translations."""

    def __post_init__(self) -> None:
        at_least(self, 1, "beams")
        at_least(self, 0, "alpha")


@dataclass(frozen=True)
class Inspect:
    """The parameters, work and memory of a preset or a run."""

    what: Positional[str]
    """A preset's name or a run folder."""
    vocabulary: int | None = None
    """Tokens of a preset's vocabulary, instead of its own."""
    tokens: int = 4096
    """Positions a side of a preset's batch, for the memory."""
    length: int = 32
    """Tokens of a sentence or row, for work and memory."""

    def __post_init__(self) -> None:
        at_least(self, 1, "vocabulary", "tokens", "length")


def evaluate(arguments: Sequence[str]) -> int:
    """`jaxformer evaluate`."""
    asked = parse(Evaluate, arguments, "evaluate")
    from jaxformer.recipes.translate import evaluate, load

    trained = load(asked.run, asked.average)
    scores = evaluate(trained, asked.data, asked.split, _search(trained.config, asked))
    if asked.as_json:
        print(json.dumps({"run": str(asked.run), "step": trained.step, "split": asked.split, **scores.to_json()}))
    else:
        print(scores.table())
    return 0


def translate(arguments: Sequence[str]) -> int:
    """`jaxformer translate`."""
    asked = parse(Translate, arguments, "translate")
    if asked.attention is not None and len(asked.text) != 1:
        raise UserError(f"--attention draws one sentence, got {len(asked.text)}; give one as an argument")
    from jaxformer.recipes.translate import draw, load

    texts = list(map(utf8, asked.text))
    trained = load(asked.run)
    texts = texts or standard_input()
    search = _search(trained.config, asked)
    if asked.attention is None:
        translations = trained.translator(search)(trained.params, texts)
    else:
        translations = [draw(trained, texts[0], asked.attention, search)]
    for translation in translations:
        # A model may write a line break, but lines in and lines out must stay side by side.
        print(" ".join(translation.splitlines()))
    return 0


def inspect(arguments: Sequence[str]) -> int:
    """`jaxformer inspect`."""
    asked = parse(Inspect, arguments, "inspect")
    from jaxformer.recipes.inspect import inspect_preset, inspect_run

    if asked.what in PRESETS or not Path(asked.what).exists():
        inspect_preset(asked.what, asked.vocabulary, asked.tokens, asked.length)
    else:
        inspect_run(Path(asked.what), asked.length)
    return 0


def _search(config: TranslateConfig, asked: Evaluate | Translate) -> SearchConfig:
    given = {"beams": asked.beams, "alpha": asked.alpha}
    return replace(config.search, **{name: value for name, value in given.items() if value is not None})
