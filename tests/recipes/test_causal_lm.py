"""A toy run of causal-lm: an alphabet is learned, continued, scored, exported."""

import json
import math
import re
from dataclasses import replace

import jax
import numpy as np
import pytest

from jaxformer.cli import run as command
from jaxformer.cli.training import CAUSAL_LM
from jaxformer.config.blocks import Block, Group, RmsNorm
from jaxformer.config.causal_lm import CausalLmConfig
from jaxformer.config.choice import choose
from jaxformer.config.decoders import GPT2_TINY, LLAMA_TINY, gpt2, grouped_query
from jaxformer.config.experts import MixtureOfExperts, SigmoidRouter
from jaxformer.config.model import DecoderConfig
from jaxformer.config.positions import Rotary
from jaxformer.config.sampling import Sampling
from jaxformer.config.text import Bytes, Characters
from jaxformer.config.text_data import Packed, Windows
from jaxformer.config.training import AdamW, Cosine, OptimizationConfig, WatchConfig
from jaxformer.data.packing import encode_text, eval_windows
from jaxformer.data.text import load_text
from jaxformer.recipes.causal_lm import CausalLmTask, evaluate, finish, load, train
from jaxformer.recipes.load import load as load_any
from jaxformer.text.kinds import train_tokenizer
from tests.cli.toy import read_metrics, refusal

STEPS = 80
LETTERS = "abcdefgh"


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Documents that go round the alphabet from any letter on; those of the valid split are other lengths."""
    folder = tmp_path_factory.mktemp("text")
    for name, lengths in (("train", range(5, 25)), ("valid", range(26, 30))):
        rows = ("".join(LETTERS[(i + start) % 8] for i in range(n)) for n in lengths for start in range(8))
        lines = (json.dumps({"text": text}) + "\n" for text in rows)
        (folder / f"{name}.jsonl").write_text("".join(lines), encoding="utf-8")
    return folder


def toy(data, **changes):
    config = CausalLmConfig(
        data=str(data),
        model=gpt2(16, 1, 2, context=32, dropout=0.0),
        tokenizer=Characters(),
        batches=Packed(length=24, rows=8),
        optimization=OptimizationConfig(AdamW(), Cosine(peak=2e-2, warmup=10)),
        watch=WatchConfig(validate_every=STEPS // 2),
        steps=STEPS,
    )
    return replace(config, **changes)


@pytest.fixture(scope="module")
def trained(data, tmp_path_factory):
    """The folder of a run that was paused once."""
    out = tmp_path_factory.mktemp("toy") / "run"
    train(toy(data), out, until=STEPS // 2)
    return train(toy(data), out)


def test_a_run_continues_what_it_has_learned(trained):
    said = "".join(load(trained).generate("cde", count=9, sampling=Sampling(0.0)))
    assert said == "fghabcdef"
    assert load_any(trained).config == toy("any").model


def test_a_paused_run_is_the_run_that_was_not_paused(data, trained, tmp_path):
    whole = train(toy(data), tmp_path / "whole")
    assert read_metrics(whole / "metrics.jsonl") == read_metrics(trained / "metrics.jsonl")


def test_the_mean_of_decoders_writes_and_is_scored(data, trained, tmp_path, capsys):
    other, out = train(toy(data, seed=1, steps=2), tmp_path / "other"), tmp_path / "mean"
    capsys.readouterr()
    assert command(["average", str(trained), str(other), "--out", str(out)]) == 0
    assert re.match(r"best       loss \d", capsys.readouterr().out)
    parts = [load(run).params for run in (trained, other)]
    expected = jax.tree.map(lambda *leaves: np.mean(np.float64(leaves), axis=0), *parts)
    jax.tree.map(lambda ours, mean: np.testing.assert_allclose(ours, mean, atol=1e-6), load(out).params, expected)


def test_perplexity_and_bits_per_byte_are_those_of_every_token_predicted_once(data, trained):
    bundle, documents = load(trained), load_text(str(data)).valid
    scores = evaluate(bundle, documents, Packed(length=31, rows=3))
    nats = 0.0
    for document in documents[:]:
        ids = [bundle.reader.eos, *bundle.reader.encode(document), bundle.reader.eos]
        log_p = jax.nn.log_softmax(np.asarray(bundle.logits(np.array([ids[:-1]])))[0])
        nats -= sum(float(log_p[t, ids[t + 1]]) for t in range(len(ids) - 1))
    tokens, size = sum(len(d) + 1 for d in documents), sum(len(d.encode()) for d in documents)
    # A document that is cut by the end of a row loses what stood before, so rows cost a little more.
    assert nats / tokens == pytest.approx(scores["loss"], rel=0.5) and scores["loss"] > nats / tokens
    assert scores["perplexity"] == pytest.approx(math.exp(scores["loss"]))
    assert scores["bits per byte"] == pytest.approx(scores["loss"] * tokens / (size * math.log(2)))


def test_the_last_validation_is_what_the_run_ends_with(trained, capsys):
    finish(trained)
    said = capsys.readouterr().out
    scores = json.loads((trained / "valid.json").read_text())
    assert scores["loss"] == pytest.approx(read_metrics(trained / "metrics.jsonl")[-1]["valid_loss"], rel=1e-5)
    assert f"best       loss {scores['loss']:.4f}" in said and f"jaxformer generate {trained}" in said


@pytest.mark.parametrize("batches", [Packed(length=12, rows=4), Windows(length=12, rows=4)], ids=["packed", "windows"])
def test_batches_of_every_kind_have_the_shapes_that_are_compiled(data, batches):
    corpus = load_text(str(data))
    config = toy(data, batches=batches)
    task = CausalLmTask(config, corpus, train_tokenizer(Bytes(), corpus.train))
    (shape,) = task.batches.shapes
    expected = jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), task.abstract_batch(shape))
    assert jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), task.batches[3]) == expected
    assert task.valid.tokens == sum(len(text) + 1 for text in corpus.valid)


def test_a_character_of_the_valid_split_alone_has_an_id(tmp_path):
    for name, text in (("train", "abc" * 30), ("valid", "abcö")):
        (tmp_path / f"{name}.txt").write_text(text, encoding="utf-8")
    corpus = load_text(str(tmp_path))
    config = toy(tmp_path, batches=Windows(length=8, rows=2), steps=1)
    tokenizer = load(train(config, tmp_path / "run")).reader
    text = encode_text(corpus.valid, tokenizer.encode_batch)
    assert eval_windows(config.batches, text, end=tokenizer.eos, vocabulary=tokenizer.size).tokens == 5


@pytest.mark.parametrize("kind", [Characters(), Bytes()], ids=["characters", "bytes"])
def test_an_exported_run_says_the_same(data, trained, tmp_path, kind, capsys):
    run = trained if kind == Characters() else train(toy(data, tokenizer=kind, steps=2), tmp_path / "run")
    assert command(["export", str(run), str(tmp_path / "out")]) == 0
    bundles = [load_any(path) for path in (run, tmp_path / "out")]
    ids = np.array([bundles[0].reader.encode_prompt("abcd")])
    assert bundles[1].reader.encode_prompt("abcd") == ids[0].tolist()
    np.testing.assert_allclose(*(bundle.logits(ids) for bundle in bundles), rtol=1e-5, atol=1e-5)


@pytest.mark.slow
def test_experts_and_further_tokens_train(data, tmp_path):
    """Balanced by bias alone: the busiest expert is told, and biases move."""
    mixture = MixtureOfExperts(4, 2, 8, SigmoidRouter(), balance=0.0, z=0.0, bias_rate=0.001)
    block = Block(grouped_query(2, 1, 8, Rotary()), mixture, RmsNorm())
    model = DecoderConfig(16, (Group((block,)),), context=32, further=1)
    run = train(toy(data, model=model, steps=3), tmp_path / "run")
    rows = read_metrics(run / "metrics.jsonl")
    assert all(1 <= row["busiest"] <= 2 and row["loss"] > row["nll"] for row in rows)
    biases = load(run).params["params"]["layers"]["rows_0"]["blocks_0"]["feed_forward"]["router_balance"]
    assert 0 < np.abs(biases).max() <= 0.003 + 1e-6 and np.abs(biases).min() < 0.002


def test_a_run_generates_and_is_inspected_on_the_command_line(trained, capsys):
    assert command(["generate", str(trained), "abc", "--max-tokens", "3", "--temperature", "0"]) == 0
    assert capsys.readouterr().out == "def\n"
    assert command(["inspect", str(trained)]) == 0
    assert "memory of a training step" in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--model", "bert-tiny"], "model must be"),
        (["--batches.length", "999"], "batches.length must fit the model's context of 256 tokens, got length=999"),
        (["--data", "nowhere"], "no file or folder nowhere"),
        (["--batchs.length", "9"], "unknown field --batchs.length; did you mean --batches.length?"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(arguments, message, capsys):
    assert message in refusal(capsys, "train", "causal-lm", *arguments)


def test_a_run_of_another_kind_is_refused(trained, capsys):
    said = refusal(capsys, "evaluate", str(trained))
    assert said == (
        f"{trained} is a run of jaxformer train causal-lm, which cannot be used here; "
        "give one of jaxformer train translate"
    )


def test_presets_are_chosen_by_name_and_name_the_folder():
    config, left = choose(CausalLmConfig(), ["--model", "llama-tiny", "--batches", "Windows(length=64)"])
    assert config.model == LLAMA_TINY and config.batches == Windows(length=64) and not left
    assert str(CAUSAL_LM.default_folder(config)) == "runs/causal-lm-builtin-llama-tiny"
    assert CausalLmConfig().model == GPT2_TINY
