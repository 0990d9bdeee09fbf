"""What every tokenizer offers: text to ids and back, and the ids that have a role of their own."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

SPECIALS = ("<pad>", "<bos>", "<eos>")
"""The marks of the tokenizers that this library trains, BERT's excepted; they are the ids 0, 1 and 2."""


@dataclass(frozen=True)
class Specials:
    """The id of each role; None where the vocabulary has none."""

    pad: int | None = None
    bos: int | None = None
    eos: int | None = None
    unk: int | None = None
    cls: int | None = None
    sep: int | None = None
    mask: int | None = None


class Tokenizer(Protocol):
    """Text to ids and back. Ids lie in 0 … size-1; `encode` adds no special ids.

    Nor does it make one of the text of a special token, "<eos>": that is text. A vocabulary that does not cover all
    text yields its unknown id for the rest. `encode_prompt` puts before a text to be continued what the model expects
    there. `decode` leaves special ids out. A tokenizer without the id of a role says
    so in `specials`, and in a UserError where `pad`, `bos` or `eos` asks for it.
    """

    @property
    def specials(self) -> Specials: ...

    @property
    def pad(self) -> int: ...

    @property
    def bos(self) -> int: ...

    @property
    def eos(self) -> int: ...

    @property
    def size(self) -> int: ...

    @property
    def fingerprint(self) -> str: ...

    def encode(self, text: str) -> list[int]: ...

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]: ...

    def encode_prompt(self, text: str) -> list[int]: ...

    def decode(self, ids: Iterable[int]) -> str: ...

    def pieces(self, ids: Iterable[int]) -> list[str]: ...

    def save(self, path: str | Path) -> None: ...
