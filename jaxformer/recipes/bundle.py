"""A model with all that belongs to it, from a Hugging Face folder, a GGUF file or a run, and what it can do."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from jaxformer.config.errors import UserError
from jaxformer.config.model import EncoderConfig
from jaxformer.config.sampling import Sampling
from jaxformer.decoding.generate import PLAIN, Writing, begin, keys_of, read_on, write
from jaxformer.models.decoder import Decoder
from jaxformer.models.encoder import mean_pooled
from jaxformer.models.seq2seq import Transformer
from jaxformer.ops.linear import as_declared
from jaxformer.text.exported import AFTER_ANOTHER, ENDED, exported
from jaxformer.text.gguf_vocabulary import gguf_tokenizer
from jaxformer.text.pretrained import PretrainedTokenizer
from jaxformer.text.streaming import Streamer
from jaxformer.text.tokenizer import Specials
from jaxformer.text.turns import turn_end
from jaxformer.weights.families.described import Described
from jaxformer.weights.families.gguf import describe_gguf
from jaxformer.weights.folder import Model, load_folder, load_tensors, save_folder
from jaxformer.weights.gguf import open_gguf
from jaxformer.weights.spelling import spelled

BUCKET = 32
"""Prompts are filled up to a multiple of so many tokens, so that few shapes are compiled."""

AT_A_TIME = 8
"""Tokens written between two looks at the text: a stop string is noticed so late at most, and the host seldom waits."""


@dataclass(frozen=True)
class Bundle:
    """A model, its weights, and its tokenizer where there is one."""

    path: Path
    model: Model
    params: Any
    tokenizer: Any = None
    """A `text.tokenizer.Tokenizer`; encoders need a `PretrainedTokenizer`."""
    described: Described | None = None
    """How the file that it was read from names its weights; None where it was trained here."""
    fields: Mapping[str, Any] = field(default_factory=dict)
    """The config.json that it was read from; empty where there was none."""

    @property
    def config(self) -> Any:
        """The model's configuration."""
        return self.model.config

    @property
    def decoder(self) -> Decoder:
        """The model; UserError where it is no decoder."""
        if not isinstance(self.model, Decoder):
            raise UserError(f"{self.path} is no decoder, and only decoders write; embed with it")
        return self.model

    def apart(self) -> "Bundle":
        """The same with every layer's weights in arrays of their own (`Decoder.apart`): what is to write many tokens
        does it faster so. For as long as this bundle is kept there are two copies of the layers.
        """
        model, params = self.decoder.apart(self.params)
        described = None if self.described is None else self.described._replace(config=model.config)
        return replace(self, model=model, params=params, described=described)

    def logits(self, *tokens: Array | np.ndarray) -> Array:
        """The plain forward pass: (tokens_BT), or (source_BS, target_BT) for an encoder-decoder. A BERT without a head
        gives its vectors [B, T, D].
        """
        return self._apply(self.params, *(jnp.asarray(part, jnp.int32) for part in tokens))

    def save(self, folder: str | Path, dtype: Any = None) -> None:
        """Writes the Hugging Face layout: config.json, safetensors, tokenizer. Raises UserError for a model that no
        family of theirs computes.
        """
        described, fields = self.described, self.fields
        if described is None or not fields:
            specials = Specials() if self.tokenizer is None else self.tokenizer.specials
            described, fields = spelled(self.config, self.model.vocabulary, specials)
        save_folder(Path(folder), as_declared(self.params), described, fields, dtype)
        if self.tokenizer is not None:
            marks = ENDED if isinstance(self.model, Transformer) else AFTER_ANOTHER
            exported(self.tokenizer, marks).save(folder)

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        """A unit vector for each text, float32 [B, D]: the mean of its tokens' vectors (Reimers & Gurevych 2019)."""
        if not isinstance(self.config, EncoderConfig):
            raise UserError(f"{self.path} is no encoder, and only encoders embed; generate with it")
        tokenizer, context = self.reader, self.config.context
        rows = [tokenizer.encode_with_specials(text).ids for text in texts]
        if too_long := [at for at, row in enumerate(rows) if len(row) > context]:
            at = too_long[0]
            raise UserError(f"a text must fit the context of {context} tokens, got {len(rows[at])} in text {at + 1}")
        # Each length by itself would be compiled; padding is hidden from the others and left out of the mean.
        width = min(context, -(-max(map(len, rows), default=1) // BUCKET) * BUCKET)
        tokens_BT = np.full((len(rows), width), self.model.pad, np.int32)
        for at, row in enumerate(rows):
            tokens_BT[at, : len(row)] = row
        counted_BT = np.arange(width) < np.array([len(row) for row in rows], int)[:, None]
        return np.asarray(mean_pooled(self._encode(self.params, tokens_BT), counted_BT))

    def generate(
        self,
        prompt: str,
        *,
        count: int = 100,
        sampling: Sampling = PLAIN,
        stop: Sequence[str] = (),
        seed: int = 0,
    ) -> Iterator[str]:
        """The continuation of a text, piece by piece, as soon as a piece is sure."""
        return Writer(self, sampling, stop, seed).say(self.prompt(prompt), count)

    def prompt(self, text: str) -> list[int]:
        """What is read of a text to be continued. Raises UserError where that is nothing, or more than fits."""
        tokens = self.reader.encode_prompt(text)
        _check_room(tokens, len(tokens), self.config.context)
        return tokens

    @cached_property
    def stops(self) -> tuple[int, ...]:
        """The ids that end a text, or an answer in a chat."""
        if self.tokenizer is None:
            return ()
        turn = turn_end(self.tokenizer) if isinstance(self.tokenizer, PretrainedTokenizer) else None
        return tuple(sorted({i for i in (self.tokenizer.specials.eos, turn) if i is not None}))

    @property
    def reader(self) -> Any:
        """The tokenizer; UserError where there is none."""
        if self.tokenizer is None:
            raise UserError(f"{self.path} has no tokenizer, so it reads tokens and no text; put tokenizer.json there")
        return self.tokenizer

    @property
    def speaker(self) -> PretrainedTokenizer:
        """The tokenizer, which knows the marks of a chat; UserError where it is none that may."""
        if not isinstance(self.reader, PretrainedTokenizer):
            raise UserError(
                f"{self.path} has a tokenizer without marks for the turns of a chat; take a pretrained model, or a run "
                "of jaxformer train instruct"
            )
        return self.reader

    @cached_property
    def _apply(self) -> Any:
        return jax.jit(self.model.apply)

    @cached_property
    def _encode(self) -> Any:
        return jax.jit(lambda params, tokens_BT: self.model.apply(params, tokens_BT, method="encode"))


class Writer:
    """One text that a decoder reads and writes in turn, its cache kept in between."""

    def __init__(self, bundle: Bundle, sampling: Sampling = PLAIN, stop: Sequence[str] = (), seed: int = 0) -> None:
        self._model = bundle.decoder
        self._bundle, self._sampling, self._stop = bundle, sampling, stop
        self._keys_B = keys_of(seed, 1)
        self.forget()

    def forget(self) -> None:
        """Begins anew, with nothing read."""
        self._writing: Writing | None = None
        self.tokens: list[int] = []
        """All that was read and written so far, a stop token that was met included."""

    def say(self, tokens: Sequence[int], count: int) -> Iterator[str]:
        """Reads some more tokens, then writes up to `count`, given piece by piece. Raises UserError where there is
        nothing to read or it would not fit the context.
        """
        bundle, context = self._bundle, self._bundle.config.context
        total = len(self.tokens) + len(tokens)
        _check_room(tokens, total, context)
        self._read(tokens)
        streamer = Streamer(bundle.reader, self._stop)
        for token in self._written(min(count, context - total)):
            yield streamer.push(token)
            if streamer.stopped:
                return
        yield streamer.finish()

    def _read(self, tokens: Sequence[int]) -> None:
        model, params, context = self._model, self._bundle.params, self._bundle.config.context
        width = min(-(-len(tokens) // BUCKET) * BUCKET, context - len(self.tokens))
        tokens_1T = np.zeros((1, width), np.int32)
        tokens_1T[0, : len(tokens)] = tokens
        length_1 = np.array([len(tokens)], np.int32)
        if self._writing is None:
            self._writing = begin(model, params, tokens_1T, length_1, room=context)
        else:
            self._writing = read_on(model, params, self._writing, tokens_1T, length_1)
        self.tokens += tokens

    def _written(self, count: int) -> Iterator[int]:
        """The next tokens, up to a stop token, which is not given."""
        stops = self._bundle.stops
        while count > 0:
            some = min(count, AT_A_TIME)
            written, self._writing = write(
                self._model,
                self._bundle.params,
                self._writing,
                self._keys_B,
                count=some,
                sampling=self._sampling,
                stops=stops,
            )
            fresh = np.asarray(written.tokens_BN)[0, : int(written.count_B[0])].tolist()
            self.tokens, count = self.tokens + fresh, count - some
            for token in fresh:
                if token in stops:
                    return
                yield token


def _check_room(tokens: Sequence[int], total: int, context: int) -> None:
    if not tokens:
        raise UserError("a prompt must have at least one token, got an empty one")
    if total >= context:
        raise UserError(f"a prompt must be shorter than the context of {context} tokens, got {total}")


def load_bundle(path: Path, dtype: Any = jnp.float32) -> Bundle:
    """The model in a Hugging Face folder or a GGUF file, with its tokenizer where there is one."""
    if path.suffix == ".gguf":
        tensors = open_gguf(path)
        described = describe_gguf(tensors.metadata, tensors)
        loaded = load_tensors(described, {}, tensors, dtype)
        return Bundle(path, loaded.model, loaded.params, _gguf_tokenizer(tensors.metadata), described)
    loaded = load_folder(path, dtype)
    tokenizer = None
    if any((path / name).exists() for name in ("tokenizer.json", "vocab.txt", "vocab.json")):
        tokenizer = PretrainedTokenizer.load(path)
    return Bundle(path, loaded.model, loaded.params, tokenizer, loaded.described, loaded.fields)


def _gguf_tokenizer(metadata: Mapping[str, Any]) -> PretrainedTokenizer:
    vocabulary = gguf_tokenizer(metadata)
    settings: dict[str, Any] = {
        f"{role}_token": vocabulary.tokenizer.id_to_token(i)
        for role, i in vocabulary.roles.items()
        if role in ("bos", "eos", "unk", "pad")
    }
    if vocabulary.chat_template is not None:
        settings["chat_template"] = vocabulary.chat_template
    files = {"tokenizer.json": vocabulary.tokenizer.to_str(), "tokenizer_config.json": json.dumps(settings)}
    return PretrainedTokenizer({name: text.encode() for name, text in files.items()})
