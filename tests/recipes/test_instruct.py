"""A model learns to answer, from what the assistant says and nothing else; and what cannot be taught is told."""

import contextlib
import io
import json
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxformer.cli import run as command
from jaxformer.config.choice import choose
from jaxformer.config.errors import UserError
from jaxformer.config.instruct import InstructConfig
from jaxformer.config.sampling import Sampling
from jaxformer.models.decoder import Decoder, Features
from jaxformer.objectives import causal
from jaxformer.recipes.bundle import Bundle, load_bundle
from jaxformer.recipes.chat import Chat
from jaxformer.recipes.instruct import load, train
from jaxformer.recipes.lessons import lesson
from jaxformer.text.characters import ByteTokenizer
from jaxformer.training.checkpoint import Checkpoints
from tests.cli.toy import read_metrics, refusal
from tests.recipes.chat_toys import ANSWERS, CONTEXT, END, assistant, user, write_chats, write_lines, write_llama

SETTINGS = """steps=90 batches.tokens=512 batches.buckets=1 batches.max_length=48 optimization.schedule.peak=0.02
    watch.validate_every=45 checkpoint_every=6"""


@pytest.fixture(scope="module", autouse=True)
def quick():
    """The compiler is told not to try hard, which saves most of the time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jax, "jit", partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0}))
        yield


@pytest.fixture(scope="module")
def llama(tmp_path_factory):
    return write_llama(tmp_path_factory.mktemp("llama") / "model")


@pytest.fixture(scope="module")
def chats(tmp_path_factory):
    return write_chats(tmp_path_factory.mktemp("chats"))


@pytest.fixture(scope="module")
def asked(llama, chats):
    """The arguments of a toy run, but for its folder."""
    return ["train", "instruct", "--data", str(chats), "--init", str(llama), *SETTINGS.split()]


def config_of(arguments) -> InstructConfig:
    return choose(InstructConfig(), list(arguments[2:]))[0]


def answers(bundle):
    """What is said to every word that was taught."""
    greedy = Sampling(temperature=0)
    return {word: "".join(Chat(bundle, greedy).answer(f"the {word}", 20)) for word in ANSWERS}


# What counts.


def test_only_what_the_assistant_says_counts(llama, asked):
    bundle = load_bundle(llama)
    learned = lesson(config_of(asked).learning, config_of(asked), bundle.decoder, bundle.speaker)
    for i in range(learned.batches.per_epoch):
        tokens_BT, _, _, counted_BT = learned.batches[i]
        for tokens_T, counted_T in zip(tokens_BT[:, 1:], counted_BT, strict=True):
            said = "".join(bundle.speaker.pieces(tokens_T[counted_T].tolist())).replace("▁", " ").split(END)
            assert said[-1] == "" and set(said[:-1]) <= {f"the {answer}" for answer in ANSWERS.values()}
    assert "dropped 1 of 17 train chats, longer than batches.max_length=48 tokens" in learned.notes


def test_a_token_that_does_not_count_has_no_gradient():
    """Neither as a label nor through the vector that would predict it."""
    B, T, D, V = 2, 5, 3, 7
    rng = np.random.default_rng(0)

    def given(params, *arguments, **rest):
        return Features(*params, (), {})

    params = jnp.float32(rng.normal(size=(B, T, D))), jnp.float32(rng.normal(size=(V, D)))
    counted_BT, tokens_BT = rng.random((B, T)) < 0.5, rng.integers(0, V, (B, T + 1))
    objective = causal(SimpleNamespace(config=SimpleNamespace(softcap=None), apply=given))  # pyright: ignore[reportArgumentType]

    def gradient(tokens_BT):
        batch = SimpleNamespace(tokens_BT=tokens_BT, segments_BT=None, positions_BT=None, counted_BT=counted_BT)
        return jax.grad(lambda params: objective(params, batch, None).costs.loss)(params)

    x_BTD, w_VD = gradient(tokens_BT)
    assert 0 < counted_BT.sum() < counted_BT.size
    np.testing.assert_array_equal(np.abs(x_BTD).sum(-1) > 0, counted_BT)
    others = np.where(counted_BT, tokens_BT[:, 1:], (tokens_BT[:, 1:] + 1) % V)
    chex.assert_trees_all_equal(gradient(np.concatenate([tokens_BT[:, :1], others], axis=1)), (x_BTD, w_VD))


# A whole run.


class Taught(NamedTuple):
    """The folder of a run, and what the command printed."""

    out: Path
    printed: str


@pytest.fixture(scope="module")
def taught(asked, tmp_path_factory):
    out, said = tmp_path_factory.mktemp("taught") / "run", io.StringIO()
    with contextlib.redirect_stdout(said):
        assert command([*asked, "--out", str(out)]) == 0
    return Taught(out, said.getvalue())


def test_it_gives_the_answers_that_it_was_taught(taught, llama):
    assert answers(load_bundle(llama)) != {word: f"the {answer}" for word, answer in ANSWERS.items()}
    assert answers(load(taught.out)) == {word: f"the {answer}" for word, answer in ANSWERS.items()}


def test_the_command_ends_with_scores_an_answer_and_what_to_do_next(taught):
    scores = json.loads((taught.out / "valid.json").read_text())
    assert list(scores) == ["loss", "perplexity", "accuracy"] and scores["accuracy"] > 0.9
    last = read_metrics(taught.out / "metrics.jsonl")[-1]
    assert scores["loss"] == last["valid_loss"] == pytest.approx(np.log(scores["perplexity"])) and last["step"] == 90
    assert "asked      the cat\nanswered   the dog\nnext       jaxformer chat " in taught.printed
    assert "note       dropped 1 of 17 train chats" in taught.printed


def test_a_run_is_whole_without_the_model_that_it_began_with(taught, llama, monkeypatch):
    monkeypatch.setattr("jaxformer.recipes.load.load_bundle", pytest.fail)
    bundle, init = load(taught.out), load_bundle(llama)
    assert isinstance(bundle.model, Decoder) and bundle.model == init.model
    assert bundle.speaker.fingerprint == init.speaker.fingerprint


def test_stopped_and_resumed_equals_uninterrupted(asked, tmp_path):
    config = replace(config_of(asked), steps=4, checkpoint_every=4)
    train(config, tmp_path / "straight")
    for until in (1, 4):
        train(config, tmp_path / "parts", until)
    saved = []
    for name in ("straight", "parts"):
        with Checkpoints(tmp_path / name / "checkpoints") as checkpoints:
            saved.append(checkpoints.restore_params(load(tmp_path / name).params, averaged=False, step=4))
    chex.assert_trees_all_equal(*saved)
    straight, parts = (
        [row["loss"] for row in read_metrics(tmp_path / name / "metrics.jsonl")] for name in ("straight", "parts")
    )
    assert straight == parts and len(set(straight)) == 4


# What cannot be taught.


def test_no_model_and_no_chats(llama, chats, capsys):
    words = ["train", "instruct"]
    line = "there is no model to begin with; give --init a Hugging Face folder, FILE.gguf or a run"
    assert refusal(capsys, *words, "--data", str(chats)) == line
    line = "there are no chats to learn from; give --data FILE.jsonl, or a folder with train and valid"
    assert refusal(capsys, *words, "--init", str(llama)) == line


def test_another_model_than_that_of_init(asked, llama, taught, tmp_path, capsys):
    for name, value in (("model", "gpt2-tiny"), ("vocabulary", "5"), ("weights", "beef")):
        line = refusal(capsys, *asked, f"--{name}", value, "--out", str(tmp_path / "run"))
        assert line == (
            f"{llama} has another {name} than the run began with; give the same --init as then, and no --{name}"
        )
    line = refusal(capsys, *asked, f"--init={taught.out}", "--out", str(taught.out))
    start = f"{taught.out} holds a run with another configuration: init: {llama} → {taught.out}; weights: "
    assert line.startswith(start)
    assert not (tmp_path / "run").exists()


def test_chats_longer_than_the_model_reads(asked, llama, tmp_path, capsys):
    more = CONTEXT + 1
    line = refusal(capsys, *asked, f"batches.max_length={more}", "--out", str(tmp_path / "run"))
    context = f"the context of {CONTEXT} tokens of {llama}"
    assert line == f"batches.max_length must fit {context}, got max_length={more}; lower it"
    write_lines(tmp_path / "long.jsonl", [{"messages": [user("the " * n), assistant("cat")]} for n in range(50, 60)])
    line = refusal(capsys, *asked, f"--data={tmp_path / 'long.jsonl'}", "--out", str(tmp_path / "run"))
    assert line.startswith("all 9 train chats are longer than batches.max_length=48 tokens, the shortest has ")


def test_a_tokenizer_without_marks_for_turns(llama):
    bundle = load_bundle(llama)
    bytes_ = Bundle(llama, bundle.model, bundle.params, ByteTokenizer())
    with pytest.raises(UserError, match=f"{llama} has a tokenizer without marks for the turns of a chat; take a "):
        Chat(bytes_)
