"""How text becomes rows for a language model, and what a masked one has to guess."""

from dataclasses import dataclass

from jaxformer.config.data import Batching


def _check_rows(config: "Packed | Windows") -> None:
    for name in ("length", "rows"):
        if getattr(config, name) < 1:
            raise ValueError(f"{name} must be at least 1, got {name}={getattr(config, name)}")


@dataclass(frozen=True)
class Packed:
    """Documents joined with an end mark and cut into rows; each epoch shows every document once, in a new order."""

    length: int = 256
    """Tokens that a model reads in a row."""
    rows: int = 16
    """Rows of a batch."""

    def __post_init__(self) -> None:
        _check_rows(self)

    @property
    def tokens(self) -> int:
        """Tokens that a batch reads."""
        return self.rows * self.length


@dataclass(frozen=True)
class Windows:
    """Windows at random places of one long stream; a row does not know where documents begin."""

    length: int = 256
    """Tokens that a model reads in a row."""
    rows: int = 16
    """Rows of a batch."""

    def __post_init__(self) -> None:
        _check_rows(self)

    @property
    def tokens(self) -> int:
        """Tokens that a batch reads."""
        return self.rows * self.length


TextRows = Packed | Windows


def _check_rate(rate: float) -> None:
    if not 0 < rate < 1:
        raise ValueError(f"rate must lie between 0 and 1, got rate={rate}")


@dataclass(frozen=True)
class TokenMasking:
    """Every token is guessed with the same probability, whatever its neighbours (Devlin et al. 2019, §3.1)."""

    rate: float = 0.15
    """Expected part of the tokens that is guessed."""

    def __post_init__(self) -> None:
        _check_rate(self.rate)


@dataclass(frozen=True)
class WholeWordMasking:
    """All tokens of a word are guessed, or none (the whole-word models of Devlin et al., published in May 2019)."""

    rate: float = 0.15
    """Expected part of the words that is guessed."""

    def __post_init__(self) -> None:
        _check_rate(self.rate)


Masking = TokenMasking | WholeWordMasking


def check_context(batches: TextRows | Batching, context: int) -> None:
    """Raises ValueError where a row may be longer than what a model reads at once."""
    name = "max_length" if isinstance(batches, Batching) else "length"
    if (length := getattr(batches, name)) > context:
        raise ValueError(
            f"batches.{name} must fit the model's context of {context} tokens, got {name}={length}; "
            "lower it, or raise model.context"
        )
