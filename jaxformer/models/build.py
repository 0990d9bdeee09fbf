"""From a configuration to its module."""

from jaxformer.config.model import EncoderDecoderConfig, RnnConfig, Seq2SeqConfig, TransformerConfig
from jaxformer.models.rnn import Rnn
from jaxformer.models.seq2seq import Transformer


def build(config: Seq2SeqConfig, vocabulary: int, pad: int = 0) -> Transformer | Rnn:
    """The module that a configuration describes, for so many tokens, of which `pad` fills up sequences."""
    match config:
        case TransformerConfig() | EncoderDecoderConfig():
            return Transformer(config, vocabulary, pad)
        case RnnConfig():
            return Rnn(config, vocabulary, pad)
