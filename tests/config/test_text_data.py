"""Settings of text and masking are valid once built, and written and read as JSON."""

import json

import pytest

from jaxformer.config.io import from_json, to_json
from jaxformer.config.text_data import Packed, TokenMasking, WholeWordMasking, Windows


@pytest.mark.parametrize("kind", [Packed, Windows])
@pytest.mark.parametrize("name", ["length", "rows"])
def test_rows_below_one_are_refused(kind, name):
    with pytest.raises(ValueError, match=f"{name} must be at least 1, got {name}=0"):
        kind(**{name: 0})


@pytest.mark.parametrize("kind", [TokenMasking, WholeWordMasking])
@pytest.mark.parametrize("rate", [0.0, 1.0, -0.1])
def test_a_rate_is_a_part(kind, rate):
    with pytest.raises(ValueError, match=f"rate must lie between 0 and 1, got rate={rate}"):
        kind(rate)


@pytest.mark.parametrize("config", [Packed(7, 3), Windows(11, 5), TokenMasking(0.2), WholeWordMasking(0.3)])
def test_json_gives_back_what_was_written(config):
    assert from_json(type(config), json.loads(json.dumps(to_json(config)))) == config
