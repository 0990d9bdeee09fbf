"""Commands that run the programs of the repository: its benchmarks and its experiments."""

import difflib
import runpy
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jaxformer.cli.options import Positional, parse
from jaxformer.config.errors import FAILED, INTERRUPTED, UserError

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Reproduce:
    """Run experiments of the repository anew, all unless named, and compare each with its stored result.

    Each is a process of its own. A finding is reproduced where its verdict is the stored one and both 95% intervals
    overlap. The exit code is 0 where all verdicts are the stored ones, else 1.
    """

    names: Positional[tuple[str, ...]] = ()
    """Experiments, such as order; all where none are named."""
    quick: bool = False
    """Less of each: verdicts are told, and nothing is compared, for the stored results are those of more."""


def bench(arguments: Sequence[str]) -> int:
    """`jaxformer bench`: runs a file of the repository's benchmarks folder, with the options that follow its name."""
    known = programs("benchmarks")
    if arguments[:1] in (["--help"], ["-h"]):
        print(f"usage: jaxformer bench NAME [OPTIONS]     NAME is {' or '.join(known)}; NAME --help tells its options")
        return 0
    if not arguments:
        raise UserError(f"bench needs the name of a benchmark, got nothing; there are {', '.join(known)}")
    name = arguments[0]
    file = named(name, known, "benchmark")
    sys.path.insert(0, str(ROOT))
    sys.argv = [f"jaxformer bench {name}", *arguments[1:]]
    runpy.run_module(f"benchmarks.{file.stem}", run_name="__main__")
    return 0


def reproduce(arguments: Sequence[str]) -> int:
    """`jaxformer reproduce`: runs experiments and compares them with their stored results."""
    asked = parse(Reproduce, arguments, "reproduce")
    known = programs("experiments")
    files = {name: named(name, known, "experiment") for name in asked.names or known}
    from jaxformer.recipes.reproduce import Interrupted, reproduce

    try:
        return 0 if reproduce(files, quick=asked.quick) else FAILED
    except Interrupted as stop:
        again = " ".join(["jaxformer reproduce", *stop.left, *["--quick"] * asked.quick])
        print(f"jaxformer: interrupted; this goes on from what is finished: {again}", file=sys.stderr)
        return INTERRUPTED


def programs(folder: str) -> dict[str, Path]:
    """The files of a folder of the repository that can be run, by their names on the command line.

    Raises UserError where there are none.
    """
    files = sorted((ROOT / folder).glob("*.py"))
    known = {path.stem.replace("_", "-"): path for path in files if "__main__" in path.read_text(encoding="utf-8")}
    if not known:
        raise UserError(
            f"no {folder} in {ROOT / folder}; they come with the repository: clone it and pip install -e . there"
        )
    return known


def named(name: str, known: dict[str, Path], kind: str) -> Path:
    """The program of this name; UserError with the nearest one where there is none."""
    if name in known:
        return known[name]
    near = difflib.get_close_matches(name.replace("_", "-"), known, n=1)
    hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(known)}"
    raise UserError(f"no {kind} {name!r}; {hint}")
