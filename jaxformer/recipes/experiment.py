"""The command line that every experiment has: options, a report on the terminal, files that keep it, an exit code."""

import inspect
import json
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar

from jaxformer.analysis.evidence import Report
from jaxformer.analysis.fonts import ADVICE
from jaxformer.analysis.hardware import describe, summary
from jaxformer.config.io import to_json

HOLDS, REFUTED, USAGE = 0, 1, 2
"""Exit codes: the claim held, it did not, the input cannot be used."""

Config = TypeVar("Config")


def command(
    main: Callable[[Config], Report],
    draw: Callable[[Path, Report], str],
    config: Config,
    quick: Config,
    arguments: Sequence[str] | None = None,
) -> int:
    """An experiment's command line: runs `main`, prints its report, writes JSON and the picture; returns the exit code.

    Both files are named after the one that defines `main`. They go to the folder results beside it when the experiment
    ran with its own `config`, else to runs/experiments, so that no quick look overwrites what is kept. `draw` returns
    the characters that no installed font has.
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
        chosen, folder = tyro.cli(parse, args=arguments, prog=file.name, description=about, config=options)
    except ValueError as error:  # A config that refuses its values.
        print(f"{file.name}: {error}", file=sys.stderr)
        return USAGE
    start = time.perf_counter()
    report = main(chosen)
    seconds, hardware = time.perf_counter() - start, describe()
    folder.mkdir(parents=True, exist_ok=True)
    document = {**report.to_json(), "config": to_json(chosen), "seconds": round(seconds, 1), "hardware": hardware}
    data, picture = folder / f"{file.stem}.json", folder / f"{file.stem}.png"
    data.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    missing = draw(picture, report)
    print(f"{report}\n{seconds:.0f} s on {summary(hardware)}; {data}, {picture}")
    if missing:
        print(f"no font has {missing}: {ADVICE}", file=sys.stderr)
    return HOLDS if report.holds else REFUTED
