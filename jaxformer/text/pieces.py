"""What each id of a vocabulary stands for, in bytes, and how that is shown to a person."""

from collections.abc import Iterable, Iterator, Mapping, Sequence


class Pieces:
    """The bytes of each id. A special id has none; it is a mark beside the text, shown by its name."""

    def __init__(self, parts: Sequence[bytes], marks: Mapping[int, str]) -> None:
        self._parts, self._marks = list(parts), dict(marks)

    def __len__(self) -> int:
        return len(self._parts)

    def text(self, ids: Iterable[int]) -> str:
        """Text of ids without the marks; bytes that form no character become U+FFFD.

        Raises ValueError if an id is outside the vocabulary.
        """
        return b"".join(self._bytes_of(ids)).decode("utf-8", errors="replace")

    def shown(self, ids: Iterable[int]) -> list[str]:
        """What each id stands for, to be read by a person: ["▁a", "▁dog", "我…", "…我", "<eos>"].

        A space is shown as ▁. An id that holds a part of a character shows the character, with … where the rest
        lies in a neighbour; a byte that belongs to no character is shown as ⟨E6⟩.
        """
        ids = list(ids)
        parts = self._bytes_of(ids)
        owners = list(_owners(b"".join(parts)))
        shown, start = [], 0
        for i, part in zip(ids, parts, strict=True):
            stop = start + len(part)
            shown.append(self._marks.get(i) or _show(owners[start:stop]))
            start = stop
        return shown

    def _bytes_of(self, ids: Iterable[int]) -> list[bytes]:
        ids = list(ids)
        check_ids(ids, len(self))
        return [self._parts[i] for i in ids]


def check_ids(ids: Iterable[int], size: int) -> None:
    """Raises ValueError if an id is outside a vocabulary of this size."""
    for i in ids:
        if not 0 <= i < size:
            raise ValueError(f"token ids must lie in 0 … {size - 1}, got {i}")


def byte_characters() -> list[str]:
    """The printable character that stands for each byte in the file of a byte-level BPE (the table of GPT-2).

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
