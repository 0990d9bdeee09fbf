"""The parts that a Transformer layer is put together from. Plain data: each names a function of `ops` and weights of
`nn`, and a new idea is one more small class beside the others.
"""

from dataclasses import dataclass
from typing import Any, Literal

from jaxformer.config.activations import Activation
from jaxformer.config.experts import MixtureOfExperts
from jaxformer.config.positions import Rotary
from jaxformer.config.ranges import positive


def at_least_one(config: Any, *names: str) -> None:
    """ValueError unless each of these fields is at least 1."""
    for name in names:
        if getattr(config, name) < 1:
            raise ValueError(f"{name} must be at least 1, got {name}={getattr(config, name)}")


@dataclass(frozen=True)
class LayerNorm:
    """(x - mean) / deviation · scale + bias (Ba et al. 2016)."""

    epsilon: float = 1e-5


@dataclass(frozen=True)
class RmsNorm:
    """x / root mean square · (offset + scale), without a bias (Zhang & Sennrich 2019)."""

    epsilon: float = 1e-6
    offset: float = 0.0
    """Added to the stored scale: 1 for Gemma, whose scales are stored as what they differ from one."""


Norm = LayerNorm | RmsNorm


@dataclass(frozen=True)
class PreNorm:
    """x + f(norm(x)), with one more norm after the last layer (Xiong et al. 2020)."""


@dataclass(frozen=True)
class PostNorm:
    """norm(x + f(x)), as published in 2017."""


@dataclass(frozen=True)
class SandwichNorm:
    """x + norm(f(norm(x))): what is added to the stream is normalised too (Ding et al. 2021; Gemma 2)."""


@dataclass(frozen=True)
class Parallel:
    """x + attention(norm(x)) + feed-forward(norm(x)): neither waits for the other (Wang & Komatsuzaki 2021, GPT-J)."""

    norms: Literal[1, 2] = 1
    """One that both read, or one for each (GPT-NeoX)."""


Placement = PreNorm | PostNorm | SandwichNorm | Parallel


@dataclass(frozen=True)
class MultiHead:
    """Multi-head attention (Vaswani et al. 2017, §3.2); grouped-query with fewer key/value heads (Ainslie et al. 2023),
    multi-query with one (Shazeer 2019).
    """

    heads: int
    kv_heads: int
    head_width: int
    bias: bool = True
    """Biases of the query, key and value projections."""
    output_bias: bool | None = None
    """Bias of the output projection; the same as `bias` where it is None."""
    rotary: Rotary | None = None
    """How queries and keys are turned by their positions, if they are."""
    window: int | None = None
    """Positions that a query may read, its own included; all where it is None (Beltagy et al. 2020)."""
    scale: float | None = None
    """What scores are multiplied by; 1/√head_width where it is None."""
    softcap: float | None = None
    """Scores s become cap · tanh(s / cap) (Gemma Team 2024)."""
    query_key_norm: Norm | None = None
    """A norm of every head's queries and keys before they turn (Henry et al. 2020)."""
    sinks: bool = False
    """A trained score per head for reading nothing (OpenAI 2025, gpt-oss; Xiao et al. 2024)."""
    gate: bool = False
    """Every head's output is multiplied by sigmoid(x W) (Qiu et al. 2025)."""

    def __post_init__(self):
        at_least_one(self, "heads", "kv_heads", "head_width")
        if self.heads % self.kv_heads:
            raise ValueError(f"heads must be a multiple of kv_heads, got heads={self.heads}, kv_heads={self.kv_heads}")
        if self.window is not None:
            at_least_one(self, "window")
        positive(self, "scale", "softcap")
        if self.rotary is not None:
            self.rotary.rotated_width(self.head_width)  # which refuses one that does not turn

    @property
    def biased_output(self) -> bool:
        """Whether the output projection has a bias."""
        return self.bias if self.output_bias is None else self.output_bias

    @property
    def score_scale(self) -> float:
        """What scores are multiplied by."""
        return self.head_width**-0.5 if self.scale is None else self.scale

    @property
    def rows(self) -> tuple[tuple[int, ...], ...]:
        """Shapes of what one position leaves to be read: its key and its value."""
        return ((self.kv_heads, self.head_width),) * 2


@dataclass(frozen=True)
class Latent:
    """Multi-head latent attention: keys and values of all heads are read from one small vector per token, which alone
    is cached (DeepSeek-AI 2024, DeepSeek-V2, §2.1).
    """

    heads: int
    latent_width: int
    """Width C of what keys and values are made from."""
    head_width: int
    """Width of the part of queries and keys that does not turn."""
    rotary_width: int
    """Width of the part that turns by position; its key is shared by all heads."""
    value_width: int
    query_width: int | None = None
    """Width of the vector that queries are made from; straight from x where it is None."""
    rotary: Rotary = Rotary()
    norm: RmsNorm = RmsNorm()
    """Of both small vectors."""
    scale: float | None = None
    """What scores are multiplied by; 1/√(head_width + rotary_width) where it is None."""

    def __post_init__(self):
        at_least_one(self, "heads", "latent_width", "head_width", "rotary_width", "value_width")
        positive(self, "scale")
        self.rotary.rotated_width(self.rotary_width)

    @property
    def score_scale(self) -> float:
        """What scores are multiplied by."""
        return (self.head_width + self.rotary_width) ** -0.5 if self.scale is None else self.scale

    @property
    def rows(self) -> tuple[tuple[int, ...], ...]:
        """Shapes of what one position leaves to be read: its latent vector and its turned key."""
        return (self.latent_width,), (self.rotary_width,)


Attention = MultiHead | Latent


@dataclass(frozen=True)
class FeedForward:
    """activation(x W₁ + b₁) W₂ + b₂ (Vaswani et al. 2017, eq. 2)."""

    hidden: int
    activation: Activation = "relu"
    bias: bool = True

    def __post_init__(self):
        at_least_one(self, "hidden")


@dataclass(frozen=True)
class Gated:
    """(activation(x W) ⊙ x V) W₂: SwiGLU with silu, GEGLU with gelu (Shazeer 2020)."""

    hidden: int
    activation: Activation = "silu"
    bias: bool = False

    def __post_init__(self):
        at_least_one(self, "hidden")


FeedForwards = FeedForward | Gated | MixtureOfExperts


@dataclass(frozen=True)
class Block:
    """One layer: attention to its own sequence, to another one where there is `cross`, then a feed-forward layer."""

    attention: Attention
    feed_forward: FeedForwards
    norm: Norm = LayerNorm()
    placement: Placement = PreNorm()
    cross: MultiHead | None = None

    def __post_init__(self):
        if self.cross is not None and isinstance(self.placement, Parallel):
            raise ValueError(
                "a block with cross-attention must not be Parallel; choose PreNorm, PostNorm, SandwichNorm"
            )


@dataclass(frozen=True)
class Group:
    """Unlike blocks in a row, such as local, local, global, the whole row repeated; it is compiled once."""

    blocks: tuple[Block, ...]
    times: int = 1

    def __post_init__(self):
        at_least_one(self, "times")
        if not self.blocks:
            raise ValueError("a group must have at least one block, got none")


Groups = tuple[Group, ...]


def grouped(blocks: list[Block]) -> Groups:
    """The fewest groups that spell this list of blocks: repeats of the shortest row that repeats, found greedily."""
    groups: list[Group] = []
    at = 0
    while at < len(blocks):
        width, times = max(_repeats(blocks, at), key=lambda found: (found[0] * found[1], -found[0]))
        groups.append(Group(tuple(blocks[at : at + width]), times))
        at += width * times
    return tuple(groups)


def ungrouped(groups: Groups) -> list[Block]:
    """The block of every layer, in order."""
    return [block for group in groups for _ in range(group.times) for block in group.blocks]


def _repeats(blocks: list[Block], at: int) -> list[tuple[int, int]]:
    """(width, times) of every row that begins at `at` and follows itself; a single block stands for itself."""
    found = [(1, _times(blocks, at, 1))]
    for width in range(2, (len(blocks) - at) // 2 + 1):
        if (times := _times(blocks, at, width)) > 1:
            found.append((width, times))
    return found


def _times(blocks: list[Block], at: int, width: int) -> int:
    row, times = blocks[at : at + width], 1
    while blocks[at + times * width : at + (times + 1) * width] == row:
        times += 1
    return times
