"""Dropout as a module: on exactly when a key is given."""

import flax.linen as nn
from jax import Array

from jaxformer.ops.dropout import dropout


class Dropout(nn.Module):
    """`ops.dropout` when the caller passes `rngs={"dropout": key}`, the identity otherwise."""

    rate: float

    @nn.compact
    def __call__(self, x: Array) -> Array:
        if not self.rate or not self.has_rng("dropout"):
            return x
        return dropout(self.make_rng("dropout"), x, self.rate)
