"""Which tokenizer is made from a text, beside the byte-level BPE of `config.data`."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Characters:
    """One id for each character of the text that it is made from, and 3 special marks."""


@dataclass(frozen=True)
class Bytes:
    """One id for each of the 256 bytes, and 3 special marks; nothing is learned."""


@dataclass(frozen=True)
class WordPiece:
    """BERT's vocabulary: whole words and their pieces, the latter marked by ##, and 5 special marks."""

    vocabulary: int = 8000
    """Number of tokens, the special marks among them. A small corpus may yield fewer."""

    lowercase: bool = True
    """Lowercase all text and drop accents before it is split, as the uncased BERT does."""

    def __post_init__(self) -> None:
        if self.vocabulary < 7:
            raise ValueError(f"vocabulary must be at least 7 (5 special marks and a letter), got {self.vocabulary}")
