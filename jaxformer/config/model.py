"""The parts a model is put together from, and the presets. Plain data: the mathematics is in `ops`, the weights in
`nn`.
"""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Sinusoidal:
    """Sines and cosines of geometrically growing wavelength, added to the embeddings (Vaswani et al. 2017, §3.5)."""

    base: float = 10_000.0
    """Ratio between the longest and the shortest wavelength."""


@dataclass(frozen=True)
class Learned:
    """One trained vector per position (Gehring et al. 2017); positions past `length` do not exist."""

    length: int = 512
    """Number of positions."""

    def __post_init__(self):
        if self.length < 1:
            raise ValueError(f"length must be at least 1, got {self.length}")


@dataclass(frozen=True)
class NoPosition:
    """Nothing is added: without a causal mask a sentence is a bag of words."""


Position = Sinusoidal | Learned | NoPosition


@dataclass(frozen=True)
class PreNorm:
    """x + f(norm(x)), with one more norm after the last layer (Xiong et al. 2020)."""


@dataclass(frozen=True)
class PostNorm:
    """norm(x + f(x)), as published in 2017."""


Placement = PreNorm | PostNorm


@dataclass(frozen=True)
class Layers:
    """How a stack of equal layers is laid out for the compiler. Parameters and results are the same for all."""

    unroll: bool = False
    """Write every layer out, which runs a little faster and compiles more slowly, instead of scanning one compiled
    layer.
    """
    remat: bool = False
    """Keep only the layers' inputs for the backward pass and compute the rest again."""


Dtype = Literal["float32", "bfloat16"]


@dataclass(frozen=True)
class AttentionConfig:
    """The shape of one multi-head attention (Vaswani et al. 2017, §3.2)."""

    heads: int
    kv_heads: int
    head_width: int
    bias: bool = True

    def __post_init__(self):
        for name in ("heads", "kv_heads", "head_width"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {name}={getattr(self, name)}")
        if self.heads % self.kv_heads:
            raise ValueError(f"heads must be a multiple of kv_heads, got heads={self.heads}, kv_heads={self.kv_heads}")


@dataclass(frozen=True)
class TransformerConfig:
    """The encoder-decoder of Vaswani et al. 2017."""

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
    norm: Placement = PreNorm()
    """Where the layer norms stand."""
    bias: bool = True
    """Biases in the attention and feed-forward projections."""
    tied_output: bool = True
    """Use the joint embedding matrix also as the output projection (Press & Wolf 2017)."""
    layers: Layers = Layers()
    dtype: Dtype = "float32"
    """Type of the activations and products; parameters, softmax, norms, sums and the loss stay in float32."""

    def __post_init__(self):
        _at_least_one(self, "width", "encoder_layers", "decoder_layers", "heads", "feed_forward")
        _is_probability(self, "dropout")
        if self.width % self.heads:
            raise ValueError(f"width must be a multiple of heads, got width={self.width}, heads={self.heads}")
        if self.width % 2 and isinstance(self.position, Sinusoidal):
            raise ValueError(f"width must be even for sinusoidal positions, got width={self.width}")

    @property
    def attention(self) -> AttentionConfig:
        """The shape that every attention of this model has."""
        return AttentionConfig(self.heads, self.heads, self.width // self.heads, self.bias)


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
        _at_least_one(self, "embedding", "width", "layers")
        _is_probability(self, "dropout")
        if self.width % 2 and isinstance(self.attention, Bahdanau):
            raise ValueError(
                f"width must be even, the encoder reads both ways with half of it each, got width={self.width}"
            )


Seq2SeqConfig = TransformerConfig | RnnConfig


def _at_least_one(config, *names: str) -> None:
    for name in names:
        if getattr(config, name) < 1:
            raise ValueError(f"{name} must be at least 1, got {name}={getattr(config, name)}")


def _is_probability(config, name: str) -> None:
    if not 0 <= getattr(config, name) < 1:
        raise ValueError(f"{name} must lie in [0, 1), got {name}={getattr(config, name)}")
