"""How text becomes tokens and tokens become batches."""

from dataclasses import dataclass

from jaxformer.config.ranges import at_least

SMALLEST_VOCABULARY = 256 + 3
"""Every byte, and the three marks for padding, beginning and end."""


@dataclass(frozen=True)
class Bpe:
    """A joint byte-level BPE, trained on both sides of the corpus."""

    vocabulary: int = 8000
    """Number of tokens, the 256 bytes and 3 special marks among them. A small corpus may yield fewer."""

    lowercase: bool = False
    """Lowercase all text, character by character, before it is split."""

    def __post_init__(self) -> None:
        if self.vocabulary < SMALLEST_VOCABULARY:
            raise ValueError(
                f"vocabulary must be at least {SMALLEST_VOCABULARY} (256 bytes and 3 special marks), "
                f"got {self.vocabulary}"
            )


@dataclass(frozen=True)
class Batching:
    """Batches of about equal token count, in a few shapes."""

    tokens: int = 4096
    """Token budget of a batch, padding included: rows times length, for each of the two sides."""

    buckets: int = 4
    """Number of length buckets, which is the number of compiled shapes."""

    max_length: int = 128
    """Longest sentence kept, in tokens with its end mark; longer pairs are dropped and counted."""

    def __post_init__(self) -> None:
        at_least(self, 1, "tokens", "buckets", "max_length")
