"""A corpus is read exactly as it stands, and whatever is wrong with it is said in one line."""

import sys
import types
from pathlib import Path

import pytest

from jaxformer.config.errors import UserError
from jaxformer.data.corpora import Pair, ParallelCorpus, Split, load_corpus, load_split

PAIRS = {
    "train": [("a dog", "ein Hund"), ("a cat", "eine Katze")],
    "valid": [("two dogs", "zwei Hunde")],
    "test": [("a fish", "ein Fisch")],
}


def write_tsv(folder: Path, pairs=PAIRS, suffix=".tsv", names=None) -> Path:
    for split, rows in pairs.items():
        lines = "".join(f"{source}\t{target}\n" for source, target in rows)
        (folder / f"{(names or {}).get(split, split)}{suffix}").write_text(lines, encoding="utf-8")
    return folder


def write_aligned(folder: Path, pairs=PAIRS) -> Path:
    for split, rows in pairs.items():
        for language, column in zip(("en", "de"), zip(*rows, strict=True), strict=True):
            (folder / f"{split}.{language}").write_text("\n".join(column) + "\n", encoding="utf-8")
    return folder


def content(corpus: ParallelCorpus, flipped=False) -> dict:
    step = -1 if flipped else 1
    return {name: [tuple(pair)[::step] for pair in getattr(corpus, name)] for name in ("train", "valid", "test")}


def refusal(spec, source="en", target="de") -> str:
    with pytest.raises(UserError) as caught:
        load_corpus(str(spec), source, target)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.smoke
def test_the_layouts_say_the_same(tmp_path):
    folders = [tmp_path / name for name in ("plain", "named", "aligned")]
    for folder in folders:
        folder.mkdir()
    write_tsv(folders[0])
    write_tsv(folders[1], suffix=".en-de.tsv")
    write_aligned(folders[2])
    loaded = [load_corpus(str(folder), "en", "de") for folder in folders]
    assert all(content(corpus) == PAIRS for corpus in loaded)
    for folder in folders[1:]:
        assert content(load_corpus(str(folder), "de", "en"), flipped=True) == PAIRS


def test_one_split_is_read_without_the_others(tmp_path):
    write_aligned(tmp_path, {"test": PAIRS["test"]})
    assert [tuple(pair) for pair in load_split(str(tmp_path), "en", "de", "test")] == PAIRS["test"]
    assert [tuple(pair)[::-1] for pair in load_split(str(tmp_path), "de", "en", "test")] == PAIRS["test"]
    with pytest.raises(UserError, match=r"has no train split; it needs NAME\.tsv"):
        load_split(str(tmp_path), "en", "de", "train")
    with pytest.raises(UserError, match="source and target must be two languages, got 'en' for both"):
        load_split(str(tmp_path), "en", "en", "test")


@pytest.mark.parametrize("name", ["val", "dev", "validation"])
def test_the_valid_split_goes_by_other_names(name, tmp_path):
    assert content(load_corpus(str(write_tsv(tmp_path, names={"valid": name})), "en", "de")) == PAIRS


def test_a_plain_file_with_chinese_is_turned_to_the_asked_direction(tmp_path):
    pairs = {split: [("I like cats.", "我喜欢猫。"), ("Hi, 王!", "你好，小王！")] for split in PAIRS}
    write_tsv(tmp_path, pairs)
    assert content(load_corpus(str(tmp_path), "en", "zh")) == pairs
    assert content(load_corpus(str(tmp_path), "zh", "en"), flipped=True) == pairs


def test_lines_end_at_line_feeds_only(tmp_path):
    write_aligned(tmp_path)
    (tmp_path / "train.en").write_bytes("\ufeffone\u2028two\u0085\x0cthree \r\n\r\nfour\r".encode())
    (tmp_path / "train.de").write_bytes(b"eins\n\nvier")
    train = load_corpus(str(tmp_path), "en", "de").train
    assert list(train) == [("one\u2028two\u0085\x0cthree ", "eins"), ("four", "vier")]


def test_repeated_sources_keep_all_references_in_order():
    split = Split(tuple(Pair(*both) for both in [("b", "1"), ("a", "2"), ("b", "3"), ("b", "1")]))
    assert split.references() == (["b", "a"], [["1", "3", "1"], ["2"]])
    assert (len(split), split[1], split[1:3].sources, split.targets) == (
        4,
        ("a", "2"),
        ["a", "b"],
        ["1", "2", "3", "1"],
    )


@pytest.mark.parametrize("write", [write_tsv, write_aligned], ids=["tsv", "aligned"])
def test_pairs_with_a_blank_side_are_dropped_and_counted(write, tmp_path):
    blanks = [("a bird", " "), ("\u3000", "ein Vogel"), ("", "")]
    train = [blanks[0], PAIRS["train"][0], *blanks[1:], PAIRS["train"][1]]
    write(tmp_path, PAIRS | {"train": train, "valid": [*PAIRS["valid"], blanks[1]]})
    corpus = load_corpus(str(tmp_path), "en", "de")
    assert content(corpus) == PAIRS
    assert (corpus.train.blank, corpus.valid.blank, corpus.test.blank) == (3, 1, 0)
    assert corpus.notice == "dropped 3 of 5 train pairs and 1 of 2 valid pairs with a blank side"


def test_where_nothing_is_blank_there_is_no_notice(tmp_path):
    assert load_corpus(str(write_tsv(tmp_path)), "en", "de").notice is None


@pytest.mark.parametrize(
    "write, direction, blank, place",
    [
        (write_tsv, ("en", "de"), ("a bird", ""), "test.tsv, line 2: the target"),
        (write_aligned, ("en", "de"), ("a bird", " "), "test.de, line 2: the target"),
        (write_aligned, ("de", "en"), ("a bird", " "), "test.de, line 2: the source"),
        (write_aligned, ("en", "de"), ("", "ein Vogel"), "test.en, line 2: the source"),
    ],
)
def test_a_blank_side_in_the_test_split_is_refused_with_its_place(write, direction, blank, place, tmp_path):
    write(tmp_path, PAIRS | {"test": [*PAIRS["test"], blank, ("a cow", "eine Kuh")]})
    line = refusal(tmp_path, *direction)
    assert line.startswith(str(tmp_path)) and f"{place} sentence is blank" in line
    assert "remove the pair" in line


def test_a_split_that_is_blank_throughout_is_refused(tmp_path):
    write_tsv(tmp_path, PAIRS | {"train": [("a bird", ""), ("a cow", " ")]})
    line = refusal(tmp_path)
    assert "train.tsv, line 1: the target sentence is blank, and so is every pair of the train split" in line


def test_a_missing_folder(tmp_path):
    assert "no folder" in refusal(tmp_path / "absent")


def test_a_file_for_a_folder(tmp_path):
    write_tsv(tmp_path)
    assert "train.tsv is a file" in refusal(tmp_path / "train.tsv")


def test_a_missing_split(tmp_path):
    write_tsv(tmp_path)
    (tmp_path / "valid.tsv").unlink()
    assert "has no valid split" in (line := refusal(tmp_path)) and "valid or val or dev" in line


def test_a_language_that_is_not_there(tmp_path):
    write_aligned(tmp_path)
    assert "has no fr for the train split; languages there: de, en" in refusal(tmp_path, "fr", "de")
    assert "has no fr and it for the train split" in refusal(tmp_path, "fr", "it")


def test_languages_that_are_not_paired(tmp_path):
    write_tsv(tmp_path, suffix=".en-de.tsv")
    write_tsv(tmp_path, suffix=".en-fr.tsv")
    assert "no file that pairs fr with de" in refusal(tmp_path, "fr", "de")


@pytest.mark.parametrize("empty", [b"", b"\n", b" \n\n"])
def test_an_empty_file(empty, tmp_path):
    write_tsv(tmp_path)
    (tmp_path / "test.tsv").write_bytes(empty)
    assert "test.tsv is empty" in refusal(tmp_path)


def test_files_of_unequal_length(tmp_path):
    write_aligned(tmp_path)
    with (tmp_path / "train.de").open("a", encoding="utf-8") as file:
        file.write("ein Fisch\n")
    assert "equally many lines, got 2 in" in (line := refusal(tmp_path)) and "3 in" in line


def test_invalid_utf8_names_file_line_and_byte(tmp_path):
    write_aligned(tmp_path)
    (tmp_path / "train.de").write_bytes(b"ein Hund\nKatze und B\xe4r\n")
    assert "train.de, line 2: not UTF-8 (byte 0xE4 at column 12)" in refusal(tmp_path)


@pytest.mark.parametrize(("line", "tabs"), [("no tab here", 0), ("one\ttwo\tthree", 2), ("", 0)])
def test_a_line_without_just_one_tab(line, tabs, tmp_path):
    write_tsv(tmp_path)
    (tmp_path / "train.tsv").write_text(f"a\tb\n{line}\nc\td\n", encoding="utf-8")
    assert f"train.tsv, line 2: a line must be source, one tab, target; got {tabs} tabs" in refusal(tmp_path)


def test_one_language_twice():
    assert "must be two languages, got 'en'" in refusal("builtin", "en", "en")


def test_the_builtin_corpus_has_two_languages():
    assert "between en and zh, got source 'en' and target 'de'" in refusal("builtin")


def test_the_builtin_corpus_reads_in_both_directions(monkeypatch):
    example = types.SimpleNamespace(source="I read.", target="我看书。")
    splits = types.SimpleNamespace(train=[example, example], valid=[example], test=[example])
    module = types.ModuleType("jaxformer.data.english_chinese")
    monkeypatch.setattr(module, "english_chinese", lambda: splits, raising=False)
    monkeypatch.setitem(sys.modules, module.__name__, module)
    forward, backward = load_corpus("builtin", "en", "zh"), load_corpus("builtin", "zh", "en")
    assert forward.train[1] == ("I read.", "我看书。") and len(forward.train) == 2
    assert content(backward, flipped=True) == content(forward)
    assert (backward.source_language, backward.target_language) == ("zh", "en")


@pytest.fixture
def hub(monkeypatch):
    """A stand-in for the `datasets` library, with what `load_dataset` was asked for and what it returns."""
    fake = types.SimpleNamespace(asked=[], answer={})

    def load_dataset(name, config=None):
        fake.asked.append((name, config))
        if isinstance(fake.answer, Exception):
            raise fake.answer
        return fake.answer

    fake.load_dataset = load_dataset
    monkeypatch.setitem(sys.modules, "datasets", fake)
    return fake


def rows(nested: bool) -> dict:
    named = {split: [dict(zip(("en", "de"), pair, strict=True)) for pair in pairs] for split, pairs in PAIRS.items()}
    named["validation"] = named.pop("valid")
    return {split: [{"translation": row} if nested else row for row in each] for split, each in named.items()}


@pytest.mark.parametrize("nested", [True, False])
def test_rows_of_the_datasets_library(hub, nested):
    hub.answer = rows(nested)
    assert content(load_corpus("hf:someone/pairs:de-en", "en", "de")) == PAIRS
    assert content(load_corpus("hf:pairs", "de", "en"), flipped=True) == PAIRS
    assert hub.asked == [("someone/pairs", "de-en"), ("pairs", None)]
    del hub.answer["train"]
    assert [tuple(pair) for pair in load_split("hf:pairs", "en", "de", "test")] == PAIRS["test"]


def test_bad_input_from_the_datasets_library(hub):
    hub.answer = rows(nested=True)
    assert "train, row 1: no text in language fr; there are en, de" in refusal("hf:pairs", "en", "fr")
    hub.answer["train"][1]["translation"]["de"] = None
    assert "train, row 2: no text in language de" in refusal("hf:pairs")
    hub.answer = rows(nested=True) | {"test": []}
    assert "has an empty test split" in refusal("hf:pairs")
    hub.answer.pop("validation")
    assert "has no valid split; splits there: train, test" in refusal("hf:pairs")
    hub.answer = ConnectionError("cannot reach it\nwith many details")
    assert refusal("hf:pairs") == "hf:pairs could not be loaded: cannot reach it"


def test_blank_rows_from_the_datasets_library(hub):
    hub.answer = rows(nested=False)
    hub.answer["train"].append({"en": "a bird", "de": ""})
    assert load_corpus("hf:pairs", "en", "de").notice == "dropped 1 of 3 train pairs with a blank side"
    hub.answer["test"].append({"en": " ", "de": "ein Vogel"})
    assert "hf:pairs, test, row 2: the source sentence is blank" in refusal("hf:pairs")


def test_without_the_datasets_library_the_command_that_mends_it_is_shown(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    assert "pip install datasets" in refusal("hf:pairs")


def test_multi30k_is_read_in_full(data_folder):
    corpus = load_corpus(str(data_folder / "multi30k"), "en", "de")
    assert (len(corpus.train), len(corpus.valid), len(corpus.test)) == (29000, 1014, 1000)
    assert corpus.train[0].target == "Zwei junge weiße Männer sind im Freien in der Nähe vieler Büsche."


def test_tatoeba_is_read_in_full_with_its_repeated_sources(data_folder):
    corpus = load_corpus(str(data_folder / "tatoeba"), "en", "zh")
    assert (len(corpus.train), len(corpus.valid), len(corpus.test)) == (26206, 988, 974)
    sources, references = corpus.test.references()
    assert len(sources) == len(set(corpus.test.sources)) < 974 == sum(len(each) for each in references)
    assert load_corpus(str(data_folder / "tatoeba"), "zh", "en").train[0] == corpus.train[0][::-1]
