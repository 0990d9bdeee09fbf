"""Encoders with a name: BERT in its published sizes."""

from jaxformer.config.blocks import Block, FeedForward, Group, LayerNorm, MultiHead, PostNorm
from jaxformer.config.model import EncoderConfig, Learned


def bert(width: int, layers: int, heads: int, context: int = 512) -> EncoderConfig:
    """BERT: post-norm, learned positions, two kinds of segment, GELU, a head for masked tokens and a pooler (Devlin et
    al. 2019, §3).
    """
    norm = LayerNorm(1e-12)
    block = Block(MultiHead(heads, heads, width // heads), FeedForward(4 * width, "gelu"), norm, PostNorm())
    position = Learned(context, deviation=0.02)
    return EncoderConfig(width, (Group((block,), layers),), position=position, pooler=True, context=context)


BERT_TINY = bert(128, 2, 2)
BERT_MINI = bert(256, 4, 4)
BERT_SMALL = bert(512, 4, 8)
BERT_BASE = bert(768, 12, 12)
BERT_LARGE = bert(1024, 24, 16)
