"""A Hugging Face folder gives the ids that transformers gives, goes out as it came in, and reads no text as a mark."""

import json
import pickle
import shutil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxformer.config.errors import UserError
from jaxformer.text.pretrained import PretrainedTokenizer
from jaxformer.text.tokenizer import Specials
from tests.real import minilm
from tests.text import toys

TEXT = "the cat's dinner, didn't it? Über 我爱你 <think> \n  mat\t7"
MARKS = ["<|endoftext|>", "<|eot_id|>", "</s>", "<s>", "<pad>", "[SEP]", "[MASK]", "<mask>", "<extra_id_0>"]
ROLES = ("bos", "eos", "unk", "sep", "pad", "cls", "mask")


@pytest.fixture(scope="module", params=toys.KINDS)
def folder(request, tmp_path_factory):
    return toys.write(tmp_path_factory.mktemp(request.param) / request.param, request.param)


@pytest.fixture(scope="module")
def tokenizer(folder):
    return PretrainedTokenizer.load(folder)


@pytest.fixture(scope="module")
def reference(folder, transformers):
    return transformers.AutoTokenizer.from_pretrained(folder)


def of_reference(reference, *texts, **options):
    encoded = reference(*texts, return_token_type_ids=True, return_offsets_mapping=True, **options)
    return encoded["input_ids"], encoded["token_type_ids"], encoded["offset_mapping"]


def test_the_ids_are_those_of_transformers(tokenizer, reference):
    assert tokenizer.encode(TEXT) == of_reference(reference, TEXT, add_special_tokens=False)[0]
    assert tokenizer.encode_with_specials(TEXT) == of_reference(reference, TEXT)
    assert tokenizer.encode_with_specials(TEXT, "the mat") == of_reference(reference, TEXT, "the mat")
    assert tokenizer.encode_batch([TEXT, "", "mat"]) == [tokenizer.encode(text) for text in (TEXT, "", "mat")]


@pytest.mark.parametrize("mark", MARKS)
def test_a_mark_in_a_text_is_read_exactly_where_asked(mark, tokenizer, reference):
    text = f"the cat {mark} sat{mark}"
    assert tokenizer.encode_marked(text) == of_reference(reference, text, add_special_tokens=False)
    assert tokenizer.encode_with_specials(text, mark, read_specials=True) == of_reference(reference, text, mark)
    specials = set(reference.all_special_ids) - {reference.unk_token_id}
    assert not specials & set(tokenizer.encode(text) + tokenizer.encode_batch([mark])[0])
    around = tokenizer.encode_with_specials("x", "x").ids
    assert specials & set(tokenizer.encode_with_specials(text, mark).ids) == specials & set(around)


def test_spans_are_the_characters_of_the_text(tokenizer):
    encoding = tokenizer.encode_marked("the cat sat")
    covered = {n for start, stop in encoding.spans for n in range(start, stop)}
    assert covered >= {n for n, character in enumerate("the cat sat") if character != " "}


def test_the_text_of_ids_is_that_of_transformers(tokenizer, reference):
    for text in (TEXT, "the cat", "</s>", ""):
        ids = [*tokenizer.encode_with_specials(text).ids, *tokenizer.encode(text)]
        assert tokenizer.decode(ids) == reference.decode(
            ids, skip_special_tokens=True, clean_up_tokenization_spaces=False
        )


def test_each_role_has_its_id_or_none(tokenizer, reference, folder):
    assert tokenizer.specials == Specials(**{role: getattr(reference, f"{role}_token_id") for role in ROLES})
    assert [tokenizer.token(role) for role in ROLES] == [getattr(reference, f"{role}_token") for role in ROLES]
    assert tokenizer.size == len(reference)
    if tokenizer.specials.eos is not None and tokenizer.specials.pad is None:
        assert tokenizer.pad == tokenizer.eos == reference.eos_token_id
    if folder.name == "bert":
        with pytest.raises(UserError, match=r"no bos token; it has pad, unk, cls, sep, mask"):
            _ = tokenizer.bos


def test_what_is_saved_is_the_same_for_us_and_for_transformers(tokenizer, reference, folder, tmp_path, transformers):
    tokenizer.save(tmp_path / "out")
    names_all = folder.name in ("llama3", "mistral", "t5")
    for name in ("tokenizer.json", "tokenizer_config.json") if names_all else ("tokenizer.json",):
        assert (tmp_path / "out" / name).read_bytes() == (folder / name).read_bytes()
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path / "out")
    text = TEXT + " ".join(MARKS)
    assert of_reference(theirs, text, "mat") == of_reference(reference, text, "mat")
    assert theirs.special_tokens_map == reference.special_tokens_map
    ours = PretrainedTokenizer.load(tmp_path / "out")
    assert (ours.specials, ours.encode_marked(text)) == (tokenizer.specials, tokenizer.encode_marked(text))
    ours.save(tmp_path / "again")
    assert PretrainedTokenizer.load(tmp_path / "again").fingerprint == ours.fingerprint


def test_what_transformers_saves_is_the_same_for_us(tokenizer, reference, tmp_path):
    reference.chat_template = "{{ bos_token }}"
    reference.save_pretrained(tmp_path)
    ours = PretrainedTokenizer.load(tmp_path)
    assert (ours.specials, ours.size, ours.chat_template) == (tokenizer.specials, tokenizer.size, "{{ bos_token }}")
    assert ours.encode_with_specials(TEXT, "mat") == tokenizer.encode_with_specials(TEXT, "mat")


def test_a_copy_in_another_process_still_takes_marks_for_text(tokenizer):
    copy = pickle.loads(pickle.dumps(tokenizer))
    text = " ".join(MARKS)
    assert (copy.encode(text), copy.fingerprint) == (tokenizer.encode(text), tokenizer.fingerprint)


def test_pieces_are_for_people(folder, tokenizer):
    shown = {
        "gpt2": ["the", "▁", "猫…", "…猫…", "…猫", "<|endoftext|>"],
        "mistral": ["▁the", "▁", "猫…", "…猫…", "…猫", "</s>"],
        "bert": ["the", "[UNK]", "[SEP]"],
    }
    if folder.name in shown:
        end = tokenizer.specials.sep if folder.name == "bert" else tokenizer.eos
        assert tokenizer.pieces([*tokenizer.encode("the 猫"), end]) == shown[folder.name]
    if folder.name == "bert":
        assert tokenizer.pieces(tokenizer.encode("dinner")) == ["di", "##nn", "##er"]


@given(st.text(max_size=13))
def test_a_byte_level_tokenizer_loses_nothing(text):
    tokenizer = PretrainedTokenizer({"tokenizer.json": GPT2})
    assert tokenizer.decode(tokenizer.encode(text)) == text


GPT2 = toys.gpt2()[0].to_str().encode()


@pytest.mark.parametrize("outside", [-1, 307])
def test_an_id_outside_the_vocabulary_is_an_error(outside):
    tokenizer = PretrainedTokenizer({"tokenizer.json": GPT2})
    for read in (tokenizer.decode, tokenizer.pieces):
        with pytest.raises(ValueError, match=rf"must lie in 0 … {tokenizer.size - 1}, got {outside}"):
            read([outside])


def test_tokens_that_only_the_config_names_are_added_at_their_ids(tmp_path, transformers):
    size = 307
    added = {
        str(size + 1): {"content": "<tool>", "special": False, "normalized": True},
        str(size): {"content": "<|im_end|>", "special": True},
    }
    more = {"added_tokens_decoder": added, "eos_token": "<|im_end|>", "pad_token": "<pad>", "bos_token": None}
    toys.write(
        tmp_path, "gpt2", **more, tokenizer_class="PreTrainedTokenizerFast", additional_special_tokens=["<image>"]
    )
    tokenizer, reference = PretrainedTokenizer.load(tmp_path), transformers.AutoTokenizer.from_pretrained(tmp_path)
    text = "a<tool>b<|im_end|><pad><image>"
    assert tokenizer.encode_marked(text).ids == reference(text)["input_ids"]
    assert tokenizer.specials == Specials(eos=size, pad=size + 2)
    assert tokenizer.decode(tokenizer.encode_marked(text).ids) == "a<tool>b"


def test_the_older_files_beside_the_config_are_read(tmp_path):
    toys.write(tmp_path, "gpt2", eos_token="<|endoftext|>")
    (tmp_path / "added_tokens.json").write_text('{"<word>": 308, "<sep>": 307}')
    (tmp_path / "special_tokens_map.json").write_text('{"sep_token": {"content": "<sep>"}, "eos_token": "<sep>"}')
    tokenizer = PretrainedTokenizer.load(tmp_path)
    assert tokenizer.specials == Specials(bos=306, eos=307, unk=306, sep=307)
    assert tokenizer.encode("<word>") == [308] and 307 not in tokenizer.encode("<sep>")


@pytest.mark.parametrize(
    ("files", "more", "expected"),
    [
        ({"chat_template.jinja": "file"}, {"chat_template": "config"}, "file"),
        ({}, {"chat_template": "config"}, "config"),
        ({}, {"chat_template": [{"name": "tool", "template": "t"}, {"name": "default", "template": "d"}]}, "d"),
        ({}, {"chat_template": [{"name": "tool", "template": "t"}, 3]}, None),
        ({}, {}, None),
    ],
)
def test_the_chat_template_is_found(files, more, expected, tmp_path):
    toys.write(tmp_path, "gpt2", **more)
    for name, content in files.items():
        (tmp_path / name).write_text(content)
    tokenizer = PretrainedTokenizer.load(tmp_path)
    tokenizer.save(tmp_path / "out")
    assert tokenizer.chat_template == PretrainedTokenizer.load(tmp_path / "out").chat_template == expected


@pytest.mark.parametrize("settings", [{}, {"do_lower_case": False, "tokenizer_class": "BertTokenizerFast"}])
def test_bert_needs_no_more_than_its_vocabulary(settings, tmp_path, transformers):
    tokens = sorted(toys.bert()[0].get_vocab().items(), key=lambda item: item[1])
    (tmp_path / "vocab.txt").write_text("".join(f"{token}\n" for token, _ in tokens), encoding="utf-8")
    if settings:
        (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings))
    tokenizer = PretrainedTokenizer.load(tmp_path)
    reference = transformers.BertTokenizer.from_pretrained(tmp_path)
    assert tokenizer.specials == Specials(pad=0, unk=1, cls=2, sep=3, mask=4)
    tokenizer.save(tmp_path / "out")
    # Without the class, older versions of transformers look for the config of a model.
    saved = json.loads((tmp_path / "out" / "tokenizer_config.json").read_text())
    assert saved["tokenizer_class"] == settings.get("tokenizer_class", "PreTrainedTokenizerFast")
    for theirs in (reference, transformers.AutoTokenizer.from_pretrained(tmp_path / "out")):
        assert tokenizer.encode_with_specials(TEXT, "The [MASK]", read_specials=True) == of_reference(
            theirs, TEXT, "The [MASK]"
        )


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        ("gpt2", {}),
        ("gpt2", {"tokenizer_class": "GPT2Tokenizer", "bos_token": "<|endoftext|>", "add_bos_token": True}),
        ("roberta", {"tokenizer_class": "RobertaTokenizer", "add_prefix_space": True}),
    ],
)
def test_a_byte_level_bpe_needs_no_more_than_vocabulary_and_merges(kind, settings, tmp_path, transformers):
    toys.KINDS[kind]()[0].model.save(str(tmp_path))
    vocabulary = json.loads((tmp_path / "vocab.json").read_text(encoding="utf-8"))
    specials = ["<|endoftext|>"] if kind == "gpt2" else ["<s>", "</s>", "<unk>", "<pad>", "<mask>"]
    vocabulary |= {token: len(vocabulary) + n for n, token in enumerate(specials)}
    (tmp_path / "vocab.json").write_text(json.dumps(vocabulary))
    if settings:
        (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings))
    tokenizer = PretrainedTokenizer.load(tmp_path)
    reader = transformers.RobertaTokenizer if kind == "roberta" else transformers.GPT2Tokenizer
    reference = reader.from_pretrained(tmp_path)
    text = f"{TEXT} {specials[0]}"
    assert tokenizer.encode_with_specials(text, "mat", read_specials=True) == of_reference(reference, text, "mat")
    assert tokenizer.specials == Specials(**{role: getattr(reference, f"{role}_token_id") for role in ROLES})


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, r"there is no tokenizer\.json, and no vocabulary that says enough without it \(of unknown kind\)"),
        ({"tokenizer.json": "{"}, r"tokenizer\.json is damaged: "),
        ({"tokenizer.json": "{}"}, r"tokenizer\.json is damaged: "),
        ({"tokenizer_config.json": "[]"}, r"tokenizer_config\.json must hold an object, got list"),
        ({"tokenizer.json": GPT2.decode(), "tokenizer_config.json": "{"}, r"tokenizer_config\.json is damaged: "),
        ({"vocab.txt": "a\nb\n"}, r"the vocabulary is damaged: it has no \[CLS\], \[MASK\], \[PAD\], \[SEP\], \[UNK\]"),
        ({"vocab.json": "{", "merges.txt": ""}, r"the vocabulary is damaged: "),
        (
            {"tokenizer.json": GPT2.decode(), "added_tokens.json": '{"<a>": 309}'},
            r"gives '<a>' the id 307, added_to.* 309",
        ),
        ({"tokenizer.json": GPT2.decode(), "added_tokens.json": '{"<a>": null}'}, r"added tokens in .* are damaged: "),
        (
            {"vocab.json": "{}", "merges.txt": "", "tokenizer_config.json": '{"tokenizer_class": "Qwen2Tokenizer"}'},
            r"says enough without it \(Qwen2Tokenizer\); let transformers write one",
        ),
    ],
)
def test_what_cannot_be_read_is_one_clear_line(files, message, tmp_path):
    for name, content in files.items():
        (tmp_path / name).write_text(content, encoding="utf-8")
    with pytest.raises(UserError, match=message) as caught:
        PretrainedTokenizer.load(tmp_path)
    assert str(caught.value).startswith(f"{tmp_path}: ") and "\n" not in str(caught.value)


def test_a_missing_folder_is_one_clear_line(tmp_path):
    with pytest.raises(UserError, match=r"absent: no tokenizer can be read: No such file"):
        PretrainedTokenizer.load(tmp_path / "absent")


def test_a_real_bert_is_read_from_all_its_files_or_from_its_vocabulary_alone(tmp_path, transformers):
    folder = minilm()
    for name in ("vocab.txt", "tokenizer_config.json"):
        shutil.copy(folder / name, tmp_path)
    reference = transformers.AutoTokenizer.from_pretrained(folder)
    reference.backend_tokenizer.no_truncation()
    for tokenizer in (PretrainedTokenizer.load(folder), PretrainedTokenizer.load(tmp_path)):
        for text in (TEXT, "A man is eating food. " * 97):
            assert tokenizer.encode_with_specials(text, "Straße") == of_reference(
                reference, text, "Straße", padding=False, truncation=False
            )
        assert tokenizer.specials == Specials(pad=0, unk=100, cls=101, sep=102, mask=103)


def test_a_text_that_a_vocabulary_without_unknown_token_lacks_is_refused_in_one_line(tmp_path):
    toys.write(tmp_path, "t5")
    whole = json.loads((tmp_path / "tokenizer.json").read_text(encoding="utf-8"))
    whole["model"]["unk_id"] = None
    (tmp_path / "tokenizer.json").write_text(json.dumps(whole), encoding="utf-8")
    with pytest.raises(UserError, match=r"^this tokenizer cannot encode the text: .*unknown token"):
        PretrainedTokenizer.load(tmp_path).encode("§")
