"""What the tokenizers that this library trains have in common: three marks, then pieces of text, all in one file."""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from pathlib import Path

from jaxformer.text.pieces import Pieces
from jaxformer.text.tokenizer import SPECIALS, Specials


class Marked(ABC):
    """Pieces of text, each with its id, behind the marks for padding, beginning and end."""

    pad, bos, eos = range(len(SPECIALS))
    specials = Specials(pad, bos, eos)

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self._pieces = Pieces([b"" for _ in SPECIALS] + list(pieces), dict(enumerate(SPECIALS)))

    @property
    def size(self) -> int:
        """Number of ids, specials included."""
        return len(self._pieces)

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the saved file, in hexadecimal."""
        return hashlib.sha256(self._file()).hexdigest()

    @abstractmethod
    def encode(self, text: str) -> list[int]:
        """Ids of one text, without begin or end mark."""

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """Ids of many texts."""
        return [self.encode(text) for text in texts]

    def encode_prompt(self, text: str) -> list[int]:
        """Ids of a text to be continued, behind the mark that a document follows in training: the end of another."""
        return [self.eos, *self.encode(text)]

    def decode(self, ids: Iterable[int]) -> str:
        """Text of ids; specials are left out, and bytes that form no character become U+FFFD.

        Raises ValueError if an id is outside the vocabulary.
        """
        return self._pieces.text(ids)

    def pieces(self, ids: Iterable[int]) -> list[str]:
        """What each id stands for, to be read by a person, as `Pieces.shown` says."""
        return self._pieces.shown(ids)

    def save(self, path: str | Path) -> None:
        """Write the tokenizer as one JSON file."""
        Path(path).write_bytes(self._file())

    @abstractmethod
    def _file(self) -> bytes: ...
