"""What `jaxformer train causal-lm` can be told."""

from dataclasses import dataclass

from jaxformer.config.data import Bpe
from jaxformer.config.decoders import GPT2_TINY
from jaxformer.config.model import DecoderConfig
from jaxformer.config.ranges import at_least
from jaxformer.config.text import Bytes, Characters
from jaxformer.config.text_data import Packed, TextRows, check_context
from jaxformer.config.training import AdamW, Cosine, OptimizationConfig, TrainingConfig


@dataclass(frozen=True)
class CausalLmConfig(TrainingConfig):
    """Train a decoder to continue text. The same configuration and seed give the same run."""

    data: str = "builtin"
    """`builtin` (the sources of Python's standard library), a text file or a folder of them, FILE.jsonl, FILE.parquet,
    a folder with train and valid, or hf:NAME.
    """
    model: DecoderConfig = GPT2_TINY
    """A preset, or a model written out."""
    tokenizer: Bpe | Characters | Bytes = Bpe(vocabulary=2000)
    batches: TextRows = Packed(length=128, rows=8)
    """Documents packed in rows that do not see each other, or windows at random places of one stream."""
    optimization: OptimizationConfig = OptimizationConfig(
        AdamW(beta2=0.99, epsilon=1e-8, weight_decay=0.1), Cosine(peak=2e-3, warmup=100, floor=0.1)
    )
    z_loss: float = 0.0
    """Weight of log²Σexp(logits) in the loss."""
    further: float = 0.3
    """Weight of the loss of tokens past the next one, for a model that predicts them (DeepSeek-AI 2024, §4.2)."""
    steps: int = 2000

    def __post_init__(self):
        super().__post_init__()
        at_least(self, 0, "z_loss", "further")
        check_context(self.batches, self.model.context)
