"""What `jaxformer train instruct` can be told."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from jaxformer.config.data import Batching
from jaxformer.config.model import DecoderConfig, Dtype, Layers
from jaxformer.config.ranges import at_least, below_one, positive
from jaxformer.config.training import AdamW, Cosine, OptimizationConfig, TrainingConfig, WatchConfig


@dataclass(frozen=True)
class Imitation:
    """The assistant's answers are to be given as they stand: loss on their tokens, none on what was asked."""


@dataclass(frozen=True)
class FullWeights:
    """Every weight of the model is trained, and the run keeps all of them."""


@dataclass(frozen=True)
class Lora:
    """Low-rank updates of the matrices are trained and kept, the model itself stays as it is (Hu et al. 2021).

    They want a larger learning rate than all weights do: about 2e-4.
    """

    rank: int = 8
    alpha: float = 16.0
    """Updates are multiplied by alpha / rank."""
    dropout: float = 0.0
    """Of what an update reads."""
    targets: tuple[Literal["attention", "feed_forward"], ...] = ("attention", "feed_forward")
    """Whose matrices have updates."""

    def __post_init__(self) -> None:
        at_least(self, 1, "rank")
        positive(self, "alpha")
        below_one(self, "dropout")
        if not self.targets:
            raise ValueError("targets must name attention, feed_forward or both, got none")


@dataclass(frozen=True)
class InstructConfig(TrainingConfig):
    """Train a pretrained decoder to answer as the assistant of some chats does. The same configuration and seed give
    the same run.
    """

    data: str = ""
    """Chats: a JSONL file of {"messages": [{"role": …, "content": …}, …]}, or a folder with train and valid."""
    init: Path | None = None
    """The model to begin with: a Hugging Face folder, FILE.gguf, or a run of this job."""
    learning: Imitation = Imitation()
    adapter: FullWeights | Lora = FullWeights()
    batches: Batching = Batching(tokens=4096, buckets=4, max_length=1024)
    """Chats of similar length share a batch; those longer than max_length tokens are dropped and counted."""
    optimization: OptimizationConfig = OptimizationConfig(
        AdamW(beta2=0.999, epsilon=1e-8, weight_decay=0.0), Cosine(peak=2e-5, warmup=20)
    )
    dtype: Dtype = "float32"
    """Type of the activations and products."""
    layers: Layers = Layers()
    """How the stack is laid out for the compiler."""
    steps: int = 300
    watch: WatchConfig = WatchConfig(validate_every=50)
    model: DecoderConfig | None = None
    """Taken from init; the run fills it in, as it does the next two."""
    vocabulary: int | None = None
    """Rows of the model's table of embeddings."""
    weights: str | None = None
    """SHA-256 of the weights of init."""
