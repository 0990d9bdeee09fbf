"""One id a character or a byte, behind three marks; what has none is named; the file says of which kind it is."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxformer.config.errors import UserError
from jaxformer.text.characters import ByteTokenizer, CharacterTokenizer

TEXT = "to be, or not 猫?\n"
CHARACTERS, BYTES = CharacterTokenizer(TEXT), ByteTokenizer()
BOTH = pytest.mark.parametrize("tokenizer", [CHARACTERS, BYTES], ids=["characters", "bytes"])


def test_the_vocabulary_is_the_sorted_characters_of_the_text():
    assert CHARACTERS.characters == "\n ,?benort猫"
    assert CHARACTERS.size == 3 + 11
    assert CHARACTERS.encode("\n 猫") == [3, 4, 13]
    assert CharacterTokenizer(TEXT[::-1] * 2).fingerprint == CHARACTERS.fingerprint


@given(st.text(st.sampled_from(TEXT), max_size=17))
def test_decoding_inverts_encoding_of_characters(text):
    ids = CHARACTERS.encode(text)
    assert len(ids) == len(text) and CHARACTERS.decode(ids) == text


@given(st.text(max_size=17))
def test_decoding_inverts_encoding_of_bytes(text):
    ids = BYTES.encode(text)
    assert bytes(i - 3 for i in ids) == text.encode() and BYTES.decode(ids) == text


def test_characters_outside_the_vocabulary_are_named():
    with pytest.raises(UserError, match=r"of 11 characters has no 'é', 'X'; leave them out") as caught:
        CHARACTERS.encode("to béXé")
    assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match=r"no '0', '1', '2', '3', '4', '5', '6' and 3 more;"):
        CHARACTERS.encode("0123456789")


@BOTH
def test_marks_are_no_text(tokenizer):
    assert (tokenizer.pad, tokenizer.bos, tokenizer.eos) == (0, 1, 2)
    assert (tokenizer.specials.pad, tokenizer.specials.eos, tokenizer.specials.mask) == (0, 2, None)
    ids = [1, *tokenizer.encode("not"), 2, 0]
    assert tokenizer.decode(ids) == "not"
    assert tokenizer.pieces([*ids, *tokenizer.encode(" \n")]) == ["<bos>", *"not", "<eos>", "<pad>", "▁", "\\n"]
    assert tokenizer.encode_batch(["to", ""]) == [tokenizer.encode("to"), []]


def test_a_part_of_a_character_shows_the_character():
    ids = BYTES.encode("é")
    assert BYTES.pieces(ids) == ["é…", "…é"]
    assert BYTES.decode(ids[:1]) == "\N{REPLACEMENT CHARACTER}"


@BOTH
@pytest.mark.parametrize("outside", [-1, 259])
def test_an_id_outside_the_vocabulary_is_an_error(tokenizer, outside):
    with pytest.raises(ValueError, match=rf"must lie in 0 … {tokenizer.size - 1}, got {outside}"):
        tokenizer.decode([outside])


@BOTH
def test_a_saved_tokenizer_is_the_same_when_loaded(tokenizer, tmp_path):
    path = tmp_path / "tokenizer.json"
    tokenizer.save(path)
    loaded = type(tokenizer).load(path)
    assert loaded.fingerprint == tokenizer.fingerprint == hashlib.sha256(path.read_bytes()).hexdigest()
    assert loaded.encode("to be") == tokenizer.encode("to be")
    assert CHARACTERS.fingerprint != BYTES.fingerprint


@BOTH
@pytest.mark.parametrize(
    "content", ["", "{", "[]", "{}", '{"type": "Words"}', '{"type": "Characters", "characters": 7}']
)
def test_a_broken_file_is_one_clear_line(tokenizer, content, tmp_path):
    path = tmp_path / "tokenizer.json"
    path.write_text(content)
    with pytest.raises(UserError, match=r"tokenizer\.json (is not a tokenizer|must hold its characters)") as caught:
        type(tokenizer).load(path)
    assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match=r"no tokenizer at .*absent: No such file"):
        type(tokenizer).load(tmp_path / "absent")
