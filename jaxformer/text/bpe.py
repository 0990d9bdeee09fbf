"""Byte-level BPE (Sennrich et al. 2016; over bytes as in Radford et al. 2019), by the `tokenizers` library."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Protocol

from tokenizers import Tokenizer as HfTokenizer
from tokenizers import decoders, models, normalizers, pre_tokenizers, trainers

from jaxformer.config.data import Bpe
from jaxformer.config.errors import UserError

SPECIALS = ("<pad>", "<bos>", "<eos>")


class Tokenizer(Protocol):
    """Text to ids and back. Ids lie in 0 … size-1; `encode` adds no special ids and never yields one."""

    pad: int
    bos: int
    eos: int

    @property
    def size(self) -> int: ...

    def encode(self, text: str) -> list[int]: ...

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]: ...

    def decode(self, ids: Iterable[int]) -> str: ...

    def pieces(self, ids: Iterable[int]) -> list[str]: ...

    def save(self, path: str | Path) -> None: ...


class BpeTokenizer:
    """A trained byte-level BPE: any text has ids, and `decode(encode(text)) == text` (lowercased if so trained)."""

    pad, bos, eos = range(len(SPECIALS))

    def __init__(self, tokenizer: HfTokenizer) -> None:
        if tuple(tokenizer.id_to_token(i) for i in range(len(SPECIALS))) != SPECIALS:
            raise ValueError(f"the first ids must be {', '.join(SPECIALS)}")
        # A text that happens to hold "<eos>" is text; only the model writes special ids.
        tokenizer.encode_special_tokens = True
        self._tokenizer = tokenizer
        byte_of = dict(zip(_byte_characters(), range(256), strict=True))
        token_of = {i: token for token, i in tokenizer.get_vocab().items()}
        self._bytes = [b"" for _ in SPECIALS]
        self._bytes += [bytes(byte_of[c] for c in token_of[i]) for i in range(len(SPECIALS), len(token_of))]

    @property
    def size(self) -> int:
        """Number of ids, specials included."""
        return len(self._bytes)

    def encode(self, text: str) -> list[int]:
        """Ids of one text, without begin or end mark."""
        return self._tokenizer.encode(text, add_special_tokens=False).ids

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """Ids of many texts, in parallel threads."""
        return [e.ids for e in self._tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)]

    def decode(self, ids: Iterable[int]) -> str:
        """Text of ids; specials are left out, and bytes that form no character become U+FFFD.

        Raises ValueError if an id is outside the vocabulary.
        """
        return b"".join(self._bytes_of(ids)).decode("utf-8", errors="replace")

    def pieces(self, ids: Iterable[int]) -> list[str]:
        """What each id stands for, to be read by a person: ["▁a", "▁dog", "我…", "…我", "<eos>"].

        A space is shown as ▁. An id that holds a part of a character shows the character, with … where the rest
        lies in a neighbour; a byte that belongs to no character is shown as ⟨E6⟩.
        """
        ids = list(ids)
        parts = self._bytes_of(ids)
        owners = list(_owners(b"".join(parts)))
        pieces, start = [], 0
        for i, part in zip(ids, parts, strict=True):
            stop = start + len(part)
            pieces.append(SPECIALS[i] if i < len(SPECIALS) else _show(owners[start:stop]))
            start = stop
        return pieces

    def save(self, path: str | Path) -> None:
        """Write the tokenizer as one JSON file in the format of the `tokenizers` library."""
        Path(path).write_bytes(self._tokenizer.to_str().encode())

    @classmethod
    def load(cls, path: str | Path) -> "BpeTokenizer":
        """Read what `save` wrote. Raises UserError if the file is missing or is no tokenizer of this kind."""
        try:
            return cls(HfTokenizer.from_str(Path(path).read_text(encoding="utf-8")))
        except FileNotFoundError:
            raise UserError(f"no tokenizer at {path}; a run folder holds one once its training has begun") from None
        except Exception as error:  # the library raises bare Exception for a broken file
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise UserError(f"{path} is not a tokenizer written by jaxformer: {reason}") from None

    def _bytes_of(self, ids: Iterable[int]) -> list[bytes]:
        for i in ids:
            if not 0 <= i < self.size:
                raise ValueError(f"token ids must lie in 0 … {self.size - 1}, got {i}")
        return [self._bytes[i] for i in ids]


def train_bpe(texts: Iterable[str], config: Bpe) -> BpeTokenizer:
    """Learn a BPE from texts of all languages together; the same texts give the same tokenizer.

    A pair of tokens is merged if it was seen at least twice, so a small corpus yields fewer than `config.vocabulary`.
    """
    tokenizer = HfTokenizer(models.BPE())
    if config.lowercase:
        tokenizer.normalizer = normalizers.Lowercase()
    # A space put in front could not be told from one that was there, and decoding would not be exact.
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=config.vocabulary,
        min_frequency=2,
        special_tokens=list(SPECIALS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer=trainer)
    return BpeTokenizer(tokenizer)


def _byte_characters() -> list[str]:
    """The printable character that stands for each byte in the tokenizer file (the table of GPT-2).

    Printable Latin-1 stands for itself; the other bytes take the code points from 256 on, in order.
    """
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = iter(range(256, 512))
    return [chr(byte if byte in printable else next(others)) for byte in range(256)]


def _owners(data: bytes) -> Iterator[tuple[str, int, int]]:
    """For each byte: the character it is part of, its place within, and the character's length in bytes."""
    for character in data.decode("utf-8", errors="surrogateescape"):
        encoded = character.encode("utf-8", errors="surrogateescape")
        shown = f"⟨{encoded[0]:02X}⟩" if "\udc80" <= character <= "\udcff" else character
        for place in range(len(encoded)):
            yield shown, place, len(encoded)


def _show(owners: list[tuple[str, int, int]]) -> str:
    """The characters of one piece, cut ones marked by an ellipsis."""
    shown = ""
    for n, (character, place, length) in enumerate(owners):
        if n == 0 and place > 0:
            shown += "…"
        if n == 0 or place == 0:
            shown += _visible(character)
        if n == len(owners) - 1 and place < length - 1:
            shown += "…"
    return shown


def _visible(character: str) -> str:
    if character == " ":
        return "▁"
    return character if character.isprintable() else character.encode("unicode_escape").decode()
