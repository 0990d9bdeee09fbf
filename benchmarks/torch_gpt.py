"""GPT-2 in PyTorch, the rival of several benchmarks: what one would write there, and the way to our weights."""

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from jaxformer.config.model import DecoderConfig


class Layer(nn.Module):
    """Causal attention, then the feed-forward layer, each behind a norm."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm_1, self.norm_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.joined, self.output = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x_BTD: Tensor) -> Tensor:
        B, T, D = x_BTD.shape
        q, k, v = (
            part.view(B, T, self.heads, D // self.heads).transpose(1, 2)
            for part in self.joined(self.norm_1(x_BTD)).split(D, dim=2)
        )
        read = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self._onward(x_BTD, read)

    def read_on(self, x_BTD: Tensor, cache_2BNSH: Tensor, start: int) -> Tensor:
        """The same for the tokens from place `start` on, whose keys and values are written into the cache."""
        B, T, D = x_BTD.shape
        joined_BT3NH = self.joined(self.norm_1(x_BTD)).view(B, T, 3, self.heads, D // self.heads)
        q_BNTH, *written = joined_BT3NH.permute(2, 0, 3, 1, 4)
        for kept_BNSH, new_BNTH in zip(cache_2BNSH, written, strict=True):
            kept_BNSH[:, :, start : start + T] = new_BNTH
        k_BNSH, v_BNSH = cache_2BNSH[:, :, :, : start + T]
        # A prompt reads itself; a single token reads all there is.
        return self._onward(x_BTD, F.scaled_dot_product_attention(q_BNTH, k_BNSH, v_BNSH, is_causal=T > 1))

    def _onward(self, x_BTD: Tensor, read_BNTH: Tensor) -> Tensor:
        x_BTD = x_BTD + self.output(read_BNTH.transpose(1, 2).reshape(x_BTD.shape))
        return x_BTD + self.down(F.gelu(self.up(self.norm_2(x_BTD)), approximate="tanh"))


class Gpt(nn.Module):
    """Tokens → the mean cost of the token after each."""

    def __init__(self, config: DecoderConfig, vocabulary: int) -> None:
        super().__init__()
        (group,) = config.groups
        heads: Any = group.blocks[0].attention.heads
        self.tokens, self.positions = nn.Embedding(vocabulary, config.width), nn.Embedding(config.context, config.width)
        self.layers = nn.ModuleList(Layer(config.width, heads) for _ in range(group.times))
        self.norm = nn.LayerNorm(config.width)

    def costs(self, tokens_BT: Tensor, labels_BT: Tensor) -> Tensor:
        """Nats that each label costs, [B, T]."""
        x_BTD = self.tokens(tokens_BT) + self.positions(torch.arange(tokens_BT.shape[1]))
        for layer in self.layers:
            x_BTD = layer(x_BTD)
        logits_NV = F.linear(self.norm(x_BTD), self.tokens.weight).flatten(0, 1)
        return F.cross_entropy(logits_NV, labels_BT.flatten(), reduction="none").view(labels_BT.shape)

    def forward(self, tokens_BT: Tensor, labels_BT: Tensor) -> Tensor:
        return self.costs(tokens_BT, labels_BT).mean()

    @torch.inference_mode()
    def generate(self, tokens_BT: Tensor, count: int) -> Tensor:
        """The next `count` tokens, each the likeliest one, int64 [B, count]; keys and values are kept."""
        layers: Any = self.layers
        (B, T), D, N = tokens_BT.shape, self.tokens.embedding_dim, layers[0].heads
        caches = [torch.empty(2, B, N, T + count, D // N) for _ in layers]
        written, start = [], 0
        for _ in range(count):
            places_T = torch.arange(start, start + tokens_BT.shape[1])
            x_BTD = self.tokens(tokens_BT) + self.positions(places_T)
            for layer, cache in zip(layers, caches, strict=True):
                x_BTD = layer.read_on(x_BTD, cache, start)
            start += tokens_BT.shape[1]
            tokens_BT = F.linear(self.norm(x_BTD[:, -1:]), self.tokens.weight).argmax(-1)
            written.append(tokens_BT)
        return torch.cat(written, 1)

    @torch.no_grad()
    def load(self, params: Any) -> None:
        """Take the weights of our decoder."""
        tree = params["params"]
        stacked = tree["layers"]["rows_0"]["blocks_0"]
        copy(self.tokens.weight, tree["embedding"]["table"])
        copy(self.positions.weight, tree["position"]["position"])
        copy_norm(self.norm, tree["norm"])
        for i, layer in enumerate(self.layers):
            _layer(layer, slice_of(stacked, i))


def decayed_groups(model: Gpt, decay: float) -> list[dict[str, Any]]:
    """Weight decay on the matrices of linear layers alone, as in our AdamW."""
    matrices = [m.weight for m in model.modules() if isinstance(m, nn.Linear)]
    known = {id(weight) for weight in matrices}
    others = [p for p in model.parameters() if id(p) not in known]
    return [{"params": matrices, "weight_decay": decay}, {"params": others, "weight_decay": 0.0}]


def _layer(layer: Any, tree: Any) -> None:
    attention, feed_forward = tree["attention"], tree["feed_forward"]
    width = layer.output.weight.shape[0]
    for parameter, values in zip(layer.joined.parameters(), stacked_heads(attention), strict=True):
        copy(parameter, values)
    copy(layer.output.weight, attention["output"].reshape(width, width).T)
    copy(layer.output.bias, attention["output_bias"])
    for name, linear in (("up", layer.up), ("down", layer.down)):
        copy(linear.weight, feed_forward[name].T)
        copy(linear.bias, feed_forward[f"{name}_bias"])
    copy_norm(layer.norm_1, tree["around_attention"]["norm"])
    copy_norm(layer.norm_2, tree["around_feed_forward"]["norm"])


def stacked_heads(tree: Any) -> tuple[np.ndarray, np.ndarray]:
    """The weight and bias of one product for queries, keys and values, from those of our attention."""
    names = ("query", "key", "value")
    weights = [tree[name].reshape(tree[name].shape[0], -1).T for name in names]
    return np.concatenate(weights), np.concatenate([tree[f"{name}_bias"].ravel() for name in names])


def copy_norm(norm: nn.LayerNorm, tree: Any) -> None:
    """The scale and bias of a norm of ours."""
    copy(norm.weight, tree["scale"])
    copy(norm.bias, tree["bias"])


def copy(parameter: Tensor, values: np.ndarray) -> None:
    """These values, in place."""
    parameter.copy_(torch.from_numpy(np.array(values)))


def slice_of(tree: Any, i: int) -> Any:
    """One layer of a tree of stacked ones."""
    return {name: slice_of(leaf, i) if isinstance(leaf, dict) else leaf[i] for name, leaf in tree.items()}
