"""A text is read as it stands, split without leaks, and whatever is wrong with it is said in one line."""

import json
import sys
import types
from pathlib import Path

import pytest

from jaxformer.config.errors import UserError
from jaxformer.data.splits import hold_out
from jaxformer.data.text import TextCorpus, load_text


def refusal(spec) -> str:
    with pytest.raises(UserError) as caught:
        load_text(str(spec))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def write_rows(path: Path, texts, field="text") -> Path:
    path.write_text("".join(json.dumps({field: text, "n": 1}) + "\n" for text in texts), encoding="utf-8")
    return path


def test_a_single_text_is_cut_at_nine_tenths_of_its_characters(tmp_path):
    text = "ä日x\n" * 29
    (tmp_path / "input.txt").write_text(text, encoding="utf-8", newline="")
    corpus = load_text(str(tmp_path / "input.txt"))
    assert corpus == TextCorpus((text[: int(len(text) * 0.9)],), (text[int(len(text) * 0.9) :],))
    assert corpus.bytes == len(text.encode())
    (cut,) = load_text(str(tmp_path / "input.txt"), held_out=0.25).valid
    assert len(cut) == len(text) // 4


def test_line_ends_and_the_byte_order_mark_make_no_difference(tmp_path):
    for name, data in (
        ("a.txt", "one\ntwo\u2028\nthree".encode()),
        ("b.txt", "\ufeffone\r\ntwo\u2028\r\nthree".encode()),
    ):
        (tmp_path / name).write_bytes(data)
    one, other = (load_text(str(tmp_path / name)) for name in ("a.txt", "b.txt"))
    assert one == other and one.fingerprint == other.fingerprint


def fill(folder: Path, count=23) -> list[str]:
    """Texts of three kinds at two depths, and files that are no text; returns the texts in the order of their paths."""
    texts = {}
    for i in range(count):
        path = folder / ("deep" if i % 2 else ".") / f"{i:02}{('.txt', '.md', '.py')[i % 3]}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"text {i}", encoding="utf-8")
        texts[path.relative_to(folder).as_posix()] = f"text {i}"
    (folder / ".hidden").mkdir()
    for name in (".hidden/a.txt", ".b.txt", "c.json"):
        (folder / name).write_text("no text", encoding="utf-8")
    (folder / "blank.txt").write_text(" \n", encoding="utf-8")
    return [texts[path] for path in sorted(texts)]


def test_a_folder_is_split_by_path_and_each_split_keeps_the_order_of_the_paths(tmp_path):
    texts = fill(tmp_path)
    corpus = load_text(str(tmp_path), held_out=0.2)
    assert (len(corpus.train), len(corpus.valid)) == (18, 5)
    assert sorted([*corpus.train, *corpus.valid], key=texts.index) == texts
    for split in (corpus.train, corpus.valid):
        assert list(split) == sorted(split, key=texts.index)
    assert corpus.fingerprint == load_text(str(tmp_path), held_out=0.2).fingerprint
    (tmp_path / "00.txt").write_text("changed", encoding="utf-8")
    changed = load_text(str(tmp_path), held_out=0.2)
    swap = {"text 0": "changed"}
    assert changed == TextCorpus(*(tuple(swap.get(t, t) for t in split) for split in (corpus.train, corpus.valid)))
    assert changed.fingerprint != corpus.fingerprint


@pytest.mark.parametrize("part", [0.001, 0.1, 0.5, 0.999])
def test_holding_out_is_near_the_part_and_never_all_or_nothing(part):
    keys = [f"key {i}" for i in range(97)] * 2
    held = hold_out(keys, part)
    assert held[:97] == held[97:] and sum(held) == 2 * min(max(1, round(97 * part)), 96)
    assert dict(zip(keys, held, strict=True)) == dict(zip(keys[::-1], hold_out(keys[::-1], part), strict=True))


def test_another_document_moves_at_most_one():
    keys = [f"key {i}" for i in range(97)]
    before = {key for key, out in zip(keys, hold_out(keys, 0.1), strict=True) if out}
    for i in range(30):
        more = [*keys, f"new {i}"]
        after = {key for key, out in zip(more, hold_out(more, 0.1), strict=True) if out}
        assert len(before ^ (after - {f"new {i}"})) <= 1


@pytest.mark.parametrize(("train", "valid"), [("train.txt", "valid.txt"), ("train.md", "val.txt"), ("train", "dev")])
def test_splits_that_are_named_are_taken_as_they_are(train, valid, tmp_path):
    (tmp_path / "other.txt").write_text("in no split", encoding="utf-8")
    for name, text in ((train, "one\n"), (valid, "two\n")):
        path = tmp_path / name
        if not path.suffix:
            path.mkdir()
            path = path / "a.txt"
        path.write_text(text, encoding="utf-8", newline="")
    assert load_text(str(tmp_path)) == TextCorpus(("one\n",), ("two\n",))


def test_rows_of_named_jsonl_files(tmp_path):
    write_rows(tmp_path / "train.jsonl", ["a", " ", "b"])
    write_rows(tmp_path / "validation.jsonl", ["c"])
    assert load_text(str(tmp_path)) == TextCorpus(("a", "b"), ("c",))


def test_rows_are_split_by_their_text_so_that_no_copy_leaks(tmp_path):
    texts = [f"text {i % 13}" for i in range(41)]
    corpus = load_text(str(write_rows(tmp_path / "rows.jsonl", texts)), held_out=0.3)
    assert not set(corpus.train) & set(corpus.valid) and len(set(corpus.valid)) == 4
    assert sorted(corpus.train + corpus.valid) == sorted(texts)
    assert load_text(f"{write_rows(tmp_path / 'a.jsonl', texts, 'body')}:body", held_out=0.3) == corpus


def test_bad_rows_are_named_by_file_and_line(tmp_path):
    path = tmp_path / "rows.jsonl"
    cases = {
        '{"text": "a"}\n\n{"text": "b"': "line 3: not JSON",
        '{"text": "a"}\n["b"]': "line 2: a line must be a JSON object, got '[\"b\"]'",
        '{"body": "a", "n": 1}': "line 1: no field text; there are body, n",
        '{"text": null}': "line 1: text must be a text, got 'null'",
        '{"text": "a\\ud83d"}': "line 1: text holds half a surrogate pair, \\ud83d",
        "[" * 100_000: "line 1: not JSON",
    }
    for content, message in cases.items():
        path.write_text(content, encoding="utf-8")
        assert f"rows.jsonl, {message}" in refusal(path)
    path.write_bytes(b'{"text": "a"}\n{"text": "\xff"}\n')
    assert "rows.jsonl, line 2: not UTF-8 (byte 0xFF at column 11)" in refusal(path)


def test_what_is_missing_or_empty_is_said(tmp_path):
    assert "no file or folder" in refusal(tmp_path / "absent.txt")
    assert "no file or folder" in refusal("")
    assert "has no text; it needs .txt, .md, .py files" in refusal(tmp_path)
    (tmp_path / "blank.txt").write_text(" \n", encoding="utf-8")
    assert "blank.txt is empty" in refusal(tmp_path / "blank.txt")
    assert "is empty; it needs text" in refusal(tmp_path)
    (tmp_path / "blank.jsonl").write_text("\n", encoding="utf-8")
    assert "blank.jsonl is empty" in refusal(tmp_path / "blank.jsonl")
    (tmp_path / "short.txt").write_text("a", encoding="utf-8")
    assert "holds 1 characters, too few" in refusal(tmp_path / "short.txt")
    (tmp_path / "latin.txt").write_bytes(b"caf\xc3\xa9\nB\xe4r\n")
    assert "latin.txt, line 2: not UTF-8 (byte 0xE4 at column 2)" in refusal(tmp_path / "latin.txt")


@pytest.mark.parametrize(("there", "absent"), [("train.txt", "valid"), ("val.md", "train")])
def test_one_named_split_alone_is_refused(there, absent, tmp_path):
    for name in (there, "other.txt"):
        (tmp_path / name).write_text("text", encoding="utf-8")
    assert f"has {there} but no {absent} split" in refusal(tmp_path)


@pytest.mark.parametrize("part", [0.0, 1.0])
def test_a_part_is_held_out(part, tmp_path):
    with pytest.raises(ValueError, match=f"held_out must lie between 0 and 1, got {part}"):
        load_text("builtin", part)


def test_the_fingerprint_sees_where_documents_and_splits_end():
    corpora = [
        TextCorpus(("ab", "c"), ("d",)),
        TextCorpus(("a", "bc"), ("d",)),
        TextCorpus(("c", "ab"), ("d",)),
        TextCorpus(("ab",), ("c", "d")),
    ]
    assert len({corpus.fingerprint for corpus in corpora}) == 4


@pytest.fixture(scope="module")
def builtin() -> TextCorpus:
    return load_text("builtin")


@pytest.mark.smoke
def test_the_builtin_text_is_the_standard_library_and_its_help(builtin):
    import argparse
    import json.decoder
    from pydoc_data.topics import topics

    every = set(builtin.train) | set(builtin.valid)
    assert {Path(module.__file__ or "").read_text(encoding="utf-8") for module in (argparse, json.decoder)} <= every
    assert set(topics.values()) <= every
    assert builtin.bytes > 3_000_000
    assert 0.02 < sum(len(text.encode()) for text in builtin.valid) / builtin.bytes < 0.3
    assert {text in builtin.valid for text in topics.values()} == {True, False}


def test_the_builtin_text_depends_on_the_python_alone(builtin, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert load_text("builtin").fingerprint == builtin.fingerprint


def test_tests_and_what_is_no_source_are_left_out_of_the_standard_library(monkeypatch, tmp_path):
    wanted = {"a.py", "unittest/case.py", "json/tool.py", "latest.py"}
    left_out = {
        "test/a.py",
        "unittest/test/a.py",
        "idlelib/idle_test/a.py",
        "lib2to3/a.py",
        "site-packages/a.py",
        "dist-packages/a.py",
        "config-3.11-x86_64-linux-gnu/a.py",
        "_sysconfigdata__linux_x86_64-linux-gnu.py",
        "sitecustomize.py",
        "encodings/cp437.py",
        "pydoc_data/topics.py",
        "json/a.txt",
    }
    for name in wanted | left_out:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(f"source of {name}", encoding="utf-8")
    monkeypatch.setattr("sysconfig.get_path", lambda name: str(tmp_path))
    corpus = load_text("builtin")
    assert {text for text in corpus.train + corpus.valid if text.startswith("source of")} == {
        f"source of {name}" for name in wanted
    }


def test_a_python_without_sources(monkeypatch, tmp_path):
    monkeypatch.setattr("sysconfig.get_path", lambda name: str(tmp_path))
    assert "no sources of its standard library" in refusal("builtin")


def test_parquet(tmp_path):
    pa = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    texts = [f"text {i}" for i in range(23)]
    for name in ("text", "body"):
        parquet.write_table(
            pa.table({"n": list(range(23)), name: texts}), tmp_path / f"{name}.parquet", row_group_size=7
        )
    corpus = load_text(str(tmp_path / "text.parquet"))
    assert sorted(corpus.train + corpus.valid) == sorted(texts) and len(corpus.valid) == 2
    assert load_text(f"{tmp_path / 'body.parquet'}:body") == corpus
    assert corpus == load_text(str(write_rows(tmp_path / "rows.jsonl", texts)))
    assert "body.parquet has no column text; columns there: n, body" in refusal(tmp_path / "body.parquet")
    assert "text.parquet, row 1: n must be a text, got '0'" in refusal(f"{tmp_path / 'text.parquet'}:n")
    parquet.write_table(pa.table({"text": [*texts, None]}), tmp_path / "null.parquet", row_group_size=7)
    assert "null.parquet, row 24: text must be a text, got 'null'" in refusal(tmp_path / "null.parquet")
    whole = (tmp_path / "text.parquet").read_bytes()
    for data in (b"no parquet", whole[: len(whole) // 2]):
        (tmp_path / "broken.parquet").write_bytes(data)
        assert "broken.parquet could not be read as parquet" in refusal(tmp_path / "broken.parquet")


def test_without_pyarrow_the_command_that_mends_it_is_shown(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    (tmp_path / "a.parquet").write_bytes(b"")
    assert "pip install pyarrow" in refusal(tmp_path / "a.parquet")


@pytest.fixture
def hub(monkeypatch):
    """A stand-in for the `datasets` library, with what `load_dataset` was asked for and what it returns."""
    fake = types.SimpleNamespace(asked=[], answer={})

    def load_dataset(name, config=None):
        fake.asked.append((name, config))
        return fake.answer

    fake.load_dataset = load_dataset
    monkeypatch.setitem(sys.modules, "datasets", fake)
    return fake


def test_rows_of_the_datasets_library(hub, tmp_path):
    hub.answer = {"train": [{"text": "a"}, {"text": ""}, {"text": "b"}], "validation": [{"text": "c"}]}
    assert load_text("hf:someone/text:small") == TextCorpus(("a", "b"), ("c",))
    texts = [f"text {i}" for i in range(23)]
    hub.answer = {"train": [{"text": text} for text in texts]}
    assert load_text("hf:text") == load_text(str(write_rows(tmp_path / "rows.jsonl", texts)))
    assert hub.asked == [("someone/text", "small"), ("text", None)]


def test_bad_input_from_the_datasets_library(hub, monkeypatch):
    hub.answer = {"test": []}
    assert "hf:text has no train split; splits there: test" in refusal("hf:text")
    hub.answer = {"train": [{"text": "a"}, {"body": "b"}]}
    assert "hf:text, train, row 2: no field text; there are body" in refusal("hf:text")
    hub.answer = {"train": [{"text": "a"}], "validation": []}
    assert "hf:text, validation is empty" in refusal("hf:text")
    monkeypatch.setitem(sys.modules, "datasets", None)
    assert "pip install datasets" in refusal("hf:text")


def test_tiny_shakespeare_is_split_as_nanogpt_does(data_folder):
    corpus = load_text(str(data_folder / "tinyshakespeare" / "input.txt"))
    assert (len(corpus.train[0]), len(corpus.valid[0])) == (1_003_854, 111_540)
    assert len(set(corpus.train[0] + corpus.valid[0])) == 65
