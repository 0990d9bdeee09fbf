"""The commands for pretrained models, on folders of random weights: they print what the plain forward pass says."""

import json
import shutil

import numpy as np
import pytest

from jaxformer.config.sampling import Sampling
from jaxformer.decoding.generate import begin
from jaxformer.recipes.bundle import load_bundle
from jaxformer.text.pretrained import PretrainedTokenizer
from jaxformer.weights.folder import abstract, build, describe, save_folder
from tests.cli.toy import contents, refusal
from tests.parity.compare import random_like
from tests.text import toys

CONTEXT, TEXT_CONTEXT = 128, 41
LLAMA = dict(
    model_type="llama", hidden_size=24, intermediate_size=40, num_attention_heads=4, num_key_value_heads=2,
    num_hidden_layers=2, max_position_embeddings=CONTEXT,
)  # fmt: skip
BERT = dict(
    model_type="bert", architectures=["BertModel"], hidden_size=24, intermediate_size=40, num_attention_heads=4,
    num_hidden_layers=2, max_position_embeddings=TEXT_CONTEXT, pad_token_id=0,
)  # fmt: skip
START, END = "<|im_start|>", "<|im_end|>"
TEMPLATE = """\
{% for message in messages %}<|im_start|>{{ message.role }}
{{ message.content }}<|im_end|>{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant
{% endif %}"""
WORDS = [" the", " cat", " sat", " on", " mat", " dog", " ate", " dinner"]
GREEDY = ("--temperature", "0", "--max-tokens", "8")


def write_model(folder, fields, tokenizer, spoken=None):
    """Random weights and config.json in a folder; of a decoder, only these tokens have logits that are not 0."""
    fields = fields | {"vocab_size": tokenizer.size}
    described = describe(fields, "config.json")
    params = random_like(abstract(build(described)), seed=1, deviation=0.5)
    if spoken is not None:
        params["params"]["output"][np.delete(np.arange(tokenizer.size), spoken)] = 0
    save_folder(folder, params, described, fields)
    return folder


@pytest.fixture(scope="module")
def decoder(tmp_path_factory):
    """A Llama with a chat template. It speaks in whole words, so that what it wrote is the same tokens when read."""
    marks = {"eos_token": END, "additional_special_tokens": [START], "chat_template": TEMPLATE}
    folder = toys.write(tmp_path_factory.mktemp("decoder") / "model", "gpt2", **marks)
    tokenizer = PretrainedTokenizer.load(folder)
    spoken = [tokenizer.encode(word) for word in WORDS]
    assert all(len(ids) == 1 for ids in spoken)
    return write_model(folder, LLAMA, tokenizer, [tokenizer.eos, *(i for ids in spoken for i in ids)])


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    folder = toys.write(tmp_path_factory.mktemp("encoder") / "model", "bert")
    return write_model(folder, BERT, PretrainedTokenizer.load(folder))


@pytest.fixture(scope="module")
def bundle(decoder):
    return load_bundle(decoder)


def by_hand(bundle, ids, count):
    """The text of the likeliest tokens up to the end, each told by a plain forward pass over all before it."""
    ids, begin = list(ids), len(ids)
    while len(ids) < begin + count and ids[-1] != bundle.tokenizer.eos:
        row = np.zeros((1, CONTEXT), int)
        row[0, : len(ids)] = ids
        ids.append(int(bundle.logits(row)[0, len(ids) - 1].argmax()))
    return bundle.tokenizer.decode(ids[begin:])


PROMPTS = ["the cat sat on", "the dog", "Über den Wolken", "the mat ate"]


def test_greedy_text_is_that_of_the_plain_forward_pass(decoder, bundle, said, piped):
    expected = [by_hand(bundle, bundle.tokenizer.encode(prompt), 8) for prompt in PROMPTS]
    assert len(set(expected)) == len(PROMPTS)
    assert said("generate", str(decoder), PROMPTS[0], *GREEDY) == expected[0] + "\n"
    piped("\n".join(PROMPTS).encode())
    assert said("generate", str(decoder), *GREEDY) == "".join(text + "\n" for text in expected)


SAMPLED = ("--temperature", "0.8", "--top-k", "7", "--top-p", "0.9", "--min-p", "0.01", "--repetition-penalty", "1.2")
SAMPLING = Sampling(0.8, 7, 0.9, 0.01, 1.2)


def test_a_seed_gives_the_same_text_as_in_python(decoder, bundle, said):
    texts = ["".join(bundle.generate(PROMPTS[0], count=8, sampling=SAMPLING, seed=seed)) for seed in (0, 3)]
    assert texts[0] != texts[1]
    command = ["generate", str(decoder), PROMPTS[0], *SAMPLED, "--max-tokens", "8"]
    assert [said(*command), said(*command, "--seed", "3")] == [text + "\n" for text in texts]


@pytest.mark.parametrize("count", [3, 16])
def test_no_more_tokens_are_written_than_asked_for(decoder, bundle, said, count):
    expected = by_hand(bundle, bundle.tokenizer.encode(PROMPTS[0]), count)
    out = said("generate", str(decoder), PROMPTS[0], "--temperature=0", f"--max-tokens={count}")
    assert out == expected + "\n" and len(bundle.tokenizer.encode(expected)) == count


def test_writing_ends_where_the_model_ends_it(decoder, bundle, said):
    prompt = "the mat mat"
    expected = by_hand(bundle, bundle.tokenizer.encode(prompt), 8)
    assert 0 < len(bundle.tokenizer.encode(expected)) < 8
    assert said("generate", str(decoder), prompt, *GREEDY) == expected + "\n"


def test_writing_ends_before_the_first_of_the_stop_strings(decoder, bundle, said):
    whole = by_hand(bundle, bundle.tokenizer.encode(PROMPTS[0]), 8)
    for stops in (["nowhere", "te d", "g a"], [whole[:2]]):
        first = min(whole.find(stop) for stop in stops if stop in whole)
        assert said("generate", str(decoder), PROMPTS[0], *GREEDY, "--stop", *stops) == whole[:first] + "\n"


@pytest.mark.parametrize("system, end", [(None, ""), ("be brief", "\n\nthe mat\n")])
def test_a_talk_goes_on_from_the_cache_and_says_what_it_would_say_anew(
    decoder, bundle, said, piped, monkeypatch, system, end
):
    """An empty line ends it as the end of input does."""
    begun = []
    monkeypatch.setattr("jaxformer.recipes.bundle.begin", lambda *a, **more: begun.append(a) or begin(*a, **more))
    turns = ["the cat", "the dog ate it"]
    text, expected = f"{START}system\n{system}{END}" if system else "", []
    for turn in turns:
        text += f"{START}user\n{turn}{END}{START}assistant\n"
        expected.append(by_hand(bundle, bundle.tokenizer.encode_marked(text).ids, 8))
        text += expected[-1] + END
    piped(("\n".join(turns) + end).encode())
    out = said("chat", str(decoder), *GREEDY, "--top-p", "1", *(["--system", system] if system else []))
    assert out.splitlines() == expected and len(begun) == 1


TEXTS = ["the cat sat", "dinner", "the ubers' dinner, the mask"]


def test_a_vector_is_the_mean_of_its_tokens_vectors_whatever_stands_beside(encoder, said, piped):
    bundle = load_bundle(encoder)
    lines = said("embed", str(encoder), *TEXTS).splitlines()
    # The first two are of one length, hence of one program.
    for text, line in list(zip(TEXTS, lines, strict=True))[:2]:
        ids = bundle.tokenizer.encode_with_specials(text).ids
        mean = np.asarray(bundle.logits(np.array([ids])))[0].mean(axis=0)
        np.testing.assert_allclose(json.loads(line), mean / np.linalg.norm(mean), atol=1e-5)
    piped("".join(text + "\n" for text in TEXTS).encode())
    assert said("embed", str(encoder)).splitlines() == lines
    piped(b"")
    assert said("embed", str(encoder)) == ""


def test_what_is_exported_is_the_same_model(decoder, bundle, tmp_path, said):
    out = tmp_path / "deep" / "out"
    assert said("export", str(decoder), str(out)) == f"written    {out}\n"
    after, tokens = load_bundle(out), np.arange(CONTEXT)[None]
    np.testing.assert_array_equal(after.logits(tokens), bundle.logits(tokens))
    marked = f"{START}the cat[MASK]{END}"
    assert after.tokenizer.encode_marked(marked) == bundle.tokenizer.encode_marked(marked)
    assert (after.config, after.tokenizer.chat_template) == (bundle.config, bundle.tokenizer.chat_template)
    assert json.loads((out / "config.json").read_text()) == json.loads((decoder / "config.json").read_text())


# What cannot be done is one line, and nothing is written.


def test_a_bundle_with_its_layers_apart_is_written_alike(bundle, tmp_path):
    bundle.save(tmp_path / "stacked")
    bundle.apart().save(tmp_path / "apart")
    stacked, apart = ((tmp_path / name / "model.safetensors").read_bytes() for name in ("stacked", "apart"))
    assert stacked == apart


def test_a_model_is_never_written_over_another(decoder, encoder, capsys):
    before = contents(encoder)
    message = "{} holds a model already; choose another folder"
    for out in (encoder, decoder):
        assert refusal(capsys, "export", str(decoder), str(out)) == message.format(out)
    assert contents(encoder) == before


@pytest.mark.parametrize("words", [["generate", "x"], ["embed", "x"], ["export", "{out}"], ["chat"]])
def test_no_model(words, tmp_path, capsys):
    nowhere, out = tmp_path / "nowhere", tmp_path / "out"
    command, *rest = [word.format(out=out) for word in words]
    line = refusal(capsys, command, str(nowhere), *rest)
    assert line == f"nothing is at {nowhere}; give a run folder, a Hugging Face folder or a .gguf file"
    assert not out.exists()


def test_a_place_that_cannot_be_made(decoder, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    line = refusal(capsys, "export", str(decoder), str(tmp_path / "file" / "out"))
    assert line == f"cannot write weights into {tmp_path / 'file' / 'out'}: Not a directory"


def test_options_that_are_not_utf8(decoder, capsys):
    for words in (("chat", str(decoder), "--system", "caf\udce9"), ("generate", str(decoder), "x", "--stop", "\udce9")):
        assert refusal(capsys, *words).startswith("text must be UTF-8, got b'")


def test_a_prompt_that_cannot_be_read(decoder, bundle, piped, capsys):
    assert refusal(capsys, "generate", str(decoder), "") == "a prompt must have at least one token, got an empty one"
    for count in (CONTEXT, CONTEXT + 1):
        line = refusal(capsys, "generate", str(decoder), " the" * count)
        assert line == f"a prompt must be shorter than the context of {CONTEXT} tokens, got {count}"
    piped(b"caf\xe9\n")
    assert refusal(capsys, "generate", str(decoder)).startswith("standard input, line 1: not UTF-8 (byte 0xE9 at ")
    piped(b"caf\xe9\n")
    assert refusal(capsys, "chat", str(decoder)).startswith("standard input, line 1: not UTF-8 (byte 0xE9 at ")
    piped(b"the cat\n\n")
    empty = "a prompt must have at least one token, got an empty one"
    assert refusal(capsys, "generate", str(decoder)) == empty  # and the first one is not continued
    piped(b" the" * CONTEXT)
    assert refusal(capsys, "chat", str(decoder)).startswith(f"a prompt must be shorter than the context of {CONTEXT} ")


def test_a_text_longer_than_an_encoder_reads(encoder, capsys):
    line = refusal(capsys, "embed", str(encoder), "the", "the " * (TEXT_CONTEXT - 1))
    assert line == f"a text must fit the context of {TEXT_CONTEXT} tokens, got {TEXT_CONTEXT + 1} in text 2"


def test_a_model_of_the_other_kind(decoder, encoder, piped, capsys):
    line = f"{decoder} is no encoder, and only encoders embed; generate with it"
    assert refusal(capsys, "embed", str(decoder), "the cat") == line
    for words in (["generate", str(encoder), "the cat"], ["chat", str(encoder)]):
        assert refusal(capsys, *words) == f"{encoder} is no decoder, and only decoders write; embed with it"


def test_a_model_without_a_tokenizer(decoder, encoder, tmp_path, capsys):
    for folder, words in ((decoder, ["generate", "x"]), (decoder, ["chat"]), (encoder, ["embed", "x"])):
        bare = tmp_path / words[0]
        shutil.copytree(folder, bare, ignore=shutil.ignore_patterns("tokenizer*"))
        command, *rest = words
        line = refusal(capsys, command, str(bare), *rest)
        assert line == f"{bare} has no tokenizer, so it reads tokens and no text; put tokenizer.json there"
