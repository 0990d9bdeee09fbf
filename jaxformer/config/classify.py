"""What `jaxformer train classify` can be told."""

from dataclasses import dataclass
from pathlib import Path

from jaxformer.config.data import Batching
from jaxformer.config.model import Dtype, EncoderConfig
from jaxformer.config.ranges import below_one
from jaxformer.config.text import WordPiece
from jaxformer.config.text_data import check_context
from jaxformer.config.training import AdamW, ConsistentConfig, Cosine, OptimizationConfig


@dataclass(frozen=True)
class First:
    """The vector of the first token, [CLS], through the pooler where the model has one (Devlin et al. 2019, §3)."""


@dataclass(frozen=True)
class Mean:
    """The mean of the vectors of all tokens (Reimers & Gurevych 2019, §3)."""


Pooling = First | Mean


@dataclass(frozen=True)
class Labels:
    """What the examples of a corpus are like."""

    classes: tuple[str, ...]
    """Their names, in the order of their numbers."""
    sentences: int = 1
    """Of an example: 1 or 2."""


@dataclass(frozen=True)
class ClassifyConfig(ConsistentConfig):
    """Train an encoder to tell the class of a sentence, or of two. The same configuration and seed give the same run.

    A pretrained one is fine-tuned at the rates set here; one that begins from nothing wants a peak of about 5e-4.
    """

    data: str = ""
    """A folder with train.tsv, valid.tsv and perhaps test.tsv; their columns are label, and sentence or sentence1 and
    sentence2.
    """
    init: Path | None = None
    """The encoder to begin with: a Hugging Face folder, or a run of masked-lm. Without one the weights are drawn."""
    model: EncoderConfig | None = None
    """A preset, or a model written out; that of init where there is one, else bert-tiny."""
    tokenizer: WordPiece = WordPiece()
    """Learned from the sentences of the train split, where no init brings one."""
    pooling: Pooling = Mean()
    """What the head sees of a text."""
    dropout: float | None = None
    """Of the encoder and before the head, in place of the model's own."""
    dtype: Dtype | None = None
    """Of what is computed, in place of the model's own; parameters and their updates are float32."""
    batches: Batching = Batching(tokens=1024, buckets=4, max_length=128)
    """Examples of similar length share a batch; those longer than max_length tokens are cut and counted."""
    optimization: OptimizationConfig = OptimizationConfig(
        AdamW(beta2=0.999, epsilon=1e-8, weight_decay=0.01), Cosine(peak=5e-5, warmup=100)
    )
    steps: int = 1000
    labels: Labels | None = None
    """Taken from the data; the run fills it in, as it does the next two."""
    vocabulary: int | None = None
    """Rows of the table of embeddings of init, which may be more than its tokenizer needs."""
    weights: str | None = None
    """SHA-256 of the weights of init."""

    def __post_init__(self):
        super().__post_init__()
        below_one(self, "dropout")
        if self.model is not None:
            check_context(self.batches, self.model.context)
            self._check_readings_differ(self.model.dropout if self.dropout is None else self.dropout, "dropout")
