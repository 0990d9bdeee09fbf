"""What a hidden unit does to its sum."""

from typing import Literal

Activation = Literal["relu", "gelu", "gelu_tanh", "silu", "squared_relu"]
"""Each is a function of `ops.activations`."""
