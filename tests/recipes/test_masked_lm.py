"""A toy run of masked-lm: where all words of a sentence are the same one, a hidden one can be told."""

import json
import math
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pytest

from jaxformer.cli import run as command
from jaxformer.cli.training import MASKED_LM
from jaxformer.config.choice import choose
from jaxformer.config.data import Batching
from jaxformer.config.decoders import GPT2_TINY
from jaxformer.config.encoders import BERT_MINI, bert
from jaxformer.config.errors import UserError
from jaxformer.config.masked_lm import MaskedLmConfig
from jaxformer.config.text import Bytes, WordPiece
from jaxformer.config.text_data import Packed, TokenMasking, WholeWordMasking
from jaxformer.config.training import AdamW, Cosine, OptimizationConfig, WatchConfig
from jaxformer.data.text import load_text
from jaxformer.models.decoder import Decoder
from jaxformer.models.encoder import Encoder
from jaxformer.recipes.bundle import Bundle
from jaxformer.recipes.fill import fill
from jaxformer.recipes.load import load
from jaxformer.recipes.masked_lm import MaskedLmTask, continuing, finish, held_out, train
from jaxformer.text.kinds import train_tokenizer
from jaxformer.text.wordpiece import train_wordpiece
from tests.cli.toy import read_metrics, refusal

WORDS = "red", "green", "blue"
STEPS = 80


def sentences(count):
    return [" ".join([WORDS[i % 3]] * (4 + i % 5)) for i in range(count)]


def write_corpus(folder):
    folder.mkdir(parents=True, exist_ok=True)
    for name, count in (("train", 30), ("valid", 15)):
        lines = (json.dumps({"text": text}) + "\n" for text in sentences(count))
        (folder / f"{name}.jsonl").write_text("".join(lines), encoding="utf-8")
    return folder


def toy(data, **changes):
    config = MaskedLmConfig(
        data=str(data),
        model=replace(bert(16, 1, 2, context=16), dropout=0.0),
        tokenizer=WordPiece(vocabulary=64),
        masking=TokenMasking(0.2),
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


@pytest.mark.parametrize("text", ["[MASK] red red red", "green green [MASK] green", "blue blue [MASK] blue"])
def test_a_hidden_word_is_told_from_those_around_it(trained, text):
    word = next(word for word in WORDS if word in text)
    filled = fill(load(trained), text, 3)
    assert filled.text == text.replace("[MASK]", word)
    ((best, *others),) = filled.guesses
    assert best.token == word and best.probability > 0.8
    assert len(others) == 2 and best.probability > others[0].probability >= others[1].probability


def test_each_mask_is_told_by_the_logits_at_its_place(trained):
    bundle, text = load(trained), "red [MASK] red [MASK] [MASK]"
    ids = bundle.tokenizer.encode_with_specials(text, read_specials=True).ids
    logits_TV = np.asarray(bundle.logits(np.array([ids])), np.float64)[0, [2, 4, 5]]
    p_TV = np.exp(logits_TV) / np.exp(logits_TV).sum(-1, keepdims=True)
    filled = fill(bundle, text, 2)
    assert len(filled.guesses) == 3
    for guesses, p_V in zip(filled.guesses, p_TV, strict=True):
        best_K = np.argsort(-p_V)[:2]
        assert [guess.token for guess in guesses] == bundle.tokenizer.pieces(best_K.tolist())
        np.testing.assert_allclose([guess.probability for guess in guesses], p_V[best_K], rtol=1e-4)


def test_a_run_that_was_paused_goes_on_where_it_was(trained):
    rows = read_metrics(trained / "metrics.jsonl")
    assert [row["step"] for row in rows] == list(range(1, STEPS + 1))
    validated = [row for row in rows if "valid_loss" in row]
    assert [row["step"] for row in validated] == [STEPS // 2, STEPS]
    assert validated[-1]["valid_accuracy"] == 1.0 and validated[-1]["valid_loss"] < 0.3
    assert validated[-1]["valid_perplexity"] == pytest.approx(math.exp(validated[-1]["valid_loss"]))


def test_the_end_of_a_run_scores_and_shows_it(trained, capsys):
    finish(trained)
    out = capsys.readouterr().out
    scores = json.loads((trained / "valid.json").read_text())
    last = read_metrics(trained / "metrics.jsonl")[-1]
    assert scores == pytest.approx({name: last[f"valid_{name}"] for name in ("loss", "perplexity", "accuracy")})
    assert "  red red [MASK] red\n    → red " in out
    assert f"jaxformer fill {trained} " in out


def test_every_validation_hides_the_same_tokens(data):
    corpus = load_text(str(data))
    tokenizer = train_wordpiece(corpus.train, WordPiece(vocabulary=64))
    one, other = (held_out(toy(data, seed=seed), corpus.valid, tokenizer) for seed in (0, 1))
    for batch, same in zip(one, other, strict=True):
        jax.tree.map(np.testing.assert_array_equal, batch, same)
    assert sum(batch.counted_BM.sum() for batch in one) > 5


def test_a_valid_split_of_which_nothing_is_hidden_is_refused(data):
    tokenizer = train_wordpiece(sentences(9), WordPiece(vocabulary=64))
    with pytest.raises(UserError, match="the valid split is so short that none of its tokens is guessed; give it more"):
        held_out(toy(data, masking=TokenMasking(0.001)), ["red red"], tokenizer)


def test_pieces_inside_words_are_known():
    tokenizer = train_wordpiece(["walk walked walking", "talk talked talking"] * 3, WordPiece(vocabulary=30))
    continues_V = continuing(tokenizer)
    pieces = tokenizer.pieces(range(tokenizer.size))
    inside = {piece for piece, continues in zip(pieces, continues_V, strict=True) if continues}
    assert inside == {piece for piece in pieces if piece.startswith("##")} and 3 < len(inside) < tokenizer.size - 5


@pytest.mark.parametrize("batches", [Packed(length=13, rows=8), Batching(tokens=128, buckets=2, max_length=9)])
def test_batches_of_every_kind_have_the_shapes_that_are_compiled(data, batches):
    config, corpus = toy(data, batches=batches, masking=WholeWordMasking(0.2)), load_text(str(data))
    task = MaskedLmTask(config, corpus, train_wordpiece(corpus.train, config.tokenizer))
    shapes = {repr(jax.tree.map(np.shape, task.abstract_batch(shape))) for shape in task.batches.shapes}
    assert {repr(jax.tree.map(np.shape, task.batches[i])) for i in range(9)} == shapes
    assert task.flops_per_token() > 0 and "20% of them guessed" in task.about()["batches"]


def test_a_text_is_filled_on_the_command_line(trained, capsys):
    assert command(["fill", str(trained), "red [MASK] red", "[MASK] blue [MASK]", "--top", "2"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [lines[0], lines[2]] == ["red red red", "blue blue blue"] and len(lines) == 5
    for line, word in ((lines[1], "red"), (lines[3], "blue"), (lines[4], "blue")):
        best, p, other, q = line.split()
        assert line.startswith("  ") and best == word != other and 1 > float(p) > 0.5 > float(q)


def test_a_run_embeds_and_is_inspected(trained, capsys):
    assert command(["embed", str(trained), "red red", "red red red", "blue"]) == 0
    vectors = np.array([json.loads(line) for line in capsys.readouterr().out.splitlines()])
    alike = vectors @ vectors.T
    assert alike.diagonal() == pytest.approx(1, abs=1e-5) and alike[0, 1] > alike[0, 2]
    assert command(["inspect", str(trained), "--length", "8"]) == 0
    out = capsys.readouterr().out
    assert "head/output_bias" in out and "MFLOP per predicted token" in out


def test_an_exported_run_fills_alike(trained, tmp_path, capsys):
    texts = ["red [MASK] red", "[MASK] blue blue"]
    assert command(["export", str(trained), str(tmp_path / "model")]) == 0
    capsys.readouterr()
    for model in (trained, tmp_path / "model"):
        assert command(["fill", str(model), *texts]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[:4] == lines[4:]


def test_what_cannot_be_filled_is_refused_in_one_line(trained, capsys):
    for text, message in [
        ("red red", "a text to be filled in must hold [MASK], got 'red red'"),
        ("[MASK]" + " red" * 20, "a text must fit the context of 16 tokens, got 23"),
    ]:
        assert refusal(capsys, "fill", str(trained), text) == message
    assert "top must be at least 1, got top=0" in refusal(capsys, "fill", str(trained), "[MASK]", "--top", "0")


def test_a_model_that_tells_no_hidden_words_is_refused():
    pieces, letters = train_wordpiece(sentences(3), WordPiece(vocabulary=40)), train_tokenizer(Bytes(), [])
    headless = Encoder(replace(bert(16, 1, 2), masked_head=False), pieces.size)
    for model, tokenizer, lacks in [
        (headless, pieces, "head that tells masked tokens"),
        (Decoder(GPT2_TINY, pieces.size), pieces, "head that tells masked tokens"),
        (Encoder(bert(16, 1, 2), letters.size), letters, "mask token"),
    ]:
        with pytest.raises(UserError, match=f"^here has no {lacks}; fill needs a BERT that has"):
            fill(Bundle(Path("here"), model, None, tokenizer), "[MASK]")


def test_a_configuration_that_cannot_be_is_refused():
    for text, message in [
        ("model.masked_head=false", "model.masked_head must be true"),
        ("batches.length=513", "batches.length must fit the model's context of 512 tokens, got length=513"),
    ]:
        with pytest.raises(UserError, match=message):
            choose(MaskedLmConfig(), [text])
    with pytest.raises(ValueError, match=r"batches\.max_length must fit the model's context of 16 tokens"):
        toy("x", batches=Batching(max_length=17))


def test_a_run_is_named_after_its_data_and_model():
    config = replace(MaskedLmConfig(), model=BERT_MINI)
    assert MASKED_LM.default_folder(config) == Path("runs/masked-lm-builtin-bert-mini")
