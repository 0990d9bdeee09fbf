"""A tiny Llama of random weights that knows the marks of a chat, and a few chats to teach it."""

import json

from jaxformer.text.pretrained import PretrainedTokenizer
from tests.cli.test_pretrained import CONTEXT as CONTEXT
from tests.cli.test_pretrained import END, LLAMA, START, TEMPLATE, write_model
from tests.text import toys

ANSWERS = {"cat": "dog", "dog": "cat", "mat": "dinner", "dinner": "mat"}


def write_llama(folder):
    """The folder of a model."""
    marks = {"eos_token": END, "additional_special_tokens": [START], "chat_template": TEMPLATE}
    toys.write(folder, "gpt2", **marks)
    return write_model(folder, LLAMA, PretrainedTokenizer.load(folder))


def write_lines(path, records):
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")


def user(content):
    return {"role": "user", "content": content}


def assistant(content):
    return {"role": "assistant", "content": content}


def write_chats(folder):
    """Train and valid split: every word has its answer. One chat of training is too long."""
    folder.mkdir(parents=True, exist_ok=True)
    chats = [[user(f"the {word}"), assistant(f"the {answer}")] for word, answer in ANSWERS.items()]
    chats += [[*one, *other] for one in chats for other in chats if one != other]
    write_lines(folder / "train.jsonl", [{"messages": chat} for chat in [*chats, [user("the " * 50), chats[0][1]]]])
    write_lines(folder / "valid.jsonl", [{"messages": chat} for chat in chats[4:8]])
    return folder
