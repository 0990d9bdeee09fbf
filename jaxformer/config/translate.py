"""What `jaxformer train translate` can be told."""

from dataclasses import dataclass

from jaxformer.config.data import Batching, Bpe
from jaxformer.config.model import Seq2SeqConfig
from jaxformer.config.presets import preset
from jaxformer.config.ranges import at_least, below_one
from jaxformer.config.training import Cosine, MeshConfig, OptimizationConfig


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
class WatchConfig:
    """What is looked at while a run is under way, and what is kept of it."""

    validate_every: int = 750
    """Steps between validations: loss and BLEU of greedy translations of the valid split."""
    sentences: int = 200
    """Sentences of the valid split that are translated each time."""
    patience: int = 0
    """Validations without a new best BLEU after which the run ends; 0 never ends it early."""
    keep: int = 2
    """Newest checkpoints kept; the one with the best BLEU is kept besides."""
    log_every: int = 20
    """Steps between progress lines where there is no terminal."""

    def __post_init__(self):
        at_least(self, 1, "validate_every", "sentences", "keep", "log_every")
        at_least(self, 0, "patience")


@dataclass(frozen=True)
class TranslateConfig:
    """Train an encoder-decoder to translate. The same configuration and seed give the same run."""

    data: str = "builtin"
    """`builtin`, a folder with train, valid and test (.tsv, or two aligned files named by language), or hf:NAME."""
    source: str = "en"
    """Language to translate from."""
    target: str = "zh"
    """Language to translate into."""
    model: Seq2SeqConfig = preset("transformer-mini")
    """A preset, or a model written out."""
    tokenizer: Bpe = Bpe(vocabulary=1500)
    batches: Batching = Batching(tokens=1024)
    optimization: OptimizationConfig = OptimizationConfig(schedule=Cosine(peak=4e-3))
    smoothing: float = 0.1
    """Label smoothing."""
    z_loss: float = 0.0
    """Weight of log²Σexp(logits) in the loss."""
    steps: int = 1500
    """Updates in the whole run."""
    seed: int = 0
    """Seed of initialisation, dropout and the order of the data."""
    checkpoint_every: int = 500
    """Steps between checkpoints."""
    search: SearchConfig = SearchConfig()
    watch: WatchConfig = WatchConfig()
    mesh: MeshConfig = MeshConfig()

    def __post_init__(self):
        at_least(self, 1, "steps", "checkpoint_every")
        at_least(self, 0, "seed", "z_loss")
        below_one(self, "smoothing")
