"""A configuration survives JSON unchanged; what is wrong in a file is named by its dotted path, in one line."""

import json
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from jaxformer.config.errors import UserError
from jaxformer.config.io import difference, from_json, to_json
from jaxformer.config.model import RnnConfig, Sinusoidal, TransformerConfig

pytestmark = pytest.mark.smoke


@dataclass(frozen=True)
class Constant:
    rate: float = 1e-3


@dataclass(frozen=True)
class Decaying:
    rate: float = 1e-3
    steps: int = 7

    def __post_init__(self):
        if self.steps < 1:
            raise ValueError(f"steps must be at least 1, got {self.steps}")


@dataclass(frozen=True)
class Average:
    decay: float = 0.99


@dataclass(frozen=True)
class Optimizer:
    schedule: Constant | Decaying = Constant()
    average: Average | None = None
    clip: float | None = 1.0


@dataclass(frozen=True)
class Recipe:
    name: str
    out: Path
    optimizer: Optimizer = Optimizer()
    dtype: Literal["float32", "bfloat16"] = "float32"
    width: int | Literal["auto"] = "auto"
    limit: int | float = 3
    verbose: bool = False
    level: Literal[0, 1] = 0
    buckets: tuple[int, ...] = (8, 16)
    betas: tuple[float, float] = (0.9, 0.98)
    stages: tuple[Constant | Decaying, ...] = ()
    cache: Path | None = None


numbers = st.floats(allow_nan=False)
steps = st.integers(min_value=1)
schedules = st.builds(Constant, numbers) | st.builds(Decaying, numbers, steps)
optimizers = st.builds(
    Optimizer, schedules, st.none() | st.builds(Average, numbers), st.none() | st.integers(-9, 9) | numbers
)
paths = st.text(st.characters(exclude_characters="\0", codec="utf-8")).map(Path)
recipes = st.builds(
    Recipe,
    st.text(),
    paths,
    optimizers,
    st.sampled_from(["float32", "bfloat16"]),
    st.integers() | st.just("auto"),
    st.integers() | numbers,
    st.booleans(),
    st.sampled_from([0, 1]),
    st.lists(st.integers()).map(tuple),
    st.tuples(numbers, numbers),
    st.lists(schedules, max_size=3).map(tuple),
    st.none() | paths,
)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["type", "rate", "schedule"]) | st.text(), inner, max_size=3)
    ),
    max_leaves=5,
)

BASE = Recipe("base", Path("runs/base"))


@given(recipes)
def test_json_is_read_back_as_it_was_written(recipe):
    again = from_json(Recipe, json.loads(json.dumps(to_json(recipe))))
    assert again == recipe
    assert type(again.limit) is type(recipe.limit)


@pytest.mark.parametrize("config", [TransformerConfig(), TransformerConfig(position=Sinusoidal(11.0)), RnnConfig()])
def test_the_models_survive_json(config):
    assert from_json(type(config), json.loads(json.dumps(to_json(config)))) == config


def test_only_a_choice_between_dataclasses_carries_its_type():
    data = to_json(replace(BASE, optimizer=Optimizer(Decaying(steps=5), Average())))["optimizer"]
    assert data["schedule"] == {"type": "Decaying", "rate": 1e-3, "steps": 5}
    assert data["average"] == {"decay": 0.99}


def test_fields_left_out_take_their_defaults():
    assert from_json(Recipe, {"name": "base", "out": "runs/base"}) == BASE


def test_whole_numbers_are_numbers():
    rate = from_json(Constant, {"rate": 3}).rate
    assert rate == 3.0 and type(rate) is float


@given(recipes, st.sampled_from([field.name for field in fields(Recipe)]) | st.text(), json_values)
@example(BASE, "optimizer", {"clip": 10**400})
@example(BASE, "optimizer", {"schedule": {"type": []}})
@example(BASE, "two\nlines", 0)
def test_any_json_is_read_or_refused_in_one_line(recipe, name, value):
    try:
        from_json(Recipe, to_json(recipe) | {name: value})
    except UserError as error:
        assert str(error) and "\n" not in str(error)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"dtpye": "float32"}, "unknown field dtpye; did you mean dtype?"),
        ({"optimizer": {"clp": 1.0}}, "unknown field optimizer.clp; did you mean optimizer.clip?"),
        ({"decay": 0.9}, "unknown field decay; did you mean optimizer.average.decay?"),
        ({"optimizer": {"qqq": 1}}, "unknown field optimizer.qqq; the fields here are schedule, average, clip"),
        ({"dtype": "f16"}, 'dtype must be one of "float32", "bfloat16", got "f16"'),
        ({"verbose": 1}, "verbose must be true or false, got 1"),
        ({"level": True}, "level must be one of 0, 1, got true"),
        ({"optimizer": {"clip": True}}, "optimizer.clip must be a number or null, got true"),
        ({"width": True}, 'width must be an integer or one of "auto", got true'),
        ({"buckets": [8, 16.0]}, "buckets.1 must be an integer, got 16.0"),
        ({"betas": [0.9]}, "betas must be a list of 2: a number, a number, got [0.9]"),
        ({"out": 3}, "out must be a path, got 3"),
        ({"optimizer": {"clip": "no"}}, 'optimizer.clip must be a number or null, got "no"'),
        ({"optimizer": 3}, "optimizer must be the fields of Optimizer, got 3"),
        (
            {"optimizer": {"schedule": {"rate": 1.0}}},
            "optimizer.schedule.type must be one of Constant, Decaying, but is missing",
        ),
        (
            {"stages": [{"type": "Constant"}, {"type": "Decayin"}]},
            'stages.1.type must be one of Constant, Decaying, got "Decayin"; did you mean Decaying?',
        ),
        (
            {"optimizer": {"schedule": {"type": "Decaying", "steps": 0}}},
            "optimizer.schedule: steps must be at least 1, got 0",
        ),
    ],
)
def test_the_error_names_the_field_the_value_and_what_is_allowed(data, message):
    with pytest.raises(UserError) as caught:
        from_json(Recipe, to_json(BASE) | data)
    assert str(caught.value) == message


def test_a_field_without_a_default_must_be_given():
    with pytest.raises(UserError, match=r"^out is missing and has no default; give a path$"):
        from_json(Recipe, {"name": "base"})


def test_the_whole_must_be_an_object():
    with pytest.raises(UserError, match=r"^the configuration must be an object of fields, got \[\]$"):
        from_json(Recipe, [])


def test_a_value_against_its_type_hint_is_not_written():
    with pytest.raises(ValueError, match="an integer"):
        to_json(replace(BASE, buckets=("8",)))


@given(recipes, recipes)
def test_the_difference_is_empty_exactly_for_equal_configurations(a, b):
    assert difference(a, a) == []
    assert (difference(a, b) == []) == (a == b)


@pytest.mark.parametrize(
    ("other", "lines"),
    [
        (replace(BASE, name="other"), ["name: base → other"]),
        (
            replace(BASE, optimizer=Optimizer(Constant(0.002), Average(0.5))),
            ["optimizer.schedule.rate: 0.001 → 0.002", "optimizer.average: None → Average(decay=0.5)"],
        ),
        (
            replace(BASE, optimizer=Optimizer(Decaying())),
            ["optimizer.schedule: Constant(rate=0.001) → Decaying(rate=0.001, steps=7)"],
        ),
        (replace(BASE, buckets=(8, 32)), ["buckets.1: 16 → 32"]),
        (replace(BASE, buckets=(8,)), ["buckets: (8, 16) → (8,)"]),
    ],
)
def test_each_difference_is_one_line(other, lines):
    assert difference(BASE, other) == lines
