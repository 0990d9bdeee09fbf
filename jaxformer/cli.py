"""The command line: `jaxformer train`, `evaluate`, `translate`, `inspect`, `bench`.

jax takes longer to import than a person likes to wait for help, so each command imports what it runs when it runs.
"""

import contextlib
import difflib
import io
import itertools
import json
import os
import runpy
import shlex
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn

import tyro

from jaxformer.config.choice import choose, fields, options
from jaxformer.config.errors import UserError
from jaxformer.config.presets import PRESETS
from jaxformer.config.ranges import at_least
from jaxformer.config.translate import SearchConfig, TranslateConfig

FAILED, USAGE, INTERRUPTED = 1, 2, 130
"""Exit codes: the run failed, the input cannot be used, Ctrl-C or SIGTERM."""

Option = tyro.conf.arg
Positional = tyro.conf.Positional


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
    _check_names(rest, [*dict(fields(config)), "out", "until"])
    asked = _parse(TrainTranslate, rest, "train translate", TrainTranslate(config))
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
    asked = _parse(Evaluate, arguments, "evaluate")
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
    asked = _parse(Translate, arguments, "translate")
    if asked.attention is not None and len(asked.text) != 1:
        raise UserError(f"--attention draws one sentence, got {len(asked.text)}; give one as an argument")
    from jaxformer.recipes.translate import draw, load

    texts = list(map(_utf8, asked.text))
    trained = load(asked.run)
    texts = texts or _standard_input()
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
    asked = _parse(Inspect, arguments, "inspect")
    from jaxformer.recipes.inspect import inspect_preset, inspect_run

    if asked.what in PRESETS or not Path(asked.what).exists():
        inspect_preset(asked.what, asked.vocabulary, asked.tokens, asked.length)
    else:
        inspect_run(Path(asked.what), asked.length)
    return 0


def bench(arguments: Sequence[str]) -> int:
    """`jaxformer bench`: runs a file of the repository's benchmarks folder, with the options that follow its name."""
    folder = Path(__file__).resolve().parent.parent / "benchmarks"
    files = [path for path in sorted(folder.glob("*.py")) if "__main__" in path.read_text(encoding="utf-8")]
    names = {path.stem.replace("_", "-"): path.stem for path in files}
    if not names:
        raise UserError(
            f"no benchmarks in {folder}; they come with the repository: clone it and pip install -e . there"
        )
    if arguments[:1] in (["--help"], ["-h"]):
        print(f"usage: jaxformer bench NAME [OPTIONS]     NAME is {' or '.join(names)}; NAME --help tells its options")
        return 0
    if not arguments or arguments[0] not in names:
        given = arguments[0] if arguments else "nothing"
        raise UserError(f"bench needs the name of a benchmark, got {given}; there are {', '.join(names)}")
    sys.path.insert(0, str(folder.parent))
    sys.argv = [f"jaxformer bench {arguments[0]}", *arguments[1:]]
    runpy.run_module(f"benchmarks.{names[arguments[0]]}", run_name="__main__")
    return 0


Command = Callable[[Sequence[str]], int]

COMMANDS: dict[tuple[str, ...], tuple[Command, str]] = {
    ("train", "translate"): (train_translate, "train an encoder-decoder to translate"),
    ("evaluate",): (evaluate, "BLEU and chrF of a run"),
    ("translate",): (translate, "translate with a run"),
    ("inspect",): (inspect, "parameters, work and memory of a preset or a run"),
    ("bench",): (bench, "run a benchmark of the repository, such as attention-vs-rnn"),
}


def main() -> None:
    """The `jaxformer` command."""
    if sys.argv[1:2] in (["train"], ["bench"]) and "--help" not in sys.argv:
        _prefer_huge_pages()
    # Who stops a service wants what Ctrl-C does.
    signal.signal(signal.SIGTERM, _interrupt)
    sys.exit(run(sys.argv[1:]))


def run(arguments: Sequence[str]) -> int:
    """Runs one command and returns its exit code: 0, 1 (the run failed), 2 (usage or input), 130 (interrupted)."""
    debug = "--debug" in arguments
    arguments = [argument for argument in arguments if argument != "--debug"]
    try:
        code = _dispatch(arguments)
        _flush()
        return code
    except UserError as error:
        if debug:
            traceback.print_exc()
        print(f"jaxformer: {error}", file=sys.stderr)
        return USAGE
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        _flush()
        return 0
    except Exception as error:
        if debug:
            traceback.print_exc()
        first = (str(error).strip() or "no message").splitlines()[0]
        print(f"jaxformer: {type(error).__name__}: {first} (--debug shows where)", file=sys.stderr)
        return FAILED


def _flush() -> None:
    """Writes what is left of standard output. Where its reader has seen enough, that and what follows goes nowhere."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _dispatch(arguments: list[str]) -> int:
    for words, (command, _) in COMMANDS.items():
        if tuple(arguments[: len(words)]) == words:
            return command(arguments[len(words) :])
    if not arguments or {"-h", "--help"} & set(arguments[:2]):
        print(_overview())
        return 0
    if arguments[0] == "--version":
        from importlib.metadata import version

        print(f"jaxformer {version('jaxformer')}")
        return 0
    given = " ".join(arguments[:2])
    names = [" ".join(words) for words in COMMANDS]
    near = difflib.get_close_matches(given, names, n=1) or difflib.get_close_matches(arguments[0], names, n=1)
    hint = f"did you mean {near[0]}?" if near else f"the commands are {', '.join(names)}"
    raise UserError(f"no command {given!r}; {hint}")


def _overview() -> str:
    rows = [f"  {' '.join(words):<18} {line}" for words, (_, line) in COMMANDS.items()]
    models = [f"  {name:<22} {preset.description}" for name, preset in PRESETS.items()]
    return "\n".join(
        [
            "usage: jaxformer COMMAND [OPTIONS]     (jaxformer COMMAND --help tells more; --debug shows tracebacks)",
            *("", "commands:", *rows),
            *("", "models (--model NAME, jaxformer inspect NAME):", *models),
        ]
    )


def _interrupt(number: int, frame: Any) -> NoReturn:
    raise KeyboardInterrupt


def _parse(kind: Any, arguments: Sequence[str], name: str, default: Any = None) -> Any:
    """The dataclass `kind` from arguments; what they leave out is as in `default`."""
    options: dict[str, Any] = {"config": (tyro.conf.AvoidSubcommands, tyro.conf.FlagConversionOff)} if default else {}
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            return tyro.cli(kind, args=list(arguments), prog=f"jaxformer {name}", default=default, **options)
    except SystemExit as stop:
        if not stop.code:
            raise
        raise UserError(f"{_sentence(said.getvalue())}; jaxformer {name} --help lists what is allowed") from None


def _sentence(box: str) -> str:
    """What tyro says in a box, between its title and its next rule, as one line; in ASCII a rule follows the title."""

    def is_text(row: str) -> bool:
        return row.strip("─-╰╯") != ""

    rows = (row.strip("│ ") for row in box.splitlines()[1:])
    rows = itertools.dropwhile(lambda row: not is_text(row), rows)
    return " ".join(itertools.takewhile(is_text, rows)).rstrip(".")


def _check_names(arguments: Sequence[str], known: Sequence[str]) -> None:
    """Raises UserError for an option that names no field, with the one that looks most like it."""
    for token in arguments:
        name = token.removeprefix("--").replace("-", "_")
        if not token.startswith("--") or name in known or name in ("help", ""):
            continue
        last = {path.rpartition(".")[2]: path for path in reversed(known)}
        near = difflib.get_close_matches(name, known, n=1)
        near = near or [last[match] for match in difflib.get_close_matches(name.rpartition(".")[2], last, n=1)]
        hint = f"; did you mean --{near[0]}?" if near else "; jaxformer train translate --help lists them"
        raise UserError(f"unknown field {token}{hint}")


def default_folder(config: TranslateConfig) -> Path:
    """Where a run goes that was given no --out: named after what it does."""
    model = next((name for name, preset in PRESETS.items() if preset.config == config.model), "model")
    data = "".join(c if c.isalnum() else "-" for c in Path(config.data).name) or "corpus"
    return Path("runs") / f"translate-{data}-{config.source}-{config.target}-{model}"


def _search(config: TranslateConfig, beams: int | None) -> SearchConfig:
    return config.search if beams is None else replace(config.search, beams=beams)


def _utf8(argument: str) -> str:
    """The argument, unless the system could not decode it; UserError then."""
    try:
        argument.encode()
    except UnicodeEncodeError:
        raise UserError(f"text must be UTF-8, got {os.fsencode(argument)!r}; convert it with iconv -t utf-8") from None
    return argument


def _standard_input() -> list[str]:
    """Lines end with a line feed, whatever else is in them."""
    lines = []
    for number, line in enumerate(sys.stdin.buffer, 1):
        try:
            lines.append(line.decode().rstrip("\r\n"))
        except UnicodeDecodeError as error:
            raise UserError(
                f"standard input, line {number}: not UTF-8 (byte 0x{line[error.start]:02X} at column "
                f"{error.start + 1}); convert it with iconv -t utf-8"
            ) from None
    return lines


TUNABLES = "GLIBC_TUNABLES"


def _prefer_huge_pages() -> None:
    """Starts this process over with glibc asking for huge pages, where it does not yet.

    XLA on a CPU takes its temporaries from malloc and gives them back at every step, and the kernel then clears
    thousands of small pages again; a training step was measured to take half the time with large ones. glibc reads the
    setting only as a process begins.
    """
    setting = "glibc.malloc.hugetlb=1"
    if not sys.platform.startswith("linux") or "glibc.malloc.hugetlb" in os.environ.get(TUNABLES, ""):
        return
    os.environ[TUNABLES] = ":".join(filter(None, [os.environ.get(TUNABLES), setting]))
    os.execv(sys.executable, sys.orig_argv)
