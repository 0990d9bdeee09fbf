"""Fields from text: every configuration can be written on the command line, in any of three spellings."""

from dataclasses import fields as fields_of
from dataclasses import replace
from typing import get_type_hints

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxformer.config.blocks import PostNorm
from jaxformer.config.choice import alternatives, choose, fields, options, parse_choice, replace_at
from jaxformer.config.data import Batching, Bpe
from jaxformer.config.errors import UserError
from jaxformer.config.model import (
    Bahdanau,
    Gru,
    Layers,
    Learned,
    Lstm,
    NoPosition,
    RnnConfig,
    Seq2SeqConfig,
    Sinusoidal,
    TransformerConfig,
)
from jaxformer.config.presets import PRESETS, preset
from jaxformer.config.training import Adam, AdamW, Cosine, Ema, Noam, NoAverage, OptimizationConfig, Schedule, Wsd
from jaxformer.config.translate import TranslateConfig

pytestmark = pytest.mark.smoke

START = TranslateConfig()

positives = st.floats(0, exclude_min=True, allow_infinity=False)
counts = st.integers(min_value=1)
parts = st.floats(0, 1)
rates = st.floats(0, 1, exclude_max=True)
names = st.text(st.characters(codec="utf-8"))
schedules = st.builds(Noam, counts, positives) | st.builds(Cosine, positives, counts, parts)
schedules |= st.builds(Wsd, positives, counts, parts)
optimizers = st.builds(Adam, rates, rates, positives) | st.builds(AdamW, rates, rates, positives, positives)
averages = st.builds(NoAverage) | st.builds(Ema, st.floats(0, 1, exclude_min=True, exclude_max=True))
positions = st.builds(Sinusoidal, positives) | st.builds(Learned, counts) | st.builds(NoPosition)
layers = st.builds(Layers, st.booleans(), st.booleans())
transformers = st.builds(
    TransformerConfig,
    st.just(2 * 3 * 5),
    heads=st.sampled_from([2, 3, 5]),
    dropout=rates,
    position=positions,
    layers=layers,
)
attentions = st.builds(Bahdanau, counts)
models = transformers | st.builds(
    RnnConfig, st.sampled_from([Gru(), Lstm()]), width=st.just(2 * 7), attention=attentions
)
configs = st.builds(
    TranslateConfig,
    data=names,
    source=names,
    model=models,
    tokenizer=st.builds(Bpe, st.integers(300, 400), st.booleans()),
    batches=st.builds(Batching, counts, counts, counts),
    optimization=st.builds(OptimizationConfig, optimizers, schedules, accumulate=counts, average=averages),
    smoothing=rates,
    steps=counts,
    seed=st.integers(min_value=0),
)


def value_at(config, path):
    for name in path.split("."):
        config = getattr(config, name)
    return config


def written(config):
    """(path, text) of every object, as `repr` writes it, and of every plain field."""
    texts = [(path, value_at(config, path), hint) for path, hint in fields(config)]
    objects = [(path, repr(value)) for path, value, hint in texts if alternatives(hint)]
    return objects, [(path, str(value)) for path, value, hint in texts if not alternatives(hint)]


SPELLINGS = (
    lambda path, text: [f"--{path}={text}"],
    lambda path, text: [f"{path}={text}"],
    lambda path, text: [f"--{path.replace('_', '-')}={text}"],
)


@settings(deadline=None)
@given(configs, st.randoms(use_true_random=False))
def test_every_configuration_can_be_written_in_any_spelling(config, random):
    objects, plain = written(config)
    random.shuffle(plain)
    arguments = [word for path, text in objects + plain for word in random.choice(SPELLINGS)(path, text)]
    assert choose(START, arguments) == (config, [])


@settings(deadline=None)
@given(configs)
def test_a_value_may_be_an_argument_of_its_own(config):
    config = replace(config, data="a=b", source="x y=z")
    objects, plain = written(config)
    arguments = [word for path, text in objects + plain for word in (f"--{path}", text)]
    assert choose(START, arguments) == (config, [])


@settings(deadline=None)
@given(schedules)
def test_repr_of_a_choice_reads_back(schedule):
    assert parse_choice("schedule", Schedule, repr(schedule)) == schedule


@settings(deadline=None)
@given(models)
def test_repr_of_a_nested_choice_reads_back(model):
    assert parse_choice("model", Seq2SeqConfig, repr(model)) == model


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_is_a_choice(name):
    assert choose(START, ["--model", name])[0].model == preset(name)


def test_what_is_left_out_of_a_choice_is_its_own_default():
    config, _ = choose(START, ["--optimization.schedule", "Cosine(peak=0.001)", "model.position=Learned"])
    assert config.optimization.schedule == Cosine(peak=0.001)
    assert config.model == replace(START.model, position=Learned())


def test_a_choice_inside_another_follows_it():
    config, left = choose(START, ["--model", "gru-tiny", "--model.cell", "Lstm", "model.attention=Bahdanau(width=24)"])
    assert config.model == replace(preset("gru-tiny"), cell=Lstm(), attention=Bahdanau(24)) and left == []
    with pytest.raises(UserError, match=r"^model\.position\.base is no field of what was chosen after it"):
        choose(START, ["--model.position.base", "7", "--model", "gru-tiny"])


def test_values_that_depend_on_each_other_come_in_any_order():
    for order in (["model.width=33", "model.heads=3"], ["model.heads=3", "model.width=33"]):
        assert choose(START, [*order, "model.position=NoPosition"])[0].model.heads == 3
    with pytest.raises(UserError, match=r"^model: width must be a multiple of heads, got width=33, heads=4$"):
        choose(START, ["model.width=33"])


@pytest.mark.parametrize("text, value", [("True", True), ("true", True), ("False", False), ("FALSE", False)])
def test_truth_values(text, value):
    assert choose(START, ["--model.bias", text])[0].model.bias is value


def test_what_is_no_field_is_left_with_its_value():
    arguments = ["--out", "a=b", "word", "-h", "seed=3", "--until=7", "--help", "/path=x/y"]
    config, left = choose(START, arguments)
    assert config == replace(START, seed=3)
    assert left == ["--out", "a=b", "word", "-h", "--until", "7", "--help", "/path=x/y"]


def test_options_are_read_in_every_spelling_whether_they_name_a_field_or_not():
    arguments = ["--out", "a=b", "word", "-h", "seed=3", "--until=7", "--help", "--model", "x", "/path=x/y", "--last"]
    assert list(options(arguments)) == [
        *(("out", "a=b"), (None, "word"), (None, "-h"), ("seed", "3"), ("until", "7"), ("help", None), ("model", "x")),
        *((None, "/path=x/y"), ("last", None)),
    ]


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["steps=ten"], 'steps must be an integer, got "ten"'),
        (["steps=1.5"], 'steps must be an integer, got "1.5"'),
        (["smoothing=much"], 'smoothing must be a number, got "much"'),
        (["tokenizer.lowercase=2"], 'tokenizer.lowercase must be true or false, got "2"'),
        (["model.dtype=float16"], 'model.dtype must be one of "float32", "bfloat16", got "float16"'),
        (["steps=0"], "steps must be at least 1, got steps=0"),
        (["--steps"], "--steps needs a value: --steps VALUE, or steps=VALUE"),
        (["--data", "--seed", "3"], "--data needs a value: --data VALUE, or data=VALUE"),
        (
            ["optimization.schedule=Cosin(peak=1)"],
            "optimization.schedule must be one of Noam(warmup, factor), Cosine(peak, warmup, floor), Wsd(peak, warmup, "
            "decay), got 'Cosin(peak=1)'; did you mean Cosine?",
        ),
        (["model.norm=PostNorm(x=1)"], "model.norm=PostNorm(x=1): unknown field x; the fields here are none"),
        (["model.position=Learned(length=0)"], "model.position=Learned(length=0): length must be at least 1, got 0"),
        (
            ["optimization.schedule=Cosine(peek=1)"],
            "optimization.schedule=Cosine(peek=1): unknown field peek; did you mean peak?",
        ),
        (["model=transformer-tyni"], "no model is named 'transformer-tyni'; did you mean transformer-tiny or "),
    ],
)
def test_a_value_that_does_not_fit_is_named_in_one_line(arguments, message):
    with pytest.raises(UserError) as caught:
        choose(START, arguments)
    assert str(caught.value).startswith(message) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        *("", "(", "1", "os", "\0", "[Noam]", "lambda: 0", "Noam().factor", "__import__('os').abort()"),
        *("Noam(1)", "Noam(*[1])", "Noam(**{'warmup': 2})", "Noam(warmup=x)", "Noam(warmup=Noam())"),
        "Noam(warmup=__import__('os').abort())",
    ],
)
def test_only_literals_and_the_known_classes_are_evaluated(text):
    with pytest.raises(UserError, match=r"^schedule(=| must be one of Noam)"):
        parse_choice("schedule", Schedule, text)


def test_fields_are_all_fields_outer_ones_first():
    paths = [path for path, _ in fields(START)]
    assert paths[: paths.index("model.width")] == ["data", "source", "target", "model"]
    assert len(set(paths)) == len(paths)
    for path, hint in fields(START):
        assert (
            hint
            == get_type_hints(type(value_at(START, path.rpartition(".")[0]) if "." in path else START))[
                path.rpartition(".")[2]
            ]
        )
    assert {path for path in paths if "." not in path} == {field.name for field in fields_of(START)}


def test_replace_at_changes_one_field_and_no_other():
    changed = replace_at(START, "model.norm", PostNorm())
    assert changed.model.norm == PostNorm() and replace_at(changed, "model.norm", START.model.norm) == START
