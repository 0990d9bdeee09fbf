"""Feed-forward layers: what each token thinks on its own."""

import flax.linen as nn
import jax
from jax import Array

from jaxformer.nn.dropout import Dropout
from jaxformer.nn.weight import constant, weight
from jaxformer.ops.linear import project


class FeedForward(nn.Module):
    """relu(x W₁ + b₁) W₂ + b₂ (Vaswani et al. 2017, eq. 2), with dropout on the hidden layer."""

    hidden: int
    bias: bool = True
    dropout: float = 0.0

    @nn.compact
    def __call__(self, x_BTD: Array) -> Array:
        D, F = x_BTD.shape[-1], self.hidden
        h_BTF = project("btd,df->btf", x_BTD, weight(self, "up", (D, F), ("embed", "hidden")))
        if self.bias:
            h_BTF = h_BTF + constant(self, "up_bias", 0.0, (F,), ("hidden",)).astype(h_BTF.dtype)
        h_BTF = Dropout(self.dropout)(jax.nn.relu(h_BTF))
        y_BTD = project("btf,fd->btd", h_BTF, weight(self, "down", (F, D), ("hidden", "embed")))
        return y_BTD + constant(self, "down_bias", 0.0, (D,), ("embed",)).astype(y_BTD.dtype) if self.bias else y_BTD
