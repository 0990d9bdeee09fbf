"""How a model is trained: optimizers, schedules, averages, the mesh of devices, and what every run has. Plain data."""

from dataclasses import dataclass

from jaxformer.config.ranges import at_least, below_one, fraction, positive


@dataclass(frozen=True)
class Noam:
    """Linear warm-up, then decay with 1/√step, scaled by 1/√width (Vaswani et al. 2017, eq. 3)."""

    warmup: int = 4000
    """Steps to the highest rate."""
    factor: float = 1.0

    def __post_init__(self):
        at_least(self, 1, "warmup")
        positive(self, "factor")


@dataclass(frozen=True)
class Cosine:
    """Linear warm-up, then half a cosine down to `floor` at the last step (Loshchilov & Hutter 2017)."""

    peak: float = 3e-3
    warmup: int = 400
    """Steps to the highest rate; never more than a tenth of the run."""
    floor: float = 0.0
    """Last rate, as a fraction of the peak."""

    def __post_init__(self):
        positive(self, "peak")
        at_least(self, 1, "warmup")
        fraction(self, "floor")


@dataclass(frozen=True)
class Wsd:
    """Warm-up, a stable plateau, then linear decay to zero (Hu et al. 2024); only the decay need know where the run
    ends.
    """

    peak: float = 3e-3
    warmup: int = 400
    """Steps to the highest rate; never more than a tenth of the run."""
    decay: float = 0.2
    """Part of the run that decays."""

    def __post_init__(self):
        positive(self, "peak")
        at_least(self, 1, "warmup")
        fraction(self, "decay")


Schedule = Noam | Cosine | Wsd


@dataclass(frozen=True)
class Adam:
    """Adam (Kingma & Ba 2015) with the constants of Vaswani et al. 2017, §5.3."""

    beta1: float = 0.9
    beta2: float = 0.98
    epsilon: float = 1e-9

    def __post_init__(self):
        below_one(self, "beta1", "beta2")
        positive(self, "epsilon")


@dataclass(frozen=True)
class AdamW:
    """Adam with decoupled weight decay (Loshchilov & Hutter 2019) on everything but biases, scales and embeddings."""

    beta1: float = 0.9
    beta2: float = 0.98
    epsilon: float = 1e-9
    weight_decay: float = 0.01

    def __post_init__(self):
        below_one(self, "beta1", "beta2")
        positive(self, "epsilon")
        at_least(self, 0, "weight_decay")


@dataclass(frozen=True)
class Muon:
    """Momentum whose every matrix is made orthogonal before it is taken as a step (Jordan et al. 2024), for the weights
    of attention and feed-forward layers, routers and experts among them; all other parameters by `rest`.

    Steps have the root mean square `size`, so that both parts go by one schedule (Liu et al. 2025, §2.2).
    """

    momentum: float = 0.95
    size: float = 0.2
    """Root mean square of a step at a rate of 1; that of Adam is near 0.2."""
    weight_decay: float = 0.01
    """Decoupled, of the matrices alone."""
    rest: Adam = Adam()

    def __post_init__(self):
        below_one(self, "momentum")
        positive(self, "size")
        at_least(self, 0, "weight_decay")


Optimizer = Adam | AdamW | Muon


@dataclass(frozen=True)
class NoAverage:
    """Evaluate the last parameters."""


@dataclass(frozen=True)
class Ema:
    """Evaluate an exponential moving average of the parameters, warmed up as (1 + step) / (10 + step)."""

    decay: float = 0.999

    def __post_init__(self):
        if not 0 < self.decay < 1:
            raise ValueError(f"decay must lie between 0 and 1, got {self.decay}")


Average = NoAverage | Ema


@dataclass(frozen=True)
class ApplySpikes:
    """Apply every update whose loss and gradient are finite."""


@dataclass(frozen=True)
class SkipSpikes:
    """Leave out a step whose loss or gradient norm lies far above those of the last steps that were taken."""

    factor: float = 10.0
    """How far above their median, in median absolute deviations, each at least a hundredth of the median."""
    window: int = 64
    """Steps that are remembered; none is left out before there are so many."""

    def __post_init__(self):
        positive(self, "factor")
        at_least(self, 2, "window")


Spikes = ApplySpikes | SkipSpikes


@dataclass(frozen=True)
class Stop:
    """End the run with a report, which names the first module that gives a number that is not finite."""

    after: int = 5
    """Steps left out one after the other."""

    def __post_init__(self):
        at_least(self, 1, "after")


@dataclass(frozen=True)
class RollBack:
    """Go back to the last checkpoint, and on from there with the batches after the trouble (Chowdhery et al. 2022,
    §5.1).
    """

    after: int = 5
    """Steps left out one after the other."""
    most: int = 3
    """Times that this is done until the process ends; the next time the run is ended, as by `Stop`."""

    def __post_init__(self):
        at_least(self, 1, "after", "most")


@dataclass(frozen=True)
class OptimizationConfig:
    """The update rule."""

    optimizer: Optimizer = Adam()
    schedule: Schedule = Cosine()
    clip: float = 1.0
    """Largest global norm of a gradient; longer ones are scaled down to it."""
    accumulate: int = 1
    """Micro-batches that one step sums up, so that a large batch fits a small memory."""
    average: Average = NoAverage()
    spikes: Spikes = ApplySpikes()

    def __post_init__(self):
        positive(self, "clip")
        at_least(self, 1, "accumulate")


@dataclass(frozen=True)
class MeshConfig:
    """How devices share the work. The product must be the number of devices; -1 stands for all that are left."""

    data: int = -1
    """Copies of the model, each on its part of the batch."""
    fsdp: int = 1
    """Parts that every weight and optimizer state is kept in, each copy also on its part of the batch."""
    tensor: int = 1
    """Parts that heads and hidden units are split in."""

    def __post_init__(self):
        sizes = (self.data, self.fsdp, self.tensor)
        if sizes.count(-1) > 1 or any(size < 1 and size != -1 for size in sizes):
            raise ValueError(
                "mesh sizes must be at least 1, and one of them may be -1 for all that is left; "
                f"got data={self.data}, fsdp={self.fsdp}, tensor={self.tensor}"
            )


@dataclass(frozen=True)
class Stall:
    """When a step takes so long that the run tells where it hangs."""

    factor: float = 20.0
    """Times the median of the steps before it; 0 never tells."""
    seconds: float = 30.0
    """Never before it has taken so long."""

    def __post_init__(self):
        at_least(self, 0, "factor")
        positive(self, "seconds")


@dataclass(frozen=True)
class WatchConfig:
    """What is looked at while a run is under way, and what is kept of it."""

    validate_every: int = 250
    """Steps between validations."""
    patience: int = 0
    """Validations without a new best score after which the run ends; 0 never ends it early."""
    keep: int = 2
    """Newest checkpoints kept; the one with the best score is kept besides."""
    log_every: int = 20
    """Steps between progress lines where there is no terminal."""
    stall: Stall = Stall()
    stop_unsaved: bool = False
    """End the run where a checkpoint could not be saved, as on a full disk, rather than try again at the next one."""

    def __post_init__(self):
        at_least(self, 1, "validate_every", "keep", "log_every")
        at_least(self, 0, "patience")


@dataclass(frozen=True)
class TrainingConfig:
    """What every run has, whatever it trains. The same configuration and seed give the same run."""

    optimization: OptimizationConfig = OptimizationConfig()
    steps: int = 1000
    """Updates in the whole run."""
    seed: int = 0
    """Seed of initialisation, dropout and the order of the data."""
    checkpoint_every: int = 500
    """Steps between checkpoints."""
    watch: WatchConfig = WatchConfig()
    bad_numbers: Stop | RollBack = Stop()
    """What to do after several steps without a finite loss and gradient. A single one is left out."""
    mesh: MeshConfig = MeshConfig()

    def __post_init__(self):
        at_least(self, 1, "steps", "checkpoint_every")
        at_least(self, 0, "seed")


@dataclass(frozen=True)
class ConsistentConfig(TrainingConfig):
    """A run whose predictions may be asked to agree."""

    consistency: float = 0.0
    """R-Drop's α (Liang et al. 2021, who take 5 to translate and at most 1 to classify): above 0 every example is read
    twice with different dropout, and the two predictions are to agree.
    """

    @property
    def readings(self) -> int:
        """How often a step reads every example."""
        return 2 if self.consistency else 1

    def __post_init__(self):
        super().__post_init__()
        at_least(self, 0, "consistency")

    def _check_readings_differ(self, dropout: float, option: str) -> None:
        if self.consistency and not dropout:
            raise ValueError(
                f"consistency must be 0 without dropout, for both readings are then the same, got "
                f"consistency={self.consistency}; give --{option} 0.1, or leave --consistency out"
            )
