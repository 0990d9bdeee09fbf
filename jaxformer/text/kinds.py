"""All kinds of tokenizers: made by what a config names, read from what a file or a folder holds."""

from collections.abc import Iterable
from functools import singledispatch
from pathlib import Path
from typing import Any

from jaxformer.config.data import Bpe
from jaxformer.config.errors import UserError
from jaxformer.config.io import parse_json
from jaxformer.config.text import Bytes, Characters, WordPiece
from jaxformer.text.bpe import BpeTokenizer, train_bpe
from jaxformer.text.characters import ByteTokenizer, CharacterTokenizer
from jaxformer.text.huggingface import CONFIG, TOKENIZER
from jaxformer.text.pretrained import PretrainedTokenizer
from jaxformer.text.tokenizer import SPECIALS, Tokenizer
from jaxformer.text.wordpiece import train_wordpiece


@singledispatch
def train_tokenizer(config: Any, texts: Iterable[str]) -> Tokenizer:
    """The tokenizer that a config names, made from texts. A new kind is a config class registered here."""
    raise TypeError(f"no tokenizer for {type(config).__name__}")


@train_tokenizer.register
def _(config: Bpe, texts: Iterable[str]) -> Tokenizer:
    return train_bpe(texts, config)


@train_tokenizer.register
def _(config: WordPiece, texts: Iterable[str]) -> Tokenizer:
    return train_wordpiece(texts, config)


@train_tokenizer.register
def _(config: Characters, texts: Iterable[str]) -> Tokenizer:
    return CharacterTokenizer("".join(sorted(set().union(*texts))))


@train_tokenizer.register
def _(config: Bytes, texts: Iterable[str]) -> Tokenizer:
    return ByteTokenizer()


def load_tokenizer(path: str | Path) -> Tokenizer:
    """The tokenizer that a file or folder holds: one of this library's, or any in Hugging Face layout.

    Raises UserError if there is none, or none that can be read.
    """
    path = Path(path)
    file = path / TOKENIZER if path.is_dir() else path
    foreign = path.is_dir() and (not file.is_file() or (path / CONFIG).exists())
    kind = PretrainedTokenizer if foreign else _kind(file)
    return kind.load(path if kind is PretrainedTokenizer else file)


def _kind(file: Path) -> type[BpeTokenizer | CharacterTokenizer | ByteTokenizer | PretrainedTokenizer]:
    """Whose file this is: the small ones say so, and this library's BPE is known by its marks."""
    try:
        data = parse_json(file.read_bytes())
    except OSError as error:
        raise UserError(f"no tokenizer at {file}: {error.strerror}") from None
    except ValueError as error:
        raise UserError(f"{file} is not a tokenizer: {error}") from None
    if not isinstance(data, dict):
        raise UserError(f"{file} is not a tokenizer: it must hold an object, got {type(data).__name__}")
    if data.get("type") in ("Characters", "Bytes"):
        return CharacterTokenizer if data["type"] == "Characters" else ByteTokenizer
    return BpeTokenizer if _marks(data) == SPECIALS else PretrainedTokenizer


def _marks(data: dict[str, Any]) -> tuple[Any, ...]:
    added = data.get("added_tokens")
    return tuple(token.get("content") for token in added if isinstance(token, dict)) if isinstance(added, list) else ()
