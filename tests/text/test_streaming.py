"""Ids that come one at a time give the text of all of them, once, in whole characters, up to the first stop string."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxformer.config.data import Bpe
from jaxformer.text.bpe import train_bpe
from jaxformer.text.characters import ByteTokenizer
from jaxformer.text.pretrained import PretrainedTokenizer
from jaxformer.text.streaming import Streamer
from tests.text import toys

BYTES = ByteTokenizer()
TOKENIZERS = {"bytes": BYTES, "bpe": train_bpe(toys.TEXTS, Bpe(vocabulary=307))}
TOKENIZERS |= {
    kind: PretrainedTokenizer({"tokenizer.json": toys.KINDS[kind]()[0].to_str().encode()}) for kind in toys.KINDS
}


def stream(tokenizer, ids, stop=()):
    streamer = Streamer(tokenizer, stop)
    return [*(streamer.push(i) for i in ids), streamer.finish()]


@pytest.mark.parametrize("kind", TOKENIZERS)
@given(data=st.data())
def test_the_parts_are_the_text_of_all_ids(kind, data):
    tokenizer = TOKENIZERS[kind]
    # Byte fallback reads a run of byte tokens as a whole: one bad byte would undo characters already shown.
    usable = [i for i in range(tokenizer.size) if kind != "mistral" or not 3 <= i < 259]
    ids = data.draw(st.lists(st.sampled_from(usable), max_size=13))
    assert "".join(stream(tokenizer, ids)) == tokenizer.decode(ids)


AWKWARD = st.text(st.sampled_from("ta é龘👩\u0301\n"), max_size=11)


@pytest.mark.parametrize("kind", ["bytes", "bpe", "gpt2"])
@given(text=AWKWARD)
def test_only_whole_characters_are_shown_as_soon_as_they_are_known(kind, text):
    tokenizer = TOKENIZERS[kind]
    ids = tokenizer.encode(text)
    for n, part in enumerate(stream(tokenizer, ids)[:-1], 1):
        assert "\N{REPLACEMENT CHARACTER}" not in part
        shown = "".join(stream(tokenizer, ids[:n])[:-1])
        assert shown == tokenizer.decode(ids[:n]).rstrip("\N{REPLACEMENT CHARACTER}")


@given(AWKWARD)
def test_byte_fallback_shows_whole_characters(text):
    tokenizer = TOKENIZERS["mistral"]
    parts = stream(tokenizer, tokenizer.encode(text))
    assert "".join(parts) == text and parts[-1] == ""


def test_bytes_that_form_no_character_are_shown_at_the_end_or_before_the_next():
    e, first, second = (byte + 3 for byte in (ord("e"), *"é".encode()))
    assert stream(BYTES, [e, first]) == ["e", "", "\N{REPLACEMENT CHARACTER}"]
    assert stream(BYTES, [first, e, first, second]) == ["", "\N{REPLACEMENT CHARACTER}e", "", "é", ""]


def test_bad_bytes_do_not_undo_what_was_shown():
    tokenizer = TOKENIZERS["mistral"]
    bad, cat = tokenizer.encode("龘")[1:2], tokenizer.encode("猫")
    parts = stream(tokenizer, [*cat, *bad, *tokenizer.encode("cat")])
    assert "".join(parts) == "猫\N{REPLACEMENT CHARACTER} cat"
    assert parts[len(cat) - 1] == "猫"


def until_stop(text, stops):
    """By the definition, character by character."""
    for end in range(len(text) + 1):
        ending = [stop for stop in stops if text[:end].endswith(stop)]
        if ending:
            return text[: end - max(map(len, ending))], True
    return text, False


WORDS = st.lists(st.sampled_from([" the", " cat", "a", "t"]), max_size=7).map("".join)
STOPS = st.lists(st.sampled_from([" the", "th", "e", "e c", " ca", "cat", "at", "ta", "aa", "att", "t t"]), max_size=3)


@given(WORDS, STOPS)
@pytest.mark.parametrize("kind", ["bytes", "bpe"])
def test_the_text_ends_before_the_stop_string_that_is_complete_first(kind, text, stops):
    streamer, ids = Streamer(TOKENIZERS[kind], stops), TOKENIZERS[kind].encode(text)
    shown = "".join([streamer.push(i) for i in ids])
    assert streamer.stopped or text.startswith(shown)
    assert (shown + streamer.finish(), streamer.stopped) == until_stop(text, stops)


def test_no_more_is_held_back_than_may_begin_a_stop_string():
    assert stream(BYTES, BYTES.encode("a\nUs: \nUser"), ["\nUser:", "Use!"]) == [
        *["a", "", "", "", "\nUs:", " ", "", "", "", "", ""],
        "\nUser",
    ]


def test_after_a_stop_nothing_is_shown():
    streamer = Streamer(BYTES, ["."])
    assert [streamer.push(i) for i in BYTES.encode("a.b")] == ["a", "", ""]
    assert streamer.stopped and streamer.finish() == ""


def test_marks_are_not_shown():
    end = TOKENIZERS["mistral"].token("eos")
    assert end == "</s>"
    ids = TOKENIZERS["mistral"].encode_marked("the</s> cat").ids
    assert "".join(stream(TOKENIZERS["mistral"], ids)) == TOKENIZERS["mistral"].decode(ids)


def test_an_empty_stop_string_is_refused():
    with pytest.raises(ValueError, match="must not be empty"):
        Streamer(BYTES, ["a", ""])
