"""A decoder alone: GPT, Llama, Qwen, Gemma, Mixtral, DeepSeek. What differs between them is the config."""

from dataclasses import replace
from operator import itemgetter
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.traverse_util import flatten_dict, unflatten_dict
from jax import Array

from jaxformer.config.blocks import Block as BlockConfig
from jaxformer.config.blocks import Group, MultiHead, RmsNorm
from jaxformer.config.model import DecoderConfig
from jaxformer.nn.attention import Where
from jaxformer.nn.block import Beside, Block, Context
from jaxformer.nn.cache import Chunk
from jaxformer.nn.dropout import Dropout
from jaxformer.nn.embedding import Embedding, Positions, RelativeBias
from jaxformer.nn.experts import Report
from jaxformer.nn.matrices import matrices
from jaxformer.nn.norm import Norm
from jaxformer.nn.recorder import Recorded, Recorder
from jaxformer.nn.stack import Left, Stack, Stacked, caches, recorded
from jaxformer.nn.weight import normal, weight
from jaxformer.ops.attention.masks import Causal, Mask, Segments
from jaxformer.ops.linear import ByOutput, as_declared, capped, logits, project


class DecoderCache(NamedTuple):
    """What generation remembers: every layer's rows, stacked on a first axis, and how far each sequence has come."""

    layers: Stacked
    length_B: Array
    """Tokens read, int32."""

    def rewound(self, length_B: Array) -> "DecoderCache":
        """The cache as it was after the first `length_B` tokens. Of a window, no more may be taken back than the slack
        that the cache was made with.
        """
        return self._replace(length_B=length_B)


class Features(NamedTuple):
    """What the losses of a decoder are made of."""

    x_BTD: Array
    """The last vectors."""
    output_VD: Array
    """The product with it gives the logits, before a soft-cap."""
    further: tuple[Array, ...]
    """Vectors [B, T, D] that predict the second token after each, the third, …; the last places of the k-th know
    nothing of the k tokens that they need.
    """
    reports: dict[str, Report]
    """Of every mixture of experts, by the path of its parameters; those of equal layers stacked on a first axis."""


class Decoder(nn.Module):
    """Tokens so far → logits of the next one. Call it with `rngs={"dropout": key}` to train.

    Sequences are int32 [B, T]. Several documents may share a row: with `segments_BT` they do not see each other, with
    `positions_BT` each begins at 0.
    """

    config: DecoderConfig
    vocabulary: int
    recorder: Recorder | None = None

    def setup(self):
        c = self.config
        recorder = self.recorder or Recorder(c.layers.attention)
        self.embedding = Embedding(self.vocabulary, c.width, jnp.dtype(c.dtype), c.embedding_scale)
        self.position = Positions(c.position)
        self.dropout = Dropout(c.dropout)
        self.layers = Stack(c.groups, c.width, c.dropout, c.layers, recorder)
        if c.norm is not None:
            self.norm = Norm(c.norm)
        if c.relative is not None:
            self.bias = RelativeBias(c.relative, c.groups[0].blocks[0].attention.heads)
        if c.tied_output:
            self.output_VD = self.embedding.table_VD
        else:
            self.output_VD = normal(self, "output", c.width**-0.5, (self.vocabulary, c.width), ("vocabulary", "embed"))
        self.further = [Further(c, recorder) for _ in range(c.further)]

    def __call__(self, tokens_BT: Array, segments_BT: Array | None = None, positions_BT: Array | None = None) -> Array:
        """Logits float32 [B, T, V] of the token after each."""
        context = self._context(tokens_BT, segments_BT, positions_BT)
        x_BTD, _ = self._forward(tokens_BT, context)
        if self.is_initializing():
            self._further(x_BTD, tokens_BT, context)  # a part of the model, although no logits need them
        return self._logits(x_BTD)

    def encode(self, tokens_BT: Array) -> Array:
        """The last vectors [B, T, D], each of what stands before it and of its own token."""
        return self._forward(tokens_BT, self._context(tokens_BT))[0]

    def features(
        self,
        tokens_BT: Array,
        segments_BT: Array | None = None,
        positions_BT: Array | None = None,
        counted_BT: Array | None = None,
    ) -> Features:
        """What losses are made of; experts are balanced over the tokens that are flagged in `counted_BT`."""
        context = self._context(tokens_BT, segments_BT, positions_BT, counted_BT)
        x_BTD, left = self._forward(tokens_BT, context)
        further, more = self._further(x_BTD, tokens_BT, context)
        return Features(x_BTD, self.output_VD, further, reports(left.layers) | more)

    def recorded(
        self, tokens_BT: Array, segments_BT: Array | None = None, positions_BT: Array | None = None
    ) -> dict[str, Recorded]:
        """What a `recording` model kept of its layers, the "decoder"."""
        _, left = self._forward(tokens_BT, self._context(tokens_BT, segments_BT, positions_BT))
        return {"decoder": recorded(self.config.groups, left)}

    def recording(self, recorder: Recorder) -> "Decoder":
        """The same model, keeping what the recorder does; `recorded` hands it out."""
        return self.clone(recorder=recorder)

    def unembed(self, x_BTD: Array) -> Array:
        """Logits float32 [B, T, V] of vectors of the residual stream: the final norm, then the output projection."""
        return self._logits(self._normed(x_BTD))

    def apart(self, params: Any) -> tuple["Decoder", Any]:
        """The same model and parameters with every layer a group of its own, its arrays copied out of the stack, and on
        a CPU its matrices by outputs.

        It is for writing alone, compiles more slowly and writes faster: at every token a stack is copied layer by
        layer, and its cache whole.
        """
        params = as_declared(params)
        layers, groups = {}, []
        for g, group in enumerate(self.config.groups):
            row = params["params"]["layers"][f"rows_{g}"]
            for t in range(group.times):
                for b, block in enumerate(group.blocks):
                    own = jax.tree.map(itemgetter(slice(t, t + 1)), row[f"blocks_{b}"])
                    layers[f"rows_{len(groups)}"] = {"blocks_0": _for_writing(block, own)}
                    groups.append(Group((block,)))
        model = self.clone(config=replace(self.config, groups=tuple(groups)))
        return model, {**params, "params": {**params["params"], "layers": layers}}

    def prefill(self, tokens_BT: Array, length_B: Array, room: int, slack: int = 0) -> tuple[Array, DecoderCache]:
        """Logits [B, V] after each prompt, whose first `length_B` tokens are true, and a cache with room for as many
        positions as `room` says, of which `slack` may be taken back.
        """
        c = self.config
        layers = caches(c.groups, tokens_BT.shape[0], room, jnp.dtype(c.dtype), slack)
        empty = DecoderCache(layers, jnp.zeros(tokens_BT.shape[:1], jnp.int32))
        x_BTD, cache = self._extend(tokens_BT, length_B, empty)
        last_B1D = jnp.take_along_axis(x_BTD, (length_B - 1)[:, None, None], axis=1)
        return self._logits(last_B1D)[:, 0], cache

    def decode(
        self, tokens_BT: Array, cache: DecoderCache, count_B: Array | int | None = None
    ) -> tuple[Array, DecoderCache]:
        """Logits [B, T, V] after each of the next tokens, and the cache with them added, or the first `count_B` of
        them.
        """
        x_BTD, cache = self._extend(tokens_BT, tokens_BT.shape[1] if count_B is None else count_B, cache)
        return self._logits(x_BTD), cache

    def _extend(self, tokens_BT: Array, count_B: Array | int, cache: DecoderCache) -> tuple[Array, DecoderCache]:
        positions_BT = cache.length_B[:, None] + jnp.arange(tokens_BT.shape[1])
        own = Where(Causal(), self._bias(), positions_BT)
        counted_BT = jnp.arange(tokens_BT.shape[1]) < jnp.reshape(jnp.asarray(count_B), (-1, 1))
        context = Context(own, positions_BT, Chunk(cache.length_B, count_B), counted=counted_BT)
        x_BTD, left = self.layers(self._embed(tokens_BT, positions_BT), cache.layers, context)
        layers = tuple(tuple(beside.cache for beside in group) for group in left.layers)
        return self._normed(x_BTD), DecoderCache(layers, cache.length_B + count_B)

    def _context(
        self,
        tokens_BT: Array,
        segments_BT: Array | None = None,
        positions_BT: Array | None = None,
        counted_BT: Array | None = None,
    ) -> Context:
        positions = jnp.arange(tokens_BT.shape[1]) if positions_BT is None else positions_BT
        return Context(Where(_causal(segments_BT), self._bias()), positions, counted=counted_BT)

    def _forward(self, tokens_BT: Array, context: Context) -> tuple[Array, Left]:
        x_BTD, left = self.layers(self._embed(tokens_BT, context.positions), None, context)
        return self._normed(x_BTD), left

    def _further(self, x_BTD: Array, tokens_BT: Array, context: Context) -> tuple[tuple[Array, ...], dict[str, Report]]:
        """The vectors of every token further, each made of those before it, and the reports of their experts."""
        every, found = [], {}
        for k, further in enumerate(self.further, start=1):
            # The tokens that wrap around stand where nothing can be predicted.
            next_BTD = self._embed(jnp.roll(tokens_BT, -k, axis=1), context.positions)
            x_BTD, beside = further(x_BTD, next_BTD, context)
            x_BTD = self._normed(x_BTD)
            every.append(x_BTD)
            if beside.report is not None:
                found[f"further_{k - 1}/block/feed_forward"] = beside.report
        return tuple(every), found

    def _embed(self, tokens_BT: Array, positions: Any) -> Array:
        return self.dropout(self.position(self.embedding(tokens_BT), positions))

    def _bias(self) -> Any:
        return self.bias() if self.config.relative is not None else None

    def _normed(self, x_BTD: Array) -> Array:
        return self.norm(x_BTD) if self.config.norm is not None else x_BTD

    def _logits(self, x_BTD: Array) -> Array:
        return capped(logits(x_BTD, self.output_VD), self.config.softcap)


def _for_writing(config: BlockConfig, params: Any) -> Any:
    """A block's parameters as a step of decoding reads them fastest."""
    if jax.default_backend() != "cpu":
        return params
    # A latent attention also multiplies by its keys' matrix from the other side, and by its values' head by head.
    kinds = ("attention", "feed_forward") if isinstance(config.attention, MultiHead) else ("feed_forward",)
    turned = {path: ByOutput.of(w, inputs, stacked=1) for path, w, inputs in matrices(params, kinds)}
    return unflatten_dict(flatten_dict(params) | turned)


class Further(nn.Module):
    """Vectors that predict one token further: the vectors so far and the embeddings of the tokens between, both
    normalised, joined and passed through a block (DeepSeek-AI 2024, DeepSeek-V3, §2.2, eqs. 21–23).
    """

    config: DecoderConfig
    recorder: Recorder

    @nn.compact
    def __call__(self, x_BTD: Array, next_BTD: Array, context: Context) -> tuple[Array, Beside]:
        c = self.config
        norm = RmsNorm() if c.norm is None else c.norm
        joined_BTE = jnp.concatenate([Norm(norm, name="norm")(x_BTD), Norm(norm, name="next_norm")(next_BTD)], axis=-1)
        w_ED = weight(self, "join", (2 * c.width, c.width), ("joined", "embed"))
        block = Block(c.groups[-1].blocks[-1], c.width, c.dropout, self.recorder, name="block")
        return block(project("bte,ed->btd", joined_BTE, w_ED), None, context)


def reports(layers: Stacked) -> dict[str, Report]:
    """What the mixtures of experts among the layers report, by the path of their parameters."""
    return {
        f"layers/rows_{i}/blocks_{j}/feed_forward": beside.report
        for i, group in enumerate(layers)
        for j, beside in enumerate(group)
        if beside.report is not None
    }


def _causal(segments_BT: Array | None) -> Mask:
    return Causal() if segments_BT is None else Causal() & Segments(segments_BT)
