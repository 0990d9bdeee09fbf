"""Byte-level BPE (Sennrich et al. 2016; over bytes as in Radford et al. 2019), by the `tokenizers` library."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer as HfTokenizer
from tokenizers import decoders, models, normalizers, pre_tokenizers, trainers

from jaxformer.config.data import Bpe
from jaxformer.config.errors import UserError
from jaxformer.text.marked import Marked
from jaxformer.text.pieces import byte_characters
from jaxformer.text.tokenizer import SPECIALS


class BpeTokenizer(Marked):
    """A trained byte-level BPE: any text has ids, and `decode(encode(text)) == text` (lowercased if so trained). The
    file is in the format of the `tokenizers` library.
    """

    def __init__(self, tokenizer: HfTokenizer) -> None:
        if tuple(tokenizer.id_to_token(i) for i in range(len(SPECIALS))) != SPECIALS:
            raise ValueError(f"the first ids must be {', '.join(SPECIALS)}")
        # A text that happens to hold "<eos>" is text; only the model writes special ids.
        tokenizer.encode_special_tokens = True
        self._tokenizer = tokenizer
        byte_of = dict(zip(byte_characters(), range(256), strict=True))
        token_of = {i: token for token, i in tokenizer.get_vocab().items()}
        super().__init__(bytes(byte_of[c] for c in token_of[i]) for i in range(len(SPECIALS), len(token_of)))

    def __reduce__(self) -> tuple[Any, ...]:
        # The library forgets, when it pickles a tokenizer, whether special tokens are read in text.
        return _from_json, (self.to_json(),)

    def encode(self, text: str) -> list[int]:
        """Ids of one text, without begin or end mark."""
        return self._tokenizer.encode(text, add_special_tokens=False).ids

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """Ids of many texts, in parallel threads."""
        return [e.ids for e in self._tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)]

    def to_json(self) -> str:
        """As the `tokenizers` library writes it."""
        return self._tokenizer.to_str()

    def _file(self) -> bytes:
        return self.to_json().encode()

    @classmethod
    def load(cls, path: str | Path) -> "BpeTokenizer":
        """Read what `save` wrote. Raises UserError if the file is missing or is no tokenizer of this kind."""
        try:
            return _from_json(Path(path).read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise UserError(f"no tokenizer at {path}; a run folder holds one once its training has begun") from None
        except Exception as error:  # the library raises bare Exception for a broken file
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise UserError(f"{path} is not a tokenizer written by jaxformer: {reason}") from None


def _from_json(text: str) -> BpeTokenizer:
    return BpeTokenizer(HfTokenizer.from_str(text))


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
