"""The commands `jaxformer train JOB`: what all of them do with their options, their folder and their end."""

import contextlib
import shlex
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, make_dataclass
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

from jaxformer.cli.keeping import compute_here
from jaxformer.cli.options import Option, check_names, parse
from jaxformer.config.causal_lm import CausalLmConfig
from jaxformer.config.choice import choose, fields, options
from jaxformer.config.classify import ClassifyConfig
from jaxformer.config.errors import FAILED, INTERRUPTED, UserError
from jaxformer.config.instruct import InstructConfig
from jaxformer.config.masked_lm import MaskedLmConfig
from jaxformer.config.presets import PRESETS
from jaxformer.config.ranges import at_least
from jaxformer.config.translate import TranslateConfig

HELP = """

Any field may be written --any.field value, --any.field=value or any.field=value. A choice among objects is written as
one: --model NAME, --optimization.schedule "Cosine(peak=0.001)". Running the same command again goes on with the run in
--out, and so does --out alone, which takes all else from the run; bad_numbers, checkpoint_every and the fields of watch
and of mesh may then be others.
"""

OUT = "The run folder; where none is given, one in runs that is named after the job, the data and the model."
UNTIL = "Pause the run after this step; the same command without it goes on."


@dataclass(frozen=True)
class Training:
    """One job: what it is called, its configuration, and the module with its `train` and `finish`."""

    name: str
    config: Any
    recipe: str
    folder: Callable[[Any], str]
    """What the folder of a run is called that was given no --out, without its place and its model."""

    @property
    def options(self) -> type:
        """The dataclass of all its options, for the command line."""
        names = [
            ("config", Annotated[type(self.config), Option(name="")]),
            ("out", Annotated[Path | None, Option(help=OUT)], None),
            ("until", Annotated[int | None, Option(help=UNTIL)], None),
        ]
        kind = make_dataclass("Train", names, frozen=True, namespace={"__post_init__": _check})
        kind.__doc__ = (type(self.config).__doc__ or "") + HELP
        return kind

    def __call__(self, arguments: Sequence[str]) -> int:
        """Runs the command and returns its exit code."""
        command = f"train {self.name}"
        config, rest = choose(self._base(arguments), list(arguments))
        check_names(rest, [*dict(fields(config)), "out", "until"], command)
        asked = parse(self.options, rest, command, self.options(config))
        again = " ".join([f"jaxformer train {self.name}", *map(shlex.quote, arguments)])
        return self.run(asked.config, asked.out or self.default_folder(asked.config), asked.until, again)

    def _base(self, arguments: Sequence[str]) -> Any:
        """What options change: the configuration of the run in --out, where nothing is asked but what may differ from
        one part of a run to the next.
        """
        asked = {str(name).replace("-", "_"): value for name, value in options(arguments)}
        out, free = asked.pop("out", None), ("until", "bad_numbers", "checkpoint_every", "mesh", "watch")
        if out is None or any(name.partition(".")[0] not in free for name in asked):
            return self.config
        return _config_in(Path(out), type(self.config)) or self.config

    def default_folder(self, config: Any) -> Path:
        """Where a run goes that was given no --out: named after what it does."""
        # Where the model is taken from somewhere else, that is what the job names.
        known = "model" if config.model is not None else ""
        model = next((name for name, preset in PRESETS.items() if preset.config == config.model), known)
        data = "".join(c if c.isalnum() else "-" for c in Path(config.data).name) or "corpus"
        return Path("runs") / "-".join(filter(None, [self.name, data, self.folder(config), model]))

    def run(self, config: Any, out: Path, until: int | None, again: str) -> int:
        """Trains, and returns the exit code; `again` is the command that goes on where it is interrupted."""
        from jaxformer.training import peers

        compute_here()
        peers.join()
        recipe = import_module(self.recipe)
        from jax.errors import JaxRuntimeError

        from jaxformer.training.checkpoint import NotSaved
        from jaxformer.training.loop import Diverged, Interrupted

        try:
            recipe.train(config, out, until)
            if peers.leave():
                print(f"evaluate   by one process, with the same command: {again}", flush=True)
            elif until is None or until >= config.steps:
                recipe.finish(out)
        except Interrupted as stop:
            peers.leave()
            _tell(f"\nsaved      step {stop.step} in {out}; go on with: {again}")
            return INTERRUPTED
        except (KeyboardInterrupt, BrokenPipeError):
            # Before the first step, after the last one, or for the second time: only what a checkpoint holds is kept.
            _tell(f"\nstopped    go on from the last checkpoint in {out} with: {again}")
            return INTERRUPTED
        except (Diverged, NotSaved) as stop:
            _tell(f"jaxformer: {stop} (the run is in {out})")
            return FAILED
        except JaxRuntimeError as error:
            if "RESOURCE_EXHAUSTED" in str(error):
                _tell(f"jaxformer: {_out_of_memory(type(config), out)}")
            elif peers.together():
                _tell(f"jaxformer: {peers.LOST}")
            else:
                raise
            return FAILED
        return 0


TRANSLATE = Training(
    "translate",
    TranslateConfig(),
    "jaxformer.recipes.translate",
    lambda config: f"{config.source}-{config.target}" + ("" if config.init is None else f"-{_begun_with(config)}"),
)
CAUSAL_LM = Training("causal-lm", CausalLmConfig(), "jaxformer.recipes.causal_lm", lambda config: "")
MASKED_LM = Training("masked-lm", MaskedLmConfig(), "jaxformer.recipes.masked_lm", lambda config: "")
CLASSIFY = Training(
    "classify",
    ClassifyConfig(),
    "jaxformer.recipes.classify",
    lambda config: _begun_with(config) or ("bert-tiny" if config.model is None else ""),
)
INSTRUCT = Training("instruct", InstructConfig(), "jaxformer.recipes.instruct", lambda config: _begun_with(config))


TRAININGS = (TRANSLATE, CAUSAL_LM, MASKED_LM, CLASSIFY, INSTRUCT)


def training_of(kind: str) -> Training:
    """The job whose runs have a configuration of this class (`RunFolder.kind`)."""
    return next(training for training in TRAININGS if type(training.config).__name__ == kind)


@dataclass(frozen=True)
class RepeatOptions:
    """Repeat a run from what its folder says, and tell whether the losses agree: exit code 0 if all do, else 1.

    Configuration, seed and data are those of the run, whose steps are taken as far as it took them. The data are read
    from where the run read them.
    """

    run: Annotated[Path, Option(name="from", help="The run folder.")]
    out: Annotated[Path | None, Option(help="The folder of the repetition; RUN-again where none is given.")] = None


def repeat(arguments: Sequence[str]) -> int:
    """`jaxformer train --from RUN`."""
    asked = parse(RepeatOptions, ["--from", *arguments], "train")
    from jaxformer.recipes.repeat import agreement, changes, folder_beside, last_step
    from jaxformer.training.run import RunFolder

    there = RunFolder(asked.run)
    training = training_of(there.kind())
    config, until = there.config(type(training.config)), last_step(there)
    here = RunFolder(asked.out or folder_beside(asked.run))
    if here.path.resolve() == there.path.resolve():
        raise UserError(f"--out must be another folder than the run that is repeated, got {here.path}; leave it out")
    again = f"jaxformer train --from {shlex.quote(str(asked.run))} --out {shlex.quote(str(here.path))}"
    if code := training.run(config, here.path, until, again):
        return code
    for line in changes(there, here):
        print(f"{'changed':<10} {line}")
    found = agreement(there, here)
    print(f"{'repeated':<10} {found}")
    return 0 if found.first is None else FAILED


def _begun_with(config: Any) -> str:
    """What the model is called whose weights a job begins with, empty where they are drawn."""
    return "" if config.init is None else config.init.expanduser().resolve().name.removesuffix(".gguf")


def _check(asked: Any) -> None:
    at_least(asked, 1, "until")


def _config_in(out: Path, kind: type) -> Any:
    """The configuration of the run that is there, None where none is."""
    from jaxformer.training.run import RunFolder

    run = RunFolder(out)
    return run.config(kind) if run.config_path.exists() else None


def _out_of_memory(kind: type, out: Path) -> str:
    from jaxformer.recipes.room import out_of_memory
    from jaxformer.training.run import RunFolder

    run = RunFolder(out)
    return out_of_memory(run.config(kind), run.tokenizer().size)


def _tell(line: str) -> None:
    """A line on standard error, where that is still read: it often is the same pipe as standard output."""
    with contextlib.suppress(BrokenPipeError):
        print(line, file=sys.stderr)
