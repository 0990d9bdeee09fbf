"""The tokenizer of a pretrained model, as its Hugging Face folder holds it."""

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from tokenizers import Tokenizer as HfTokenizer

from jaxformer.config.errors import UserError
from jaxformer.text import huggingface as hf
from jaxformer.text.pieces import Pieces, byte_characters, check_ids
from jaxformer.text.tokenizer import Specials


class Encoding(NamedTuple):
    """What a model reads, one entry an id."""

    ids: list[int]
    types: list[int]
    """Token type: 0 for the text and its marks, 1 for BERT's second text."""
    spans: list[tuple[int, int]]
    """The characters [start, stop) of its text that the id stands for; (0, 0) for a mark that was added."""


class PretrainedTokenizer:
    """Any tokenizer that the `tokenizers` library knows, with the special ids, the marks and the template of a model.

    The text of a special token is text, unless a method reads it: a chat or a page from the web cannot end a turn.
    """

    def __init__(self, files: Mapping[str, bytes]) -> None:
        """From the contents of the files in `huggingface.FILES`, by name; tokenizer.json must be among them.

        Raises UserError for files that are broken or contradict each other.
        """
        self._files = dict(files)
        self._config = hf.settings(files)
        self._reader = hf.build(files)
        self._role_tokens = hf.roles(self._config, self._reader)
        self._added = self._reader.get_added_tokens_decoder()
        self.marks = {i: token.content for i, token in self._added.items() if token.special}
        """The special tokens by their ids."""
        self.specials = Specials(**{role: self._reader.token_to_id(t) for role, t in self._role_tokens.items()})
        self.size = max(self._reader.get_vocab().values(), default=-1) + 1
        """Number of ids, specials included; a model may have more rows, for the sake of round numbers."""

    def __reduce__(self) -> tuple[Any, ...]:
        # The library forgets, when it pickles a tokenizer, whether special tokens are read in text.
        return PretrainedTokenizer, (self._files,)

    @property
    def pad(self) -> int:
        """The id that fills up rows: that of the end where the model has none of its own, as it is masked anyway."""
        return self.eos if self.specials.pad is None else self.specials.pad

    @property
    def bos(self) -> int:
        """The id of the beginning. Raises UserError where there is none."""
        return self._required("bos")

    @property
    def eos(self) -> int:
        """The id of the end. Raises UserError where there is none."""
        return self._required("eos")

    @property
    def fingerprint(self) -> str:
        """SHA-256 of all files, in hexadecimal."""
        digest = hashlib.sha256()
        for name, content in sorted(self._files.items()):
            digest.update(f"{name} {len(content)}\n".encode() + content)
        return digest.hexdigest()

    @property
    def chat_template(self) -> str | None:
        """The Jinja template that turns a chat into text, for `chat.render`; None where the model has none."""
        return hf.chat_template(self._files)

    def with_template(self, template: str) -> "PretrainedTokenizer":
        """The same tokenizer with another chat template."""
        return PretrainedTokenizer(self._files | {hf.TEMPLATE: template.encode()})

    def token(self, role: str) -> str | None:
        """The text of the token of a role in `Specials`, such as "bos"; None where there is none."""
        return self._role_tokens.get(role)

    def encode(self, text: str) -> list[int]:
        """Ids of one text, nothing added; it may yield the unknown id, and no other special one."""
        with _refusing():
            return self._tokenizer.encode(text, add_special_tokens=False).ids

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """Ids of many texts, in parallel threads."""
        with _refusing():
            return [e.ids for e in self._tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)]

    def encode_prompt(self, text: str) -> list[int]:
        """Ids of a text to be continued, with the marks that the model expects around it."""
        return self.encode_with_specials(text).ids

    def encode_marked(self, text: str) -> Encoding:
        """A text that holds its own marks, such as a rendered chat: the text of a special token is that token."""
        with _refusing():
            return _encoding(self._reader.encode(text, add_special_tokens=False))

    def encode_with_specials(self, text: str, pair: str | None = None, *, read_specials: bool = False) -> Encoding:
        """One text or two with the marks that the model expects around them, for BERT [CLS] text [SEP] pair [SEP].

        With `read_specials` the text of a special token is that token, as "[MASK]" in a text to be filled in.
        """
        with _refusing():
            return _encoding((self._reader if read_specials else self._tokenizer).encode(text, pair))

    def decode(self, ids: Iterable[int]) -> str:
        """Text of ids; specials are left out, and bytes that form no character become U+FFFD.

        Raises ValueError if an id is outside the vocabulary.
        """
        ids = list(ids)
        check_ids(ids, self.size)
        return self._reader.decode(ids, skip_special_tokens=True)

    def pieces(self, ids: Iterable[int]) -> list[str]:
        """What each id stands for, to be read by a person, as `Pieces.shown` says; WordPiece keeps its ##."""
        return self._pieces.shown(ids)

    def save(self, path: str | Path) -> None:
        """Write the files into the folder `path`, as they were read.

        Only tokenizer_config.json is completed where it does not name the special tokens or the class that reads it,
        which other libraries would otherwise take from the model's config.json.
        """
        folder = Path(path)
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in (self._files | {hf.CONFIG: self._completed_config()}).items():
            (folder / name).write_bytes(content)

    @classmethod
    def load(cls, path: str | Path) -> "PretrainedTokenizer":
        """Read a folder in Hugging Face layout, or a lone tokenizer.json.

        Raises UserError if there is no tokenizer, or none that can be read without running code.
        """
        try:
            return cls(hf.read_files(Path(path)))
        except UserError as error:
            raise UserError(f"{path}: {error}") from None

    @cached_property
    def _tokenizer(self) -> HfTokenizer:
        """The twin that takes the text of a special token as text."""
        tokenizer = hf.build(self._files)
        tokenizer.encode_special_tokens = True
        unknown = self._role_tokens.get("unk")
        read = [token for i, token in self.marks.items() if token != unknown and i in _plain_ids(tokenizer, token)]
        return _without(tokenizer, read) if read else tokenizer

    @cached_property
    def _pieces(self) -> Pieces:
        bytes_of, parts = _bytes_reader(self._reader), [b""] * self.size
        for token, i in self._reader.get_vocab().items():
            parts[i] = token.encode() if i in self._added else bytes_of(token)
        return Pieces([b"" if i in self.marks else part for i, part in enumerate(parts)], self.marks)

    def _required(self, role: str) -> int:
        i = getattr(self.specials, role)
        if i is None:
            raise UserError(
                f"this tokenizer has no {role} token; it has {', '.join(self._role_tokens) or 'none at all'}"
            )
        return i

    def _completed_config(self) -> bytes:
        config = hf.read_object(self._files, hf.CONFIG)
        named = any(f"{role}_token" in self._config for role in hf.ROLES)
        missing = {} if named else {f"{role}_token": token for role, token in self._role_tokens.items()}
        if "tokenizer_class" not in config:
            missing["tokenizer_class"] = "PreTrainedTokenizerFast"
        whole = json.dumps(config | missing, indent=2, ensure_ascii=False).encode() + b"\n"
        return whole if missing else self._files[hf.CONFIG]


@contextmanager
def _refusing() -> Iterator[None]:
    """UserError where a text cannot be encoded, as by a vocabulary that lacks its unknown token."""
    try:
        yield
    except Exception as error:
        if type(error) is not Exception:  # the library raises bare Exception
            raise
        raise UserError(f"this tokenizer cannot encode the text: {hf.first_line(error)}") from None


def _plain_ids(tokenizer: HfTokenizer, text: str) -> list[int]:
    return tokenizer.encode(text, add_special_tokens=False).ids


def _without(tokenizer: HfTokenizer, tokens: Sequence[str]) -> HfTokenizer:
    """The same ids, but these tokens are found in no text.

    A model whose vocabulary holds special tokens as common ones (Unigram's do) makes their text one piece even where
    it is not looked for. Under a name that no text holds, a noncharacter and a space, they keep their ids.
    """
    hidden = {token: f"\uffff {token}" for token in tokens}
    data = json.loads(tokenizer.to_str())
    vocabulary = data["model"]["vocab"]
    data["model"]["vocab"] = (
        {hidden.get(token, token): i for token, i in vocabulary.items()}
        if isinstance(vocabulary, dict)
        else [[hidden.get(token, token), score] for token, score in vocabulary]
    )
    for token in data["added_tokens"]:
        token["content"] = hidden.get(token["content"], token["content"])
    tokenizer = HfTokenizer.from_str(json.dumps(data))
    tokenizer.encode_special_tokens = True
    return tokenizer


def _bytes_reader(tokenizer: HfTokenizer) -> Callable[[str], bytes]:
    """The bytes that a token of this vocabulary stands for, which is written in one of three ways."""
    decoder = str(tokenizer.decoder)
    byte_of = dict(zip(byte_characters(), range(256), strict=True)) if "ByteLevel" in decoder else {}

    def read(token: str) -> bytes:
        if byte_of and all(character in byte_of for character in token):
            return bytes(byte_of[character] for character in token)
        if "ByteFallback" in decoder and re.fullmatch("<0x[0-9A-F]{2}>", token):
            return bytes([int(token[3:5], 16)])
        return token.encode()

    return read


def _encoding(encoded: Any) -> Encoding:
    return Encoding(encoded.ids, encoded.type_ids, encoded.offsets)
