"""What a person wrote after a command: options to dataclasses, arguments and lines to text."""

import contextlib
import difflib
import os
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import tyro

from jaxformer.config.arguments import in_one_line
from jaxformer.config.errors import UserError

Option = tyro.conf.arg
Positional = tyro.conf.Positional


def parse(kind: Any, arguments: Sequence[str], name: str, default: Any = None) -> Any:
    """The dataclass `kind` from arguments; what they leave out is as in `default`."""
    options: dict[str, Any] = {"config": (tyro.conf.AvoidSubcommands, tyro.conf.FlagConversionOff)} if default else {}
    try:
        return in_one_line(
            lambda: tyro.cli(kind, args=list(arguments), prog=f"jaxformer {name}", default=default, **options)
        )
    except UserError as error:
        raise UserError(f"{error}; jaxformer {name} --help lists what is allowed") from None


def check_names(arguments: Sequence[str], known: Sequence[str], command: str) -> None:
    """Raises UserError for an option of a command that names no field, with the one that looks most like it."""
    for token in arguments:
        name = token.removeprefix("--").replace("-", "_")
        if not token.startswith("--") or name in known or name in ("help", ""):
            continue
        last = {path.rpartition(".")[2]: path for path in reversed(known)}
        near = difflib.get_close_matches(name, known, n=1)
        near = near or [last[match] for match in difflib.get_close_matches(name.rpartition(".")[2], last, n=1)]
        hint = f"; did you mean --{near[0]}?" if near else f"; jaxformer {command} --help lists them"
        raise UserError(f"unknown field {token}{hint}")


def utf8(argument: str) -> str:
    """The argument, unless the system could not decode it; UserError then."""
    try:
        argument.encode()
    except UnicodeEncodeError:
        raise UserError(f"text must be UTF-8, got {os.fsencode(argument)!r}; convert it with iconv -t utf-8") from None
    return argument


def standard_input() -> list[str]:
    """Lines end with a line feed, whatever else is in them."""
    return [_line(line, number) for number, line in enumerate(sys.stdin.buffer, 1)]


def turns(prompt: str) -> Iterator[str]:
    """Lines of standard input, each as soon as it is there; a person at a terminal is asked for them by `prompt`."""
    if not sys.stdin.isatty():
        yield from (_line(line, number) for number, line in enumerate(iter(sys.stdin.buffer.readline, b""), 1))
        return
    with contextlib.suppress(EOFError):
        while True:
            yield input(prompt)


def _line(line: bytes, number: int) -> str:
    try:
        return line.decode().rstrip("\r\n")
    except UnicodeDecodeError as error:
        raise UserError(
            f"standard input, line {number}: not UTF-8 (byte 0x{line[error.start]:02X} at column "
            f"{error.start + 1}); convert it with iconv -t utf-8"
        ) from None
