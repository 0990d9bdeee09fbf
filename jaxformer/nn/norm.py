"""Norms that own their scale."""

import flax.linen as nn
from jax import Array

from jaxformer.nn.weight import constant
from jaxformer.ops.norms import layer_norm


class LayerNorm(nn.Module):
    """Layer norm over the last axis, with scale and bias."""

    @nn.compact
    def __call__(self, x_BTD: Array) -> Array:
        shape = x_BTD.shape[-1:]
        scale_D = constant(self, "scale", 1.0, shape, ("embed",))
        return layer_norm(x_BTD, scale_D, constant(self, "bias", 0.0, shape, ("embed",)))
