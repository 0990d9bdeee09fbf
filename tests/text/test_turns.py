"""A chat as ids: what counts is what the assistant says and the mark that ends it, in every kind of template."""

import pytest

from jaxformer.text.chat import CHATML
from jaxformer.text.pretrained import PretrainedTokenizer
from jaxformer.text.turns import encode_answer, encode_chat, encode_prompt, template_of, turn_end
from tests.text import toys

CHAT = [
    {"role": "system", "content": "the cat <|eot_id|>"},
    {"role": "user", "content": "the dog"},
    {"role": "assistant", "content": "我爱你"},
    {"role": "user", "content": "the mat"},
    {"role": "assistant", "content": "the dinner"},
]
LLAMA3 = """\
{{ bos_token }}{% for m in messages %}<|start_header_id|>{{ m.role }}<|end_header_id|>

{{ m.content }}<|eot_id|>{% endfor %}{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>

{% endif %}"""


def tokenizer(folder, kind="llama3", **more):
    return PretrainedTokenizer.load(toys.write(folder, kind, **more))


def test_what_counts_is_every_answer_with_the_mark_of_its_end(tmp_path):
    t = tokenizer(tmp_path, chat_template=LLAMA3)
    turns = encode_chat(t, CHAT)
    said, end = [i for i, answered in zip(*turns, strict=True) if answered], t.encode_marked("<|eot_id|>").ids
    assert said == [*t.encode("我爱你"), *end, *t.encode("the dinner"), *end]
    assert turns.ids[0] == t.bos and turns.ids.count(t.bos) == 1
    prompt = encode_prompt(t, CHAT[:-1])
    assert turns.ids[: len(prompt)] == prompt and turns.answers[len(prompt) :] == [True] * len(turns.ids[len(prompt) :])


@pytest.mark.parametrize(
    "template, mark",
    [
        (LLAMA3, "<|eot_id|>"),
        (CHATML.replace("<|im_end|>", "<|end_of_text|>"), None),
        (LLAMA3.replace("{{ m.content }}", "<|start_header_id|>{{ m.content }}"), "<|eot_id|>"),
        ("{{ raise_exception('no chats') }}", None),
    ],
    ids=["a mark of its own", "no mark", "a mark before the answer too", "a template that refuses"],
)
def test_the_mark_that_ends_an_answer(tmp_path, template, mark):
    t = tokenizer(tmp_path, chat_template=template)
    assert turn_end(t) == (None if mark is None else t.encode_marked(mark).ids[0])


def test_without_a_template_turns_end_by_the_mark_of_chatml_or_as_a_text_does(tmp_path):
    bare = tokenizer(tmp_path / "bare", "gpt2", eos_token="<|endoftext|>")
    assert template_of(bare) == CHATML.replace("<|im_end|>", "<|endoftext|>") and turn_end(bare) == bare.eos
    known = tokenizer(tmp_path / "known", "gpt2", additional_special_tokens=["<|im_end|>"])
    assert template_of(known) == CHATML and turn_end(known) == known.encode_marked("<|im_end|>").ids[0] != known.eos
    assert template_of(known.with_template(LLAMA3)) == LLAMA3


def test_of_an_answer_that_is_added_only_its_own_tokens_count(tmp_path):
    t = tokenizer(tmp_path, chat_template=LLAMA3)
    whole, last = encode_chat(t, CHAT), encode_answer(t, CHAT[:-1], "the dinner")
    assert last.ids == whole.ids
    said = [i for i, answered in zip(*last, strict=True) if answered]
    assert said == [*t.encode("the dinner"), *t.encode_marked("<|eot_id|>").ids]
