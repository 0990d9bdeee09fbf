"""Encoder-decoders with a name that came after the first one: the shapes of published models, and small ones."""

from dataclasses import replace

from jaxformer.config.blocks import Block, FeedForward, Gated, Group, LayerNorm, MultiHead, PostNorm, RmsNorm
from jaxformer.config.model import EncoderDecoderConfig, NoPosition, Sinusoidal
from jaxformer.config.positions import RelativeBuckets


def t5(
    width: int,
    layers: int,
    heads: int,
    head_width: int,
    feed_forward: FeedForward | Gated,
    *,
    tied: bool = True,
    dropout: float = 0.1,
) -> EncoderDecoderConfig:
    """T5: RMSNorm, relative positions in buckets, no biases (Raffel et al. 2020, §2.1), and scores that are not
    divided, as in the code of its authors.

    Where the output is tied, the last vectors are multiplied by 1/√D before it.
    """
    attention, norm = MultiHead(heads, heads, head_width, bias=False, scale=1.0), RmsNorm()
    block = Block(attention, feed_forward, norm)
    return EncoderDecoderConfig(
        width,
        (Group((block,), layers),),
        (Group((replace(block, cross=attention),), layers),),
        norm=norm,
        position=NoPosition(),
        relative=RelativeBuckets(),
        tied_output=tied,
        output_scale=width**-0.5 if tied else 1.0,
        dropout=dropout,
    )


def marian(width: int, layers: int, heads: int, hidden: int, dropout: float = 0.1) -> EncoderDecoderConfig:
    """Marian: the Transformer of 2017 with its norms after the sublayers, swish, and a bias of the logits
    (Junczys-Dowmunt et al. 2018).
    """
    attention = MultiHead(heads, heads, width // heads)
    block = Block(attention, FeedForward(hidden, "silu"), LayerNorm(), PostNorm())
    return EncoderDecoderConfig(
        width,
        (Group((block,), layers),),
        (Group((replace(block, cross=attention),), layers),),
        norm=None,
        position=Sinusoidal(halves=True),
        embedding_scale=width**0.5,
        output_bias=True,
        dropout=dropout,
    )


T5_TINY = t5(128, 2, 4, 32, FeedForward(256, "relu", bias=False), dropout=0.05)
T5_SMALL = t5(512, 6, 8, 64, FeedForward(2048, "relu", bias=False))
T5_BASE = t5(768, 12, 12, 64, FeedForward(3072, "relu", bias=False))
FLAN_T5_BASE = t5(768, 12, 12, 64, Gated(2048, "gelu_tanh"), tied=False)

MARIAN_TINY = marian(128, 2, 4, 256, dropout=0.05)
OPUS_MT = marian(512, 6, 8, 2048)
