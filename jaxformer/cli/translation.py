"""Commands for encoder-decoders that are trained here: train translate, evaluate, translate, inspect."""

import contextlib
import json
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal

from jaxformer.cli.options import (
    FAILED,
    INTERRUPTED,
    Option,
    Positional,
    check_names,
    parse,
    standard_input,
    utf8,
)
from jaxformer.config.choice import choose, fields, options
from jaxformer.config.errors import UserError
from jaxformer.config.presets import PRESETS
from jaxformer.config.ranges import at_least
from jaxformer.config.translate import SearchConfig, TranslateConfig


@dataclass(frozen=True)
class TrainTranslate:
    """Train an encoder-decoder to translate, then score it on the test split.

    Any field may be written --any.field value, --any.field=value or any.field=value. A choice among objects is written
    as one: --model NAME, --optimization.schedule "Cosine(peak=0.001)", --model.position Learned. Running the same
    command again goes on with the run in --out, and so does --out alone, which takes all else from the run; the fields
    of watch and checkpoint_every may then be others.
    """

    config: Annotated[TranslateConfig, Option(name="")]
    out: Path | None = None
    """The run folder; where none is given, runs/translate-DATA-SOURCE-TARGET-MODEL."""
    until: int | None = None
    """Pause the run after this step; the same command without it goes on."""

    def __post_init__(self) -> None:
        at_least(self, 1, "until")


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
    average: int = 1
    """Evaluate the mean of the parameters of the last so many checkpoints, instead of the best one."""
    as_json: Annotated[bool, Option(name="json")] = False
    """Print JSON."""

    def __post_init__(self) -> None:
        at_least(self, 1, "beams", "average")


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

    def __post_init__(self) -> None:
        at_least(self, 1, "beams")


@dataclass(frozen=True)
class Inspect:
    """The parameters, work and memory of a preset or a run."""

    what: Positional[str]
    """A preset's name or a run folder."""
    vocabulary: int = 8000
    """Tokens of a preset's vocabulary."""
    tokens: int = 4096
    """Positions a side of a preset's batch, for the memory."""
    length: int = 32
    """Tokens of a sentence, for work and memory."""

    def __post_init__(self) -> None:
        at_least(self, 1, "vocabulary", "tokens", "length")


def train_translate(arguments: Sequence[str]) -> int:
    """`jaxformer train translate`."""
    config, rest = choose(TranslateConfig(), list(arguments))
    check_names(rest, [*dict(fields(config)), "out", "until"])
    asked = parse(TrainTranslate, rest, "train translate", TrainTranslate(config))
    if asked.out is not None and {name for name, _ in options(arguments)} <= {"out", "until"}:
        asked = replace(asked, config=_config_in(asked.out) or asked.config)
    out = asked.out or default_folder(asked.config)
    from jaxformer.recipes.translate import finish, train
    from jaxformer.training.loop import Diverged, Interrupted

    again = " ".join(["jaxformer train translate", *map(shlex.quote, arguments)])
    try:
        train(asked.config, out, asked.until)
        if asked.until is None or asked.until >= asked.config.steps:
            finish(out)
    except Interrupted as stop:
        _tell(f"\nsaved      step {stop.step} in {out}; go on with: {again}")
        return INTERRUPTED
    except (KeyboardInterrupt, BrokenPipeError):
        # Before the first step, after the last one, or for the second time: only what a checkpoint holds is kept.
        _tell(f"\nstopped    go on from the last checkpoint in {out} with: {again}")
        return INTERRUPTED
    except Diverged as stop:
        _tell(f"jaxformer: {stop} (the run is in {out})")
        return FAILED
    return 0


def _config_in(out: Path) -> TranslateConfig | None:
    """The configuration of the run that is there, None where none is."""
    from jaxformer.training.run import RunFolder

    run = RunFolder(out)
    return run.config(TranslateConfig) if run.config_path.exists() else None


def _tell(line: str) -> None:
    """A line on standard error, where that is still read: it often is the same pipe as standard output."""
    with contextlib.suppress(BrokenPipeError):
        print(line, file=sys.stderr)


def evaluate(arguments: Sequence[str]) -> int:
    """`jaxformer evaluate`."""
    asked = parse(Evaluate, arguments, "evaluate")
    from jaxformer.recipes.translate import evaluate, load

    trained = load(asked.run, asked.average)
    scores = evaluate(trained, asked.data, asked.split, _search(trained.config, asked.beams))
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
    search = _search(trained.config, asked.beams)
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


def default_folder(config: TranslateConfig) -> Path:
    """Where a run goes that was given no --out: named after what it does."""
    model = next((name for name, preset in PRESETS.items() if preset.config == config.model), "model")
    data = "".join(c if c.isalnum() else "-" for c in Path(config.data).name) or "corpus"
    return Path("runs") / f"translate-{data}-{config.source}-{config.target}-{model}"


def _search(config: TranslateConfig, beams: int | None) -> SearchConfig:
    return config.search if beams is None else replace(config.search, beams=beams)
