"""Ids become text while they are generated: whole characters only, nothing printed twice, nothing past a stop."""

from collections.abc import Sequence

from jaxformer.text.tokenizer import Tokenizer

_UNFINISHED = "\N{REPLACEMENT CHARACTER}"


class Streamer:
    """Text of ids that come one at a time, as soon as later ids can no longer change it.

    All text that `push` and `finish` return, put together, is `decode` of all the ids, cut before the stop string that
    was complete first (the longest, where several end together). Two kinds of text are held back: bytes that do not
    form a character yet, and what may be the beginning of a stop string.
    """

    def __init__(self, tokenizer: Tokenizer, stop: Sequence[str] = ()) -> None:
        if "" in stop:
            raise ValueError("a stop string must not be empty")
        self.stopped = False
        """Whether a stop string has been seen; ids that come afterwards give no text."""
        self._tokenizer, self._stop = tokenizer, tuple(stop)
        # Decoders look at the neighbour before (is a space needed?), so the last ids that gave text stay at hand.
        self._context: list[int] = []
        self._pending: list[int] = []
        self._held = ""

    def push(self, token: int) -> str:
        """The text that can be shown now that the id `token` is known, often none.

        Raises ValueError if the id is outside the vocabulary.
        """
        if self.stopped:
            return ""
        self._pending.append(token)
        return self._release(self._advance())

    def finish(self) -> str:
        """The text still held back, once no id will follow; bytes that form no character become U+FFFD."""
        if self.stopped:
            return ""
        text = self._release(self._new_text())
        self._pending = []
        text, self._held = text + self._held, ""
        return text

    def _advance(self) -> str:
        """The text of the pending ids, or nothing while its end may be part of a character."""
        text = self._new_text()
        if not text or text.endswith(_UNFINISHED):
            return ""
        self._context, self._pending = self._pending, []
        return text

    def _new_text(self) -> str:
        before = self._tokenizer.decode(self._context)
        text = self._tokenizer.decode(self._context + self._pending)
        # A decoder with byte fallback takes a run of bytes as a whole, so bytes that turn out to form no character
        # spoil those before them; what was printed stands, and the pending ids speak for themselves.
        return text[len(before) :] if text.startswith(before) else self._tokenizer.decode(self._pending)

    def _release(self, text: str) -> str:
        """What of the held and the new text can be shown; the rest is held."""
        text = self._held + text
        found = [(at + len(stop), at) for stop in self._stop if (at := text.find(stop)) >= 0]
        if found:
            self.stopped, self._held = True, ""
            return text[: min(found)[1]]
        cut = len(text) - self._begun(text)
        self._held = text[cut:]
        return text[:cut]

    def _begun(self, text: str) -> int:
        """Length of the longest end of `text` with which a stop string begins."""
        longest = min(len(text), max(map(len, self._stop), default=1) - 1)
        return next((n for n in range(longest, 0, -1) if any(stop.startswith(text[-n:]) for stop in self._stop)), 0)
