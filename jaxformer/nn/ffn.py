"""Feed-forward layers: what each token thinks on its own."""

import flax.linen as nn
from jax import Array

from jaxformer.config import blocks
from jaxformer.nn.dropout import Dropout
from jaxformer.nn.weight import constant, weight
from jaxformer.ops.activations import ACTIVATIONS, gated
from jaxformer.ops.linear import plus_bias, project


class FeedForward(nn.Module):
    """activation(x W₁ + b₁) W₂ + b₂ (Vaswani et al. 2017, eq. 2), or (activation(x W) ⊙ x V) W₂ (Shazeer 2020); with
    dropout on the hidden layer.
    """

    config: blocks.FeedForward | blocks.Gated
    dropout: float = 0.0

    @nn.compact
    def __call__(self, x_BTD: Array, counted_BT: Array | None = None) -> tuple[Array, None]:
        """What is added to the stream; nothing to report. Every token is computed, whether it counts or not."""
        c, D = self.config, x_BTD.shape[-1]
        activation = ACTIVATIONS[c.activation]
        u_BTF = self._linear("up", x_BTD, c.hidden, ("embed", "hidden"))
        if isinstance(c, blocks.Gated):
            h_BTF = gated(activation, self._linear("gate", x_BTD, c.hidden, ("embed", "hidden")), u_BTF)
        else:
            h_BTF = activation(u_BTF)
        return self._linear("down", Dropout(self.dropout)(h_BTF), D, ("hidden", "embed")), None

    def _linear(self, name: str, x_BTI: Array, outputs: int, axes: tuple[str, str]) -> Array:
        y_BTO = project("bti,io->bto", x_BTI, weight(self, name, (x_BTI.shape[-1], outputs), axes))
        if not self.config.bias:
            return y_BTO
        return plus_bias(y_BTO, constant(self, f"{name}_bias", 0.0, (outputs,), axes[1:]))
