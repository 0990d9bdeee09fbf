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
class Preference:
    """Of two answers the better one is to become likelier than the other: direct preference optimisation (Rafailov et
    al. 2023).

    It wants a smaller learning rate than imitation: about 1e-6 for all weights, 1e-5 for low-rank updates.
    """

    beta: float = 0.1
    """How closely the model keeps to what it was."""
    smoothing: float = 0.0
    """Part of the choices that are taken to be wrong (Mitchell 2023)."""
    imitation: float = 0.0
    """Weight of the loss of imitating the better answer, in nats a token (Pang et al. 2024)."""

    def __post_init__(self) -> None:
        positive(self, "beta")
        at_least(self, 0, "imitation")
        if not 0 <= self.smoothing < 0.5:
            raise ValueError(f"smoothing must lie in [0, 0.5), got smoothing={self.smoothing}")


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
    """A JSONL file, or a folder with train and valid: chats, {"messages": [{"role": …, "content": …}, …]}, or for
    Preference pairs of answers, {"prompt": …, "chosen": …, "rejected": …}.
    """
    init: Path | None = None
    """The model to begin with: a Hugging Face folder, FILE.gguf, or a run of this job."""
    learning: Imitation | Preference = Imitation()
    """What the data teach."""
    adapter: FullWeights | Lora = FullWeights()
    batches: Batching = Batching(tokens=4096, buckets=4, max_length=1024)
    """Chats of similar length share a batch; those longer than max_length tokens are dropped and counted. The budget of
    tokens is for each of two answers.
    """
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
