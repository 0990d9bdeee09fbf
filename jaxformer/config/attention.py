"""Who computes attention. All give the same result, up to rounding; what one cannot do exactly it refuses."""

from dataclasses import dataclass

from jaxformer.config.ranges import at_least


@dataclass(frozen=True)
class Auto:
    """The fastest of the others that can do exactly what is asked, where it runs."""


@dataclass(frozen=True)
class Formula:
    """All scores at once, as published."""


@dataclass(frozen=True)
class Blockwise:
    """A block of one head's queries and keys at a time: memory grows with the length, not with its square."""

    block: int | None = None
    """Queries, and keys, at a time; as many as are fastest on a CPU where none are given."""

    def __post_init__(self) -> None:
        if self.block is not None:
            at_least(self, 1, "block")


@dataclass(frozen=True)
class Cudnn:
    """NVIDIA's library, by way of `jax.nn.dot_product_attention`."""


@dataclass(frozen=True)
class Splash:
    """The kernel for TPUs that comes with jax."""

    block: int = 512
    """Queries, and keys, at a time, at most; a multiple of 128."""
    interpret: bool = False
    """Run it step by step on any device, slowly, to see what it computes."""

    def __post_init__(self) -> None:
        if self.block < 128 or self.block % 128:
            raise ValueError(f"block must be a multiple of 128, got {self.block}")


@dataclass(frozen=True)
class Kernel:
    """A kernel for GPUs that takes any mask and any bias. `Auto` does not choose it: how fast it is on a GPU has not
    been measured yet.
    """

    queries: int = 128
    """At a time, at most; a power of two of at least 16."""
    keys: int = 64
    """Likewise."""
    interpret: bool = False
    """Run it step by step on any device, slowly, to see what it computes."""

    def __post_init__(self) -> None:
        for name, size in (("queries", self.queries), ("keys", self.keys)):
            if size < 16 or size & (size - 1):
                raise ValueError(f"{name} must be a power of two of at least 16, got {size}")


Backend = Auto | Formula | Blockwise | Cudnn | Splash | Kernel

AUTO = Auto()
