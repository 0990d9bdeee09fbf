"""Tokenizers that learn nothing: one id for each character, or one for each byte."""

import json
from abc import abstractmethod
from pathlib import Path
from typing import Any

from jaxformer.config.errors import UserError
from jaxformer.config.io import parse_json
from jaxformer.text.marked import Marked
from jaxformer.text.tokenizer import SPECIALS


class _Units(Marked):
    """Units of text that nothing was learned of. The file says by its "type" of which kind it is."""

    def _file(self) -> bytes:
        return (json.dumps(self._json()) + "\n").encode()

    @abstractmethod
    def _json(self) -> dict[str, Any]: ...


class CharacterTokenizer(_Units):
    """The characters of a text, in the order of their code points."""

    def __init__(self, text: str) -> None:
        self.characters = "".join(sorted(set(text)))
        self._id_of = {character: i for i, character in enumerate(self.characters, len(SPECIALS))}
        super().__init__(character.encode() for character in self.characters)

    def encode(self, text: str) -> list[int]:
        """One id a character. Raises UserError, which names them, for characters outside the vocabulary."""
        try:
            return [self._id_of[character] for character in text]
        except KeyError:
            raise UserError(self._unknown(text)) from None

    @classmethod
    def load(cls, path: str | Path) -> "CharacterTokenizer":
        """Read what `save` wrote. Raises UserError if the file is missing or is no tokenizer of this kind."""
        characters = _read(path, "Characters").get("characters")
        if not isinstance(characters, str):
            raise UserError(f"{path} must hold its characters as one string, got {type(characters).__name__}")
        return cls(characters)

    def _json(self) -> dict[str, Any]:
        return {"type": "Characters", "characters": self.characters}

    def _unknown(self, text: str) -> str:
        unknown = [repr(character) for character in dict.fromkeys(text) if character not in self._id_of]
        named = ", ".join(unknown[:7]) + (f" and {len(unknown) - 7} more" if len(unknown) > 7 else "")
        return (
            f"the vocabulary of {len(self.characters)} characters has no {named}; leave them out, or train on a text "
            "that holds them, or with a tokenizer of Bytes"
        )


class ByteTokenizer(_Units):
    """The 256 bytes of UTF-8: any text has ids, and `decode(encode(text)) == text`."""

    def __init__(self) -> None:
        super().__init__(bytes([byte]) for byte in range(256))

    def encode(self, text: str) -> list[int]:
        """One id a byte."""
        return [byte + len(SPECIALS) for byte in text.encode()]

    @classmethod
    def load(cls, path: str | Path) -> "ByteTokenizer":
        """Read what `save` wrote. Raises UserError if the file is missing or is no tokenizer of this kind."""
        _read(path, "Bytes")
        return cls()

    def _json(self) -> dict[str, Any]:
        return {"type": "Bytes"}


def _read(path: str | Path, kind: str) -> dict[str, Any]:
    """The object in a JSON file whose "type" is `kind`."""
    try:
        data = parse_json(Path(path).read_bytes())
    except OSError as error:
        raise UserError(f"no tokenizer at {path}: {error.strerror}") from None
    except ValueError as error:
        raise UserError(f"{path} is not a tokenizer written by jaxformer: {error}") from None
    if not isinstance(data, dict) or data.get("type") != kind:
        raise UserError(f'{path} is not a tokenizer of {kind}: it must hold an object whose "type" is "{kind}"')
    return data
