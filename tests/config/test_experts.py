"""Mixtures of experts that cannot be built are refused by name; those that can survive JSON and `repr`."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxformer.config.choice import parse_choice
from jaxformer.config.experts import MixtureOfExperts, Router, SigmoidRouter, SoftmaxRouter
from jaxformer.config.io import from_json, to_json

positive = st.floats(0, exclude_min=True, allow_infinity=False)
not_negative = st.floats(0, allow_infinity=False)
routers = st.builds(SoftmaxRouter, st.booleans())
routers |= st.builds(SigmoidRouter, st.just(3), st.integers(1, 3), positive, st.booleans())
mixtures = st.builds(
    MixtureOfExperts,
    experts=st.just(3 * 5),
    active=st.integers(1, 5),
    hidden=st.integers(1),
    router=routers,
    shared=st.integers(0),
    balance=not_negative,
    z=not_negative,
    bias_rate=not_negative,
    gated=st.booleans(),
)


@settings(deadline=None)
@given(mixtures)
def test_every_mixture_survives_json_and_every_router_can_be_written(mixture):
    assert from_json(MixtureOfExperts, to_json(mixture)) == mixture
    assert parse_choice("router", Router, repr(mixture.router)) == mixture.router


@pytest.mark.parametrize(
    "fields, message",
    [
        ({"experts": 0}, "experts must be at least 1, got experts=0"),
        ({"hidden": 0}, "hidden must be at least 1, got hidden=0"),
        ({"shared": -1}, "shared must be at least 0, got shared=-1"),
        ({"balance": -0.1}, "balance must not be negative, got balance=-0.1"),
        ({"z": float("nan")}, "z must not be negative, got z=nan"),
        ({"bias_rate": -1}, "bias_rate must not be negative, got bias_rate=-1"),
        ({"active": 0}, r"active must lie in \[1, experts\], got active=0, experts=15"),
        ({"active": 16}, r"active must lie in \[1, experts\], got active=16, experts=15"),
        ({"router": SigmoidRouter(2)}, "experts must be a multiple of router.groups, got experts=15, groups=2"),
        ({"router": SigmoidRouter(15)}, "a group must have at least 2 experts, got experts=15, groups=15"),
        (
            {"router": SigmoidRouter(5, 2), "active": 7},
            "active must not exceed the 6 experts of 2 active groups, got a",
        ),
    ],
)
def test_a_mixture_that_cannot_be_built_is_refused(fields, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        MixtureOfExperts(**{"experts": 15, "active": 2, "hidden": 7, **fields})


@pytest.mark.parametrize(
    "fields, message",
    [
        ({"groups": 0}, r"active_groups must lie in \[1, groups\], got active_groups=1, groups=0"),
        ({"groups": 2, "active_groups": 3}, r"active_groups must lie in \[1, groups\], got active_groups=3, groups=2"),
        ({"active_groups": 0}, r"active_groups must lie in \[1, groups\], got active_groups=0, groups=1"),
        ({"scale": 0}, "scale must be positive, got scale=0"),
    ],
)
def test_a_router_that_cannot_route_is_refused(fields, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        SigmoidRouter(**fields)


def test_a_single_group_of_a_single_expert_can_be_built():
    assert MixtureOfExperts(1, 1, 7, SigmoidRouter()).router == SigmoidRouter(1, 1, 1.0, True)
