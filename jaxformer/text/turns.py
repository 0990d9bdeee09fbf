"""Chats as ids: rendered by the template of a model's tokenizer, each token known to be the assistant's or not."""

from collections.abc import Sequence
from typing import NamedTuple

from jaxformer.config.errors import UserError
from jaxformer.text.chat import CHATML, Message, answer_mask, answer_spans, render
from jaxformer.text.pretrained import PretrainedTokenizer

END = "<|im_end|>"
"""The mark that ends a turn in CHATML."""


class Turns(NamedTuple):
    """A chat as a model reads it."""

    ids: list[int]
    answers: list[bool]
    """Which tokens are the assistant's, the mark that ends its turn included."""


def template_of(tokenizer: PretrainedTokenizer) -> str:
    """The chat template of a tokenizer; CHATML where it has none, and where that mark is no token of it, turns end as a
    text does.
    """
    if tokenizer.chat_template is not None:
        return tokenizer.chat_template
    end = tokenizer.token("eos")
    return CHATML if end is None or len(tokenizer.encode_marked(END).ids) == 1 else CHATML.replace(END, end)


def encode_prompt(tokenizer: PretrainedTokenizer, messages: Sequence[Message]) -> list[int]:
    """Ids of a chat up to where the assistant is to speak."""
    text = render(template_of(tokenizer), messages, add_generation_prompt=True, **_marks(tokenizer))
    return tokenizer.encode_marked(text).ids


def encode_chat(tokenizer: PretrainedTokenizer, messages: Sequence[Message]) -> Turns:
    """A chat of which every answer is learned. Raises UserError as `answer_spans`."""
    return _turns(tokenizer, *answer_spans(template_of(tokenizer), messages, **_marks(tokenizer)))


def encode_answer(tokenizer: PretrainedTokenizer, messages: Sequence[Message], answer: str) -> Turns:
    """A chat and one more answer, which alone is learned. Raises UserError as `answer_spans`."""
    whole = [*messages, {"role": "assistant", "content": answer}]
    text, answers = answer_spans(template_of(tokenizer), whole, **_marks(tokenizer))
    return _turns(tokenizer, text, answers[-1:])


def turn_end(tokenizer: PretrainedTokenizer) -> int | None:
    """The id by which the template ends an answer; None where it writes no mark there."""
    said = "answer"
    chat = [{"role": "user", "content": "question"}, {"role": "assistant", "content": said}]
    try:
        text, ((start, stop),) = answer_spans(template_of(tokenizer), chat, **_marks(tokenizer))
    except UserError:
        return None
    after = text[start:stop].rpartition(said)[2]
    return next((i for i in tokenizer.encode_marked(after).ids if i in tokenizer.marks), None)


def _turns(tokenizer: PretrainedTokenizer, text: str, answers: Sequence[tuple[int, int]]) -> Turns:
    encoded = tokenizer.encode_marked(text)
    return Turns(encoded.ids, answer_mask(encoded.spans, answers))


def _marks(tokenizer: PretrainedTokenizer) -> dict[str, str]:
    return {"bos_token": tokenizer.token("bos") or "", "eos_token": tokenizer.token("eos") or ""}
