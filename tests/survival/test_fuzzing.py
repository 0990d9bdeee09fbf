"""Whatever a configuration, a corpus, a model's files or a command line hold, it is taken, or refused in one line: no
other error, and no great allocation before that.
"""

import copy
import json
import math
import shutil

import flax.linen as nn
import jax
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jaxformer.cli import run as command
from jaxformer.config.causal_lm import CausalLmConfig
from jaxformer.config.data import Bpe
from jaxformer.config.errors import UserError
from jaxformer.config.io import to_json
from jaxformer.config.model import EncoderDecoderConfig
from jaxformer.config.text import Characters, WordPiece
from jaxformer.config.translate import TranslateConfig
from jaxformer.data.chats import load_chats, load_preferences
from jaxformer.data.corpora import load_corpus
from jaxformer.data.labelled import load_labelled
from jaxformer.data.text import load_text
from jaxformer.recipes import causal_lm, translate
from jaxformer.text.kinds import load_tokenizer, train_tokenizer
from jaxformer.text.tokenizer import Specials
from jaxformer.training.run import RunFolder
from jaxformer.weights.folder import build, load_folder, save_folder
from jaxformer.weights.spelling import spelled
from tests.text import toys
from tests.weights.files import damaged, memory_below
from tests.weights.trained import MODELS, V

ROOM = 1 << 26
"""Bytes that reading any of the small files here may take."""

SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 3),
    st.integers(),
    st.floats(),
    st.text(max_size=8),
    st.sampled_from([2**31, 2**63, -(2**63), 10**30, math.inf, "gelu", "../..", "/etc/passwd", "0", "NaN"]),
)
VALUES = st.recursive(
    SCALARS, lambda each: st.lists(each, max_size=3) | st.dictionaries(st.text(max_size=5), each, max_size=3)
)


def places(document, path=()):
    """The paths of all parts of a JSON document."""
    yield path
    entries = document.items() if isinstance(document, dict) else enumerate(document)
    for key, value in entries:
        if isinstance(value, dict | list):
            yield from places(value, (*path, key))
        else:
            yield (*path, key)


def edited(document):
    """JSON documents in which one part is something else, or missing."""

    def edit(change):
        path, value, missing = change
        if not path:
            return value
        whole = copy.deepcopy(document)
        part = whole
        for key in path[:-1]:
            part = part[key]
        if missing:
            del part[path[-1]]
        else:
            part[path[-1]] = value
        return whole

    changes = st.tuples(st.sampled_from(sorted(places(document), key=str)), VALUES, st.booleans())
    return changes.map(edit).map(lambda whole: json.dumps(whole).encode())


def texts_of(document):
    """The bytes of a JSON document after accidents: to what it says, or to its bytes."""
    return edited(document) | damaged(json.dumps(document).encode())


def fuzzed(strategy, action, thorough, few=50, many=2000):
    """Calls the action with so many examples; each is taken or refused, and nothing else."""

    @settings(
        max_examples=many if thorough else few,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        database=None,
        derandomize=not thorough,  # who changes something else is not to meet what only luck has hidden
    )
    @given(strategy)
    def check(example):
        with memory_below(ROOM):
            try:
                action(example)
            except UserError as error:
                line = str(error)
                assert line.strip() and "\n" not in line and len(line) < 2000, line

    check()


@pytest.mark.parametrize("config", [TranslateConfig(), CausalLmConfig()], ids=lambda config: type(config).__name__)
def test_the_configuration_of_a_run(config, tmp_path, thorough):
    document = {"type": type(config).__name__, **to_json(config)}

    def read(content):
        (tmp_path / "config.json").write_bytes(content)
        run = RunFolder(tmp_path)
        run.kind()
        run.config(type(config))

    fuzzed(texts_of(document), read, thorough)


@pytest.mark.parametrize("config", dict(MODELS.values()).values(), ids=dict(MODELS.values()))
def test_the_configuration_of_a_model(config, tmp_path, thorough):
    """A thorough run has 2,100 cases, of all families together: what is taken costs a model's shapes each time."""
    described, fields = spelled(config, V, Specials(pad=3, bos=5, eos=7))
    model = build(described)
    inputs = (jax.numpy.ones((1, 2), int),) * (2 if isinstance(config, EncoderDecoderConfig) else 1)
    params = nn.meta.unbox(jax.jit(model.init)(jax.random.key(0), *inputs))
    save_folder(tmp_path, params, described, fields)
    document = json.loads((tmp_path / "config.json").read_text())
    load_folder(tmp_path)

    def read(content):
        (tmp_path / "config.json").write_bytes(content)
        load_folder(tmp_path)

    fuzzed(texts_of(document), read, thorough, few=10, many=150)


@pytest.mark.parametrize("kind", ["gpt2", "bert", "t5"])
@pytest.mark.parametrize("file", ["tokenizer.json", "tokenizer_config.json"])
def test_the_files_of_a_tokenizer(kind, file, tmp_path, thorough):
    toys.write(tmp_path, kind)
    document = json.loads((tmp_path / file).read_text(encoding="utf-8"))

    def read(content):
        (tmp_path / file).write_bytes(content)
        load_tokenizer(tmp_path).encode("a word")

    fuzzed(texts_of(document), read, thorough)


@pytest.mark.parametrize("config", [Bpe(300), Bpe(300, lowercase=True), WordPiece(60), Characters()], ids=repr)
def test_the_tokenizer_of_a_run(config, tmp_path, thorough):
    run = RunFolder(tmp_path)
    run.keep_tokenizer(train_tokenizer(config, ["a word and a word", "another word"] * 4))
    path = next(tmp_path.rglob("tokenizer.json"))
    content = path.read_bytes()

    def read(content):
        path.write_bytes(content)
        run.tokenizer().encode("a word")

    fuzzed(texts_of(json.loads(content)) | damaged(content), read, thorough)


LINES = st.lists(
    st.sampled_from([b"", b"one two\teins zwei", b"\xff\xfe", b"\x00", b"label\tsentence", b"1\ttwo", b"\t\t", b"\r"])
    | st.binary(max_size=12),
    max_size=5,
).map(b"\n".join)


@pytest.mark.parametrize("names", [("en", "de"), ("tsv",), ("en-de.tsv",)])
def test_a_parallel_corpus(names, tmp_path, thorough):
    def read(contents):
        shutil.rmtree(tmp_path / "corpus", ignore_errors=True)
        (tmp_path / "corpus").mkdir()
        for split, parts in zip(("train", "valid", "test"), contents, strict=True):
            for name, content in zip(names, parts, strict=True):
                (tmp_path / "corpus" / f"{split}.{name}").write_bytes(content)
        load_corpus(str(tmp_path / "corpus"), "en", "de")

    fuzzed(st.tuples(*[st.tuples(*[LINES] * len(names))] * 3), read, thorough)


CHATS = st.lists(
    st.one_of(
        texts_of({"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}),
        texts_of({"prompt": "a", "chosen": "b", "rejected": "c"}),
        st.binary(max_size=12),
    ),
    max_size=4,
).map(b"\n".join)


@pytest.mark.parametrize(
    "name, load, contents",
    [
        ("text.txt", load_text, LINES),
        ("text.jsonl", load_text, CHATS),
        ("text.parquet", load_text, LINES),
        ("chats.jsonl", load_chats, CHATS),
        ("pairs.jsonl", load_preferences, CHATS),
    ],
    ids=["text", "rows", "parquet", "chats", "preferences"],
)
def test_a_corpus_in_one_file(name, load, contents, tmp_path, thorough):
    def read(content):
        (tmp_path / name).write_bytes(content)
        load(str(tmp_path / name))

    fuzzed(contents, read, thorough)


def test_labelled_texts(tmp_path, thorough):
    def read(contents):
        for split, content in zip(("train", "valid"), contents, strict=True):
            (tmp_path / f"{split}.tsv").write_bytes(content)
        load_labelled(str(tmp_path))

    fuzzed(st.tuples(LINES, LINES), read, thorough)


FIELDS = [
    "steps",
    "seed",
    "model",
    "model.width",
    "model.heads",
    "model.dropout",
    "model.layers",
    "model.position",
    "batches",
    "batches.tokens",
    "optimization.schedule",
    "optimization.schedule.peak",
    "optimization.optimizer",
    "optimization.average",
    "watch.keep",
    "mesh.data",
    "search.beams",
    "tokenizer",
    "tokenizer.vocabulary",
    "checkpoint_every",
    "until",
    "out",
    "bad_numbers",
    "nothing",
    "model.nothing",
]
GIVEN = st.one_of(
    st.integers().map(str),
    st.floats().map(str),
    st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=8),
    st.sampled_from(
        """transformer-tiny gpt2-tiny Cosine(peak=1) Cosine(peak=-1) Noam() Muon() Ema(decay=2) Learned(length=3) Adam(
        (((( None True '' [1,2] {} __import__('os') 1e999 -1""".split()  # noqa: SIM905
    ),
)
OPTIONS = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(FIELDS), GIVEN).map(lambda o: [f"{o[0]}={o[1]}"]),
        st.tuples(st.sampled_from(FIELDS), GIVEN).map(lambda o: [f"--{o[0]}", o[1]]),
        st.tuples(st.sampled_from(FIELDS), GIVEN).map(lambda o: [f"--{o[0]}={o[1]}"]),
        st.sampled_from([["--"], ["-x"], ["--until"], ["word"], [""]]),
    ),
    max_size=3,
).map(lambda options: [word for words in options for word in words])


@pytest.mark.parametrize("job", ["translate", "causal-lm"])
def test_the_options_of_a_training(job, tmp_path, monkeypatch, capsys, thorough):
    """What is understood is trained, which here does nothing; all else is refused."""
    monkeypatch.chdir(tmp_path)
    for recipe in (translate, causal_lm):
        monkeypatch.setattr(recipe, "train", lambda config, out, until: None)
        monkeypatch.setattr(recipe, "finish", lambda out: None)

    def train(options):
        code = command(["train", job, *options])
        out, err = capsys.readouterr()
        assert code in (0, 2), (code, err)
        assert out == "" and (err == "") == (code == 0), (out, err)
        assert code == 0 or (err.startswith("jaxformer: ") and err.count("\n") == 1), err

    fuzzed(OPTIONS, train, thorough)


WORDS = st.lists(
    st.sampled_from(["train", "evaluate", "inspect", "translate", "bench", "--json", "--debug", "gpt2-tiny", "nothing"])
    | st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=8),
    max_size=3,
)


def test_the_words_of_a_command(tmp_path, monkeypatch, capsys, thorough):
    monkeypatch.chdir(tmp_path)

    def say(words):
        code = command([word for word in words if word != "--debug"])
        err = capsys.readouterr().err
        assert code in (0, 2) and "Traceback" not in err, (code, err)

    fuzzed(WORDS.filter(lambda words: "translate" not in words), say, thorough)
