"""Decoders with a name: the shapes of published models, and a small one of each kind that trains on a laptop."""

import math
from dataclasses import replace
from typing import Any

from jaxformer.config.blocks import (
    Block,
    FeedForward,
    Gated,
    Group,
    Latent,
    LayerNorm,
    MultiHead,
    RmsNorm,
    SandwichNorm,
    grouped,
)
from jaxformer.config.experts import MixtureOfExperts, SigmoidRouter, SoftmaxRouter
from jaxformer.config.model import DecoderConfig, Learned
from jaxformer.config.positions import Linear, Llama3, Rotary, Yarn


def in_every_block(config: DecoderConfig, **parts: Any) -> DecoderConfig:
    """The decoder with other parts in all of its blocks, such as `feed_forward=Gated(176)`."""
    groups = tuple(
        replace(group, blocks=tuple(replace(block, **parts) for block in group.blocks)) for group in config.groups
    )
    return replace(config, groups=groups)


def gpt2(width: int, layers: int, heads: int, context: int = 1024, dropout: float = 0.1) -> DecoderConfig:
    """GPT-2: learned positions, pre-norm, biases, GELU in its tanh form (Radford et al. 2019, §2.3)."""
    attention = MultiHead(heads, heads, width // heads)
    block = Block(attention, FeedForward(4 * width, "gelu_tanh"))
    return DecoderConfig(
        width,
        (Group((block,), layers),),
        norm=LayerNorm(),
        position=Learned(context, deviation=0.02),
        context=context,
        dropout=dropout,
    )


def llama(
    width: int,
    layers: int,
    attention: MultiHead,
    hidden: int,
    *,
    context: int,
    tied: bool = False,
    epsilon: float = 1e-5,
) -> DecoderConfig:
    """Llama and its kin: RMSNorm, rotary positions, SwiGLU, no biases (Touvron et al. 2023)."""
    block = Block(attention, Gated(hidden), RmsNorm(epsilon))
    return DecoderConfig(width, (Group((block,), layers),), norm=RmsNorm(epsilon), tied_output=tied, context=context)


def grouped_query(heads: int, kv_heads: int, head_width: int, rotary: Rotary) -> MultiHead:
    """Grouped-query attention without biases."""
    return MultiHead(heads, kv_heads, head_width, bias=False, rotary=rotary)


def qwen3(width: int, layers: int, attention: MultiHead, hidden: int, *, context: int, tied: bool) -> DecoderConfig:
    """Qwen 3: queries and keys have a norm of their own (Yang et al. 2025, §2)."""
    attention = replace(attention, query_key_norm=RmsNorm())
    return llama(width, layers, attention, hidden, context=context, tied=tied, epsilon=1e-6)


def gemma3(
    width: int,
    layers: int,
    heads: int,
    kv_heads: int,
    head_width: int,
    hidden: int,
    *,
    window: int,
    context: int,
    far: Rotary,
) -> DecoderConfig:
    """Gemma 3: five layers with a window for each without, sandwich norms whose scales are stored less one, GEGLU,
    norms of queries and keys, embeddings times √width (Gemma Team 2025, §2).
    """
    norm = RmsNorm(offset=1.0)
    local = MultiHead(
        heads,
        kv_heads,
        head_width,
        bias=False,
        rotary=Rotary(),
        window=window,
        query_key_norm=norm,
    )
    block = Block(local, Gated(hidden, "gelu_tanh"), norm, SandwichNorm())
    reading_all = replace(block, attention=replace(local, rotary=far, window=None))
    blocks = [reading_all if layer % 6 == 5 else block for layer in range(layers)]
    return DecoderConfig(
        width, grouped(blocks), norm=norm, embedding_scale=width**0.5, tied_output=True, context=context
    )


def mixtral(
    width: int, layers: int, attention: MultiHead, hidden: int, *, experts: int, active: int, context: int
) -> DecoderConfig:
    """Mixtral: every feed-forward layer is a mixture of experts (Jiang et al. 2024)."""
    mixture = MixtureOfExperts(experts, active, hidden, SoftmaxRouter())
    block = Block(attention, mixture, RmsNorm(1e-5))
    return DecoderConfig(width, (Group((block,), layers),), norm=RmsNorm(1e-5), tied_output=False, context=context)


def deepseek(
    width: int,
    layers: int,
    attention: Latent,
    hidden: int,
    mixture: MixtureOfExperts,
    *,
    dense: int,
    context: int,
    further: int = 0,
) -> DecoderConfig:
    """DeepSeek-V3: latent attention, the first layers dense, then experts balanced by their biases and, next to
    nothing, by a loss, and further tokens predicted (DeepSeek-AI 2024, §2).
    """
    first = Block(attention, Gated(hidden), RmsNorm())
    return DecoderConfig(
        width,
        grouped([first] * dense + [replace(first, feed_forward=mixture)] * (layers - dense)),
        norm=RmsNorm(),
        tied_output=False,
        context=context,
        further=further,
    )


_YARN = Yarn(40.0, 4096, mscale=1.0, mscale_all_dim=1.0)
_SHARPER = (0.1 * math.log(_YARN.factor) + 1) ** 2
"""What YaRN multiplies the scores of DeepSeek-V3 by."""

ALPHA = 0.0001
"""Weight of the balance loss of DeepSeek-V3, which divides by the active experts (eqs. 17 to 20); ours does not."""

_SMALL_HEADS = grouped_query(4, 2, 32, Rotary())

GPT2 = gpt2(768, 12, 12)
GPT2_MEDIUM = gpt2(1024, 24, 16)
GPT2_LARGE = gpt2(1280, 36, 20)
GPT2_XL = gpt2(1600, 48, 25)
GPT2_TINY = gpt2(128, 4, 4, context=256, dropout=0.0)

SMOLLM2 = llama(576, 30, grouped_query(9, 3, 64, Rotary(100_000.0)), 1536, context=8192, tied=True)
LLAMA3_8B = llama(4096, 32, grouped_query(32, 8, 128, Rotary(500_000.0, scaling=Llama3(8.0))), 14_336, context=131_072)
LLAMA_TINY = llama(128, 4, _SMALL_HEADS, 352, context=256, tied=True)

QWEN3 = qwen3(1024, 28, grouped_query(16, 8, 128, Rotary(1_000_000.0)), 3072, context=40_960, tied=True)
QWEN3_TINY = qwen3(128, 4, _SMALL_HEADS, 352, context=256, tied=True)

GEMMA3_1B = gemma3(1152, 26, 4, 1, 256, 6912, window=512, context=32_768, far=Rotary(1_000_000.0))
GEMMA3_4B = gemma3(
    2560, 34, 8, 4, 256, 10_240, window=1024, context=131_072, far=Rotary(1_000_000.0, scaling=Linear(8.0))
)
GEMMA3_TINY = gemma3(128, 6, 4, 2, 32, 352, window=64, context=256, far=Rotary(1_000_000.0))

MIXTRAL = mixtral(4096, 32, grouped_query(32, 8, 128, Rotary(1_000_000.0)), 14_336, experts=8, active=2, context=32_768)
MIXTRAL_TINY = replace(mixtral(128, 4, _SMALL_HEADS, 176, experts=8, active=2, context=256), tied_output=True)

DEEPSEEK_V3 = deepseek(
    7168,
    61,
    Latent(
        heads=128,
        latent_width=512,
        head_width=128,
        rotary_width=64,
        value_width=128,
        query_width=1536,
        rotary=Rotary(scaling=_YARN, interleaved=True),
        scale=_SHARPER / math.sqrt(128 + 64),
    ),
    18_432,
    MixtureOfExperts(256, 8, 2048, SigmoidRouter(8, 4, 2.5), shared=2048, balance=ALPHA / 8, z=0.0, bias_rate=0.001),
    dense=3,
    context=163_840,
    further=1,
)
DEEPSEEK_TINY = replace(
    deepseek(
        128,
        4,
        Latent(heads=4, latent_width=32, head_width=32, rotary_width=8, value_width=32),
        352,
        MixtureOfExperts(8, 2, 88, SigmoidRouter(), shared=176, balance=ALPHA / 2, z=0.0, bias_rate=0.001),
        dense=1,
        context=256,
        further=1,
    ),
    tied_output=True,
)
