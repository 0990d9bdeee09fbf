"""Fields set by text: plain values, and one of several objects in a word: `Learned`, `Cosine(peak=0.001)`, a preset."""

import ast
import dataclasses
import difflib
import re
from collections.abc import Iterator, Sequence
from typing import Any, get_args, get_type_hints

from jaxformer.config.errors import UserError
from jaxformer.config.io import from_json, to_json
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
    """The dataclasses that a field may hold, by name; empty for a field that holds none."""
    kinds = get_args(hint) or (hint,)
    return {kind.__name__: kind for kind in kinds if dataclasses.is_dataclass(kind) and isinstance(kind, type)}


def parse_choice(path: str, hint: Any, text: str) -> Any:
    """The object that `text` names: a class, with or without arguments, or a preset where the field is a model.

    What `repr` writes for such an object gives it back. Raises UserError, with what may be chosen, for anything else;
    nothing but literals and the classes of the fields is ever evaluated.
    """
    kinds = alternatives(hint)
    if hint == Seq2SeqConfig and re.fullmatch(r"[A-Za-z0-9_-]+", text) and text not in kinds:
        return preset(text)
    try:
        values = _as_json(ast.parse(text.strip(), mode="eval").body, hint)
        kind = kinds[values.pop("type") if len(kinds) > 1 else next(iter(kinds))]
    except (SyntaxError, AttributeError, KeyError, TypeError, ValueError):
        usable = [f"{kind.__name__}({', '.join(f.name for f in dataclasses.fields(kind))})" for kind in kinds.values()]
        near = difflib.get_close_matches(text.partition("(")[0], kinds, n=1)
        hint_ = f"; did you mean {near[0]}?" if near else ""
        raise UserError(f"{path} must be one of {', '.join(usable)}, got {text!r}{hint_}") from None
    try:
        return from_json(kind, values)
    except UserError as error:
        raise UserError(f"{path}={text}: {error}") from None


def _as_json(node: ast.expr, hint: Any) -> Any:
    """The JSON of a field with this hint: a call of one of its classes, or a literal; ValueError for the rest."""
    kinds = alternatives(hint)
    if not kinds:
        return ast.literal_eval(node)
    name, keywords = (node.func, node.keywords) if isinstance(node, ast.Call) and not node.args else (node, [])
    if not isinstance(name, ast.Name) or name.id not in kinds:
        raise ValueError(f"one of {', '.join(kinds)} is expected, got {ast.unparse(node)}")
    hints = get_type_hints(kinds[name.id])
    tag = {"type": name.id} if len(kinds) > 1 else {}
    return tag | {str(keyword.arg): _as_json(keyword.value, hints.get(keyword.arg or "")) for keyword in keywords}


def replace_at(config: Any, path: str, value: Any) -> Any:
    """A copy of a nested dataclass with the field at a dotted path replaced."""
    name, _, rest = path.partition(".")
    return dataclasses.replace(config, **{name: replace_at(getattr(config, name), rest, value) if rest else value})


def choose(config: Any, arguments: list[str]) -> tuple[Any, list[str]]:
    """Takes the fields of `config` among command-line arguments: (config with them set, the arguments left).

    An argument may be written `--any.field value`, `--any.field=value` or `any.field=value`. Choices among objects are
    made in the order given, so one inside another follows it; plain values are then set all at once, so that those
    which depend on each other may come in any order. Raises UserError for a value that does not fit its field; options
    that name no field are left, each with its value as an argument of its own.
    """
    left: list[str] = []
    plain: dict[str, str] = {}
    for option, value in options(arguments):
        if option is None:
            left.append(value)
            continue
        path, known = option.replace("-", "_"), dict(fields(config))
        if path not in known:
            left += [f"--{option}"] if value is None else [f"--{option}", value]
        elif value is None:
            raise UserError(f"--{option} needs a value: --{option} VALUE, or {option}=VALUE")
        elif alternatives(known[path]):
            try:
                config = replace_at(config, path, parse_choice(path, known[path], value))
            except ValueError as error:
                raise UserError(f"{path}={value}: {error}") from None
        else:
            plain[path] = value
    return _with_plain(config, plain), left


def options(arguments: Sequence[str]) -> Iterator[tuple[str | None, Any]]:
    """The name of each option and its value, None where it has none; (None, argument) for what is no option."""
    rest = list(reversed(arguments))
    while rest:
        name, value = _option(rest.pop())
        if name is not None and value is None and rest and not rest[-1].startswith("--"):
            value = rest.pop()
        yield name, value


def _option(argument: str) -> tuple[str | None, Any]:
    """The name of an option and its value, None where that is yet to come; (None, argument) for what is no option."""
    name, equals, value = argument.removeprefix("--").partition("=")
    if argument.startswith("--"):
        return name, value if equals else None
    return (name, value) if equals and re.fullmatch(r"[A-Za-z0-9_.-]+", name) else (None, argument)


def _with_plain(config: Any, plain: dict[str, str]) -> Any:
    """The config with the plain fields at these paths read from text."""
    data, hints = to_json(config), dict(fields(config))
    for path, text in plain.items():
        if path not in hints:
            raise UserError(
                f"{path} is no field of what was chosen after it; make choices first, then set their fields"
            )
        *outer, name = path.split(".")
        inside = data
        for step in outer:
            inside = inside[step]
        inside[name] = _read(text, hints[path])
    return from_json(type(config), data)


def _read(text: str, hint: Any) -> Any:
    """A number or a truth value where the field holds one; the text itself where it is neither."""
    if hint is bool:
        return {"true": True, "false": False}.get(text.lower(), text)
    try:
        return hint(text) if hint in (int, float) else text
    except ValueError:
        return text
