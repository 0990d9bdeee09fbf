"""What `jaxformer train translate` can be told."""

from dataclasses import dataclass
from pathlib import Path

from jaxformer.config.data import Batching, Bpe
from jaxformer.config.model import Seq2SeqConfig
from jaxformer.config.presets import MINI
from jaxformer.config.ranges import at_least, below_one
from jaxformer.config.training import ConsistentConfig, Cosine, OptimizationConfig, WatchConfig


@dataclass(frozen=True)
class SearchConfig:
    """How a translation is looked for."""

    beams: int = 5
    """Hypotheses kept for each sentence; 1 is greedy decoding."""
    alpha: float = 1.0
    """Exponent of the length penalty ((5 + length) / 6)^alpha (Wu et al. 2016, eq. 14)."""
    length: int = 100
    """Most tokens of a translation; one that is not finished by then is cut."""

    def __post_init__(self):
        at_least(self, 1, "beams", "length")
        at_least(self, 0, "alpha")


@dataclass(frozen=True)
class TranslationWatch(WatchConfig):
    """What is looked at: loss, and BLEU of greedy translations of the valid split, which is the score."""

    validate_every: int = 750
    sentences: int = 200
    """Sentences of the valid split that are translated each time."""

    def __post_init__(self):
        super().__post_init__()
        at_least(self, 1, "sentences")


@dataclass(frozen=True)
class TranslateConfig(ConsistentConfig):
    """Train an encoder-decoder to translate. The same configuration and seed give the same run."""

    data: str = "builtin"
    """`builtin`, a folder with train, valid and test (.tsv, or two aligned files named by language), or hf:NAME."""
    source: str = "en"
    """Language to translate from."""
    target: str = "zh"
    """Language to translate into."""
    init: Path | None = None
    """A run of this job whose best weights to begin with, of the same model but perhaps for dropout. Without one they
    are drawn.
    """
    model: Seq2SeqConfig = MINI
    """A preset, or a model written out."""
    tokenizer: Bpe = Bpe(vocabulary=1500)
    """Learned from the sentences of the train split, where no init brings one."""
    batches: Batching = Batching(tokens=1024)
    optimization: OptimizationConfig = OptimizationConfig(schedule=Cosine(peak=4e-3))
    smoothing: float = 0.1
    """Label smoothing."""
    z_loss: float = 0.0
    """Weight of log²Σexp(logits) in the loss."""
    steps: int = 1650
    search: SearchConfig = SearchConfig()
    watch: TranslationWatch = TranslationWatch()
    weights: str | None = None
    """SHA-256 of the weights of init; the run fills it in."""

    def __post_init__(self):
        super().__post_init__()
        at_least(self, 0, "z_loss")
        below_one(self, "smoothing")
        self._check_readings_differ(self.model.dropout, "model.dropout")
