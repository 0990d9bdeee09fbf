"""Every number of a configuration has its range, and a configuration outside of it cannot be built."""

import math

import pytest

from jaxformer.config.causal_lm import CausalLmConfig
from jaxformer.config.data import Batching
from jaxformer.config.training import (
    Adam,
    AdamW,
    Cosine,
    Ema,
    MeshConfig,
    Muon,
    Noam,
    OptimizationConfig,
    WatchConfig,
    Wsd,
)
from jaxformer.config.translate import SearchConfig, TranslateConfig, TranslationWatch

pytestmark = pytest.mark.smoke

INF = math.inf
ABOVE_0, PROBABILITY, PART = (5e-324, 1e300), (0, 1 - 2**-53), (0, 1)
COUNT, NUMBER = (1, 10**400), (0, 10**400)
BELOW = {ABOVE_0: (0, -1.0), PROBABILITY: (-5e-324, 1), PART: (-5e-324, 1 + 2**-52), COUNT: (0, -1), NUMBER: (-1,)}
RULES = {
    ABOVE_0: "be positive",
    PROBABILITY: r"lie in \[0, 1\)",
    PART: r"lie in \[0, 1\]",
    COUNT: "be at least 1",
    NUMBER: "be at least 0",
}
FIELDS = [
    (Noam, {"warmup": COUNT, "factor": ABOVE_0}),
    (Cosine, {"peak": ABOVE_0, "warmup": COUNT, "floor": PART}),
    (Wsd, {"peak": ABOVE_0, "warmup": COUNT, "decay": PART}),
    (Adam, {"beta1": PROBABILITY, "beta2": PROBABILITY, "epsilon": ABOVE_0}),
    (AdamW, {"beta1": PROBABILITY, "beta2": PROBABILITY, "epsilon": ABOVE_0, "weight_decay": NUMBER}),
    (Muon, {"momentum": PROBABILITY, "size": ABOVE_0, "weight_decay": NUMBER}),
    (OptimizationConfig, {"clip": ABOVE_0, "accumulate": COUNT}),
    (SearchConfig, {"beams": COUNT, "length": COUNT, "alpha": NUMBER}),
    (WatchConfig, dict.fromkeys(("validate_every", "keep", "log_every"), COUNT) | {"patience": NUMBER}),
    (TranslationWatch, {"sentences": COUNT, "keep": COUNT, "patience": NUMBER}),
    (CausalLmConfig, {"steps": COUNT, "seed": NUMBER, "z_loss": NUMBER, "further": NUMBER}),
    (Batching, dict.fromkeys(("tokens", "buckets", "max_length"), COUNT)),
    (
        TranslateConfig,
        {"steps": COUNT, "checkpoint_every": COUNT, "seed": NUMBER, "z_loss": NUMBER, "smoothing": PROBABILITY},
    ),
]
EVERY = [
    pytest.param(cls, name, allowed, id=f"{cls.__name__}.{name}")
    for cls, each in FIELDS
    for name, allowed in each.items()
]


@pytest.mark.parametrize("cls, name, allowed", EVERY)
def test_a_number_up_to_its_bounds_and_no_further(cls, name, allowed):
    for value in allowed:
        assert getattr(cls(**{name: value}), name) == value
    for value in BELOW[allowed]:
        with pytest.raises(ValueError, match=f"^{name} must {RULES[allowed]}, got {name}={value}$"):
            cls(**{name: value})


@pytest.mark.parametrize("cls, name, allowed", EVERY)
def test_what_is_no_finite_number_is_refused(cls, name, allowed):
    for value in (math.nan, INF, -INF):
        with pytest.raises(ValueError, match=f"^{name} must be a finite number, got {name}={value}$"):
            cls(**{name: value})


@pytest.mark.parametrize("decay", [0, 1, math.nan, INF])
def test_an_average_forgets_slowly_but_does(decay):
    with pytest.raises(ValueError, match=f"^decay must lie between 0 and 1, got {decay}$"):
        Ema(decay)


@pytest.mark.parametrize("sizes", [{"tensor": 0}, {"data": -2}, {"fsdp": -1}, {"data": 1, "fsdp": -1, "tensor": -1}])
def test_a_mesh_has_sizes_of_which_one_may_be_left_open(sizes):
    config = MeshConfig(data=-1, fsdp=2, tensor=3)
    got = ", ".join(f"{name}={sizes.get(name, default)}" for name, default in vars(MeshConfig()).items())
    with pytest.raises(ValueError, match=f"^mesh sizes must be at least 1, and one of them may be -1 .*; got {got}$"):
        MeshConfig(**sizes)
    assert (config.data, config.fsdp, config.tensor) == (-1, 2, 3)
