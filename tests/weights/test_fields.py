"""A field of a stranger's config.json is of its kind and within its bounds, or stops the load in one line."""

import pytest

from jaxformer.config.errors import UserError
from jaxformer.weights.fields import MOST, MOST_LAYERS, Fields

KINDS = {
    "count": (lambda f: f.count("x"), [1, MOST], [0, -1, MOST + 1, 1.0, True, "1", None, [1]]),
    "count from 0": (lambda f: f.count("x", 7, least=0), [0], [-1, None]),
    "count or none": (lambda f: f.count("x", None), [None, 3], [0, False]),
    "layers": (lambda f: f.layers("x"), [1, MOST_LAYERS], [0, MOST_LAYERS + 1, 10**30]),
    "number": (lambda f: f.number("x"), [1, 1e-30, 3e38], [0, -1.0, float("nan"), float("inf"), 10**400, True, "1"]),
    "number from 0": (lambda f: f.number("x", None, least=0.0), [0, 0.5, None], [-0.1]),
    "flag": (lambda f: f.flag("x", True), [True, False], [0, 1, "true", []]),
    "listed": (
        lambda f: f.listed("x", ("a", "b"), 2),
        [["a", "b"], ["b", "b"]],
        [["a"], ["a", "c"], "ab", {"a": 1}, 3],
    ),
    "choose": (lambda f: f.choose("x", {"a": 1}) and "a", ["a"], ["b", None, ["a"], {}]),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_field_is_of_its_kind_or_refused(kind):
    read, taken, refused = KINDS[kind]
    for value in taken:
        assert read(Fields({"x": value}, "config.json")) == value
    for value in refused:
        with pytest.raises(UserError, match=r"^config\.json: x must be ") as caught:
            read(Fields({"x": value}, "config.json"))
        assert "\n" not in str(caught.value)


def test_a_field_that_is_missing_takes_its_default_or_is_named():
    fields = Fields({}, "config.json")
    assert (fields.count("x", 3), fields.flag("x", True), fields.listed("x", "ab")) == (3, True, [])
    assert fields.number("x", None) is None and Fields({"x": None}, "").flag("x", True) is False
    with pytest.raises(UserError, match=r"^config\.json has no field x, which its model needs$"):
        fields.count("x")
