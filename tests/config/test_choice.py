"""Fields from text: every configuration can be written on the command line, in any of three spellings."""

from dataclasses import dataclass, replace
from dataclasses import fields as fields_of
from pathlib import Path
from typing import get_type_hints

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxformer.config.blocks import (
    Block,
    FeedForward,
    Gated,
    Group,
    LayerNorm,
    MixtureOfExperts,
    MultiHead,
    PostNorm,
    RmsNorm,
    Rotary,
)
from jaxformer.config.causal_lm import CausalLmConfig
from jaxformer.config.choice import alternatives, choose, fields, options, parse_choice, replace_at
from jaxformer.config.data import Batching, Bpe
from jaxformer.config.errors import UserError
from jaxformer.config.model import (
    Bahdanau,
    DecoderConfig,
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
from jaxformer.config.training import Adam, AdamW, Cosine, Ema, Muon, Noam, NoAverage, OptimizationConfig, Schedule, Wsd
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
optimizers |= st.builds(Muon, rates, positives, positives)
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
    model = preset(name)
    assert parse_choice("model", type(model) | None, name) == model
    assert parse_choice("model", type(model) | None, "None") is None


def test_a_preset_of_another_kind_is_refused_with_those_that_fit():
    with pytest.raises(UserError, match=r"^model must be one of gru-tiny, .*, got 'transformer-tiny', which is a T"):
        parse_choice("model", RnnConfig, "transformer-tiny")
    with pytest.raises(UserError, match=r"^model\.position must be one of Sinusoidal.* got 'transformer-tiny'$"):
        choose(START, ["--model.position=transformer-tiny"])


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
        *("Noam(warmup=__import__('os').abort())", "Noam(warmup={1})", "Noam(warmup=b'1')", "Noam(warmup=(abort(),))"),
    ],
)
def test_only_literals_and_the_known_classes_are_evaluated(text):
    with pytest.raises(UserError, match=r"^schedule(=| must be one of Noam|\.warmup must be an integer, got)"):
        parse_choice("schedule", Schedule, text)


windows = st.none() | counts
attentions_of_blocks = st.builds(
    MultiHead,
    st.just(6),
    st.sampled_from([1, 2, 3]),
    st.integers(1, 99).map(lambda pairs: 2 * pairs),  # which turn
    output_bias=st.none() | st.booleans(),
    rotary=st.none() | st.builds(Rotary, st.floats(1, exclude_min=True, allow_infinity=False)),
    window=windows,
    softcap=st.none() | positives,
    query_key_norm=st.none() | st.builds(LayerNorm) | st.builds(RmsNorm),
)
feed_forwards = st.builds(FeedForward, counts) | st.builds(MixtureOfExperts, st.just(5), st.just(3), counts)
blocks = st.builds(Block, attentions_of_blocks, feed_forwards)
groups = st.lists(st.builds(Group, st.lists(blocks, min_size=1, max_size=2).map(tuple), counts), max_size=2).map(tuple)
norms = st.none() | st.builds(RmsNorm, positives) | st.builds(LayerNorm, positives)
decoders = st.builds(DecoderConfig, st.just(2 * 3), groups, norm=norms, softcap=st.none() | positives)


@dataclass(frozen=True)
class Job:
    """A field of each kind that TranslateConfig lacks."""

    model: DecoderConfig = DecoderConfig(width=7, groups=())
    norm: RmsNorm | None = None
    schedule: Noam | Cosine | None = Noam()
    cap: float | None = None
    window: int | None = 3
    bias: bool | None = None
    name: str | None = None
    folder: Path | None = None
    exact: int | float = 1


jobs = st.builds(
    Job,
    decoders,
    st.none() | st.builds(RmsNorm, positives),
    st.none() | st.builds(Noam, counts, positives),
    st.none() | positives,
    windows,
    st.none() | st.booleans(),
    st.none() | names.filter(lambda name: name.lower() not in ("none", "null")),
    st.none() | st.just(Path("runs/x")),
    counts | positives,
)


@settings(deadline=None, max_examples=30)
@given(jobs, st.sampled_from(SPELLINGS))
def test_what_may_be_none_and_tuples_of_objects_are_written_as_repr_writes_them(job, spell):
    objects, plain = written(job)
    written_out = [word for path, text in objects + plain for word in spell(path, text)]
    assert choose(Job(), written_out) == (job, [])
    assert parse_choice("job", Job | None, repr(replace(job, folder=None))) == replace(job, folder=None)


@pytest.mark.parametrize("word", ["None", "none", "null"])
def test_none_in_the_words_of_python_and_json(word):
    config, left = choose(Job(norm=RmsNorm(), cap=2.0), [f"--{name}={word}" for name in ("norm", "schedule", "cap")])
    assert (config, left) == (Job(schedule=None), [])
    assert parse_choice("job", Job, f"Job(window={word})") == Job(window=None)
    with pytest.raises(UserError, match=f"^schedule must be one of Noam.*, got '{word}'"):
        parse_choice("schedule", Schedule, word)


@pytest.mark.parametrize("text", ["({}, {})", "[{}, {},]"])
def test_a_tuple_of_objects_is_written_in_either_brackets(text):
    block = "Block(attention=MultiHead(heads=6, kv_heads=2, head_width=5), feed_forward=Gated(hidden=11))"
    written_out = text.format(f"Group(blocks=[{block}], times=3)", f"Group(blocks=({block},))")
    block = Block(MultiHead(6, 2, 5), Gated(11))
    groups = (Group((block,), 3), Group((block,)))
    assert choose(Job(), ["--model.groups", written_out])[0].model == DecoderConfig(7, groups)
    assert parse_choice("model", DecoderConfig, f"DecoderConfig(width=7, groups={written_out})") == (
        DecoderConfig(7, groups)
    )


A_BLOCK = "Block(attention=MultiHead(heads=6, kv_heads=2, head_width=5), feed_forward={})"


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["cap=much"], 'cap must be a number or null, got "much"'),
        (["window=1.5"], 'window must be an integer or null, got "1.5"'),
        (["window=true"], 'window must be an integer or null, got "true"'),
        (["bias=2"], 'bias must be true or false or null, got "2"'),
        (["model.softcap=x"], 'model.softcap must be a number or null, got "x"'),
        (["norm=RmsNrm"], "norm must be one of RmsNorm(epsilon, offset), None, got 'RmsNrm'; did you mean RmsNorm?"),
        (["norm=RmsNorm(x=y)"], "norm=RmsNorm(x=y): unknown field x; the fields here are epsilon, offset"),
        (["norm=RmsNorm(epsilon=y)"], "norm.epsilon must be a number, got 'y'"),
        (["norm=RmsNorm(epsilon=(1, 2))"], "norm=RmsNorm(epsilon=(1, 2)): epsilon must be a number, got [1, 2]"),
        (["model.groups=None"], "model.groups must be a tuple of Group(blocks, times), got 'None'"),
        (["model.groups=Group()"], "model.groups must be a tuple of Group(blocks, times), got 'Group()'"),
        (["model.groups=(3,)"], "model.groups.0 must be Group(blocks, times), got '3'"),
        (["model.groups=(Group(blocks=()),)"], "model.groups=(Group(blocks=()),): 0: a group must have at least one "),
        (["model.groups=(Group(),)"], "model.groups=(Group(),): 0.blocks is missing and has no default; give "),
        (
            [f"model.groups=(Group(blocks=({A_BLOCK.format('Gatd(hidden=11)')},)),)"],
            "model.groups.0.blocks.0.feed_forward must be one of FeedForward(hidden, activation, bias), "
            "Gated(hidden, activation, bias), MixtureOfExperts(",
        ),
        (
            [f"model.groups=(Group(blocks=({A_BLOCK.format('Gated(hidden=ten)')},)),)"],
            "model.groups.0.blocks.0.feed_forward.hidden must be an integer, got 'ten'",
        ),
    ],
)
def test_a_wrong_text_inside_is_named_at_its_place(arguments, message):
    with pytest.raises(UserError) as caught:
        choose(Job(), arguments)
    assert str(caught.value).startswith(message) and "\n" not in str(caught.value)


def test_fields_are_all_fields_outer_ones_first():
    paths = [path for path, _ in fields(START)]
    assert all(outer in paths[:i] for i, path in enumerate(paths) if (outer := path.rpartition(".")[0]))
    assert len(set(paths)) == len(paths)
    for path, hint in fields(START):
        assert (
            hint
            == get_type_hints(type(value_at(START, path.rpartition(".")[0]) if "." in path else START))[
                path.rpartition(".")[2]
            ]
        )
    assert {path for path in paths if "." not in path} == {field.name for field in fields_of(START)}


def test_a_choice_may_depend_on_plain_values_wherever_they_stand():
    """Rows longer than the preset's context fit the one that is asked for."""
    rows = ["--batches", "Packed(length=512, rows=4)"]
    context = ["--model.context", "512", "model.position.length=512"]
    for order in ([*rows, *context], [*context, *rows]):
        config, left = choose(CausalLmConfig(), ["--model", "gpt2-tiny", *order])
        assert (config.batches.length, config.model.context, config.model.position.length, left) == (512, 512, 512, [])
    with pytest.raises(UserError, match=r"batches\.length must fit the model's context of 256 tokens, got length=512"):
        choose(CausalLmConfig(), rows)
    with pytest.raises(UserError, match=r"raise position\.length"):
        choose(CausalLmConfig(), context[:2])


def test_replace_at_changes_one_field_and_no_other():
    changed = replace_at(START, "model.norm", PostNorm())
    assert changed.model.norm == PostNorm() and replace_at(changed, "model.norm", START.model.norm) == START
