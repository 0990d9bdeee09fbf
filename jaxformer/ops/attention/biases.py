"""What is added to scores for the places of query and key: small pure functions of positions, one for each head."""

import dataclasses
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jax import Array

from jaxformer.ops.positions import alibi, relative_bucket


class Bias:
    """A function `bias(t, s)` of integer positions that broadcast, for one head. The leaves of a subclass have a
    leading axis of heads, over which `jax.vmap` maps.
    """

    def __call__(self, t: Array, s: Array) -> Array:
        """What is added to the score of query position t and key position s, float32."""
        raise NotImplementedError

    def table(self, query_positions_T: Array, key_positions_S: Array) -> Array:
        """One head's whole table [T, S], for the formula that needs it."""
        return self(query_positions_T[:, None], key_positions_S[None, :])


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Slopes(Bias):
    """A penalty that grows with distance (ALiBi, Press et al. 2022)."""

    slope_N: Array

    def __call__(self, t, s):
        return alibi(self.slope_N, t, s)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Buckets(Bias):
    """A trained number for each bucket of distances (T5, Raffel et al. 2020, §2.1)."""

    table_NR: Array
    reach: int = dataclasses.field(metadata={"static": True})
    bidirectional: bool = dataclasses.field(metadata={"static": True})

    def __call__(self, t, s):
        buckets = self.table_NR.shape[-1]
        return self.table_NR[relative_bucket(s - t, buckets, self.reach, self.bidirectional)].astype(jnp.float32)
