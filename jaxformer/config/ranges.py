"""What the numbers of a configuration may be. Nothing here lets NaN or an infinity pass: JSON has no word for them."""

import math
from collections.abc import Callable
from typing import Any


def at_least(config: Any, least: int, *names: str) -> None:
    """Raises ValueError unless each field is at least so much; a field that is None was not given and is left alone."""
    _check(config, names, lambda value: value >= least, f"be at least {least}")


def positive(config: Any, *names: str) -> None:
    """Raises ValueError unless each field is above 0."""
    _check(config, names, lambda value: value > 0, "be positive")


def below_one(config: Any, *names: str) -> None:
    """Raises ValueError unless each field lies in [0, 1), as a probability that may not be certain."""
    _check(config, names, lambda value: 0 <= value < 1, "lie in [0, 1)")


def fraction(config: Any, *names: str) -> None:
    """Raises ValueError unless each field lies in [0, 1], as a part of something."""
    _check(config, names, lambda value: 0 <= value <= 1, "lie in [0, 1]")


def _check(config: Any, names: tuple[str, ...], fits: Callable[[Any], bool], rule: str) -> None:
    for name in names:
        value = getattr(config, name)
        if value is None:
            continue
        # By comparison, since `math.isfinite` fails for an integer that no float can hold.
        if not -math.inf < value < math.inf:
            raise ValueError(f"{name} must be a finite number, got {name}={value}")
        if not fits(value):
            raise ValueError(f"{name} must {rule}, got {name}={value}")
