"""Numbers that say nothing about a distribution are refused by name."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxformer.config.choice import parse_choice
from jaxformer.config.io import from_json, to_json
from jaxformer.config.sampling import Sampling

fractions = st.floats(0, 1)
samplings = st.builds(
    Sampling,
    st.floats(0, allow_infinity=False),
    st.integers(0),
    fractions.filter(bool),
    fractions,
    st.floats(0, exclude_min=True, allow_infinity=False),
)


@settings(deadline=None)
@given(samplings)
def test_every_sampling_survives_json_and_can_be_written(sampling):
    assert from_json(Sampling, to_json(sampling)) == sampling
    assert parse_choice("sampling", Sampling, repr(sampling)) == sampling


@pytest.mark.parametrize(
    "name, value, rule",
    [
        ("temperature", -0.1, "must be finite and not negative"),
        ("temperature", math.inf, "must be finite and not negative"),
        ("temperature", math.nan, "must be finite and not negative"),
        ("top_k", -1, "must not be negative"),
        ("top_p", 0.0, r"must lie in \(0, 1\]"),
        ("top_p", 1.1, r"must lie in \(0, 1\]"),
        ("min_p", -0.1, r"must lie in \[0, 1\]"),
        ("min_p", 1.1, r"must lie in \[0, 1\]"),
        ("repetition_penalty", 0.0, "must be finite and positive"),
        ("repetition_penalty", math.inf, "must be finite and positive"),
    ],
)
def test_a_value_out_of_range_is_refused(name, value, rule):
    with pytest.raises(ValueError, match=f"^{name} {rule}, got {name}={value}$"):
        Sampling(**{name: value})
