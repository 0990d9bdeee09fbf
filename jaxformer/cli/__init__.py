"""The command line: which words call which function, and what a process answers when it ends.

jax takes longer to import than a person likes to wait for help, so each command imports what it runs when it runs.
"""

import difflib
import os
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from jaxformer.cli.averaging import average
from jaxformer.cli.classification import classify
from jaxformer.cli.keeping import keep_compiled, keep_memory
from jaxformer.cli.pretrained import chat, embed, export, fill, generate
from jaxformer.cli.repository import bench, reproduce
from jaxformer.cli.training import CAUSAL_LM, CLASSIFY, INSTRUCT, MASKED_LM, TRANSLATE, repeat
from jaxformer.cli.translation import evaluate, inspect, translate
from jaxformer.config.errors import FAILED, INTERRUPTED, USAGE, UserError
from jaxformer.config.presets import PRESETS

Command = Callable[[Sequence[str]], int]

COMMANDS: dict[tuple[str, ...], tuple[Command, str]] = {
    ("train", "translate"): (TRANSLATE, "train an encoder-decoder to translate"),
    ("train", "causal-lm"): (CAUSAL_LM, "train a decoder to continue text"),
    ("train", "masked-lm"): (MASKED_LM, "train an encoder to tell hidden words"),
    ("train", "classify"): (CLASSIFY, "train or fine-tune an encoder to tell the class of a text"),
    ("train", "instruct"): (INSTRUCT, "train a pretrained decoder to answer"),
    ("train", "--from"): (repeat, "repeat a run, and tell whether the losses agree"),
    ("average",): (average, "make one run of several, whose weights are the mean of theirs"),
    ("evaluate",): (evaluate, "BLEU and chrF of a run"),
    ("translate",): (translate, "translate with a run"),
    ("inspect",): (inspect, "parameters, work and memory of a preset or a run"),
    ("generate",): (generate, "continue a text with a pretrained decoder"),
    ("chat",): (chat, "talk with a pretrained decoder"),
    ("classify",): (classify, "the class of each text, with a run"),
    ("fill",): (fill, "the words that an encoder takes for the hidden ones of a text"),
    ("embed",): (embed, "vectors of texts by a pretrained encoder"),
    ("export",): (export, "write a pretrained model in the Hugging Face layout"),
    ("bench",): (bench, "run a benchmark of the repository, such as attention-vs-rnn"),
    ("reproduce",): (reproduce, "run the experiments of the repository and compare with their stored results"),
}


def main() -> None:
    """The `jaxformer` command."""
    if sys.argv[1:2] in (["train"], ["bench"]) and "--help" not in sys.argv:
        keep_memory()
    keep_compiled()
    # Who stops a service wants what Ctrl-C does.
    signal.signal(signal.SIGTERM, _interrupt)
    code = run(sys.argv[1:])
    if code and "jaxformer.training.peers" in sys.modules:
        _leave_peers(code)
    sys.exit(code)


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


def _leave_peers(code: int) -> None:
    """Ends a process that others train with. It failed, so that at its exit it must not wait for them."""
    import jax

    if jax.distributed.is_initialized():
        sys.stderr.flush()
        os._exit(code)


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
