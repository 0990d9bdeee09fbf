"""Fields set by text: plain values, and one of several objects in a word: `Learned`, `Cosine(peak=0.001)`, a preset."""

import ast
import contextlib
import copy
import dataclasses
import difflib
import json
import re
from collections.abc import Iterator, Sequence
from typing import Any, get_args, get_origin, get_type_hints

from jaxformer.config.errors import UserError
from jaxformer.config.io import dataclasses_in, decode, describe, from_json, item_hints, members, to_json
from jaxformer.config.presets import PRESETS, preset

WORDS = {"true": True, "false": False, "none": None, "null": None}
"""What is no number, in the words of Python and of JSON, in any case."""


def fields(config: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every field of a nested dataclass instance as its dotted path and type hint, outer ones first."""
    hints = get_type_hints(type(config))
    for field in dataclasses.fields(config):
        path, value = prefix + field.name, getattr(config, field.name)
        yield path, hints[field.name]
        if dataclasses.is_dataclass(value):
            yield from fields(value, f"{path}.")


def alternatives(hint: Any) -> dict[str, type]:
    """The dataclasses that a field may hold, itself or in a tuple, by name; empty for a field that holds none."""
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        return {hint.__name__: hint}
    return {name: kind for part in get_args(hint) for name, kind in alternatives(part).items()}


def parse_choice(path: str, hint: Any, text: str) -> Any:
    """The object that `text` names: a class, with or without arguments, a tuple of such, None where the field may be
    so, or a preset where the field is a model.

    What `repr` writes for such an object gives it back. Raises UserError, with what may be chosen, for anything else;
    nothing but literals and the classes of the fields is ever evaluated.
    """
    if _may_be_preset(hint, text):
        return _preset(path, hint, text)
    source = text.strip()
    try:
        node = ast.parse(source, mode="eval").body
    except (SyntaxError, ValueError):
        raise _misfit(path, hint, text) from None
    data = _as_json(node, hint, path, source)
    try:
        return decode(hint, data, "")
    except UserError as error:
        raise UserError(f"{path}={text}: {error}") from None


def _may_be_preset(hint: Any, text: str) -> bool:
    """Whether the field may hold a model, and the text is a plain name that means nothing else."""
    kinds, models = alternatives(hint), {type(each.config) for each in PRESETS.values()}
    named = re.fullmatch(r"[A-Za-z0-9_.-]+", text) and text not in kinds and text.lower() not in WORDS
    return bool(named) and not models.isdisjoint(dataclasses_in(hint))


def _preset(path: str, hint: Any, name: str) -> Any:
    found, kinds = preset(name), tuple(dataclasses_in(hint))
    if not isinstance(found, kinds):
        fitting = [other for other, each in PRESETS.items() if isinstance(each.config, kinds)]
        raise UserError(f"{path} must be one of {', '.join(fitting)}, got {name!r}, which is a {type(found).__name__}")
    return found


def _as_json(node: ast.expr, hint: Any, path: str, source: str) -> Any:
    """The JSON of a field with this hint: a call of one of its classes, a tuple of such, or a literal; UserError, which
    names the place, for the rest.
    """
    kinds = {kind.__name__: kind for kind in dataclasses_in(hint)}
    name, keywords = (node.func, node.keywords) if isinstance(node, ast.Call) and not node.args else (node, [])
    if isinstance(name, ast.Name) and name.id in kinds:
        hints = get_type_hints(kinds[name.id])
        data: dict[str, Any] = {"type": name.id} if len(kinds) > 1 else {}
        for field, value in ((str(keyword.arg), keyword.value) for keyword in keywords):
            # What is no field is refused when its class is made, with the fields that there are.
            data[field] = _as_json(value, hints[field], f"{path}.{field}", source) if field in hints else None
        return data
    if (items := _items(node, hint)) is not None:
        return [_as_json(item, kind, f"{path}.{i}", source) for i, (item, kind) in enumerate(items)]
    with contextlib.suppress(KeyError, TypeError, ValueError):
        value = WORDS[node.id.lower()] if isinstance(node, ast.Name) else json.loads(json.dumps(ast.literal_eval(node)))
        if not alternatives(hint) or (value is None and type(None) in members(hint)):
            return value
    raise _misfit(path, hint, ast.get_source_segment(source, node) or source)


def _items(node: ast.expr, hint: Any) -> list[tuple[ast.expr, Any]] | None:
    """Each item of a tuple or list with its hint; None where none is written or may be."""
    if isinstance(node, ast.Tuple | ast.List):
        for member in members(hint):
            if (kinds := item_hints(member, len(node.elts))) is not None:
                return list(zip(node.elts, kinds, strict=True))
    return None


def _misfit(path: str, hint: Any, text: str) -> UserError:
    kinds, name = alternatives(hint), re.search(r"\w+", text)
    near = difflib.get_close_matches(name[0], kinds, n=1) if name and name[0] not in kinds else []
    hint_ = f"; did you mean {near[0]}?" if near else ""
    return UserError(f"{path} must be {_allowed(hint)}, got {text!r}{hint_}")


def _allowed(hint: Any) -> str:
    """What may be chosen for a field with this hint, as it is written."""
    if not alternatives(hint):
        return describe(hint)
    written = [_pattern(member) for member in members(hint)]
    return f"one of {', '.join(written)}" if len(written) > 1 else written[0]


def _pattern(member: Any) -> str:
    if isinstance(member, type) and dataclasses.is_dataclass(member):
        return f"{member.__name__}({', '.join(field.name for field in dataclasses.fields(member))})"
    if get_origin(member) is tuple:
        return f"a tuple of {', '.join(_allowed(item) for item in get_args(member) if item is not Ellipsis)}"
    return "None" if member is type(None) else describe(member)


def replace_at(config: Any, path: str, value: Any) -> Any:
    """A copy of a nested dataclass with the field at a dotted path replaced. Whether its fields go together is not
    asked: others of them may yet be replaced.
    """
    name, _, rest = path.partition(".")
    changed = copy.copy(config)
    # Frozen dataclasses are set so by their own __init__.
    object.__setattr__(changed, name, replace_at(getattr(config, name), rest, value) if rest else value)
    return changed


def choose(config: Any, arguments: list[str]) -> tuple[Any, list[str]]:
    """Takes the fields of `config` among command-line arguments: (config with them set, the arguments left).

    An argument may be written `--any.field value`, `--any.field=value` or `any.field=value`. Choices among objects are
    made in the order given, so one inside another follows it; plain values are then set all at once, and only then is
    asked whether all go together, so that those which depend on each other may come in any order. Raises UserError for
    a value that does not fit its field; options that name no field are left, each with its value as an argument of its
    own.
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
            config = replace_at(config, path, parse_choice(path, known[path], value))
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
    """A number, a truth value or None where the field may hold one; the text itself where it is none of them."""
    kinds = members(hint)
    word = WORDS.get(text.lower(), text)
    if type(word) in kinds:
        return word
    for number in (int, float):
        if number in kinds:
            with contextlib.suppress(ValueError):
                return number(text)
    return text
