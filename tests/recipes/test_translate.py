"""A whole toy run of the recipe, in this process and on all its devices: what it trains with, refuses and survives."""

import json
import math
import re
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pytest

from jaxformer.cli import run as command
from jaxformer.cli.training import TRANSLATE
from jaxformer.config.blocks import FeedForward
from jaxformer.config.choice import choose
from jaxformer.config.encoder_decoders import marian, t5
from jaxformer.config.errors import UserError
from jaxformer.config.model import Layers, TransformerConfig
from jaxformer.config.training import Adam, AdamW, Cosine, Noam, OptimizationConfig, Wsd
from jaxformer.config.translate import SearchConfig, TranslateConfig, TranslationWatch
from jaxformer.data.corpora import load_corpus
from jaxformer.recipes import translate
from jaxformer.recipes.translate import TranslationTask, completed, load, train
from jaxformer.training import conduct
from jaxformer.training.checkpoint import Checkpoints
from jaxformer.training.evaluation import perplexity
from jaxformer.training.given import digest
from jaxformer.training.run import RunFolder
from tests.cli.toy import read_metrics, refusal, training, write_corpus

SMALL = ("model.width=8", "model.feed_forward=8", "optimization.average=NoAverage")


@pytest.fixture(scope="session")
def data(tmp_path_factory):
    return write_corpus(tmp_path_factory.mktemp("toy") / "corpus")


def small(data, *more) -> TranslateConfig:
    return choose(TranslateConfig(), training(data, data, *SMALL, *more)[2:])[0]


@pytest.mark.slow
@pytest.mark.parametrize(
    "optimizer, schedule",
    [(Adam(), Noam(warmup=7)), (AdamW(), Cosine(peak=0.02)), (AdamW(weight_decay=0.3), Wsd(peak=0.02))],
    ids=["Adam and Noam", "AdamW and Cosine", "AdamW and Wsd"],
)
def test_every_optimizer_and_schedule_trains_and_resumes(data, tmp_path, capsys, optimizer, schedule):
    config = replace(small(data), optimization=OptimizationConfig(optimizer, schedule))
    train(config, tmp_path / "run", until=2)
    # What is looked at may change between two parts of a run, and is then what the folder says.
    config = replace(config, watch=TranslationWatch(validate_every=17, keep=5), checkpoint_every=19)
    train(config, tmp_path / "run", until=3)
    rows = read_metrics(tmp_path / "run" / "metrics.jsonl")
    assert [row["step"] for row in rows] == [1, 2, 3]
    assert rows[0]["loss"] == pytest.approx(math.log(load(tmp_path / "run").tokenizer.size), rel=0.3)
    assert len({row["loss"] for row in rows}) == 3 and RunFolder(tmp_path / "run").config(TranslateConfig) == config
    with Checkpoints(tmp_path / "run" / "checkpoints") as checkpoints:
        assert checkpoints.steps == [2, 3]


def test_a_run_that_diverges_fails_in_one_line_and_keeps_what_was_good(data, tmp_path, capsys):
    out = tmp_path / "run"
    far = ("optimization.schedule.peak=1e30", "optimization.schedule.warmup=1")
    code = command(training(data, out, *SMALL, *far, "checkpoint_every=1"))
    printed, err = capsys.readouterr()
    told = re.fullmatch(
        r"jaxformer: steps (\d+) to (\d+) were left out, (.+) is the first that is not finite; --bad-numbers RollBack "
        r"goes on after their batches, the last checkpoint is of step (\d+); start another run with a lower learning "
        r"rate, .* \(the run is in (.*)\)\n",
        err,
    )
    assert code == 1 and told and told[5] == str(out), err
    assert "testing" not in printed and not (out / "test.json").exists()
    first, last = int(told[1]), int(told[2])
    rows = [json.loads(line, parse_constant=pytest.fail) for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == list(range(1, last + 1))
    assert [row["step"] for row in rows if row["skipped"]] == list(range(first, last + 1))
    with Checkpoints(out / "checkpoints") as checkpoints:
        assert max(checkpoints.steps) == first - 1 == int(told[4])


def test_two_do_not_train_in_one_folder(data, tmp_path, monkeypatch):
    out = tmp_path / "run"
    monkeypatch.setattr(conduct, "_train", lambda task, run, until, stop: run.begin(task.config, {}))
    with RunFolder(out).locked(), pytest.raises(UserError, match="is in use by another process"):
        train(small(data), out)
    assert [path.name for path in out.iterdir()] == [".lock"]
    train(small(data), out)
    assert sorted(path.name for path in out.iterdir()) == [".lock", "config.json", "env.json"]


@pytest.mark.parametrize(
    "more, lengths",
    [
        (("model.position=Learned(length=15)",), "16 (search.length), 16 (batches to translate); raise"),
        (("model.position=Learned(length=5)", "search.length=3"), "6 (train batches), 6 (valid batches), 16 (batches"),
    ],
)
@pytest.mark.parametrize("form", [lambda model: model, TransformerConfig.written_out], ids=["short", "written out"])
def test_learned_positions_that_do_not_reach_are_refused_before_anything_is_written(
    data, tmp_path, more, lengths, form
):
    config = small(data, *more)
    with pytest.raises(UserError) as caught:
        train(replace(config, model=form(config.model)), tmp_path / "run")
    length = more[0].removesuffix(")").rpartition("=")[2]
    assert str(caught.value).startswith(
        "model.position must reach to the end of every sentence, padding included, got "
        f"length={length} for lengths of {lengths}"
    )
    assert str(caught.value).endswith("; raise model.position.length to at least 16")
    assert not (tmp_path / "run").exists()


def test_learned_positions_that_reach_are_not_refused(data, tmp_path, monkeypatch):
    monkeypatch.setattr(translate, "run_job", lambda task, run, until: None)
    train(small(data, "model.position=Learned(length=16)"), tmp_path / "run")


def test_the_banner_counts_an_epoch_as_it_is(data, tmp_path, monkeypatch, capsys):
    """Against every batch of an epoch, of several shapes that occur unequally often."""
    seen = []
    monkeypatch.setattr(translate, "run_job", lambda task, run, until: seen.append((task, run)))
    train(small(data, "batches.buckets=2", "batches.tokens=95"), tmp_path / "run")
    ((task, run),) = seen
    conduct._banner(task, {"devices": []}, run.path, None)
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("batches ")]
    epoch = [task.batches[index] for index in range(task.batches.per_epoch)]
    pad = task.tokenizer.pad
    targets = sum((batch.target_BT[:, 1:] != pad).sum() for batch in epoch) / len(epoch)
    positions = sum(batch.source_BS.size + batch.target_BT.size for batch in epoch) / len(epoch)
    real = sum((side != pad).sum() for batch in epoch for side in batch) / len(epoch)
    assert len({batch.source_BS.shape for batch in epoch}) == 2
    assert line == (
        f"batches    {targets:,.0f} target tokens a step, {positions:,.0f} positions on both sides, "
        f"{real / positions:.0%} of them tokens, {len(epoch)} steps an epoch"
    )


def test_a_perplexity_beyond_all_floats_is_infinite():
    assert perplexity(1e3) == math.inf and perplexity(2.0) == math.exp(2.0)


@pytest.fixture(scope="module")
def begun(data, tmp_path_factory):
    """A run of three steps, to begin others with."""
    return train(small(data), tmp_path_factory.mktemp("begun") / "run", until=3)


def test_a_run_begins_with_the_weights_and_the_words_of_another(data, begun, tmp_path, capsys):
    out, other = tmp_path / "run", write_corpus(tmp_path / "other", seed=1)
    words = ("--init", str(begun), "model.dropout=0.4", "tokenizer.vocabulary=280", "optimization.schedule.peak=1e-30")
    assert command(training(other, out, *SMALL, *words, "--until", "1")) == 0
    assert f"init       {begun}\n" in capsys.readouterr().out
    init, run = load(begun), load(out)
    jax.tree.map(np.testing.assert_array_equal, run.params, init.params)
    assert run.config.init == begun and run.config.weights == digest(init.params) and run.config.model.dropout == 0.4
    assert run.tokenizer.fingerprint == init.tokenizer.fingerprint and run.config.tokenizer == init.config.tokenizer
    assert completed(run.config, init) == run.config
    narrow = replace(run.config.model, dtype="bfloat16", layers=Layers(unroll=True))
    assert completed(replace(run.config, model=narrow), init).model == narrow
    assert command(["train", "translate", "--out", str(out), "--until", "2"]) == 0
    assert "resumed at step 1" in capsys.readouterr().out


def test_what_a_run_cannot_begin_with_is_refused_before_anything_is_written(data, begun, tmp_path, capsys):
    out, init = tmp_path / "run", load(begun)
    for words, line in [
        (
            ("--init", str(begun), "model.heads=4"),
            f"the model must be that of --init {begun} but for dropout, got heads: 2 → 4; give the --model that it was "
            "trained with",
        ),
        (("--weights=beef",), "weights must be left out, for they are those of init, got weights=beef"),
        (
            ("--init", str(begun), "--weights=beef"),
            f"{begun} has other weights than the run began with; give the same --init as then, and no --weights",
        ),
        (
            ("--init", str(out)),
            f"{out} is not a run folder: it has no config.json; give a folder made by jaxformer train",
        ),
    ]:
        assert refusal(capsys, *training(data, out, *SMALL, *words)) == line
    assert not out.exists()
    with pytest.raises(UserError, match="has other weights than the run began with"):
        other = replace(init, params=jax.tree.map(lambda leaf: leaf + 1, init.params))
        completed(completed(replace(init.config, init=begun), init), other)


def test_a_run_that_begins_with_another_is_named_after_it():
    config = TranslateConfig(data="x/shop", target="de", init=Path("runs/first"))
    assert TRANSLATE.default_folder(config) == Path("runs/translate-shop-en-de-first-transformer-mini")


def test_a_consistent_run_reads_every_sentence_twice_and_needs_dropout(data, tmp_path, capsys):
    losses, work, told, corpus = [], [], [], load_corpus(str(data), "en", "de")
    for each in (0.0, 3.0):
        config, out = replace(small(data), consistency=each, steps=1), tmp_path / f"{each}"
        config = replace(config, model=replace(config.model, dropout=0.5))
        train(config, out)
        losses.append(read_metrics(out / "metrics.jsonl")[0]["loss"])
        work.append(TranslationTask(config, corpus, load(out).tokenizer).flops_per_token())
        capsys.readouterr()
        assert command(["inspect", str(out), "--length", "8"]) == 0
        told.append(float(re.search(r"^training +([\d.]+)", capsys.readouterr().out, re.MULTILINE)[1]))
    assert losses[0] != losses[1] and work[1] == 2 * work[0]
    assert told[0] > 0.01 and told[1] == pytest.approx(2 * told[0], abs=0.002)
    with pytest.raises(ValueError, match=r"got consistency=3\.0; give --model\.dropout 0\.1"):
        replace(config, model=replace(config.model, dropout=0.0))
    with pytest.raises(ValueError, match="consistency"):
        replace(config, consistency=-1.0)


@pytest.mark.slow
@pytest.mark.parametrize(
    "model", [t5(12, 1, 2, 6, FeedForward(16, "relu", bias=False)), marian(12, 1, 2, 16)], ids=["t5", "marian"]
)
def test_an_exported_run_translates_alike_elsewhere(data, tmp_path, torch, transformers, model):
    folder = tmp_path / "folder"
    train(replace(small(data), model=model, steps=3, search=SearchConfig(1, length=21)), tmp_path / "run")
    assert command(["export", str(tmp_path / "run"), str(folder)]) == 0
    ours, theirs = load(tmp_path / "run"), transformers.AutoModelForSeq2SeqLM.from_pretrained(folder).eval()
    text, t = load_corpus(str(data), "en", "de").test.sources[0], ours.tokenizer
    ids = transformers.AutoTokenizer.from_pretrained(folder)(text).input_ids
    assert ids == [*t.encode(text), t.eos]
    tokens = ours.translator().tokens(ours.params, [text])[0]
    target = [t.bos, *tokens]
    with torch.no_grad():
        expected = theirs(input_ids=torch.tensor([ids]), decoder_input_ids=torch.tensor([target])).logits
        written = theirs.generate(torch.tensor([ids]))[0].tolist()
    logits_BTV = ours.model.apply(ours.params, np.array([ids]), np.array([target]))
    np.testing.assert_allclose(logits_BTV, expected.numpy(), atol=1e-4)
    assert written == [*target, t.eos] and len(tokens) == 20
    assert theirs.generation_config.bad_words_ids == [[t.pad], [t.bos]]
