"""Conversations to learn from: chats to be imitated, and pairs of answers of which one is better."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar

from jaxformer.config.errors import UserError
from jaxformer.data.reading import excerpt, read_objects, text_in
from jaxformer.data.splits import hold_out, named_splits

Message = dict[str, Any]
"""A turn: its role and its content, both texts, and whatever else a chat template may ask for."""

Chat = tuple[Message, ...]

T = TypeVar("T")


class Preference(NamedTuple):
    """A conversation, and two answers of the assistant to it."""

    messages: Chat
    chosen: str
    rejected: str


@dataclass(frozen=True)
class Conversations(Generic[T]):
    """Chats or preferences of two splits, in the order of their files."""

    train: tuple[T, ...]
    valid: tuple[T, ...]

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of all conversations, in hexadecimal."""
        return hashlib.sha256(json.dumps([self.train, self.valid]).encode()).hexdigest()


def load_chats(spec: str, held_out: float = 0.1) -> Conversations[Chat]:
    """Chats from JSONL: {"messages": [{"role": "user", "content": "…"}, {"role": "assistant", "content": "…"}, …]}.

    Args:
        spec: a file, or a folder that holds train.jsonl and valid.jsonl (or val, dev, validation).
        held_out: the part of a single file that becomes the valid split, by the SHA-256 of the conversation.

    Roles are those of the model's template; a chat has at least one turn of the assistant. Raises UserError, with file
    and line, for anything that is missing, empty or malformed.
    """
    return _load(spec, held_out, _chat, lambda chat: json.dumps(chat))


def load_preferences(spec: str, held_out: float = 0.1) -> Conversations[Preference]:
    """Preferences from JSONL: {"prompt": …, "chosen": …, "rejected": …}.

    The prompt is a text, which the user says, or a list of messages, which may also be called "messages". An answer is
    a text, or a list of messages: one of the assistant, with or without those of the prompt before it. A prompt's pairs
    all stay in one split. Otherwise as `load_chats`.
    """
    return _load(spec, held_out, _preference, lambda preference: json.dumps(preference.messages))


def _load(
    spec: str, held_out: float, parse: Callable[[dict[str, Any], str], T], key: Callable[[T], str]
) -> Conversations[T]:
    if not 0 < held_out < 1:
        raise ValueError(f"held_out must lie between 0 and 1, got {held_out}")
    path = Path(spec).expanduser()
    if not spec or not path.exists():
        raise UserError(f"no file or folder {spec}; conversations are a JSONL file, or a folder with train and valid")
    splits = named_splits(path, (".jsonl",)) if path.is_dir() else None
    if splits:
        return Conversations(*(_read(split, parse) for split in splits))
    if path.is_dir():
        raise UserError(f"{spec} has neither train.jsonl nor valid.jsonl; name the file, or name its splits so")
    every = _read(path, parse)
    keys = [key(each) for each in every]
    if len(set(keys)) < 2:
        raise UserError(f"{spec} must hold two different conversations or more, so that one can be held out")
    held = hold_out(keys, held_out)
    train, valid = (tuple(c for c, out in zip(every, held, strict=True) if out == wanted) for wanted in (False, True))
    return Conversations(train, valid)


def _read(path: Path, parse: Callable[[dict[str, Any], str], T]) -> tuple[T, ...]:
    return tuple(parse(record, where) for where, record in read_objects(path, "one JSON object a line"))


def _chat(record: dict[str, Any], where: str) -> Chat:
    messages = _messages(record.get("messages"), "messages", where)
    if not any(message["role"] == "assistant" for message in messages):
        raise UserError(f"{where}: a chat must have a turn of the role assistant to learn from")
    return messages


def _preference(record: dict[str, Any], where: str) -> Preference:
    field = "messages" if "messages" in record else "prompt"
    prompt = record.get(field)
    if isinstance(prompt, str):
        prompt = [{"role": "user", "content": text_in(record, field, where)}]
    messages = _messages(prompt, field, where)
    chosen, rejected = (_answer(record, name, messages, where) for name in ("chosen", "rejected"))
    if chosen == rejected:
        raise UserError(f"{where}: chosen and rejected must differ, got {excerpt(chosen)} for both")
    return Preference(messages, chosen, rejected)


def _answer(record: dict[str, Any], field: str, prompt: Chat, where: str) -> str:
    """The text of an answer, however it is written."""
    if not isinstance(record.get(field), list):
        return text_in(record, field, where)
    messages = _messages(record[field], field, where)
    if messages[:-1] not in ((), prompt) or messages[-1]["role"] != "assistant":
        raise UserError(f"{where}: {field} must be one turn of the assistant, alone or after those of the prompt")
    return messages[-1]["content"]


def _messages(value: Any, field: str, where: str) -> Chat:
    if not isinstance(value, list) or not value:
        raise UserError(f"{where}: {field} must be a list of messages, got {excerpt(json.dumps(value))}")
    for number, message in enumerate(value, start=1):
        place = f"{where}, {field}, message {number}"
        if not isinstance(message, dict):
            raise UserError(f"{place}: a message must be an object, got {excerpt(json.dumps(message))}")
        for name in ("role", "content"):
            text_in(message, name, place)
    return tuple(value)
