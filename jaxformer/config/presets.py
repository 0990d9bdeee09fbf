"""Models with a name: Transformers that translate, each beside its recurrent rivals; decoders; encoders."""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from jaxformer.config import decoders, encoder_decoders, encoders
from jaxformer.config.blocks import Groups, ungrouped
from jaxformer.config.errors import UserError
from jaxformer.config.model import (
    Bahdanau,
    DecoderConfig,
    EncoderConfig,
    EncoderDecoderConfig,
    Gru,
    Lstm,
    NoAttention,
    RnnConfig,
    Seq2SeqConfig,
    TransformerConfig,
)

NamedConfig = Seq2SeqConfig | DecoderConfig | EncoderConfig


@dataclass(frozen=True)
class Preset:
    """A model's configuration and the line that introduces it."""

    config: NamedConfig
    description: str
    vocabulary: int = 8000
    """Tokens of the published model; of one that is trained here, what a tokenizer of this library may have."""


MINI = TransformerConfig(width=128, encoder_layers=2, decoder_layers=2, heads=4, feed_forward=256, dropout=0.05)
"""A model for the built-in corpus: two layers a side reach its word order in minutes on two cores."""

TINY = TransformerConfig(width=128, encoder_layers=4, decoder_layers=4, heads=4, feed_forward=256, dropout=0.3)
"""The small model of Wu et al. 2021 ("Good for Misconceived Reasons", §4) for corpora of tens of thousands of pairs."""

BASE = TransformerConfig(width=512, encoder_layers=6, decoder_layers=6, heads=8, feed_forward=2048, dropout=0.1)
"""The base model of Vaswani et al. 2017, table 3, with its norms before the sublayers."""

BIG = TransformerConfig(width=1024, encoder_layers=6, decoder_layers=6, heads=16, feed_forward=4096, dropout=0.3)
"""The big model of Vaswani et al. 2017, table 3, with its norms before the sublayers."""


def _rivals(size: str, rival_of: TransformerConfig, widths: dict[str, int]) -> dict[str, Preset]:
    """GRU and LSTM with the Transformer's embedding width and dropout, and states of these widths."""
    presets = {}
    for name, cell in (("gru", Gru()), ("lstm", Lstm())):
        for suffix, attention, words in (
            ("", NoAttention(), "no attention (Sutskever et al. 2014)"),
            ("-attention", Bahdanau(rival_of.width), "attention (Bahdanau et al. 2015)"),
        ):
            width = widths[name + suffix]
            config = RnnConfig(cell, rival_of.width, width, layers=2, attention=attention, dropout=rival_of.dropout)
            description = f"{name.upper()}, 2+2 layers of width {width}, {words}; the size of transformer-{size}"
            presets[f"{name}{suffix}-{size}"] = Preset(config, description)
    return presets


def _transformer(config: TransformerConfig) -> Preset:
    layers = f"{config.encoder_layers}+{config.decoder_layers} layers of width {config.width}"
    return Preset(config, f"Transformer, {layers}, {config.heads} heads, feed-forward {config.feed_forward}")


def _named(kind: str, config: Any, stacks: Sequence[Groups], name: str, vocabulary: int) -> Preset:
    layers = "+".join(str(len(ungrouped(groups))) for groups in stacks)
    return Preset(config, f"{kind}, {layers} layers of width {config.width}: {name}", vocabulary)


def _encoder_decoder(config: EncoderDecoderConfig, name: str, vocabulary: int = 8000) -> Preset:
    return _named("encoder-decoder", config, (config.encoder, config.decoder), name, vocabulary)


def _decoder(config: DecoderConfig, name: str, vocabulary: int = 8000) -> Preset:
    return _named("decoder", config, (config.groups,), name, vocabulary)


def _encoder(config: EncoderConfig, name: str, vocabulary: int = 30_522) -> Preset:
    return _named("encoder", config, (config.groups,), name, vocabulary)


# Each width is the multiple of 8 (of 4 where none is near enough) that brings the parameters, embeddings left out,
# closest to the Transformer's.
PRESETS: dict[str, Preset] = {
    "transformer-mini": _transformer(MINI),
    "transformer-tiny": _transformer(TINY),
    **_rivals("tiny", TINY, {"gru": 248, "gru-attention": 224, "lstm": 212, "lstm-attention": 192}),
    "transformer-base": _transformer(BASE),
    **_rivals("base", BASE, {"gru": 1472, "gru-attention": 1336, "lstm": 1264, "lstm-attention": 1152}),
    "transformer-big": _transformer(BIG),
    **_rivals("big", BIG, {"gru": 2936, "gru-attention": 2664, "lstm": 2528, "lstm-attention": 2296}),
    "t5-tiny": _encoder_decoder(encoder_decoders.T5_TINY, "T5 for a laptop"),
    "t5-small": _encoder_decoder(encoder_decoders.T5_SMALL, "T5, 60M (Raffel et al. 2020)", 32_128),
    "t5-base": _encoder_decoder(encoder_decoders.T5_BASE, "T5, 220M", 32_128),
    "flan-t5-base": _encoder_decoder(encoder_decoders.FLAN_T5_BASE, "T5 1.1, 250M, as in Flan", 32_128),
    "marian-tiny": _encoder_decoder(encoder_decoders.MARIAN_TINY, "Marian for a laptop"),
    "opus-mt": _encoder_decoder(encoder_decoders.OPUS_MT, "Marian, en-de (Tiedemann & Thottingal 2020)", 58_101),
    "gpt2-tiny": _decoder(decoders.GPT2_TINY, "GPT-2 for a laptop"),
    "llama-tiny": _decoder(decoders.LLAMA_TINY, "Llama for a laptop, grouped-query attention"),
    "qwen3-tiny": _decoder(decoders.QWEN3_TINY, "Qwen 3 for a laptop"),
    "gemma3-tiny": _decoder(decoders.GEMMA3_TINY, "Gemma 3 for a laptop, five local layers for each global one"),
    "mixtral-tiny": _decoder(decoders.MIXTRAL_TINY, "Mixtral for a laptop, as much work a token as llama-tiny"),
    "deepseek-tiny": _decoder(decoders.DEEPSEEK_TINY, "DeepSeek-V3 for a laptop, as much work as llama-tiny"),
    "gpt2": _decoder(decoders.GPT2, "GPT-2, 124M (Radford et al. 2019)", 50_257),
    "gpt2-medium": _decoder(decoders.GPT2_MEDIUM, "GPT-2, 355M", 50_257),
    "gpt2-large": _decoder(decoders.GPT2_LARGE, "GPT-2, 774M", 50_257),
    "gpt2-xl": _decoder(decoders.GPT2_XL, "GPT-2, 1.5B", 50_257),
    "smollm2-135m": _decoder(decoders.SMOLLM2, "SmolLM2, 135M (Allal et al. 2025)", 49_152),
    "llama3-8b": _decoder(decoders.LLAMA3_8B, "Llama 3.1, 8B (Grattafiori et al. 2024)", 128_256),
    "qwen3-0.6b": _decoder(decoders.QWEN3, "Qwen 3, 0.6B (Yang et al. 2025)", 151_936),
    "gemma3-1b": _decoder(decoders.GEMMA3_1B, "Gemma 3, 1B (Gemma Team 2025)", 262_144),
    "gemma3-4b": _decoder(decoders.GEMMA3_4B, "Gemma 3, 4B, the part that reads text", 262_208),
    "mixtral-8x7b": _decoder(decoders.MIXTRAL, "Mixtral, 8 experts (Jiang et al. 2024)", 32_000),
    "deepseek-v3": _decoder(decoders.DEEPSEEK_V3, "DeepSeek-V3, 671B (DeepSeek-AI 2024)", 129_280),
    "bert-tiny": _encoder(encoders.BERT_TINY, "BERT for a laptop (Turc et al. 2019)"),
    "bert-mini": _encoder(encoders.BERT_MINI, "BERT, mini (Turc et al. 2019)"),
    "bert-small": _encoder(encoders.BERT_SMALL, "BERT, small (Turc et al. 2019)"),
    "bert-base": _encoder(encoders.BERT_BASE, "BERT, base (Devlin et al. 2019)"),
    "bert-large": _encoder(encoders.BERT_LARGE, "BERT, large (Devlin et al. 2019)"),
}
"""By name, in the order in which a list shows them."""


def preset(name: str) -> NamedConfig:
    """The configuration of this name; UserError, with the names nearest to it, where there is none."""
    if name in PRESETS:
        return PRESETS[name].config
    near = difflib.get_close_matches(name.lower(), PRESETS, n=3)
    hint = f"did you mean {' or '.join(near)}?" if near else f"the models are {', '.join(PRESETS)}"
    raise UserError(f"no model is named {name!r}; {hint}")
