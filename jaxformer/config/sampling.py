"""How the next token is drawn from what a model expects. Plain data: the mathematics is in `ops.sampling`."""

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Sampling:
    """What is left of the distribution over the next token, in the order of the fields; the penalty comes before all
    of them.
    """

    temperature: float = 1.0
    """What logits are divided by; 0 always takes the likeliest token."""
    top_k: int = 0
    """Keep this many of the likeliest tokens; 0 keeps all (Fan et al. 2018)."""
    top_p: float = 1.0
    """Keep the fewest tokens whose probability together reaches this; 1 keeps all (Holtzman et al. 2020)."""
    min_p: float = 0.0
    """Keep tokens at least this fraction as likely as the likeliest; 0 keeps all (Nguyen et al. 2024)."""
    repetition_penalty: float = 1.0
    """Above 1, tokens that have occurred become less likely; 1 changes nothing (Keskar et al. 2019)."""

    def __post_init__(self):
        if not 0 <= self.temperature < math.inf:
            raise ValueError(f"temperature must be finite and not negative, got temperature={self.temperature}")
        if self.top_k < 0:
            raise ValueError(f"top_k must not be negative, got top_k={self.top_k}")
        if not 0 < self.top_p <= 1:
            raise ValueError(f"top_p must lie in (0, 1], got top_p={self.top_p}")
        if not 0 <= self.min_p <= 1:
            raise ValueError(f"min_p must lie in [0, 1], got min_p={self.min_p}")
        if not 0 < self.repetition_penalty < math.inf:
            raise ValueError(
                f"repetition_penalty must be finite and positive, got repetition_penalty={self.repetition_penalty}"
            )
