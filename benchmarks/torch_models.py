"""An encoder-decoder and a BERT in PyTorch, of its own Transformer layers, and the way to our weights."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.steps import BertShape, PairShape
from benchmarks.torch_gpt import copy, copy_norm, slice_of, stacked_heads

OPTIONS = {"dropout": 0.0, "batch_first": True}


class EncoderDecoder(nn.Module):
    """Source and target tokens → the mean cost of the target's next tokens. Nothing is padded, so no mask hides it."""

    def __init__(self, shape: PairShape) -> None:
        super().__init__()
        D, layers = shape.width, shape.layers
        self.transformer = nn.Transformer(D, shape.heads, layers, layers, 4 * D, norm_first=True, **OPTIONS)
        self.tokens = nn.Embedding(shape.vocabulary, D)
        angles = torch.arange(shape.length)[:, None] * 10_000.0 ** (-torch.arange(0, D, 2) / D)
        self.register_buffer("code", torch.stack([angles.sin(), angles.cos()], -1).reshape(-1, D))
        self.register_buffer("later", nn.Transformer.generate_square_subsequent_mask(shape.length))

    def forward(self, source_BS: Tensor, target_BT: Tensor) -> Tensor:
        read_BT, labels_BT = target_BT[:, :-1], target_BT[:, 1:]
        x_BTD = self.transformer(self._embed(source_BS), self._embed(read_BT), tgt_mask=self.later, tgt_is_causal=True)
        logits_NV = F.linear(x_BTD, self.tokens.weight).flatten(0, 1)
        return F.cross_entropy(logits_NV, labels_BT.flatten())

    def _embed(self, tokens: Tensor) -> Tensor:
        return self.tokens(tokens) * self.tokens.embedding_dim**0.5 + self.code

    @torch.no_grad()
    def load(self, params: Any) -> None:
        """Take the weights of our encoder-decoder."""
        tree = params["params"]
        copy(self.tokens.weight, tree["embedding"]["table"])
        for part in ("encoder", "decoder"):
            side, stacked = getattr(self.transformer, part), tree[part]["rows_0"]["blocks_0"]
            copy_norm(side.norm, tree[f"{part}_norm"])
            for i, layer in enumerate(side.layers):
                _layer(layer, slice_of(stacked, i))


class Bert(nn.Module):
    """Tokens and the places of hidden ones → the mean cost of what stood there. Nothing is padded."""

    def __init__(self, shape: BertShape) -> None:
        super().__init__()
        D = shape.width
        self.tokens, self.positions = nn.Embedding(shape.vocabulary, D), nn.Embedding(shape.length, D)
        self.segments = nn.Embedding(2, D)
        layer = nn.TransformerEncoderLayer(D, shape.heads, 4 * D, activation="gelu", layer_norm_eps=1e-12, **OPTIONS)
        self.encoder = nn.TransformerEncoder(layer, shape.layers, enable_nested_tensor=False)
        self.dense, self.bias = nn.Linear(D, D), nn.Parameter(torch.zeros(shape.vocabulary))
        self.norm, self.head_norm = nn.LayerNorm(D, 1e-12), nn.LayerNorm(D, 1e-12)

    def forward(self, tokens_BT: Tensor, places_BM: Tensor, labels_BM: Tensor) -> Tensor:
        x_BTD = self.tokens(tokens_BT) + self.positions(torch.arange(tokens_BT.shape[1]))
        x_BTD = self.encoder(self.norm(x_BTD + self.segments(torch.zeros_like(tokens_BT))))
        x_BMD = x_BTD.gather(1, places_BM[..., None].expand(-1, -1, x_BTD.shape[-1]))
        x_BMD = self.head_norm(F.gelu(self.dense(x_BMD)))
        return F.cross_entropy(F.linear(x_BMD, self.tokens.weight, self.bias).flatten(0, 1), labels_BM.flatten())

    @torch.no_grad()
    def load(self, params: Any) -> None:
        """Take the weights of our encoder."""
        tree = params["params"]
        copy(self.tokens.weight, tree["embedding"]["table"])
        copy(self.positions.weight, tree["position"]["position"])
        copy(self.segments.weight, tree["segments"])
        copy_norm(self.norm, tree["embedding_norm"])
        copy(self.dense.weight, tree["head"]["dense"].T)
        copy(self.dense.bias, tree["head"]["dense_bias"])
        copy(self.bias, tree["head"]["output_bias"])
        copy_norm(self.head_norm, tree["head"]["norm"])
        for i, layer in enumerate(self.encoder.layers):
            _layer(layer, slice_of(tree["layers"]["rows_0"]["blocks_0"], i))


def _layer(layer: Any, tree: Any) -> None:
    """A layer of PyTorch, whose norms are numbered in the order in which it goes through them."""
    _attention(layer.self_attn, tree["attention"])
    norms = [tree["around_attention"]["norm"], tree["around_feed_forward"]["norm"]]
    if "cross" in tree:
        _attention(layer.multihead_attn, tree["cross"])
        norms.insert(1, tree["around_cross"]["norm"])
    for i, norm in enumerate(norms, start=1):
        copy_norm(getattr(layer, f"norm{i}"), norm)
    for name, linear in (("up", layer.linear1), ("down", layer.linear2)):
        copy(linear.weight, tree["feed_forward"][name].T)
        copy(linear.bias, tree["feed_forward"][f"{name}_bias"])


def _attention(attention: nn.MultiheadAttention, tree: Any) -> None:
    D = attention.embed_dim
    weight, bias = stacked_heads(tree)
    copy(attention.in_proj_weight, weight)
    copy(attention.in_proj_bias, bias)
    copy(attention.out_proj.weight, tree["output"].reshape(D, D).T)
    copy(attention.out_proj.bias, tree["output_bias"])
