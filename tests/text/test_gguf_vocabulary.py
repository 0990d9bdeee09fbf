"""The tokenizer inside a GGUF file gives the ids of a byte-level BPE written out by hand."""

import json
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

from jaxformer.config.errors import UserError
from jaxformer.text.gguf_vocabulary import gguf_tokenizer
from jaxformer.weights.gguf import open_gguf
from tests.real import smollm

regex = pytest.importorskip("regex")

TEXTS = [
    "The cat sat on the mat; the cat's dinner wasn't there.",
    "In 1234567 years, 42 dogs   ate 2026 cats!!\n\n  They'll pay $3.50 (or so).\r\n",
    "naïve café 猫在桌子上 ½ ¾ ٣٤",
    "for i in range(10):\n\tprint(i)\n",
] * 3


def train():
    """Tokens and merges of a small byte-level BPE, learned without a splitter so that merges cross every boundary."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    trainer = trainers.BpeTrainer(
        vocab_size=389, special_tokens=["<s>", "</s>", "<tool>"], show_progress=False, max_token_length=7,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )  # fmt: skip
    tokenizer.train_from_iterator(TEXTS, trainer)
    id_of = tokenizer.get_vocab()
    merges = [tuple(merge) for merge in json.loads(tokenizer.to_str())["model"]["merges"]]
    return sorted(id_of, key=id_of.__getitem__), merges


TOKENS, MERGES = train()
WHOLE = "Ġdinnerwasn"  # a token that no merges lead to
METADATA = {
    "tokenizer.ggml.model": "gpt2",
    "tokenizer.ggml.tokens": [*TOKENS, WHOLE],
    "tokenizer.ggml.merges": [f"{left} {right}" for left, right in MERGES],
    "tokenizer.ggml.token_type": [3, 3, 4] + [1] * (len(TOKENS) - 2),
    "tokenizer.ggml.bos_token_id": 0,
    "tokenizer.ggml.eos_token_id": 1,
}

GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
CASELESS = r"'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD]"
REST = r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
# As llama.cpp splits text: by one pattern after another.
PATTERNS = {
    "default": [r"[\p{P}\$\+<=>\^~\|]+", GPT2, r"\p{N}+", "[0-9][0-9][0-9]"],
    "gpt-2": [GPT2],
    "smollm": [r"\p{N}", GPT2],
    "llama-bpe": [rf"{CASELESS}|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|\p{{N}}{{1,3}}|{REST}"],
    "qwen2": [rf"{CASELESS}|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|\p{{N}}|{REST}"],
}

TOKENIZERS = {name: gguf_tokenizer(METADATA | {"tokenizer.ggml.pre": name}).tokenizer for name in PATTERNS}


def pieces(text, patterns):
    """What each pattern matches and what lies between, in turn."""
    found = [text]
    for pattern in patterns:
        found = [part for piece in found for part in regex.split(f"({pattern})", piece) if part]
    return found


def printable():
    """The character that stands for each byte (Radford et al. 2019)."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    rest = [byte for byte in range(256) if byte not in plain]
    return {byte: chr(byte) for byte in plain} | {byte: chr(256 + n) for n, byte in enumerate(rest)}


CHARACTERS = printable()


def by_hand(text, patterns, tokens, merges, whole_words_first=False):
    """Ids by the definition: in every piece, merge the pair that was learned first, leftmost first."""
    id_of = {token: n for n, token in enumerate(tokens)}
    rank = {pair: n for n, pair in enumerate(merges)}
    ids = []
    for piece in pieces(text, patterns):
        word = [CHARACTERS[byte] for byte in piece.encode()]
        if whole_words_first and "".join(word) in id_of:
            word = ["".join(word)]
        while candidates := [(rank[pair], n) for n, pair in enumerate(pairwise(word)) if pair in rank]:
            _, n = min(candidates)
            word[n : n + 2] = [word[n] + word[n + 1]]
        ids += [id_of[token] for token in word if token in id_of]
    return ids


awkward = st.sampled_from(
    [
        "'s",
        "'LL",
        "'Sx",
        "'rehe",
        " '",
        "it's",
        "12345",
        " 1",
        "½",
        "٣",
        "\n",
        "\r\n",
        "\n\n ",
        "  ",
        "\t",
        "...",
        " $",
        "+=",
        "~|",
        "é",
        "猫",
    ]
)
texts = st.lists(st.one_of(awkward, st.sampled_from(TEXTS[0].split()), st.text("aZ 0é!'\n", max_size=5)), max_size=9)
texts = texts.map("".join)


@pytest.mark.parametrize("name", PATTERNS)
@given(text=texts)
def test_ids_are_those_of_a_byte_level_bpe_by_hand(name, text):
    tokenizer = TOKENIZERS[name]
    ids = tokenizer.encode(text, add_special_tokens=False).ids
    tokens = METADATA["tokenizer.ggml.tokens"]
    assert ids == by_hand(text, PATTERNS[name], tokens, MERGES, whole_words_first=name == "llama-bpe")
    assert tokenizer.decode(ids) == text


def test_the_families_split_differently():
    text = "It'S 12345+6 ½'s (so)\n"
    assert len({tuple(map(tuple, [pieces(text, patterns)])) for patterns in PATTERNS.values()}) == len(PATTERNS)


def test_without_a_name_text_is_split_as_by_default():
    text = TEXTS[1]
    assert gguf_tokenizer(METADATA).tokenizer.encode(text).ids == TOKENIZERS["default"].encode(text).ids


def test_a_word_that_is_a_token_is_taken_whole_where_the_family_does_so():
    assert TOKENIZERS["llama-bpe"].encode(" dinnerwasn", add_special_tokens=False).ids == [len(TOKENS)]
    assert len(TOKENIZERS["gpt-2"].encode(" dinnerwasn").ids) > 1


def test_qwen_composes_characters_and_the_others_do_not():
    assert TOKENIZERS["qwen2"].encode("e\u0301").ids == TOKENIZERS["qwen2"].encode("é").ids
    assert TOKENIZERS["gpt-2"].encode("e\u0301").ids != TOKENIZERS["gpt-2"].encode("é").ids


def test_special_tokens_are_found_in_text_and_only_control_tokens_left_out_of_it():
    tokenizer = TOKENIZERS["gpt-2"]
    ids = tokenizer.encode("<s>the<tool></s>").ids
    assert ids[0] == 0 and ids[-2:] == [2, 1] and len(ids) == 3 + len(tokenizer.encode("the").ids)
    assert tokenizer.decode(ids) == "the<tool>"
    assert tokenizer.decode(ids, skip_special_tokens=False) == "<s>the<tool></s>"


@pytest.mark.parametrize(
    ("name", "flags", "marks"),
    [
        ("gpt-2", {}, ([], [])),
        ("llama-bpe", {}, ([0], [])),
        ("llama-bpe", {"bos": False}, ([], [])),
        ("gpt-2", {"bos": True}, ([0], [])),
        ("qwen2", {"eos": True}, ([], [1])),
        ("smollm", {"bos": True, "eos": True}, ([0], [1])),
    ],
)
def test_marks_are_added_where_the_file_asks_for_them(name, flags, marks):
    metadata = METADATA | {"tokenizer.ggml.pre": name}
    metadata |= {f"tokenizer.ggml.add_{role}_token": wanted for role, wanted in flags.items()}
    tokenizer = gguf_tokenizer(metadata).tokenizer
    plain = tokenizer.encode("the cat", add_special_tokens=False).ids
    assert tokenizer.encode("the cat").ids == [*marks[0], *plain, *marks[1]]


def test_roles_and_template_are_plain_data():
    more = {
        "tokenizer.chat_template": "{{ messages }}",
        "tokenizer.ggml.padding_token_id": 1,
        "tokenizer.ggml.unknown_token_id": 0,
        "tokenizer.ggml.eot_token_id": 2,
    }
    _, roles, template = gguf_tokenizer(METADATA | more)
    assert roles == {"bos": 0, "eos": 1, "unk": 0, "pad": 1, "eot": 2} and template == "{{ messages }}"
    assert gguf_tokenizer(METADATA).chat_template is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model": "llama"}, "SentencePiece vocabulary .* cannot be rebuilt exactly"),
        ({"model": "bert"}, r"tokenizer\.ggml\.model must be gpt2 \(byte-level BPE\), got 'bert'"),
        ({"model": None}, "model must be gpt2 .* got None"),
        ({"pre": "tekken"}, "pre must be one of default, gpt-2, smollm, llama-bpe, qwen2, got 'tekken'"),
        ({"pre": ["gpt-2"]}, r"pre must be one of .*, got \['gpt-2'\]"),
        ({"tokens": []}, r"tokens must be a list of strings, got \[\]"),
        ({"tokens": [1]}, r"tokens must be a list of strings, got \[1\]"),
        ({"tokens": ["a", "b", "a"]}, "tokens must differ from each other, got 'a' twice"),
        ({"merges": None}, "merges must be a list of strings, got None"),
        ({"merges": ["a"]}, "merges must join two tokens into a third, got 'a'"),
        ({"merges": ["a \N{SNOWMAN}"]}, "merges must join two tokens into a third, got 'a ☃'"),
        ({"token_type": [1]}, rf"token_type must be {len(TOKENS) + 1} whole numbers"),
        ({"eos_token_id": len(TOKENS) + 1}, rf"eos_token_id must lie in 0 … {len(TOKENS)}, got {len(TOKENS) + 1}"),
        ({"eos_token_id": -1}, r"eos_token_id must lie in .*, got -1"),
        ({"eos_token_id": "1"}, r"eos_token_id must lie in .*, got '1'"),
        ({"add_eos_token": 1}, "add_eos_token must be true or false, got 1"),
    ],
)
def test_contradictory_metadata_are_one_clear_line(change, message):
    metadata = METADATA | {f"tokenizer.ggml.{key}": value for key, value in change.items()}
    with pytest.raises(UserError, match=message) as caught:
        gguf_tokenizer(metadata)
    assert "\n" not in str(caught.value)


def test_a_mark_needs_an_id_and_a_template_is_text():
    without = {key: value for key, value in METADATA.items() if key != "tokenizer.ggml.bos_token_id"}
    with pytest.raises(UserError, match=r"add_bos_token is true, but there is no .*bos_token_id"):
        gguf_tokenizer(without | {"tokenizer.ggml.add_bos_token": True})
    with pytest.raises(UserError, match="chat_template must be text, got 3"):
        gguf_tokenizer(METADATA | {"tokenizer.chat_template": 3})


def test_a_real_vocabulary_encodes_as_by_hand():
    metadata = open_gguf(smollm()).metadata
    tokenizer, roles, template = gguf_tokenizer(metadata)
    tokens = metadata["tokenizer.ggml.tokens"]
    merges = [tuple(merge.split(" ")) for merge in metadata["tokenizer.ggml.merges"]]
    for text in TEXTS[:4]:
        ids = tokenizer.encode(text).ids
        assert ids == by_hand(text, PATTERNS["smollm"], tokens, merges)
        assert tokenizer.decode(ids) == text
    ids = tokenizer.encode("<|im_start|>user\nHi<|im_end|>").ids
    assert (ids[0], ids[-1]) == (roles["bos"], roles["eos"]) and "<|im_start|>" in template
