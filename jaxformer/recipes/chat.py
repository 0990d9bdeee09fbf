"""A talk with a pretrained model, turn by turn, each token read once."""

from collections.abc import Iterator

from jaxformer.config.sampling import Sampling
from jaxformer.decoding.generate import PLAIN
from jaxformer.recipes.bundle import Bundle, Writer
from jaxformer.text.turns import encode_prompt


class Chat:
    """What was said so far, and the cache of a model that has read it."""

    def __init__(self, bundle: Bundle, sampling: Sampling = PLAIN, seed: int = 0, system: str | None = None) -> None:
        self._tokenizer = bundle.speaker
        self._writer = Writer(bundle, sampling, seed=seed)
        self.reused = False
        """Whether the last turn was read on from the cache."""
        self._messages = [] if system is None else [{"role": "system", "content": system}]

    def answer(self, text: str, count: int) -> Iterator[str]:
        """The answer to a turn, of up to `count` tokens, piece by piece.

        The whole talk is rendered by the model's own template, and of its tokens those are read that the cache has not
        seen. Where the template writes earlier turns otherwise than they were, as some do with thoughts, the cache is
        given up and everything is read again.
        """
        self._messages.append({"role": "user", "content": text})
        ids = encode_prompt(self._tokenizer, self._messages)
        known = self._writer.tokens
        self.reused = bool(known) and ids[: len(known)] == known
        if not self.reused:
            self._writer.forget()
            known = []
        said = []
        for piece in self._writer.say(ids[len(known) :], count):
            said.append(piece)
            yield piece
        self._messages.append({"role": "assistant", "content": "".join(said)})
