"""A feed-forward layer of several experts, and how a token finds its own. Plain data: the mathematics is in
`ops.routing`.
"""

from dataclasses import dataclass

from jaxformer.config.activations import Activation


@dataclass(frozen=True)
class SoftmaxRouter:
    """A softmax over all experts; the likeliest are chosen (Shazeer et al. 2017; Jiang et al. 2024, Mixtral)."""

    normalise: bool = True
    """Divide the chosen probabilities by their sum, which makes them the softmax over the chosen logits alone."""


@dataclass(frozen=True)
class SigmoidRouter:
    """A sigmoid for each expert; the best of the best groups are chosen (DeepSeek-AI 2024, DeepSeek-V3, §2.1.2)."""

    groups: int = 1
    """Groups of neighbouring experts; a group is worth the sum of its two highest scores."""
    active_groups: int = 1
    """Groups that a token may choose experts from."""
    scale: float = 1.0
    """What the weights are multiplied by, after they are normalised."""
    normalise: bool = True
    """Divide the chosen scores by their sum."""

    def __post_init__(self):
        if not 1 <= self.active_groups <= self.groups:
            raise ValueError(
                f"active_groups must lie in [1, groups], got active_groups={self.active_groups}, groups={self.groups}"
            )
        if not self.scale > 0:
            raise ValueError(f"scale must be positive, got scale={self.scale}")


Router = SoftmaxRouter | SigmoidRouter


@dataclass(frozen=True)
class MixtureOfExperts:
    """Each token passes through a few of many feed-forward networks, none is dropped (Shazeer et al. 2017)."""

    experts: int
    """Experts to choose from."""
    active: int
    """Experts that a token passes through."""
    hidden: int
    """Hidden width of one expert."""
    router: Router = SoftmaxRouter()
    shared: int = 0
    """Hidden width of the shared experts together, which every token passes through; 0 for none (Dai et al. 2024)."""
    balance: float = 0.01
    """Weight of the loss that asks for equal loads (Fedus et al. 2022, eq. 4)."""
    z: float = 0.001
    """Weight of the loss that keeps the router's logits small (Zoph et al. 2022, eq. 5)."""
    bias_rate: float = 0.0
    """What each step adds to the bias of an expert with too little to do and takes from the others; 0 for no biases
    (DeepSeek-AI 2024, DeepSeek-V3, §2.1.2).
    """
    activation: Activation = "silu"
    gated: bool = True
    """activation(x W) ⊙ x V in place of activation(x V) (Shazeer 2020)."""

    def __post_init__(self):
        for name, least in (("experts", 1), ("hidden", 1), ("shared", 0)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} must be at least {least}, got {name}={getattr(self, name)}")
        for name in ("balance", "z", "bias_rate"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name} must not be negative, got {name}={getattr(self, name)}")
        if not 1 <= self.active <= self.experts:
            raise ValueError(f"active must lie in [1, experts], got active={self.active}, experts={self.experts}")
        if isinstance(self.router, SigmoidRouter):
            self._check_groups(self.router)

    def _check_groups(self, router: SigmoidRouter) -> None:
        """ValueError unless the groups are equal, have two scores to be judged by, and offer enough experts."""
        each, left = divmod(self.experts, router.groups)
        if left:
            raise ValueError(
                f"experts must be a multiple of router.groups, got experts={self.experts}, groups={router.groups}"
            )
        if router.groups > 1 and each < 2:
            raise ValueError(
                f"a group must have at least 2 experts, got experts={self.experts}, groups={router.groups}"
            )
        if self.active > each * router.active_groups:
            raise ValueError(
                f"active must not exceed the {each * router.active_groups} experts of {router.active_groups} active "
                f"groups, got active={self.active}"
            )
