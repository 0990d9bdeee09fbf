"""Where a torch module keeps what a jaxformer module calls by another name, for weights and for gradients."""

from collections.abc import Callable
from typing import Any

import numpy as np

Read = Callable[[str], np.ndarray]
"""A torch parameter's name → its value, or its gradient, in float64."""


def values(module: Any) -> Read:
    """Reads the parameters of a module."""
    return lambda name: module.get_parameter(name).detach().numpy()


def gradients(module: Any) -> Read:
    """Reads their gradients."""
    return lambda name: module.get_parameter(name).grad.numpy()


def under(prefix: str, read: Read) -> Read:
    """Reads from a submodule."""
    return lambda name: read(prefix + name)


def randomise(module: Any, seed: int, deviation: float = 0.3) -> None:
    """Gives every parameter normal values that float32 holds exactly, those of norms around 1: none stays 0 or 1."""
    rng = np.random.default_rng(seed)
    for name, parameter in module.named_parameters():
        centre = 1.0 if "norm" in name and name.endswith("weight") else 0.0
        drawn = (centre + deviation * rng.normal(size=parameter.shape)).astype(np.float32)
        parameter.data = parameter.data.new_tensor(drawn)


def norm(read: Read) -> dict[str, np.ndarray]:
    """`Norm` from torch.nn.LayerNorm."""
    return {"scale": read("weight"), "bias": read("bias")}


def attention(read: Read, heads: int) -> dict[str, np.ndarray]:
    """`Attention` from torch.nn.MultiheadAttention, which stacks three projections and the heads in their rows."""
    tree = {}
    for name, rows, bias in zip(
        ("query", "key", "value"), np.split(read("in_proj_weight"), 3), np.split(read("in_proj_bias"), 3), strict=True
    ):
        D = rows.shape[1]
        tree[name] = rows.T.reshape(D, heads, D // heads)
        tree[f"{name}_bias"] = bias.reshape(heads, D // heads)
    output = read("out_proj.weight")
    tree["output"] = output.T.reshape(heads, -1, output.shape[0])
    tree["output_bias"] = read("out_proj.bias")
    return tree


def feed_forward(read: Read) -> dict[str, np.ndarray]:
    """`FeedForward` from the two linear layers of a torch Transformer layer."""
    return {
        "up": read("linear1.weight").T,
        "up_bias": read("linear1.bias"),
        "down": read("linear2.weight").T,
        "down_bias": read("linear2.bias"),
    }


def encoder_block(read: Read, heads: int) -> dict[str, Any]:
    """`Block` from torch.nn.TransformerEncoderLayer."""
    return {
        "attention": attention(under("self_attn.", read), heads),
        "feed_forward": feed_forward(read),
        "around_attention": {"norm": norm(under("norm1.", read))},
        "around_feed_forward": {"norm": norm(under("norm2.", read))},
    }


def decoder_block(read: Read, heads: int) -> dict[str, Any]:
    """`Block` with `cross` from torch.nn.TransformerDecoderLayer."""
    return {
        "attention": attention(under("self_attn.", read), heads),
        "cross": attention(under("multihead_attn.", read), heads),
        "feed_forward": feed_forward(read),
        "around_attention": {"norm": norm(under("norm1.", read))},
        "around_cross": {"norm": norm(under("norm2.", read))},
        "around_feed_forward": {"norm": norm(under("norm3.", read))},
    }


def recurrent(read: Read, suffix: str, gates: int) -> dict[str, np.ndarray]:
    """`RecurrentLayer` from one layer and direction of torch.nn.GRU or LSTM; "_l0" is the suffix of the first."""
    tree = {}
    for ours, theirs in [("input", "ih"), ("hidden", "hh")]:
        rows = read(f"weight_{theirs}{suffix}")
        tree[ours] = rows.T.reshape(rows.shape[1], gates, -1)
        tree[f"{ours}_bias"] = read(f"bias_{theirs}{suffix}")
    return tree
