"""Norms that own their scale."""

import flax.linen as nn
from jax import Array

from jaxformer.config import blocks
from jaxformer.nn.weight import constant
from jaxformer.ops.norms import layer_norm, rms_norm


class Norm(nn.Module):
    """Normalises the last axis as its config says; `axis` is that axis' logical name."""

    config: blocks.Norm = blocks.LayerNorm()
    axis: str = "embed"

    @nn.compact
    def __call__(self, x_BTD: Array) -> Array:
        shape, axes = x_BTD.shape[-1:], (self.axis,)
        match self.config:
            case blocks.LayerNorm(epsilon):
                scale_D = constant(self, "scale", 1.0, shape, axes)
                return layer_norm(x_BTD, scale_D, constant(self, "bias", 0.0, shape, axes), epsilon)
            case blocks.RmsNorm(epsilon, offset):
                scale_D = constant(self, "scale", 1.0 - offset, shape, axes)
                return rms_norm(x_BTD, scale_D + offset if offset else scale_D, epsilon)
