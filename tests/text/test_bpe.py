"""A byte-level BPE loses nothing, is deterministic, and its file is all there is to it."""

import os
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxformer.config.data import Bpe
from jaxformer.config.errors import UserError
from jaxformer.text.bpe import BpeTokenizer, train_bpe

TEXTS = [
    "the cat sat on the mat",
    "the dog ate the cat's dinner",
    "我爱你，你爱我",
    "猫在桌子上",
    "Über den Wolken",
] * 3
TOKENIZER = train_bpe(TEXTS, Bpe(vocabulary=307))
LOWER = train_bpe(TEXTS, Bpe(vocabulary=307, lowercase=True))

# Ordinary text is rare among arbitrary text, and so are the cases that break tokenizers: both are mixed in.
awkward = st.sampled_from(
    [" ", "  ", "\n", "\r\n", "\u2028", "<eos>", "<pad>", "▁", "Ġ", "👩‍👧‍👦", "é", "e\u0301", "猫", "the"]
)
texts = st.lists(st.one_of(awkward, st.text(max_size=7)), max_size=11).map("".join)


@pytest.mark.smoke
@given(texts)
def test_decoding_inverts_encoding(text):
    ids = TOKENIZER.encode(text)
    assert TOKENIZER.decode(ids) == text
    assert all(len(("<pad>", "<bos>", "<eos>")) <= i < TOKENIZER.size for i in ids)


@given(st.text(alphabet="aZ éÉ ЖжΩ 猫👩\n", max_size=29))
def test_decoding_inverts_encoding_up_to_lower_case(text):
    assert LOWER.decode(LOWER.encode(text)) == "".join(character.lower() for character in text)


@given(st.lists(texts, max_size=5))
def test_a_batch_is_encoded_as_its_texts_are(batch):
    assert TOKENIZER.encode_batch(batch) == [TOKENIZER.encode(text) for text in batch]


@given(st.lists(st.integers(0, TOKENIZER.size - 1), max_size=13))
def test_any_ids_decode_and_have_one_piece_each(ids):
    TOKENIZER.decode(ids).encode()
    assert len(TOKENIZER.pieces(ids)) == len(ids)


def test_specials_are_left_out_of_the_text():
    ids = TOKENIZER.encode("the cat")
    assert TOKENIZER.decode([TOKENIZER.bos, *ids, TOKENIZER.eos, TOKENIZER.pad]) == "the cat"
    assert (TOKENIZER.pad, TOKENIZER.bos, TOKENIZER.eos) == (0, 1, 2)


def test_frequent_words_become_single_pieces():
    assert TOKENIZER.pieces([*TOKENIZER.encode("the the"), TOKENIZER.eos]) == ["the", "▁the", "<eos>"]


def test_parts_of_a_character_show_the_character():
    bytes_only = train_bpe([], Bpe(vocabulary=259))
    ids = bytes_only.encode("aé龘\n")
    assert bytes_only.size == 259
    assert bytes_only.pieces(ids) == ["a", "é…", "…é", "龘…", "…龘…", "…龘", "\\n"]
    assert bytes_only.pieces(ids[1:2]) == ["⟨C3⟩"]
    assert bytes_only.decode(ids[1:2]) == "\N{REPLACEMENT CHARACTER}"


@pytest.mark.parametrize("outside", [-1, TOKENIZER.size])
def test_an_id_outside_the_vocabulary_is_an_error(outside):
    with pytest.raises(ValueError, match=rf"ids must lie in 0 … {TOKENIZER.size - 1}, got {outside}"):
        TOKENIZER.decode([3, outside])


def test_the_vocabulary_is_as_large_as_asked_where_the_text_allows():
    assert TOKENIZER.size == 307
    assert train_bpe(["aab"], Bpe(vocabulary=307)).size == 259


def saved(tokenizer, path):
    tokenizer.save(path)
    return path.read_bytes()


def test_the_same_text_gives_the_same_tokenizer_in_any_process(tmp_path):
    code = (
        "import sys; from jaxformer.config.data import Bpe; from jaxformer.text.bpe import train_bpe;"
        f"train_bpe({TEXTS!r}, Bpe(vocabulary=307)).save(sys.argv[1])"
    )
    here, there = saved(TOKENIZER, tmp_path / "here.json"), tmp_path / "there.json"
    path = os.pathsep.join(entry for entry in sys.path if entry)
    for hash_seed in ("1", "2"):
        environment = os.environ | {"PYTHONPATH": path, "PYTHONHASHSEED": hash_seed, "PYTHONUTF8": "1"}
        subprocess.run([sys.executable, "-c", code, str(there)], env=environment, check=True)
        assert there.read_bytes() == here
    assert saved(train_bpe(TEXTS[1:], Bpe(vocabulary=307)), tmp_path / "other.json") != here


@pytest.mark.parametrize("tokenizer", [TOKENIZER, LOWER], ids=["cased", "lowercase"])
def test_a_saved_tokenizer_is_the_same_when_loaded(tokenizer, tmp_path):
    path = tmp_path / "tokenizer.json"
    file = saved(tokenizer, path)
    loaded = BpeTokenizer.load(path)
    assert saved(loaded, tmp_path / "again.json") == file
    text = "The CAT <eos> 猫"
    assert loaded.encode(text) == tokenizer.encode(text)
    assert loaded.decode(loaded.encode(text)) == tokenizer.decode(tokenizer.encode(text))


@pytest.mark.parametrize("content", ["", "{", '{"version": "1.0"}', "\N{SNOWMAN}"])
def test_a_broken_file_is_one_clear_line(content, tmp_path):
    path = tmp_path / "tokenizer.json"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(UserError, match=r"tokenizer\.json is not a tokenizer written by jaxformer: .+") as caught:
        BpeTokenizer.load(path)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_one_clear_line(tmp_path):
    with pytest.raises(UserError, match=r"no tokenizer at .*absent"):
        BpeTokenizer.load(tmp_path / "absent")


def test_a_vocabulary_too_small_for_the_bytes_is_refused():
    with pytest.raises(ValueError, match=r"at least 259 .* got 258"):
        Bpe(vocabulary=258)
