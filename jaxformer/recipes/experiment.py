"""The command line that every experiment has: options, a report on the terminal, files that keep it, an exit code."""

import hashlib
import inspect
import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, Protocol, TypeVar

import numpy as np

import jaxformer
from jaxformer.analysis.evidence import Report
from jaxformer.analysis.fonts import ADVICE
from jaxformer.analysis.hardware import describe, revision, summary
from jaxformer.config.arguments import in_one_line
from jaxformer.config.errors import UserError
from jaxformer.config.io import to_json

HOLDS, REFUTED, USAGE, INTERRUPTED = 0, 1, 2, 130
"""Exit codes: the claim held, it did not or was not shown, the input cannot be used, Ctrl-C (what was done is kept)."""

Config = TypeVar("Config")
Arrays = dict[str, np.ndarray]


class Keep(Protocol):
    """Gives what a part of an experiment found, under a name of its own: computed now, or kept from before."""

    def __call__(self, name: str, part: Callable[..., Arrays], *arguments: Any) -> Arrays: ...


def compute(name: str, part: Callable[..., Arrays], *arguments: Any) -> Arrays:
    """Computes a part and keeps nothing."""
    return part(*arguments)


class Kept:
    """Parts of an experiment in a folder, so that one that was interrupted goes on with those that are missing."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, name: str, part: Callable[..., Arrays], *arguments: Any) -> Arrays:
        path = self.folder / f"{name}.npz"
        if not path.exists():
            found = part(*arguments)
            self.folder.mkdir(parents=True, exist_ok=True)
            half = path.with_suffix(".part.npz")
            np.savez(half, allow_pickle=False, **found)
            half.replace(path)
        with np.load(path, allow_pickle=False) as arrays:
            return dict(arrays)

    def forget(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)


def command(
    main: Callable[[Config, Keep], Report],
    draw: Callable[[Path, Report], str],
    config: Config,
    quick: Config,
    arguments: Sequence[str] | None = None,
) -> int:
    """An experiment's command line: runs `main`, prints its report, writes JSON and the picture; returns the exit code.

    Both files are named after the one that defines `main`. They go to the folder results beside it when the experiment
    ran with its own `config`, else to runs/experiments, so that no quick look overwrites what is kept. Parts that were
    done before an interruption are in runs/experiments/unfinished until the experiment has ended. `draw` returns the
    characters that no installed font has.
    """
    import tyro

    file, own = Path(inspect.getfile(main)), config
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    base = quick if "--quick" in arguments else own
    Chosen = Annotated[type(own), tyro.conf.arg(name="")]

    def parse(
        config: Chosen = base,  # pyright: ignore[reportInvalidTypeForm]
        quick: bool = False,
        out: Path | None = None,
    ) -> tuple[Any, Path]:
        """The config and the folder for the results.

        Args:
            config: What is done.
            quick: Do less: seconds instead of minutes. The other options may change this too.
            out: The folder for the results.
        """
        return config, out or (file.parent / "results" if config == own else Path("runs") / "experiments")

    about = inspect.getdoc(inspect.getmodule(main))
    options = (tyro.conf.AvoidSubcommands,)
    try:
        chosen, folder = in_one_line(
            lambda: tyro.cli(parse, args=arguments, prog=file.name, description=about, config=options)
        )
        _make(folder)
    except UserError as error:
        print(f"{file.name}: {error}", file=sys.stderr)
        return USAGE
    kept = Kept(Path("runs", "experiments", "unfinished", f"{file.stem}-{_digest(file, chosen)}"))
    start = time.perf_counter()
    try:
        report = main(chosen, kept)
    except KeyboardInterrupt:
        done = len(list(kept.folder.glob("*.npz")))
        print(f"{file.name}: interrupted; the same command goes on from its {done} finished parts", file=sys.stderr)
        return INTERRUPTED
    seconds, hardware = time.perf_counter() - start, describe()
    document = {
        **report.to_json(),
        "config": to_json(chosen),
        "seconds": round(seconds, 1),
        "hardware": hardware,
        "commit": revision(file.parent),
    }
    data, picture = folder / f"{file.stem}.json", folder / f"{file.stem}.png"
    data.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    missing = draw(picture, report)
    kept.forget()
    print(f"{report}\n{seconds:.0f} s on {summary(hardware)}; {data}, {picture}")
    if missing:
        print(f"no font has {missing}: {ADVICE}", file=sys.stderr)
    return HOLDS if report.holds else REFUTED


def _make(folder: Path) -> None:
    """Makes the folder for the results before there are any, so that none is lost for want of a place."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot write into {folder}: {error.strerror}; choose another --out") from None
    if not os.access(folder, os.W_OK):
        raise UserError(f"cannot write into {folder}: permission denied; choose another --out")


def _digest(file: Path, config: Any) -> str:
    """Names what a part depends on: the experiment, its config and this library, whose change makes parts stale."""
    digest = hashlib.sha256(json.dumps(to_json(config)).encode())
    for path in (file, *sorted(Path(jaxformer.__file__).parent.rglob("*.py"))):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]
