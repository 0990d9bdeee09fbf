"""A WordPiece learned from text is a BERT's: its marks come first, and transformers reads its folder."""

import json
import os
import subprocess
import sys

import pytest

from jaxformer.config.text import WordPiece
from jaxformer.text.pretrained import PretrainedTokenizer
from jaxformer.text.tokenizer import Specials
from jaxformer.text.wordpiece import train_wordpiece
from tests.text import toys

UNCASED = train_wordpiece(toys.TEXTS, WordPiece(vocabulary=61))
CASED = train_wordpiece(toys.TEXTS, WordPiece(vocabulary=61, lowercase=False))
BOTH = pytest.mark.parametrize("tokenizer", [UNCASED, CASED], ids=["uncased", "cased"])


@BOTH
def test_the_marks_come_first(tokenizer):
    assert tokenizer.specials == Specials(pad=0, unk=1, cls=2, sep=3, mask=4)
    assert tokenizer.pieces(range(5)) == ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    assert tokenizer.size == 61


def test_frequent_words_are_whole_and_rare_ones_are_in_pieces():
    assert UNCASED.pieces(UNCASED.encode("The CAT")) == ["the", "cat"]
    assert UNCASED.pieces(UNCASED.encode("hat")) == ["h", "##at"]
    assert UNCASED.pieces(UNCASED.encode("Q")) == ["[UNK]"]
    assert UNCASED.encode("Über") == UNCASED.encode("uber") and CASED.encode("Über") != CASED.encode("uber")
    assert UNCASED.decode(UNCASED.encode("The dog ate the dinner")) == "the dog ate the dinner"


@BOTH
def test_words_are_cut_longest_piece_first(tokenizer):
    pieces = {tokenizer.pieces([i])[0] for i in range(5, tokenizer.size)}
    for word in ("dinner", "thedinner", "catsat", "wolken", "onden", "tthe", "mate"):
        expected, rest = [], word
        while rest:
            marked = [("##" if expected else "") + rest[:n] for n in range(len(rest), 0, -1)]
            longest = next((piece for piece in marked if piece in pieces), None)
            if longest is None:
                expected = ["[UNK]"]
                break
            expected.append(longest)
            rest = rest[len(longest.removeprefix("##")) :]
        assert tokenizer.pieces(tokenizer.encode(word)) == expected


@BOTH
def test_transformers_reads_what_is_saved(tokenizer, tmp_path, transformers):
    tokenizer.save(tmp_path)
    assert json.loads((tmp_path / "tokenizer_config.json").read_text())["tokenizer_class"] == "BertTokenizer"
    reference = transformers.AutoTokenizer.from_pretrained(tmp_path)
    text, pair = "The dog's [MASK], Über 我爱你 Q", "on the Mat"
    ours, theirs = tokenizer.encode_with_specials(text, pair, read_specials=True), reference(text, pair)
    assert (ours.ids, ours.types) == (theirs["input_ids"], theirs["token_type_ids"])
    assert ours.ids[0] == 2 and ours.ids.count(3) == 2 and 4 in ours.ids and {0, 1} == set(ours.types)
    assert PretrainedTokenizer.load(tmp_path).fingerprint == tokenizer.fingerprint


def test_the_same_text_gives_the_same_tokenizer_in_any_process():
    code = (
        "from jaxformer.config.text import WordPiece; from jaxformer.text.wordpiece import train_wordpiece;"
        f"print(train_wordpiece({toys.TEXTS!r}, WordPiece(vocabulary=61)).fingerprint)"
    )
    path = os.pathsep.join(entry for entry in sys.path if entry)
    environment = os.environ | {"PYTHONPATH": path, "PYTHONHASHSEED": "7", "PYTHONUTF8": "1"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == UNCASED.fingerprint != CASED.fingerprint


def test_rare_characters_give_way_to_frequent_ones():
    tokenizer = train_wordpiece(["aaa bb b"] * 7 + ["c"], WordPiece(vocabulary=9))
    assert tokenizer.pieces(tokenizer.encode("aa b c")) == ["a", "##a", "b", "[UNK]"]
    assert tokenizer.size == 9


def test_a_vocabulary_too_small_for_the_marks_is_refused():
    with pytest.raises(ValueError, match=r"at least 7 .* got 6"):
        WordPiece(vocabulary=6)
