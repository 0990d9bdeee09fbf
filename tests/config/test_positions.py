"""Rotary positions and their kin: valid once built, and the same again after JSON and the command line."""

import json
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxformer.config.blocks import Latent, MultiHead
from jaxformer.config.choice import parse_choice
from jaxformer.config.io import from_json, to_json
from jaxformer.config.positions import Alibi, Linear, Llama3, Ntk, RelativeBuckets, Rotary, Scaling, Yarn

Position = Rotary | Alibi | RelativeBuckets

factors = st.floats(1, 1e6)
lengths = st.integers(1, 10**6)
low, high = st.floats(0.1, 1.5), st.floats(2, 40)
scalings = st.builds(Linear, factors) | st.builds(Ntk, factors) | st.builds(Llama3, factors, low, high, lengths)
scalings |= st.builds(Yarn, factors, lengths, high, low, st.none() | factors, truncate=st.booleans())
scalings |= st.builds(Yarn, factors, lengths, mscale=factors, mscale_all_dim=factors)
bases, fractions = st.floats(1.5, 1e7), st.floats(0, 1, exclude_min=True)
rotaries = st.builds(Rotary, bases, fractions, st.none() | scalings, st.booleans())
positions = rotaries | st.just(Alibi()) | st.builds(RelativeBuckets, st.integers(4, 64), st.integers(33, 999))


@dataclass(frozen=True)
class Holder:
    position: Position


@settings(deadline=None)
@given(positions)
def test_json_is_read_back_as_it_was_written(position):
    assert from_json(Holder, json.loads(json.dumps(to_json(Holder(position))))) == Holder(position)


@settings(deadline=None)
@given(scalings)
def test_repr_of_a_scaling_is_read_back(scaling):
    assert parse_choice("scaling", Scaling, repr(scaling)) == scaling
    assert parse_choice("position", Position, repr(Rotary(scaling=scaling))) == Rotary(scaling=scaling)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Linear(0.5), "factor must be at least 1 and finite, got factor=0.5"),
        (lambda: Ntk(float("nan")), "factor must be at least 1 and finite, got factor=nan"),
        (lambda: Llama3(float("inf")), "factor must be at least 1 and finite, got factor=inf"),
        (lambda: Llama3(8, original_length=0), "original_length must be at least 1 and finite, got original_length=0"),
        (lambda: Llama3(8, low=4), "low must lie between 0 and high, got low=4, high=4.0"),
        (lambda: Yarn(0.9, 64), "factor must be at least 1 and finite, got factor=0.9"),
        (lambda: Yarn(2, 0), "original_length must be at least 1 and finite, got original_length=0"),
        (
            lambda: Yarn(2, 64, beta_fast=1),
            "beta_slow must lie between 0 and beta_fast, got beta_slow=1.0, beta_fast=1",
        ),
        (
            lambda: Yarn(2, 64, mscale=0.7),
            "mscale and mscale_all_dim must be given together, got mscale=0.7, mscale_all_dim=None",
        ),
        (lambda: Rotary(base=1), "base must be larger than 1 and finite, got base=1"),
        (lambda: Rotary(fraction=0), "fraction must lie in (0, 1], got fraction=0"),
        (lambda: Rotary(fraction=1.5), "fraction must lie in (0, 1], got fraction=1.5"),
        (lambda: RelativeBuckets(3), "buckets must be at least 4, near and far of both ways, got buckets=3"),
        (lambda: RelativeBuckets(32, 16), "reach must be larger than half of buckets, got reach=16, buckets=32"),
    ],
)
def test_what_cannot_be_meant_is_refused_with_the_rule_and_the_value(build, message):
    with pytest.raises(ValueError) as caught:
        build()
    assert str(caught.value) == message


@pytest.mark.parametrize(("fraction", "width", "rotated"), [(1.0, 14, 14), (0.25, 64, 16), (0.4, 67, 26)])
def test_the_rotated_width_is_rounded_down(fraction, width, rotated):
    assert Rotary(fraction=fraction).rotated_width(width) == rotated


@pytest.mark.parametrize(("fraction", "width", "rotated"), [(1.0, 13, 13), (0.1, 7, 0)])
def test_a_rotated_part_that_is_odd_or_empty_is_refused(fraction, width, rotated):
    message = f"even and not empty, got {rotated} from head width {width} and fraction={fraction}"
    for build in (
        lambda: Rotary(fraction=fraction).rotated_width(width),
        lambda: MultiHead(2, 1, width, rotary=Rotary(fraction=fraction)),
        lambda: Latent(2, 5, 3, width, 3, rotary=Rotary(fraction=fraction)),
    ):
        with pytest.raises(ValueError, match=message):
            build()
