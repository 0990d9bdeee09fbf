"""The parts a model is put together from, and the presets. Plain data: the mathematics is in `ops`, the weights in
`nn`.
"""

from dataclasses import dataclass, replace
from typing import Literal

from jaxformer.config.activations import Activation
from jaxformer.config.attention import AUTO, Backend
from jaxformer.config.blocks import (
    Block,
    FeedForward,
    Group,
    Groups,
    LayerNorm,
    MultiHead,
    Norm,
    PostNorm,
    PreNorm,
    RmsNorm,
    at_least_one,
    ungrouped,
)
from jaxformer.config.experts import MixtureOfExperts
from jaxformer.config.positions import Alibi, RelativeBuckets


@dataclass(frozen=True)
class Sinusoidal:
    """Sines and cosines of geometrically growing wavelength, added to the embeddings (Vaswani et al. 2017, §3.5)."""

    base: float = 10_000.0
    """Ratio between the longest and the shortest wavelength."""
    halves: bool = False
    """All sines, then all cosines, in place of one beside the other (Marian)."""


@dataclass(frozen=True)
class Learned:
    """One trained vector per position (Gehring et al. 2017); positions past `length` do not exist."""

    length: int = 512
    """Number of positions."""
    first: int = 0
    """Row of the first position, those before it unused (RoBERTa)."""
    deviation: float = 1.0
    """Of the vectors before training; that of the embeddings as they are read."""

    def __post_init__(self):
        if self.length < 1:
            raise ValueError(f"length must be at least 1, got {self.length}")
        if self.first < 0:
            raise ValueError(f"first must not be negative, got {self.first}")


@dataclass(frozen=True)
class NoPosition:
    """Nothing is added: without a causal mask a sentence is a bag of words."""


Position = Sinusoidal | Learned | NoPosition


@dataclass(frozen=True)
class Layers:
    """How a stack of equal layers is laid out for the compiler. Parameters and results are the same for all."""

    unroll: bool = False
    """Write every layer out, which runs a little faster and compiles more slowly, instead of scanning one compiled
    layer.
    """
    remat: bool = False
    """Keep only the layers' inputs for the backward pass and compute the rest again."""
    attention: Backend = AUTO
    """Who computes attention."""


Dtype = Literal["float32", "bfloat16"]


@dataclass(frozen=True)
class EncoderDecoderConfig:
    """An encoder-decoder Transformer, every part of it written out: T5 and Marian are two of them."""

    width: int
    """Width D of the residual stream."""
    encoder: Groups
    decoder: Groups
    """Its blocks have `cross`, and those of the encoder have not."""
    norm: Norm | None = LayerNorm()
    """After the last layer of each side; None where the layers end in norms."""
    position: Position = Sinusoidal()
    """Added to the embeddings of both sides."""
    relative: Alibi | RelativeBuckets | None = None
    """Added to the scores of self-attention, one table for all layers of a side."""
    embedding_scale: float = 1.0
    tied_output: bool = True
    """Use the joint embedding matrix also as the output projection (Press & Wolf 2017)."""
    output_scale: float = 1.0
    """What the last vectors are multiplied by before the output projection."""
    output_bias: bool = False
    dropout: float = 0.0
    layers: Layers = Layers()
    dtype: Dtype = "float32"

    def __post_init__(self):
        at_least_one(self, "width")
        _is_probability(self, "dropout")
        _is_even_for(self.position, self.width)
        for name, crosses in (("encoder", False), ("decoder", True)):
            blocks = ungrouped(getattr(self, name))
            if not blocks or any((block.cross is not None) != crosses for block in blocks):
                rule = "with cross in each" if crosses else "with no cross"
                raise ValueError(f"{name} must have at least one block, {rule}, got {name}={getattr(self, name)}")
            _has_no_experts(blocks, "an encoder-decoder")


@dataclass(frozen=True)
class TransformerConfig:
    """The encoder-decoder of Vaswani et al. 2017, in a few numbers."""

    width: int = 512
    """Width D of the residual stream."""
    encoder_layers: int = 6
    decoder_layers: int = 6
    heads: int = 8
    """Attention heads of width D / heads."""
    feed_forward: int = 2048
    """Hidden width F of the feed-forward layers."""
    dropout: float = 0.1
    position: Position = Sinusoidal()
    norm: PreNorm | PostNorm = PreNorm()
    """Where the layer norms stand."""
    bias: bool = True
    """Biases in the attention and feed-forward projections."""
    tied_output: bool = True
    """Use the joint embedding matrix also as the output projection (Press & Wolf 2017)."""
    layers: Layers = Layers()
    dtype: Dtype = "float32"
    """Type of the activations and products; parameters, softmax, norms, sums and the loss stay in float32."""

    def __post_init__(self):
        at_least_one(self, "width", "encoder_layers", "decoder_layers", "heads", "feed_forward")
        _is_probability(self, "dropout")
        if self.width % self.heads:
            raise ValueError(f"width must be a multiple of heads, got width={self.width}, heads={self.heads}")
        _is_even_for(self.position, self.width)

    @property
    def attention(self) -> MultiHead:
        """The shape that every attention of this model has."""
        return MultiHead(self.heads, self.heads, self.width // self.heads, self.bias)

    def written_out(self) -> EncoderDecoderConfig:
        """The same model, every part of it named."""
        feed_forward = FeedForward(self.feed_forward, bias=self.bias)
        encoder = Block(self.attention, feed_forward, placement=self.norm)
        decoder = replace(encoder, cross=self.attention)
        return EncoderDecoderConfig(
            width=self.width,
            encoder=(Group((encoder,), self.encoder_layers),),
            decoder=(Group((decoder,), self.decoder_layers),),
            norm=LayerNorm() if isinstance(self.norm, PreNorm) else None,
            position=self.position,
            embedding_scale=self.width**0.5,
            tied_output=self.tied_output,
            dropout=self.dropout,
            layers=self.layers,
            dtype=self.dtype,
        )


@dataclass(frozen=True)
class DecoderConfig:
    """A decoder alone: GPT, Llama, DeepSeek. Each layer is a block; the presets say which."""

    width: int
    """Width D of the residual stream."""
    groups: Groups
    norm: Norm | None = RmsNorm()
    """After the last layer; None where the layers end in norms."""
    position: Position = NoPosition()
    """Added to the embeddings; rotary positions belong to the attention of a block."""
    relative: Alibi | RelativeBuckets | None = None
    """Added to the scores of attention, in every layer the same."""
    embedding_scale: float = 1.0
    tied_output: bool = True
    """Use the embedding matrix also as the output projection (Press & Wolf 2017)."""
    softcap: float | None = None
    """Logits l become cap · tanh(l / cap) (Gemma Team 2024)."""
    further: int = 0
    """Tokens predicted past the next one, each by one more block (DeepSeek-AI 2024, DeepSeek-V3, §2.2)."""
    context: int = 1024
    """Most tokens that the model reads at once."""
    dropout: float = 0.0
    layers: Layers = Layers()
    dtype: Dtype = "float32"
    """Type of the activations and products; parameters, softmax, norms, sums and the loss stay in float32."""

    def __post_init__(self):
        at_least_one(self, "width", "context")
        _is_probability(self, "dropout")
        _is_even_for(self.position, self.width)
        if self.further < 0:
            raise ValueError(f"further must not be negative, got further={self.further}")
        if isinstance(self.position, Learned) and self.position.length < self.context:
            raise ValueError(
                f"context must fit the learned positions, got context={self.context}, length={self.position.length}; "
                "lower it, or raise position.length"
            )


@dataclass(frozen=True)
class EncoderConfig:
    """An encoder alone: BERT and its kin, which read both ways."""

    width: int
    """Width D of the residual stream."""
    groups: Groups
    position: Position = Learned(512, deviation=0.02)
    segments: int = 2
    """Kinds of segment that a token may belong to, each with a vector that is added; 0 for none."""
    embedding_norm: Norm | None = LayerNorm(1e-12)
    """After the sum of embeddings, positions and segments."""
    norm: Norm | None = None
    """After the last layer; None where the layers end in norms."""
    masked_head: bool = True
    """A head that tells masked tokens: dense, activation, norm, then the embeddings with a bias."""
    pooler: bool = False
    """tanh(x W + b) of the first token, for tasks about a whole text."""
    activation: Activation = "gelu"
    """Of the head."""
    context: int = 512
    """Most tokens that the model reads at once."""
    dropout: float = 0.1
    layers: Layers = Layers()
    dtype: Dtype = "float32"

    def __post_init__(self):
        at_least_one(self, "width", "context")
        _is_probability(self, "dropout")
        _is_even_for(self.position, self.width)
        _has_no_experts(ungrouped(self.groups), "an encoder")


@dataclass(frozen=True)
class Tanh:
    """The simple recurrent network of Elman 1990."""


@dataclass(frozen=True)
class Gru:
    """Gated recurrent unit (Cho et al. 2014)."""


@dataclass(frozen=True)
class Lstm:
    """Long short-term memory (Hochreiter & Schmidhuber 1997)."""


CellConfig = Tanh | Gru | Lstm


@dataclass(frozen=True)
class NoAttention:
    """The decoder knows the source only through the encoder's last state (Sutskever et al. 2014)."""


@dataclass(frozen=True)
class Bahdanau:
    """The decoder scores every encoder state against its own before each step: v · tanh(W s + U h) (Bahdanau et al.
    2015).
    """

    width: int = 128
    """Width of the scoring layer."""


@dataclass(frozen=True)
class RnnConfig:
    """The recurrent encoder-decoder: Sutskever et al. 2014, or Bahdanau et al. 2015 when it has attention."""

    cell: CellConfig = Gru()
    embedding: int = 512
    """Width of the joint embedding."""
    width: int = 512
    """Width H of the hidden states."""
    layers: int = 2
    """Layers of the encoder and of the decoder."""
    attention: NoAttention | Bahdanau = NoAttention()
    dropout: float = 0.1
    dtype: Dtype = "float32"
    """Type of the activations and products; parameters and the loss stay in float32."""

    def __post_init__(self):
        at_least_one(self, "embedding", "width", "layers")
        _is_probability(self, "dropout")
        if self.width % 2 and isinstance(self.attention, Bahdanau):
            raise ValueError(
                f"width must be even, the encoder reads both ways with half of it each, got width={self.width}"
            )


Seq2SeqConfig = TransformerConfig | EncoderDecoderConfig | RnnConfig


def _is_probability(config, name: str) -> None:
    if not 0 <= getattr(config, name) < 1:
        raise ValueError(f"{name} must lie in [0, 1), got {name}={getattr(config, name)}")


def _has_no_experts(blocks: list[Block], model: str) -> None:
    if any(isinstance(block.feed_forward, MixtureOfExperts) for block in blocks):
        raise ValueError(f"{model} must have no MixtureOfExperts, for no job that trains it balances them")


def _is_even_for(position: Position, width: int) -> None:
    if width % 2 and isinstance(position, Sinusoidal):
        raise ValueError(f"width must be even for sinusoidal positions, got width={width}")
