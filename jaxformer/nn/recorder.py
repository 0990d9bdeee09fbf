"""What a model keeps of a forward pass beside its result: nothing, unless a twin of it with another recorder is asked.

Every layer calls its recorder and hands out what that returns. None has no leaves, so that a model which keeps nothing
is the same program as one without recorders.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from jax import Array

from jaxformer.config.attention import AUTO, Backend
from jaxformer.ops.attention import attention, attention_with_weights


@dataclass(frozen=True)
class Recorder:
    """Keeps nothing. Those below keep one thing each."""

    backend: Backend = AUTO
    """Who computes attention."""

    def attend(self, *arrays: Any, **how: Any) -> tuple[Array, Any]:
        """(`attention` of these arguments, what is kept of its weights)."""
        return attention(*arrays, backend=self.backend, **how), None

    def weights(self, weights_BNTS: Array) -> Any:
        """What is kept of attention weights, where they are at hand."""
        return None

    def heads(self, o_BTNH: Array) -> Array | None:
        """What is kept of the heads' outputs, which the output projection reads."""
        return None

    def stream(self, x_BTD: Array) -> Array | None:
        """What is kept of the residual stream before the first layer, and after each."""
        return None


SILENT = Recorder()


def whole(weights_BNTS: Array) -> Array:
    """The weights themselves."""
    return weights_BNTS


@dataclass(frozen=True)
class Weights(Recorder):
    """Keeps attention weights, float32 [B, N, T, S], or what `each` makes of them layer by layer. They are those of the
    formula, whatever the backend.
    """

    each: Callable[[Array], Any] = whole

    def attend(self, *arrays: Any, **how: Any) -> tuple[Array, Any]:
        o_BTNH, weights_BNTS = attention_with_weights(*arrays, **how)
        return o_BTNH, self.weights(weights_BNTS)

    def weights(self, weights_BNTS: Array) -> Any:
        return self.each(weights_BNTS)


@dataclass(frozen=True)
class Heads(Recorder):
    """Keeps what every head adds to the output projection, [B, T, N, H]."""

    def heads(self, o_BTNH: Array) -> Array:
        return o_BTNH


@dataclass(frozen=True)
class Streams(Recorder):
    """Keeps the residual stream, [B, T, D]."""

    def stream(self, x_BTD: Array) -> Array:
        return x_BTD


class Read(NamedTuple):
    """What was kept of one attention."""

    weights: Any = None
    heads: Array | None = None


class Recorded(NamedTuple):
    """What was kept of a stack of L layers; None is what was not."""

    own: Read
    """Of self-attention; every array has a leading axis of layers, as in the others."""
    cross: Read | None
    """Of cross-attention, where there is any."""
    stream: Array | None
    """The residual stream before the first layer and after each, [L + 1, B, T, D]; no final norm was applied."""
