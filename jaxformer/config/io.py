"""Configurations as JSON: written, read back with errors a person can act on, and compared.

Everything follows the type hints of the dataclasses: scalars, `Literal`, `Path`, tuples, nested dataclasses, and
unions of these. Where a field may hold one of several dataclasses, its object carries `"type": "ClassName"`; other
members of a union must look different in JSON (not `str | Path`).

Law: `from_json(type(x), json.loads(json.dumps(to_json(x)))) == x`.
"""

import dataclasses
import difflib
import functools
import json
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from jaxformer.config.errors import UserError

T = TypeVar("T")

MOST_BYTES = 1 << 26
"""The longest file that is parsed as a whole."""

_SCALARS = {
    bool: "true or false",
    int: "an integer",
    float: "a number",
    str: "a string",
    Path: "a path",
    type(None): "null",
}


def to_json(config: Any) -> dict[str, Any]:
    """The dataclass instance `config` as plain dicts, lists and scalars, for `json.dumps`.

    Raises ValueError when a value is not what its type hint promises, for it could not be read back.
    """
    return _encode_dataclass(config)


def from_json(cls: type[T], data: Any) -> T:
    """The instance of the dataclass `cls` that `data`, parsed JSON, describes; fields left out take their defaults.

    Raises UserError, naming the field by its dotted path, when a field is unknown or missing, when a value has the
    wrong type, or when the dataclass itself refuses the values with a ValueError.
    """
    return _decode_dataclass(cls, data, path="")


def parse_json(text: str | bytes) -> Any:
    """What JSON from elsewhere says. Raises ValueError for all that is none, and for what is nested too deeply."""
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def read_short(path: Path) -> bytes:
    """A file that is parsed as a whole. Raises ValueError where it is longer than any such file, before it is read."""
    if (size := path.stat().st_size) > MOST_BYTES:
        raise ValueError(f"it has {size:,} bytes, allowed are {MOST_BYTES:,}")
    return path.read_bytes()


def difference(a: Any, b: Any) -> list[str]:
    """One line per leaf in which two configurations differ, like `optimizer.learning_rate: 0.001 → 0.002`."""
    return list(_differences(a, b, path=""))


def members(hint: Any) -> tuple[Any, ...]:
    """The alternatives of a union; a hint that is none is its own only alternative."""
    return get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)


@functools.cache
def _fields(cls: type) -> dict[str, tuple[dataclasses.Field, Any]]:
    """Each field that the constructor of the dataclass takes, with its resolved type hint."""
    hints = get_type_hints(cls)
    return {field.name: (field, hints[field.name]) for field in dataclasses.fields(cls) if field.init}


def dataclasses_in(hint: Any) -> list[type]:
    """The dataclasses among the alternatives of a union."""
    return [member for member in members(hint) if isinstance(member, type) and dataclasses.is_dataclass(member)]


def _join(path: str, name: str | int) -> str:
    return f"{path}.{name}" if path else str(name)


# Writing


def _encode_dataclass(config: Any) -> dict[str, Any]:
    return {name: _encode(getattr(config, name), hint) for name, (_, hint) in _fields(type(config)).items()}


def _encode(value: Any, hint: Any) -> Any:
    for member in members(hint):
        if dataclasses.is_dataclass(member) and type(value) is member:
            return _tag(value, hint) | _encode_dataclass(value)
        if isinstance(value, tuple) and (kinds := item_hints(member, len(value))) is not None:
            return [_encode(item, kind) for item, kind in zip(value, kinds, strict=True)]
        if member is Path and isinstance(value, Path):
            return str(value)
        if _accepts(member, value):
            return value
    raise ValueError(f"a field of type {describe(hint)} must hold such a value, got {value!r}")


def _tag(value: Any, hint: Any) -> dict[str, str]:
    if len(dataclasses_in(hint)) == 1:
        return {}
    if "type" in _fields(type(value)):
        raise ValueError(f"a dataclass in a union must have no field called type, got {type(value).__name__}")
    return {"type": type(value).__name__}


# Reading


def decode(hint: Any, data: Any, path: str) -> Any:
    """What a field with this hint, at this dotted path, holds where its JSON is `data`. Raises UserError, as
    `from_json` does.
    """
    choices = dataclasses_in(hint) if isinstance(data, dict) else []
    if choices:
        return _decode_choice(choices, data, path)
    # A whole number stays an integer wherever the hint allows one.
    for member in sorted(members(hint), key=lambda member: member is float):
        if _accepts(member, data):
            return float(cast(float, data)) if member is float else data
        if isinstance(data, list) and (kinds := item_hints(member, len(data))) is not None:
            items = zip(kinds, data, strict=True)
            return tuple(decode(kind, item, _join(path, i)) for i, (kind, item) in enumerate(items))
        if member is Path and isinstance(data, str):
            return Path(data)
    raise UserError(f"{path} must be {describe(hint)}, got {_show_json(data)}")


def _decode_choice(kinds: list[type], data: dict[str, Any], path: str) -> Any:
    """One of several dataclasses, chosen by the name under "type"; a field that allows only one needs no such name."""
    if len(kinds) == 1:
        return _decode_dataclass(kinds[0], data, path)
    by_name = {kind.__name__: kind for kind in kinds}
    name = data.get("type")
    if not isinstance(name, str) or name not in by_name:
        seen = f"got {_show_json(name)}" if "type" in data else "but is missing"
        near = difflib.get_close_matches(str(name), by_name, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise UserError(f"{_join(path, 'type')} must be one of {', '.join(by_name)}, {seen}{hint}")
    return _decode_dataclass(by_name[name], {key: value for key, value in data.items() if key != "type"}, path)


def _decode_dataclass(cls: type[T], data: Any, path: str) -> T:
    if not isinstance(data, dict):
        raise UserError(f"{path or 'the configuration'} must be an object of fields, got {_show_json(data)}")
    fields = _fields(cls)
    for name in data:
        if name not in fields:
            raise UserError(_unknown(cls, name, path))
    for name, (field, hint) in fields.items():
        required = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        if required and name not in data:
            raise UserError(f"{_join(path, name)} is missing and has no default; give {describe(hint)}")
    values = {name: decode(fields[name][1], value, _join(path, name)) for name, value in data.items()}
    try:
        return cls(**values)
    except ValueError as error:
        raise UserError(f"{path}: {error}" if path else str(error)) from error


def _accepts(member: Any, value: Any) -> bool:
    """Whether a scalar or literal hint allows the value; an integer may stand for a number, a bool only for itself."""
    if get_origin(member) is Literal:
        return any(type(value) is type(choice) and value == choice for choice in get_args(member))
    if member is float:
        whole = isinstance(value, int) and not isinstance(value, bool) and abs(value) <= sys.float_info.max
        return whole or isinstance(value, float)
    return member in _SCALARS and type(value) is member


def item_hints(hint: Any, count: int) -> tuple[Any, ...] | None:
    """The hint of each of so many items; None where the hint is no tuple that may hold as many."""
    args = get_args(hint)
    if get_origin(hint) is not tuple or (args[-1] is not Ellipsis and len(args) != count):
        return None
    return args[:1] * count if args[-1] is Ellipsis else args


# Words


def describe(hint: Any) -> str:
    """What a field with this hint must be, in the words of JSON."""
    return " or ".join(_describe_member(member) for member in members(hint))


def _describe_member(member: Any) -> str:
    if get_origin(member) is Literal:
        return "one of " + ", ".join(json.dumps(choice) for choice in get_args(member))
    if get_origin(member) is tuple:
        args = get_args(member)
        if args[-1] is Ellipsis:
            return f"a list of {describe(args[0])}"
        return f"a list of {len(args)}: {', '.join(map(describe, args))}"
    if isinstance(member, type) and dataclasses.is_dataclass(member):
        return f"the fields of {member.__name__}"
    if member not in _SCALARS:
        raise ValueError(f"a field must be a scalar, Literal, Path, tuple, dataclass or a union of these, got {member}")
    return _SCALARS[member]


def _unknown(cls: type, name: str, path: str) -> str:
    """The message for a field that `cls` lacks: it names the nearest sibling, else the nearest field further inside."""
    near = difflib.get_close_matches(name, _fields(cls), n=1)
    if not near:
        inside = {dotted.rpartition(".")[2]: dotted for dotted in _dotted(cls)}
        near = [inside[match] for match in difflib.get_close_matches(name, inside, n=1)]
    unknown = f"unknown field {_join(path, _show_json(name)[1:-1])}"
    if near:
        return f"{unknown}; did you mean {_join(path, near[0])}?"
    return f"{unknown}; the fields here are {', '.join(_fields(cls)) or 'none'}"


def _dotted(cls: type, prefix: str = "") -> Iterator[str]:
    """The dotted path of every field inside the dataclass, at any depth."""
    for name, (_, hint) in _fields(cls).items():
        yield _join(prefix, name)
        for inner in dataclasses_in(hint):
            yield from _dotted(inner, _join(prefix, name))


def _show_json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


# Comparing


def _differences(a: Any, b: Any, path: str) -> Iterator[str]:
    if dataclasses.is_dataclass(a) and type(a) is type(b):
        for name in _fields(type(a)):
            yield from _differences(getattr(a, name), getattr(b, name), _join(path, name))
    elif isinstance(a, tuple) and isinstance(b, tuple) and len(a) == len(b):
        for i, (left, right) in enumerate(zip(a, b, strict=True)):
            yield from _differences(left, right, _join(path, i))
    elif a != b:
        yield f"{path or 'the configuration'}: {_show(a)} → {_show(b)}"


def _show(value: Any) -> str:
    return str(value) if isinstance(value, str | Path) else repr(value)
