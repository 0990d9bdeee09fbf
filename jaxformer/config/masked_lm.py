"""What `jaxformer train masked-lm` can be told."""

from dataclasses import dataclass

from jaxformer.config.data import Batching
from jaxformer.config.encoders import BERT_TINY
from jaxformer.config.model import EncoderConfig
from jaxformer.config.ranges import at_least
from jaxformer.config.text import WordPiece
from jaxformer.config.text_data import Masking, Packed, TokenMasking, check_context
from jaxformer.config.training import AdamW, Cosine, OptimizationConfig, TrainingConfig


@dataclass(frozen=True)
class MaskedLmConfig(TrainingConfig):
    """Train an encoder to tell hidden tokens, as BERT is pre-trained. The same configuration and seed give the same
    run.
    """

    data: str = "builtin"
    """`builtin` (the sources of Python's standard library), a text file or a folder of them, FILE.jsonl, FILE.parquet,
    a folder with train and valid, or hf:NAME.
    """
    model: EncoderConfig = BERT_TINY
    """A preset, or a model written out."""
    tokenizer: WordPiece = WordPiece()
    masking: Masking = TokenMasking()
    """Which tokens are to be guessed, drawn anew for every batch; of them 80% are hidden, 10% swapped, 10% shown."""
    batches: Packed | Batching = Packed(length=128, rows=16)
    """Rows filled with documents one after the other, or a document a row, those of similar length together."""
    optimization: OptimizationConfig = OptimizationConfig(
        AdamW(beta2=0.98, epsilon=1e-6, weight_decay=0.01), Cosine(peak=1e-3, warmup=500)
    )
    z_loss: float = 0.0
    """Weight of log²Σexp(logits) in the loss."""
    steps: int = 5000

    def __post_init__(self):
        super().__post_init__()
        at_least(self, 0, "z_loss")
        if not self.model.masked_head:
            raise ValueError("model.masked_head must be true, for it tells the hidden tokens, got false")
        check_context(self.batches, self.model.context)
