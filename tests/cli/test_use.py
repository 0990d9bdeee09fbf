"""A trained run is evaluated, translates and is looked into."""

import json
import re
from dataclasses import replace

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from orbax.checkpoint import StandardCheckpointer
from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF

from jaxformer.analysis.parameters import abstract_parameters, parameter_count, parameter_table
from jaxformer.config.data import Bpe
from jaxformer.config.model import RnnConfig
from jaxformer.config.training import NoAverage
from jaxformer.config.translate import SearchConfig, TranslateConfig
from jaxformer.models.build import build
from jaxformer.recipes.translate import load
from jaxformer.text.bpe import train_bpe
from jaxformer.training.checkpoint import Checkpoints, Progress
from jaxformer.training.evaluation import Translator
from jaxformer.training.run import RunFolder
from jaxformer.training.state import new_state
from tests.cli.toy import GERMAN, contents, pairs, refusal, write_corpus, write_split

pytestmark = pytest.mark.slow

SENTENCES = ["one two three four", "five five one two three", "two", "four three two one"]


def test_each_argument_is_translated_to_a_line(trained, said):
    together = said("translate", str(trained.out), *SENTENCES)
    assert together.count("\n") == len(SENTENCES)
    assert together == "".join(said("translate", str(trained.out), sentence) for sentence in SENTENCES)
    # It has learned something: a line is the translation of its own sentence and of no other.
    first_words = [line.split()[0] for line in together.splitlines()]
    right = [GERMAN[sentence.split()[0]] for sentence in SENTENCES]
    assert sum(map(str.__eq__, first_words, right)) >= 3


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("last", [True, False], ids=["ended", "without a last line end"])
def test_each_line_of_standard_input_is_translated_to_a_line(trained, said, piped, end, last):
    expected = said("translate", str(trained.out), *SENTENCES)
    piped((end.join(SENTENCES) + end * last).encode())
    assert said("translate", str(trained.out)) == expected


def test_empty_lines_stay_where_they_are(trained, said, piped):
    one, two = said("translate", str(trained.out), *SENTENCES[:2]).splitlines()
    piped("\n".join(["", SENTENCES[0], "", "  ", SENTENCES[1], "", ""]).encode())
    assert said("translate", str(trained.out)).split("\n") == ["", one, "", "", two, "", ""]
    piped(b"")
    assert said("translate", str(trained.out)) == ""


def test_only_a_line_feed_ends_a_line(trained, said, piped):
    piped("one two\u2028three\rfour\x0cfive\x85one\nfive\n".encode())
    assert said("translate", str(trained.out)).count("\n") == 2


def test_what_the_model_writes_is_one_line(trained, said, monkeypatch):
    odd = ["a\nb", "c\r\nd", "e\u2028f", "g\x0ch"]
    monkeypatch.setattr(Translator, "__call__", lambda self, params, texts: odd)
    assert said("translate", str(trained.out), *odd) == "a b\nc d\ne f\ng h\n"


def test_standard_input_that_is_not_utf8_is_named_by_its_line(trained, piped, capsys):
    piped(b"one\n" + "fünf zwei\n".encode("latin-1"))
    line = refusal(capsys, "translate", str(trained.out))
    assert line == "standard input, line 2: not UTF-8 (byte 0xFC at column 2); convert it with iconv -t utf-8"


def test_attention_is_drawn_beside_the_translation(trained, said, tmp_path):
    plain = said("translate", str(trained.out), SENTENCES[0])
    for name, start in (("deep/a.png", b"\x89PNG"), ("a.svg", b"<?xml"), ("a.pdf", b"%PDF")):
        assert said("translate", str(trained.out), SENTENCES[0], "--attention", str(tmp_path / name)) == plain
        assert (tmp_path / name).read_bytes().startswith(start)
    assert (tmp_path / "a.svg").read_text().count("head ") >= 2


def test_a_picture_of_an_unknown_kind_is_refused(trained, tmp_path, capsys):
    line = refusal(capsys, "translate", str(trained.out), "one", "--attention", str(tmp_path / "a.txt"))
    assert line.startswith("a picture must be one of .") and line.endswith(", got 'a.txt'; name it a.png")
    assert list(tmp_path.iterdir()) == []


def test_a_model_without_attention_has_none_to_draw(tmp_path, capsys):
    config = TranslateConfig(source="en", target="de", model=RnnConfig(embedding=6, width=10, layers=1))
    folder, tokenizer = RunFolder(tmp_path / "run"), train_bpe(["one"], Bpe(vocabulary=280))
    folder.begin(config, {})
    folder.keep_tokenizer(tokenizer)
    params = jax.tree.map(jnp.ones_like, nn.unbox(abstract_parameters(build(config.model, tokenizer.size))))
    with Checkpoints(folder.checkpoints_path) as checkpoints:
        checkpoints.save(new_state(params, optax.identity(), NoAverage(), jax.random.key(0)), Progress("", 0))
    line = refusal(capsys, "translate", str(folder.path), "one", "--attention", str(tmp_path / "a.png"))
    assert line == f"the model of {folder.path} has no attention to draw; train one that has"
    assert not (tmp_path / "a.png").exists()


def independent(hypotheses, references):
    """sacreBLEU's own scores, every sentence with as many references as the one with the most."""
    most = max(map(len, references))
    columns = [[each[min(n, len(each) - 1)] for each in references] for n in range(most)]
    return BLEU().corpus_score(hypotheses, columns).score, CHRF().corpus_score(hypotheses, columns).score


def test_an_evaluation_is_what_sacrebleu_says_of_the_translations(trained, said, tmp_path):
    data = write_corpus(tmp_path / "corpus")
    test = pairs(6, seed=5)
    # The first source has three translations, the second two, at places apart.
    more = [(test[0][0], "eins vier"), *test, (test[1][0], "fünf fünf zwei"), (test[0][0], "zwei")]
    write_split(data, "test", more)
    result = json.loads(said("evaluate", str(trained.out), "--data", str(data), "--json"))
    assert result.keys() == {"run", "step", "split", "bleu", "bleu_lowercase", "chrf", "sentences"}
    assert result["run"] == str(trained.out) and result["split"] == "test" and result["sentences"] == 6

    sources = list(dict.fromkeys(source for source, _ in more))
    references = [[target for other, target in more if other == source] for source in sources]
    hypotheses = said("translate", str(trained.out), *sources).splitlines()
    bleu, chrf = independent(hypotheses, references)
    assert result["bleu"]["score"] == pytest.approx(bleu, abs=1e-9)
    assert result["chrf"]["score"] == pytest.approx(chrf, abs=1e-9)
    starts = {"bleu": "nrefs:var|case:mixed|", "bleu_lowercase": "nrefs:var|case:lc|", "chrf": "nrefs:var|"}
    for name, start in starts.items():
        assert result[name]["signature"].startswith(start) and "version:" in result[name]["signature"]


def test_the_run_s_own_test_is_evaluated_again(trained, said):
    before = contents(trained.out)
    result = json.loads(said("evaluate", str(trained.out), "--json"))
    known = json.loads((trained.out / "test.json").read_text())
    assert {key: result[key] for key in known} == known
    table = said("evaluate", str(trained.out))
    assert re.findall(r"(\d+\.\d\d)   (\S+)\n", table) == [
        (f"{known[key]['score']:.2f}", known[key]["signature"]) for key in ("bleu", "bleu_lowercase", "chrf")
    ]
    assert json.loads(said("evaluate", str(trained.out), "--split", "valid", "--json"))["sentences"] == 8
    assert contents(trained.out) == before


def test_only_the_split_that_is_evaluated_need_be_there(trained, said, tmp_path):
    (tmp_path / "test.en-de.tsv").write_text("one two\teins zwei\nfive\tfünf\n", encoding="utf-8")
    result = json.loads(said("evaluate", str(trained.out), "--data", str(tmp_path), "--json"))
    assert result["sentences"] == 2


def test_attention_is_drawn_of_the_tokens_that_were_generated(trained, said, tmp_path, monkeypatch):
    loaded = load(trained.out)
    letters = [loaded.tokenizer.encode(letter)[0] for letter in "eins"]
    assert len(loaded.tokenizer.encode("eins")) < len(letters)
    monkeypatch.setattr(Translator, "tokens", lambda self, params, texts: [letters])
    read = []
    monkeypatch.setattr("jaxformer.recipes.translate.draw_attention", lambda path, maps, *rest: read.append(rest))
    assert said("translate", str(trained.out), "one", "--attention", str(tmp_path / "a.png")) == "eins\n"
    ((_, pieces, title),) = read
    assert (pieces, title) == (["e", "i", "n", "s", "<eos>"], "one → eins")


def test_the_search_may_be_another_than_the_run_s(trained, said, monkeypatch):
    searches = []
    monkeypatch.setattr(Translator, "__init__", lambda self, model, tokenizer, search: searches.append(search))
    monkeypatch.setattr(Translator, "__call__", lambda self, params, texts: list(texts))
    run_s = SearchConfig(beams=2, length=16)
    wanted = {
        (): run_s,
        ("--beams", "7"): replace(run_s, beams=7),
        ("--alpha", "0"): replace(run_s, alpha=0.0),
        ("--beams", "7", "--alpha", "0.5"): replace(run_s, beams=7, alpha=0.5),
    }
    for more in wanted:
        said("translate", str(trained.out), "one", *more)
        said("evaluate", str(trained.out), *more)
    assert searches == [search for search in wanted.values() for _ in range(2)]


def test_the_moving_average_is_what_is_loaded(trained):
    loaded = load(trained.out)
    saved = StandardCheckpointer().restore((trained.out / "checkpoints" / str(loaded.step) / "model").resolve())
    chex.assert_trees_all_equal(loaded.params, saved["average"])
    with pytest.raises(AssertionError):
        chex.assert_trees_all_close(loaded.params, saved["params"], rtol=1e-3)


def test_checkpoints_are_averaged(trained, said):
    with Checkpoints(trained.out / "checkpoints") as checkpoints:
        last = checkpoints.steps[-2:]
        one = load(trained.out)
        each = [checkpoints.restore_params(one.params, averaged=True, step=step).params for step in last]
    mean = jax.tree.map(lambda a, b: (np.asarray(a, np.float64) + np.asarray(b, np.float64)) / 2, *each)
    averaged = load(trained.out, average=2)
    assert averaged.step == last[-1]
    chex.assert_trees_all_close(averaged.params, jax.tree.map(np.float32, mean), rtol=1e-6, atol=1e-7)
    assert json.loads(said("evaluate", str(trained.out), "--average", "2", "--json"))["step"] == last[-1]


def test_a_run_is_inspected(trained, said):
    out = said("inspect", str(trained.out), "--length", "6")
    loaded = load(trained.out)
    rows = parameter_table(abstract_parameters(loaded.model))
    assert all(f"{row.path} " in out and f" {row.count:,}\n" in out for row in rows)
    assert f" {parameter_count(rows):,}\n" in out and str(trained.out) in out
    assert "MFLOP per predicted token, rows of 6 tokens" in out
    assert "memory of a training step, estimated, 42 rows of 6 tokens" in out


def test_a_preset_is_inspected(said):
    out = said("inspect", "gru-attention-tiny", "--vocabulary", "307")
    assert out.startswith("gru-attention-tiny: parameters\n")
    assert "\x1b" not in out and "memory of a training step, estimated, 128 rows of 32 tokens" in out
