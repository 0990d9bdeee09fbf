"""Choosing one of several objects in a word: `Learned`, `Cosine(peak=0.001)`, or the name of a preset."""

import ast
import dataclasses
import difflib
from collections.abc import Iterator
from typing import Any, get_args, get_type_hints

from jaxformer.config.errors import UserError
from jaxformer.config.io import from_json
from jaxformer.config.model import Seq2SeqConfig
from jaxformer.config.presets import preset


def fields(config: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every field of a nested dataclass instance as its dotted path and type hint, outer ones first."""
    hints = get_type_hints(type(config))
    for field in dataclasses.fields(config):
        path, value = prefix + field.name, getattr(config, field.name)
        yield path, hints[field.name]
        if dataclasses.is_dataclass(value):
            yield from fields(value, f"{path}.")


def alternatives(hint: Any) -> dict[str, type]:
    """The dataclasses that a field may hold, by name, where it may hold more than one."""
    kinds = {
        kind.__name__: kind for kind in get_args(hint) if dataclasses.is_dataclass(kind) and isinstance(kind, type)
    }
    return kinds if len(kinds) > 1 else {}


def parse_choice(path: str, hint: Any, text: str) -> Any:
    """The object that `text` names: a class, with or without arguments, or a preset where the field is a model.

    Raises UserError, with what may be chosen, for anything else; nothing but literal arguments is ever evaluated.
    """
    kinds = alternatives(hint)
    if (
        hint == Seq2SeqConfig
        and text.isascii()
        and text.replace("-", "").replace("_", "").isalnum()
        and text not in kinds
    ):
        return preset(text)
    try:
        call = ast.parse(text, mode="eval").body
        name, keywords = (call.func, call.keywords) if isinstance(call, ast.Call) and not call.args else (call, [])
        kind = kinds[name.id]  # pyright: ignore[reportAttributeAccessIssue]
        values = {k.arg: ast.literal_eval(k.value) for k in keywords}
    except (SyntaxError, AttributeError, KeyError, TypeError, ValueError):
        usable = [f"{kind.__name__}({', '.join(f.name for f in dataclasses.fields(kind))})" for kind in kinds.values()]
        near = difflib.get_close_matches(text.partition("(")[0], kinds, n=1)
        hint_ = f"; did you mean {near[0]}?" if near else ""
        raise UserError(f"{path} must be one of {', '.join(usable)}, got {text!r}{hint_}") from None
    try:
        return from_json(kind, values)
    except UserError as error:
        raise UserError(f"{path}={text}: {error}") from None


def replace_at(config: Any, path: str, value: Any) -> Any:
    """A copy of a nested dataclass with the field at a dotted path replaced."""
    name, _, rest = path.partition(".")
    return dataclasses.replace(config, **{name: replace_at(getattr(config, name), rest, value) if rest else value})


def choose(config: Any, arguments: list[str]) -> tuple[Any, list[str]]:
    """Takes the choices among command-line arguments: (config with them made, the arguments left for its plain fields).

    An argument may be written `--any.field value`, `--any.field=value` or `any.field=value`. Choices are made in the
    order given, so one inside another follows it. Raises UserError for an unknown field, with the nearest known one.
    """
    left: list[str] = []
    rest = iter(_split(arguments))
    for token in rest:
        path = token[2:].replace("-", "_") if token.startswith("--") else None
        if path in (None, "help"):
            left.append(token)
            continue
        known = dict(fields(config))
        if path not in known:
            left.append(token)
        elif alternatives(known[path]):
            text = next(rest, None)
            if text is None:
                raise UserError(f"{token} needs a value: one of {', '.join(alternatives(known[path]))}")
            try:
                config = replace_at(config, path, parse_choice(path, known[path], text))
            except ValueError as error:
                raise UserError(f"{path}={text}: {error}") from None
        else:
            left.append(token)
    return config, left


def _split(arguments: list[str]) -> Iterator[str]:
    """Every option and every value as a token of its own."""
    for argument in arguments:
        name, equals, value = argument.partition("=")
        if (
            equals
            and name.removeprefix("--").replace(".", "").replace("_", "").replace("-", "").isalnum()
            and " " not in name
        ):
            yield "--" + name.removeprefix("--")
            yield value
        else:
            yield argument
