"""Labelled sentences are read by column name, refused by file and line, and batched without losing one."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxformer.config.data import Batching
from jaxformer.config.errors import UserError
from jaxformer.data.labelled import (
    EncodedExample,
    Example,
    LabelledBatches,
    encode_examples,
    labelled_batches,
    load_labelled,
)

PAD, CLS, SEP, VOCABULARY = 0, 1, 2, 997
MARKS = {"pad": PAD, "cls": CLS, "sep": SEP, "vocabulary": VOCABULARY}
SINGLE = {"train": "label\tsentence\ngood\ta b\nbad\tc\n", "valid": "label\tsentence\nbad\td\n"}
ids = st.lists(st.integers(3, VOCABULARY - 1), max_size=11).map(tuple)
singles = st.lists(st.builds(EncodedExample, st.integers(0, 4), st.tuples(ids)), min_size=1, max_size=37)
pairs = st.lists(st.builds(EncodedExample, st.integers(0, 4), st.tuples(ids, ids)), min_size=1, max_size=37)


def write(folder: Path, files=SINGLE) -> Path:
    for name, content in files.items():
        (folder / f"{name}.tsv").write_text(content, encoding="utf-8", newline="")
    return folder


def refusal(folder) -> str:
    with pytest.raises(UserError) as caught:
        load_labelled(str(folder))
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.smoke
def test_columns_are_found_by_name_and_classes_are_sorted(tmp_path):
    corpus = load_labelled(str(write(tmp_path)))
    assert corpus.classes == ("bad", "good")
    assert corpus.train == (Example(1, ("a b",)), Example(0, ("c",)))
    assert corpus.valid == (Example(0, ("d",)),) and corpus.test == ()
    other = {
        "train": "n\tsentence\tlabel\r\n1\ta b\tgood\r\n2\tc\tbad\r\n",
        "dev": "sentence\tlabel\tx\nd\tbad\t\n",
    }
    folder = tmp_path / "other"
    folder.mkdir()
    assert load_labelled(str(write(folder, other))) == corpus
    assert load_labelled(str(write(folder, other))).fingerprint == corpus.fingerprint


def test_pairs_and_a_test_split(tmp_path):
    head = "sentence2\tlabel\tsentence1\n"
    files = {"train": f"{head}b\tyes\ta\nd\tno\tc\n", "valid": f"{head}f\tyes\te\n", "test": f"{head}h\tno\tg\n"}
    corpus = load_labelled(str(write(tmp_path, files)))
    assert corpus.train == (Example(1, ("a", "b")), Example(0, ("c", "d")))
    assert (corpus.valid, corpus.test) == ((Example(1, ("e", "f")),), (Example(0, ("g", "h")),))


def test_the_fingerprint_sees_labels_sentences_and_splits(tmp_path):
    changes = [
        {},
        {"train": "label\tsentence\ngood\ta b\nbad\tx\n"},
        {"train": "label\tsentence\nbad\ta b\ngood\tc\n"},
        {"train": "label\tsentence\nbest\ta b\nbad\tc\n"},
        {"test": SINGLE["valid"]},
    ]
    prints = set()
    for i, change in enumerate(changes):
        (tmp_path / str(i)).mkdir()
        prints.add(load_labelled(str(write(tmp_path / str(i), SINGLE | change))).fingerprint)
    assert len(prints) == 5


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"train": "label\ttext\n0\ta\n"}, "train.tsv, line 1: the columns must be named label and sentence, or"),
        ({"train": "label\tlabel\tsentence\n0\t0\ta\n"}, "each once, got 'label, label, sentence'"),
        ({"train": "label\tsentence1\n0\ta\n"}, "got 'label, sentence1'"),
        ({"train": "label\tsentence\n0\ta\n1\tb\tc\n"}, "train.tsv, line 3: a line must have the 2 columns of"),
        ({"train": "label\tsentence\n0\ta\n\n"}, "train.tsv, line 3: a line must have the 2 columns"),
        ({"train": "label\tsentence\n0\ta\n\tb\n"}, "train.tsv, line 3: the label is empty"),
        ({"train": "label\tsentence\n"}, "train.tsv names its columns but has no lines below"),
        ({"train": " \n"}, "train.tsv is empty; it needs a line that names its columns"),
        ({"train": "label\tsentence\n0\ta\n0\tb\n"}, "must have two classes or more, got only '0'"),
        ({"valid": "label\tsentence\nbad\ta\nworse\tb\n"}, "line 3: label 'worse' does not stand in the train split"),
        ({"valid": "label\tsentence1\tsentence2\nbad\ta\tb\n"}, "valid.tsv, line 2: an example must have 1 sentence"),
    ],
)
def test_what_is_wrong_is_said_by_file_and_line(files, message, tmp_path):
    assert message in refusal(write(tmp_path, SINGLE | files))


def test_missing_files_and_bytes_that_are_no_text(tmp_path):
    assert "no folder" in refusal(tmp_path / "absent")
    assert "no folder" in refusal(write(tmp_path) / "train.tsv")
    (tmp_path / "train.tsv").write_bytes(b"label\tsentence\n0\tB\xe4r\n")
    assert "train.tsv, line 2: not UTF-8 (byte 0xE4 at column 4)" in refusal(tmp_path)
    (write(tmp_path) / "valid.tsv").unlink()
    assert "has no valid split; it needs NAME.tsv with NAME valid or val or dev" in refusal(tmp_path)


def test_sst2_is_read_in_full(data_folder):
    corpus = load_labelled(str(data_folder / "sst2"))
    assert (len(corpus.train), len(corpus.valid), corpus.classes) == (67_349, 872, ("0", "1"))
    assert corpus.train[0] == Example(0, ("hide new secretions from the parental units",))


def test_sentences_are_encoded_in_their_order():
    examples = [Example(2, ("a", "bc")), Example(0, ("", "d"))]
    encoded = encode_examples(examples, lambda texts: [[ord(c) for c in text] for text in texts])
    assert encoded == [EncodedExample(2, ([97], [98, 99])), EncodedExample(0, ([], [100]))]


def row_of(example) -> tuple[tuple[int, ...], tuple[int, ...], int]:
    """Tokens, types and label of an example, part by part."""
    tokens, types = [CLS], [0]
    for number, sentence in enumerate(example.sentences):
        tokens += [*sentence, SEP]
        types += [number] * (len(sentence) + 1)
    return tuple(tokens), tuple(types), example.label


def read_back(batch):
    for tokens_T, types_T, label in zip(*(array.tolist() for array in batch), strict=True):
        end = max((i + 1 for i, token in enumerate(tokens_T) if token == SEP), default=0)
        assert not any(tokens_T[end:]) and not any(types_T[end:]) and (label == -1) == (end == 0)
        if end:
            yield tuple(tokens_T[:end]), tuple(types_T[:end]), label


@settings(max_examples=40, deadline=None)
@given(st.one_of(singles, pairs), st.integers(27, 100), st.integers(1, 4), st.integers(0, 2))
def test_every_example_once_an_epoch(examples, tokens, buckets, epoch):
    batches = LabelledBatches(examples, Batching(tokens, buckets), 3, **MARKS)
    seen = [batches[i] for i in range(epoch * batches.per_epoch, (epoch + 1) * batches.per_epoch)]
    assert sorted(row for batch in seen for row in read_back(batch)) == sorted(map(row_of, examples))
    assert batches.cut == 0
    for batch in seen:
        assert batch.tokens_BT.shape == batch.types_BT.shape in batches.shapes
        assert batch.labels_B.shape == batch.tokens_BT.shape[:1]
        assert {array.dtype for array in batch} == {np.dtype(np.int32)}


@settings(max_examples=40, deadline=None)
@given(st.one_of(singles, pairs), st.sampled_from([(5,), (7, 13)]), st.integers(1, 100))
def test_an_evaluation_takes_every_example_once_at_its_place(examples, bounds, tokens):
    places = []
    for indices_B, batch in labelled_batches(examples, bounds, Batching(tokens), **MARKS):
        real_B = indices_B >= 0
        assert (batch.labels_B >= 0).tolist() == real_B.tolist()
        assert list(read_back(batch)) == [row_of(examples[i]) for i in indices_B[real_B]]
        places += indices_B[real_B].tolist()
    assert sorted(places) == list(range(len(examples)))


def trimmed(sentences, room):
    """The longer sentence, or the second of two as long, gives up its last id until all fits."""
    kept = [list(sentence) for sentence in sentences]
    while sum(map(len, kept)) > room:
        max(reversed(kept), key=len).pop()
    return tuple(tuple(sentence) for sentence in kept)


@settings(max_examples=60, deadline=None)
@given(st.one_of(singles, pairs), st.integers(3, 23))
def test_long_examples_are_cut_from_the_longer_sentence(examples, longest):
    config = Batching(max_length=longest)
    batches = LabelledBatches(examples, config, 0, **MARKS)
    expected = [
        EncodedExample(label, trimmed(sentences, longest - 1 - len(sentences))) for label, sentences in examples
    ]
    seen = [row for i in range(batches.per_epoch) for row in read_back(batches[i])]
    assert sorted(seen) == sorted(map(row_of, expected))
    assert batches.cut == sum(one.sentences != other.sentences for one, other in zip(examples, expected, strict=True))
    judged = labelled_batches(examples, batches.bounds, config, **MARKS)
    assert sorted(row for _, batch in judged for row in read_back(batch)) == sorted(seen)


def test_seed_decides_the_order_and_the_fingerprint_sees_all():
    examples = [EncodedExample(i % 3, ((3 + i, 5),)) for i in range(29)]
    config = Batching(tokens=24)

    def made(examples=examples, config=config, seed=0, **changes):
        return LabelledBatches(examples, config, seed, **(MARKS | changes))

    relabelled = [EncodedExample((label + 1) % 3, sentences) for label, sentences in examples]
    every = [
        made(),
        made(relabelled),
        made(examples[::-1]),
        made(config=Batching(tokens=32)),
        made(seed=1),
        made(sep=3),
        made(pad=3),
    ]
    assert len({each.fingerprint for each in every}) == 7 and made().fingerprint == every[0].fingerprint
    orders = [[made(seed=seed)[i].labels_B.tolist() for i in range(3)] for seed in (0, 0, 1)]
    assert orders[0] == orders[1] != orders[2]


def test_bad_examples():
    with pytest.raises(UserError, match="there are no examples"):
        LabelledBatches([], Batching(), 0, **MARKS)
    with pytest.raises(UserError, match=f"token id {VOCABULARY} in example 2 is outside"):
        LabelledBatches([EncodedExample(0, ((3,),)), EncodedExample(1, ((VOCABULARY,),))], Batching(), 0, **MARKS)
    with pytest.raises(UserError, match="all 1 examples are longer than max_length=2 tokens"):
        LabelledBatches([EncodedExample(0, ((3,), (4,)))], Batching(max_length=2), 0, **MARKS)
