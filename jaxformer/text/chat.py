"""A chat becomes text by the template of its model, and it is known which characters are the model's answers.

A template is a small Jinja program that comes with the weights. It is a stranger's, so it runs in a sandbox.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any

from jinja2 import Template, TemplateError, nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

from jaxformer.config.errors import UserError

CHATML = """\
{% for message in messages %}
{{ '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}
{%- endfor %}
{% if add_generation_prompt %}
{{ '<|im_start|>assistant\\n' }}
{%- endif %}
"""
"""The template for a model that comes without one: every turn between <|im_start|> and <|im_end|>."""

Message = Mapping[str, Any]


def render(
    template: str,
    messages: Sequence[Message],
    *,
    bos_token: str | None,
    eos_token: str | None,
    add_generation_prompt: bool,
    **variables: Any,
) -> str:
    """The text of a chat: a list of messages with "role" and "content", which the template may want more of.

    With `add_generation_prompt` it ends where the assistant is to speak. `variables` are what else the template reads,
    such as `tools`. The text holds the marks of the beginning and of each turn already: encode it by `encode_marked`.
    Raises UserError for messages without role or content, and for a template that is wrong or refuses the chat.
    """
    _check(messages)
    # To a template, None is a value to print; what is not there at all prints nothing.
    marks = {"bos_token": bos_token, "eos_token": eos_token}
    variables = {"tools": None, "documents": None} | {k: v for k, v in marks.items() if v is not None} | variables
    try:
        return _compiled(template).render(
            messages=list(messages), add_generation_prompt=add_generation_prompt, **variables
        )
    except TemplateError as error:
        raise UserError(f"the chat template refuses this chat: {_line(error)}") from None
    except Exception as error:  # a template is a program, which can fail in every way
        raise UserError(f"the chat template fails on this chat: {type(error).__name__}: {_line(error)}") from None


def answer_spans(
    template: str, messages: Sequence[Message], *, bos_token: str | None, eos_token: str | None, **variables: Any
) -> tuple[str, list[tuple[int, int]]]:
    """The text of a chat, and the characters [start, stop) of each of the assistant's answers in it.

    An answer begins where the prompt for it ends, and includes the mark of its end, up to the next turn. It is found
    between the renderings of the messages before it and of those up to it. Raises UserError where these do not begin
    the text of the whole chat, as with a template that rewrites earlier turns.
    """

    def text_of(count: int, prompt: bool) -> str:
        marks = {"bos_token": bos_token, "eos_token": eos_token}
        return render(template, messages[:count], **marks, add_generation_prompt=prompt, **variables)

    whole, spans = text_of(len(messages), False), []
    for n, message in enumerate(messages):
        if message["role"] == "assistant":
            before, after = text_of(n, True), text_of(n + 1, False)
            if not (whole.startswith(after) and after.startswith(before)):
                raise UserError(
                    f"the answer in message {n + 1} cannot be found: the chat template writes the messages up to it "
                    "differently when others follow; train on chats of a single answer, or with another template"
                )
            spans.append((len(before), len(after)))
    return whole, spans


def answer_mask(spans: Iterable[tuple[int, int]], answers: Sequence[tuple[int, int]]) -> list[bool]:
    """Which tokens are the assistant's, by the characters [start, stop) of each token and of the answers.

    A token belongs to the answer in which it begins; one without characters belongs to none.
    """
    return [start < stop and any(a <= start < b for a, b in answers) for start, stop in spans]


class _Generation(Extension):
    """{% generation %} … {% endgeneration %}, by which some templates mark the answers; the text is what is inside."""

    tags = {"generation"}  # noqa: RUF012

    def parse(self, parser: Parser) -> nodes.Node:
        line = next(parser.stream).lineno
        return nodes.Scope(parser.parse_statements(("name:endgeneration",), drop_needle=True), lineno=line)


def _check(messages: Sequence[Message]) -> None:
    for n, message in enumerate(messages, 1):
        if not isinstance(message, Mapping):
            raise UserError(f"message {n} must be an object with role and content, got {message!r}")
        for key in ("role", "content"):
            if message.get(key) is None:
                raise UserError(f"message {n} has no {key}; its keys are {', '.join(map(str, message)) or 'none'}")


@lru_cache(maxsize=16)
def _compiled(template: str) -> Template:
    """The template in the environment that the authors of templates expect. Source: documentation of transformers."""
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, loopcontrols]
    )
    environment.filters["tojson"] = _tojson
    environment.globals |= {"raise_exception": _refuse, "strftime_now": _now}
    return environment.from_string(template)


def _tojson(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """JSON as it is; Jinja's own filter escapes what HTML does not allow."""
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def _refuse(message: str) -> None:
    raise TemplateError(message)


def _now(form: str) -> str:
    return datetime.now().strftime(form)


def _line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
