"""What is asked of an attention."""

from typing import NamedTuple

from jax import Array

from jaxformer.ops.attention.biases import Bias
from jaxformer.ops.attention.masks import Mask


class Asked(NamedTuple):
    """The arguments of `attention`, which says what they are."""

    q_BTNH: Array
    k_BSKH: Array
    v_BSKW: Array
    mask: Mask | None = None
    bias: Bias | None = None
    sinks_N: Array | None = None
    scale: float | None = None
    softcap: float | None = None
    query_positions: Array | None = None
    key_positions: Array | None = None

    def check(self) -> None:
        """Raises ValueError where keys and values are not as many, or heads do not share them evenly."""
        (S, K), N = self.k_BSKH.shape[1:3], self.q_BTNH.shape[2]
        if self.v_BSKW.shape[1] != S:
            raise ValueError(f"there must be as many values as keys, got {self.v_BSKW.shape[1]} and {S}")
        if N % K:
            raise ValueError(f"query heads must be a multiple of key/value heads, got {N} and {K}")

    @property
    def in_order(self) -> bool:
        """Whether queries and keys stand at 0, 1, 2, …"""
        return self.query_positions is None and self.key_positions is None
