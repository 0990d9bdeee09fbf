"""A toy run of classify: whether one word stands in a sentence decides its class."""

import io
import json
import random
import re
from dataclasses import replace
from pathlib import Path

import flax.linen as nn
import jax
import numpy as np
import optax
import pytest

from jaxformer.analysis.parameters import abstract_parameters
from jaxformer.cli import run as command
from jaxformer.cli.training import CLASSIFY
from jaxformer.config.classify import ClassifyConfig, First, Labels, Mean
from jaxformer.config.data import Batching
from jaxformer.config.decoders import GPT2_TINY
from jaxformer.config.encoders import BERT_MINI, bert
from jaxformer.config.errors import UserError
from jaxformer.config.masked_lm import MaskedLmConfig
from jaxformer.config.text import WordPiece
from jaxformer.config.text_data import Packed
from jaxformer.config.training import AdamW, Cosine, Ema, NoAverage, OptimizationConfig, WatchConfig
from jaxformer.data.labelled import load_labelled
from jaxformer.models.classifier import Classifier
from jaxformer.models.decoder import Decoder
from jaxformer.models.encoder import Encoder
from jaxformer.recipes.bundle import Bundle
from jaxformer.recipes.classify import ClassifyTask, completed, evaluate, finish, load, model_of, train
from jaxformer.recipes.load import load_model
from jaxformer.text.wordpiece import train_wordpiece
from jaxformer.training.checkpoint import Checkpoints, Progress
from jaxformer.training.given import digest
from jaxformer.training.run import RunFolder
from jaxformer.training.state import new_state
from tests.cli.toy import read_metrics, refusal
from tests.parity.compare import assert_close, random_like

WORDS = "red", "green", "blue", "gold", "grey"
STEPS = 60
ENCODER = bert(16, 1, 2, context=16)


def sentences(count, seed):
    rng = random.Random(seed)
    return [" ".join(rng.choices(WORDS, k=rng.randint(3, 8))) for _ in range(count)]


def write_split(folder, name, texts):
    folder.mkdir(parents=True, exist_ok=True)
    rows = "".join(f"{'warm' if 'red' in text else 'cold'}\t{text}\n" for text in texts)
    (folder / f"{name}.tsv").write_text("label\tsentence\n" + rows, encoding="utf-8")


def write_corpus(folder):
    write_split(folder, "train", [*sentences(120, 0), "grey " * 30])
    write_split(folder, "valid", sentences(40, 1))
    write_split(folder, "test", sentences(20, 2))
    return folder


def toy(data, **changes):
    config = ClassifyConfig(
        data=str(data),
        model=ENCODER,
        dropout=0.0,
        tokenizer=WordPiece(vocabulary=64),
        batches=Batching(tokens=256, buckets=1, max_length=16),
        optimization=OptimizationConfig(AdamW(), Cosine(peak=1e-2, warmup=10)),
        watch=WatchConfig(validate_every=STEPS // 2),
        steps=STEPS,
    )
    return replace(config, **changes)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_corpus(tmp_path_factory.mktemp("toy") / "corpus")


@pytest.fixture(scope="module")
def trained(data, tmp_path_factory):
    """The folder of a run that was paused once."""
    out = tmp_path_factory.mktemp("toy") / "run"
    train(toy(data), out, until=STEPS // 2)
    return train(toy(data), out)


def left_behind(path, config, tokenizer, model):
    """A run of random weights, as if it had been trained."""
    run = RunFolder(path)
    run.begin(config, {})
    run.keep_tokenizer(tokenizer)
    params = random_like(nn.unbox(abstract_parameters(model)), 0)
    with Checkpoints(run.checkpoints_path) as checkpoints:
        checkpoints.save(new_state(params, optax.identity(), NoAverage(), jax.random.key(0)), Progress("", 0))
    return path


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory):
    """A run of masked-lm."""
    tokenizer = train_wordpiece(sentences(9, 0), WordPiece(vocabulary=50))
    config = MaskedLmConfig(model=ENCODER, batches=Packed(length=16))
    model = Encoder(ENCODER, tokenizer.size)
    return left_behind(tmp_path_factory.mktemp("toy") / "pretrained", config, tokenizer, model)


def test_a_class_that_one_word_decides_is_learned(trained):
    rows = read_metrics(trained / "metrics.jsonl")
    assert [row["step"] for row in rows] == list(range(1, STEPS + 1))
    last = rows[-1]
    assert [last[f"valid_{name}"] for name in ("accuracy", "f1", "macro_f1")] == [1, 1, 1] and last["valid_loss"] < 0.1
    assert load(trained).labels == Labels(("cold", "warm"), 1)


def test_the_end_of_a_run_scores_both_splits(trained, capsys):
    finish(trained)
    out = capsys.readouterr().out
    for split, count in (("valid", 40), ("test", 20)):
        scores = json.loads((trained / f"{split}.json").read_text())
        assert scores["accuracy"] == 1 and np.sum(scores["confusion"]) == count
        assert np.diag(scores["confusion"]).sum() == count
        assert f"{split:<10} step {scores['step']}, loss " in out
    assert "true \\ told  cold  warm\n" in out and f"jaxformer classify {trained} " in out


def test_scores_are_those_of_texts_taken_one_by_one(trained, data):
    """With other labels than it learned: a sentence of three words is long, one of more is not."""
    bundle, corpus = load(trained), load_labelled(str(data))
    examples = [each._replace(label=int(len(each.sentences[0].split()) > 5)) for each in corpus.valid]
    scores = evaluate(bundle, examples)
    p_NC = np.concatenate([bundle.labeller(bundle.params, [each.sentences]) for each in examples[:12]])
    some = evaluate(bundle, examples[:12])
    labels_N = np.array([each.label for each in examples[:12]])
    assert some.loss == pytest.approx(-np.log(p_NC[np.arange(12), labels_N]).mean(), rel=1e-3)
    assert some.accuracy == (p_NC.argmax(1) == labels_N).mean() < 1
    assert scores.counts_CC.sum() == 40 and scores.accuracy < 1


def test_a_line_for_each_text_tells_its_class(trained, capsys, monkeypatch):
    def piped(data):
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(data), encoding="utf-8"))

    assert command(["classify", str(trained), "blue red gold", "blue blue gold"]) == 0
    lines = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    assert [name for name, _ in lines] == ["warm", "cold"] and all(0.9 < float(p) <= 1 for _, p in lines)
    piped(b"blue red gold\nblue blue gold\n")
    assert command(["classify", str(trained), "--json"]) == 0
    told = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    for each, (name, p) in zip(told, lines, strict=True):
        assert each["class"] == name and each["probabilities"].keys() == {"cold", "warm"}
        assert sum(each["probabilities"].values()) == pytest.approx(1, abs=1e-5)
        assert each["probabilities"][name] == pytest.approx(float(p), abs=1e-4)
    piped(b"")
    assert command(["classify", str(trained)]) == 0 and capsys.readouterr().out == ""


def test_a_text_that_is_too_long_is_cut_and_told_of(trained, data, capsys):
    long = "blue " * 20
    assert command(["classify", str(trained), long + "red", "red " + long, "red"]) == 0
    out, err = capsys.readouterr()
    assert [line.split("\t")[0] for line in out.splitlines()] == ["cold", "warm", "warm"]
    assert err == "note       cut 2 of 3 texts longer than 16 tokens\n"
    run = load(trained)
    (note,) = ClassifyTask(run.config, load_labelled(str(data)), run.tokenizer, None).notes()
    assert note == "cut 1 of 121 examples longer than max_length=16 tokens"


@pytest.mark.parametrize("pooling", [First(), Mean()], ids=repr)
def test_a_classifier_begins_with_the_weights_that_it_is_given(pretrained, data, pooling):
    init, corpus = load_model(pretrained), load_labelled(str(data))
    asked = toy(data, model=None, dropout=0.3, dtype="bfloat16", init=pretrained, pooling=pooling)
    config = completed(asked, corpus, init)
    assert config.weights == digest(init.params)
    assert (
        config.model == replace(ENCODER, dropout=0.3, dtype="bfloat16") and config.vocabulary == init.model.vocabulary
    )
    state = ClassifyTask(config, corpus, init.reader, init).new_state()
    encoder, given = state.params["params"]["encoder"], init.params["params"]
    assert given.keys() - encoder.keys() == ({"head"} if pooling == First() else {"head", "pooler"})
    jax.tree.map(np.testing.assert_array_equal, encoder, {name: given[name] for name in encoder})


def test_a_consistent_run_reads_every_text_twice(data, tmp_path):
    losses, work, corpus = [], [], load_labelled(str(data))
    for each in (0.0, 3.0):
        out = train(toy(data, dropout=0.5, consistency=each, steps=1), tmp_path / f"{each}")
        losses.append(read_metrics(out / "metrics.jsonl")[0]["loss"])
        kept = load(out)
        work.append(ClassifyTask(kept.config, corpus, kept.tokenizer, None).flops_per_token())
    assert losses[0] != losses[1] and work[1] == 2 * work[0]


@pytest.mark.parametrize("kept", [NoAverage(), Ema(0.5)], ids=repr)
def test_the_mean_of_several_runs_is_a_run(data, tmp_path, capsys, kept):
    config = toy(data, steps=2)
    config = replace(config, optimization=replace(config.optimization, average=kept))
    runs = [train(replace(config, seed=seed), tmp_path / f"{seed}") for seed in range(3)]
    out = tmp_path / "mean"
    assert command(["average", *map(str, runs), "--out", str(out)]) == 0
    assert "valid      step 2, loss" in capsys.readouterr().out
    parts = [load(run).params for run in runs]
    assert np.any(jax.tree.leaves(parts[0])[0] != jax.tree.leaves(parts[1])[0])
    assert_close(load(out).params, jax.tree.map(lambda *leaves: np.mean(np.float64(leaves), 0), *parts), 1e-6)
    assert json.loads((out / "env.json").read_text())["averaged"] == list(map(str, runs))
    assert train(config, out) == out  # with nothing left to do


def test_runs_that_have_no_mean_are_refused(trained, pretrained, data, tmp_path, capsys):
    out, short = tmp_path / "out", replace(toy(data), steps=1)
    wide = train(replace(short, model=bert(24, 1, 2, context=16)), tmp_path / "wide")
    other = train(replace(short, tokenizer=WordPiece(vocabulary=30)), tmp_path / "other")
    capsys.readouterr()
    for runs, message in [
        ([trained], "a mean is of two runs or more, got 1; name further run folders"),
        ([trained, wide], f"the model of {wide} is another than that of {trained}: width: 16 → 24"),
        ([trained, other], f"{other} has another tokenizer than {trained}; give runs that read alike"),
        ([trained, pretrained], f"{pretrained} is a run of jaxformer train masked-lm, which cannot be used here"),
    ]:
        assert refusal(capsys, "average", *map(str, runs), "--out", str(out)).startswith(message)
    assert not out.exists()
    message = f"{wide} exists already; choose another --out"
    assert refusal(capsys, "average", str(trained), str(trained), "--out", str(wide)) == message


def test_a_run_that_began_with_weights_stands_by_itself(pretrained, data, tmp_path, capsys):
    out, one_shape = tmp_path / "run", ["--batches.max_length", "16", "--batches.buckets", "1"]
    words = ["--data", str(data), "--init", str(pretrained), *one_shape, "--steps", "1", "--out", str(out)]
    assert command(["train", "classify", *words]) == 0
    assert f"init       {pretrained}\n" in capsys.readouterr().out
    run, init = load(out), load_model(pretrained)
    assert run.config.init == pretrained and run.config.model == ENCODER
    assert run.tokenizer.fingerprint == init.tokenizer.fingerprint
    assert completed(run.config, load_labelled(str(data)), init) == run.config
    other = replace(init, params=jax.tree.map(lambda leaf: leaf + 1, init.params))
    message = f"{pretrained} has other weights than the run began with; give the same --init as then, and no --weights"
    with pytest.raises(UserError, match=re.escape(message)):
        completed(run.config, load_labelled(str(data)), other)
    assert command(["inspect", str(out), "--length", "8"]) == 0
    shown = capsys.readouterr().out
    assert "encoder/segments" in shown and "MFLOP per predicted example, rows of 8 tokens" in shown


def test_two_sentences_are_one_text(pretrained, tmp_path, capsys):
    for name in ("train", "valid"):
        rows = "".join(f"{a == b:d}\t{a}\t{b}\n" for a in WORDS for b in WORDS[:3])
        (tmp_path / f"{name}.tsv").write_text("label\tsentence1\tsentence2\n" + rows, encoding="utf-8")
    corpus, tokenizer = load_labelled(str(tmp_path)), load_model(pretrained).tokenizer
    config = completed(toy(tmp_path), corpus, None)
    assert config.labels == Labels(("0", "1"), 2)
    out = left_behind(tmp_path / "run", config, tokenizer, model_of(config, tokenizer.size))
    assert command(["classify", str(out), "red\tred", "red\tblue"]) == 0
    assert capsys.readouterr().out.count("\n") == 2
    message = "a text must be 2 sentences with a tab between them, got 'red'"
    assert refusal(capsys, "classify", str(out), "red") == message
    run = load(out)
    one, other = run.labeller(run.params, [("red", "blue"), ("red blue", "")])
    assert not np.allclose(one, other, atol=1e-3)


def test_what_cannot_be_trained_is_refused_before_anything_is_written(pretrained, data, tmp_path, capsys):
    out = tmp_path / "run"
    for words, message in [
        ([], "there are no examples to learn from; give --data a folder with train.tsv and valid.tsv"),
        (
            ["--data", str(data), "--init", str(pretrained), "--model", "bert-mini", "--batches.max_length", "16"],
            f"the model is that of --init {pretrained}, and --model names another; leave one of them out",
        ),
        (
            ["--data", str(data), "--init", str(pretrained)],
            "batches.max_length must fit the model's context of 16 tokens, got max_length=128; lower it, or raise "
            "model.context",
        ),
        (
            ["--data", str(data), "--dropout", "0.0", "--consistency", "1.0"],
            "consistency must be 0 without dropout, for both readings are then the same, got consistency=1.0; give "
            "--dropout 0.1, or leave --consistency out",
        ),
    ]:
        assert refusal(capsys, "train", "classify", *words, "--out", str(out)) == message
    message = "weights must be left out, for they are those of init, got weights=beef"
    assert refusal(capsys, "train", "classify", "--data", str(data), "--weights=beef", "--out", str(out)) == message
    wrong = ["--data", str(data), "--init", str(pretrained), "--batches.max_length=16", "--weights=beef"]
    other = f"{pretrained} has other weights than the run began with; give the same --init as then, and no --weights"
    assert refusal(capsys, "train", "classify", *wrong, "--out", str(out)) == other
    with pytest.raises(UserError, match=r"labels must be those of .* which has .*cold.*warm.*; leave them out"):
        train(toy(data, labels=Labels(("a", "b"))), out)
    assert not out.exists()


def test_a_model_of_another_kind_is_refused(trained, pretrained, data, tmp_path, capsys):
    assert refusal(capsys, "classify", str(pretrained), "red") == (
        f"{pretrained} is no run that classifies; make one with jaxformer train classify --data FOLDER"
    )
    assert refusal(capsys, "embed", str(trained), "red") == (
        f"{trained} is a run that classifies, which cannot be used here; jaxformer classify {trained} uses it"
    )
    words = ["--data", str(data), "--init", str(trained), "--out", str(tmp_path / "run")]
    assert refusal(capsys, "train", "classify", *words).startswith(f"{trained} is a run that classifies, which cannot ")


def test_a_run_is_named_after_its_data_and_what_it_began_with():
    for config, name in [
        (ClassifyConfig(data="x/sst2"), "classify-sst2-bert-tiny"),
        (ClassifyConfig(data="x/sst2", model=BERT_MINI), "classify-sst2-bert-mini"),
        (ClassifyConfig(data="x/sst2", init=Path("/a/minilm")), "classify-sst2-minilm"),
    ]:
        assert CLASSIFY.default_folder(config) == Path("runs") / name


def test_an_encoder_that_is_none_is_refused(data, tmp_path, monkeypatch):
    decoder = Bundle(Path("here"), Decoder(GPT2_TINY, 50), None)
    monkeypatch.setattr("jaxformer.recipes.load.load_model", lambda path: decoder)
    with pytest.raises(UserError, match=r"^here is no encoder, and only encoders learn to classify; give"):
        train(toy(data, init=tmp_path), tmp_path / "run")


@pytest.mark.parametrize("segments", [0, 1])
def test_a_model_that_knows_no_two_kinds_of_segment_reads_pairs_all_the_same(segments):
    model = Classifier(replace(ENCODER, segments=segments), 50, 2)
    params = random_like(nn.unbox(abstract_parameters(model)), 0)
    tokens_BT, types_BT = np.array([[2, 7, 3, 8, 3, 0]]), np.array([[0, 0, 0, 1, 1, 0]])
    logits_BC = model.apply(params, tokens_BT, types_BT)
    np.testing.assert_array_equal(logits_BC, model.apply(params, tokens_BT))
    assert np.isfinite(logits_BC).all()
