"""Where a token stands, as attention sees it: heads that turn, and scores that depend on distance. Plain data."""

import math
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Linear:
    """All positions divided by `factor` (Chen et al. 2023, position interpolation)."""

    factor: float
    """Times by which the context grows."""

    def __post_init__(self):
        _at_least_one(self, "factor")


@dataclass(frozen=True)
class Ntk:
    """A larger base: the slowest pair turns `factor` times slower, the fastest as before (bloc97 2023)."""

    factor: float
    """Times by which the context grows."""

    def __post_init__(self):
        _at_least_one(self, "factor")


@dataclass(frozen=True)
class Llama3:
    """Slow pairs turn `factor` times slower, fast ones as before, with a ramp in between (Grattafiori et al. 2024)."""

    factor: float
    """Times by which the context grows."""
    low: float = 1.0
    """Turns over `original_length` up to which a pair is slow."""
    high: float = 4.0
    """Turns over `original_length` from which a pair is fast."""
    original_length: int = 8192
    """Context of the model before it was scaled, in tokens."""

    def __post_init__(self):
        _at_least_one(self, "factor", "original_length")
        if not 0 < self.low < self.high:
            raise ValueError(f"low must lie between 0 and high, got low={self.low}, high={self.high}")


@dataclass(frozen=True)
class Yarn:
    """Slow pairs turn `factor` times slower, fast ones as before, and attention becomes sharper to make up for the
    longer context (Peng et al. 2023).
    """

    factor: float
    """Times by which the context grows."""
    original_length: int
    """Context of the model before it was scaled, in tokens."""
    beta_fast: float = 32.0
    """Turns over `original_length` from which a pair is fast."""
    beta_slow: float = 1.0
    """Turns over `original_length` up to which a pair is slow."""
    attention_factor: float | None = None
    """Multiplies queries and keys; 0.1 ln(factor) + 1 where it is None."""
    mscale: float | None = None
    """With `mscale_all_dim`, and without `attention_factor`: that factor becomes the ratio of 0.1 · mscale · ln(factor)
    + 1 and the same of mscale_all_dim (DeepSeek-V2).
    """
    mscale_all_dim: float | None = None
    truncate: bool = True
    """Let the ramp between slow and fast begin and end at whole pairs."""

    def __post_init__(self):
        _at_least_one(self, "factor", "original_length")
        if not 0 < self.beta_slow < self.beta_fast:
            raise ValueError(
                "beta_slow must lie between 0 and beta_fast, "
                f"got beta_slow={self.beta_slow}, beta_fast={self.beta_fast}"
            )
        if (self.mscale is None) != (self.mscale_all_dim is None):
            raise ValueError(
                "mscale and mscale_all_dim must be given together, "
                f"got mscale={self.mscale}, mscale_all_dim={self.mscale_all_dim}"
            )


Scaling = Linear | Ntk | Llama3 | Yarn


@dataclass(frozen=True)
class Rotary:
    """Pairs of features of every query and key turned by angles proportional to the position, so that scores depend on
    distance alone (Su et al. 2021).
    """

    base: float = 10_000.0
    """Ratio between the slowest and the fastest pair's wavelength."""
    fraction: float = 1.0
    """Part of each head, from its beginning, that turns (GPT-NeoX, Black et al. 2022)."""
    scaling: Scaling | None = None
    """How the turning slows down for contexts longer than those of training, if it does."""
    interleaved: bool = False
    """Pair neighbours (2i, 2i + 1), as published; otherwise i with i + half of what turns, as in GPT-NeoX and Llama."""

    def __post_init__(self):
        if not 1 < self.base < math.inf:
            raise ValueError(f"base must be larger than 1 and finite, got base={self.base}")
        if not 0 < self.fraction <= 1:
            raise ValueError(f"fraction must lie in (0, 1], got fraction={self.fraction}")

    def rotated_width(self, head_width: int) -> int:
        """Width R of the part that turns of a head this wide: `fraction` of it, rounded down as checkpoints have it.

        Raises ValueError where R is odd or 0.
        """
        rotated = int(head_width * self.fraction)
        if rotated % 2 or not rotated:
            raise ValueError(
                "the rotated part of a head must be even and not empty, "
                f"got {rotated} from head width {head_width} and fraction={self.fraction}"
            )
        return rotated


@dataclass(frozen=True)
class Alibi:
    """Scores fall in proportion to distance, in each head at a fixed rate of its own (Press et al. 2022)."""


@dataclass(frozen=True)
class RelativeBuckets:
    """A trained number added to the score for each bucket of distances: near ones have a bucket each, far ones share
    buckets that grow geometrically (T5, Raffel et al. 2020, §2.1).
    """

    buckets: int = 32
    """Number of buckets; attention that reads both ways uses half of them for each."""
    reach: int = 128
    """Distance from which all share the last bucket."""

    def __post_init__(self):
        if self.buckets < 4:
            raise ValueError(f"buckets must be at least 4, near and far of both ways, got buckets={self.buckets}")
        if self.reach <= self.buckets // 2:
            raise ValueError(
                f"reach must be larger than half of buckets, got reach={self.reach}, buckets={self.buckets}"
            )


def _at_least_one(config: Any, *names: str) -> None:
    for name in names:
        if not 1 <= getattr(config, name) < math.inf:
            raise ValueError(f"{name} must be at least 1 and finite, got {name}={getattr(config, name)}")
