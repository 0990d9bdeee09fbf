"""Models with a name: three Transformers, and beside each the recurrent rivals of the same number of parameters."""

import difflib
from dataclasses import dataclass

from jaxformer.config.errors import UserError
from jaxformer.config.model import Bahdanau, Gru, Lstm, NoAttention, RnnConfig, Seq2SeqConfig, TransformerConfig


@dataclass(frozen=True)
class Preset:
    """A model's configuration and the line that introduces it."""

    config: Seq2SeqConfig
    description: str


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
}
"""By name, in the order in which a list shows them."""


def preset(name: str) -> Seq2SeqConfig:
    """The configuration of this name; UserError, with the names nearest to it, where there is none."""
    if name in PRESETS:
        return PRESETS[name].config
    near = difflib.get_close_matches(name.lower(), PRESETS, n=3)
    hint = f"did you mean {' or '.join(near)}?" if near else f"the models are {', '.join(PRESETS)}"
    raise UserError(f"no model is named {name!r}; {hint}")
