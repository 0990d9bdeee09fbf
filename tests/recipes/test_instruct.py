"""A model learns to answer, from what the assistant says and nothing else; and what cannot be taught is told."""

import json
from dataclasses import replace
from types import SimpleNamespace

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxformer.config.errors import UserError
from jaxformer.models.decoder import Decoder, Features
from jaxformer.objectives import causal
from jaxformer.recipes.bundle import Bundle, load_bundle
from jaxformer.recipes.chat import Chat
from jaxformer.recipes.instruct import load
from jaxformer.recipes.lessons import lesson
from jaxformer.text.characters import ByteTokenizer
from tests.cli.toy import read_metrics, refusal
from tests.recipes.chat_toys import (
    ANSWERS,
    CONTEXT,
    END,
    answers,
    arguments,
    assistant,
    config_of,
    in_parts_as_in_one,
    teach,
    user,
    write_lines,
)


@pytest.fixture(scope="module")
def asked(llama, chats):
    """The arguments of a toy run, but for its folder."""
    return arguments(chats, llama)


# What counts.


def test_only_what_the_assistant_says_counts(llama, asked):
    bundle = load_bundle(llama)
    learned = lesson(config_of(asked).learning, config_of(asked), bundle.decoder, bundle.speaker, None)
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


@pytest.fixture(scope="module")
def taught(asked, tmp_path_factory):
    return teach(asked, tmp_path_factory.mktemp("taught") / "run")


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
    assert f"\n           jaxformer export {taught.out} FOLDER\n" in taught.printed


def test_a_run_is_whole_without_the_model_that_it_began_with(taught, llama, monkeypatch):
    monkeypatch.setattr("jaxformer.recipes.load.load_bundle", pytest.fail)
    bundle, init = load(taught.out), load_bundle(llama)
    assert isinstance(bundle.model, Decoder) and bundle.model == init.model
    assert bundle.speaker.fingerprint == init.speaker.fingerprint


def test_stopped_and_resumed_equals_uninterrupted(asked, tmp_path):
    in_parts_as_in_one(replace(config_of(asked), steps=4, checkpoint_every=4), tmp_path)


# What cannot be taught.


def test_no_model_and_no_chats(llama, chats, capsys):
    words = ["train", "instruct"]
    line = "there is no model to begin with; give --init a Hugging Face folder, FILE.gguf or a run"
    assert refusal(capsys, *words, "--data", str(chats)) == line
    line = "there are no chats to learn from; give --data FILE.jsonl, or a folder with train and valid"
    assert refusal(capsys, *words, "--init", str(llama)) == line


def test_another_model_than_that_of_init(asked, llama, taught, tmp_path, capsys):
    wrong = ("model", "gpt2-tiny", "another model"), ("vocabulary", "5", "another vocabulary")
    for name, value, other in (*wrong, ("weights", "beef", "other weights")):
        line = refusal(capsys, *asked, f"--{name}", value, "--out", str(tmp_path / "run"))
        assert line == (f"{llama} has {other} than the run began with; give the same --init as then, and no --{name}")
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
