"""A tiny Llama of random weights that knows the marks of a chat, and a few chats to teach it."""

import contextlib
import io
import json
from pathlib import Path
from typing import NamedTuple

import chex

from jaxformer.cli import run
from jaxformer.config.choice import choose
from jaxformer.config.instruct import InstructConfig
from jaxformer.config.sampling import Sampling
from jaxformer.recipes.chat import Chat
from jaxformer.recipes.instruct import load, train
from jaxformer.text.pretrained import PretrainedTokenizer
from tests.cli.test_pretrained import CONTEXT as CONTEXT
from tests.cli.test_pretrained import END, LLAMA, START, TEMPLATE, write_model
from tests.cli.toy import read_metrics
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
    """Train and valid split: every word has its answer. One chat of training is too long, and the first one of valid
    even for the model to read.
    """
    folder.mkdir(parents=True, exist_ok=True)
    chats = [[user(f"the {word}"), assistant(f"the {answer}")] for word, answer in ANSWERS.items()]
    chats += [[*one, *other] for one in chats for other in chats if one != other]
    write_lines(folder / "train.jsonl", [{"messages": chat} for chat in [*chats, [user("the " * 50), chats[0][1]]]])
    endless = [user("the " * CONTEXT), chats[0][1]]
    write_lines(folder / "valid.jsonl", [{"messages": chat} for chat in [endless, *chats[4:8]]])
    return folder


SETTINGS = """steps=90 batches.tokens=512 batches.buckets=1 batches.max_length=48 optimization.schedule.peak=0.02
    watch.validate_every=45"""


def arguments(data, init, *more):
    """Those of a toy run, but for its folder."""
    return ["train", "instruct", "--data", str(data), "--init", str(init), *SETTINGS.split(), *more]


def config_of(arguments) -> InstructConfig:
    return choose(InstructConfig(), list(arguments[2:]))[0]


class Taught(NamedTuple):
    """The folder of a run, and what the command printed."""

    out: Path
    printed: str


def teach(arguments, out):
    """The run of a command that must succeed."""
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        assert run([*arguments, "--out", str(out)]) == 0
    return Taught(out, said.getvalue())


def answers(bundle):
    """What is said to every word that was taught."""
    greedy = Sampling(temperature=0)
    return {word: "".join(Chat(bundle, greedy).answer(f"the {word}", 20)) for word in ANSWERS}


def in_parts_as_in_one(config, folder):
    """A run that is stopped after its first step and resumed ends as one that is not, bit for bit."""
    train(config, folder / "straight")
    for until in (1, config.steps):
        train(config, folder / "parts", until)
    straight, parts = (load(folder / name).params for name in ("straight", "parts"))
    chex.assert_trees_all_equal(straight, parts)
    losses = [[row["loss"] for row in read_metrics(folder / name / "metrics.jsonl")] for name in ("straight", "parts")]
    assert losses[0] == losses[1] and len(set(losses[0])) == config.steps


def write_pairs(folder):
    """Train and valid split of preferences: to every word, its answer rather than the word once more."""
    folder.mkdir(parents=True, exist_ok=True)
    pairs = [(word, answer, bad) for word, answer in ANSWERS.items() for bad in ANSWERS if bad != answer]
    records = [{"prompt": f"the {word}", "chosen": f"the {a}", "rejected": f"the {bad}"} for word, a, bad in pairs]
    long = {"prompt": "the cat", "chosen": "the dog", "rejected": "the " * 40}
    write_lines(folder / "train.jsonl", [*records[1:], long])
    write_lines(folder / "valid.jsonl", records[::3])
    return folder
