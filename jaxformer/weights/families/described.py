"""What a config.json comes to, and the parts that several families spell alike."""

from dataclasses import asdict
from typing import Any, NamedTuple, TypeVar

from jaxformer.config.blocks import Groups, ungrouped
from jaxformer.config.model import DecoderConfig, EncoderConfig, EncoderDecoderConfig
from jaxformer.config.positions import Linear, Llama3, Rotary, Scaling, Yarn
from jaxformer.weights.fields import Fields
from jaxformer.weights.names import NameTable

ModelConfig = DecoderConfig | EncoderConfig | EncoderDecoderConfig

Part = TypeVar("Part")


class Described(NamedTuple):
    """A model and where its weights are."""

    config: ModelConfig
    vocabulary: int
    table: NameTable
    pad: int = 0
    """The token that fills up sequences, where the model looks at it."""

    @property
    def stacks(self) -> dict[str, Groups]:
        """The groups of layers by the names of their stacks."""
        c = self.config
        if isinstance(c, EncoderDecoderConfig):
            return {"encoder": c.encoder, "decoder": c.decoder}
        return {"layers": c.groups}


ACTIVATIONS = {
    "relu": "relu",
    "gelu": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "swish": "silu",
    "silu": "silu",
    "relu2": "squared_relu",
}
"""Our names of the activations that a config.json may ask for; of two for one, that which is written comes last."""

GLOBAL, LOCAL = "full_attention", "sliding_attention"
"""What layer_types calls layers without and with a window."""

ACTIVATION_NAMES = {ours: theirs for theirs, ours in ACTIVATIONS.items()}
"""What a config.json calls our activations."""


def part(config: DecoderConfig | EncoderConfig, kind: type[Part], otherwise: Part | None = None) -> Part:
    """The first attention or feed-forward layer of a kind. Raises ValueError where there is none, unless another is
    given in its place.
    """
    layers = (layer for block in ungrouped(config.groups) for layer in (block.attention, block.feed_forward))
    found = next((layer for layer in layers if isinstance(layer, kind)), otherwise)
    if found is None:
        raise ValueError(f"no layer has {kind.__name__}")
    return found


def rotary(fields: Fields, context: int, interleaved: bool = False) -> Rotary:
    """The rotary positions of a model: rope_parameters since version 5 of transformers, else rope_theta and
    rope_scaling.
    """
    base = fields.number("rope_theta", None)
    inside, older = fields.inside("rope_parameters"), fields.inside("rope_scaling")
    return turning(inside or older, base, context, interleaved)


def turning(scaling: Fields | None, base: float | None, context: int, interleaved: bool = False) -> Rotary:
    """The rotary positions that one object of parameters asks for."""
    if scaling is None:
        return Rotary(base or 10_000.0, interleaved=interleaved)
    base = float(scaling.number("rope_theta", base or 10_000.0))
    fraction = scaling.number("partial_rotary_factor", 1.0)
    kinds = {"default": _none, "linear": _linear, "llama3": _llama3, "yarn": _yarn}
    kind = scaling.choose("rope_type", kinds, scaling("type", "default"))
    made = kind(scaling, context)
    scaling.done()
    return Rotary(base, fraction, made, interleaved)


def rotary_fields(rotary: Rotary | None) -> dict[str, Any]:
    """`rotary` taken back: in the older form, which every version of transformers reads."""
    return {} if rotary is None else {"rope_theta": rotary.base, "rope_scaling": _scaling_fields(rotary.scaling)}


SCALING_NAMES = {
    "original_length": "original_max_position_embeddings",
    "low": "low_freq_factor",
    "high": "high_freq_factor",
}
"""What a config.json calls those fields of our scalings that have another name there."""


def _scaling_fields(scaling: Scaling | None) -> dict[str, Any] | None:
    kind = {Linear: "linear", Llama3: "llama3", Yarn: "yarn"}.get(type(scaling))
    if scaling is None or kind is None:
        return None
    given = {SCALING_NAMES.get(name, name): value for name, value in asdict(scaling).items() if value is not None}
    return {"rope_type": kind, **given}


def _none(scaling: Fields, context: int) -> None:
    return None


def _linear(scaling: Fields, context: int) -> Scaling:
    return Linear(scaling.number("factor"))


def _llama3(scaling: Fields, context: int) -> Scaling:
    original = scaling.count("original_max_position_embeddings")
    return Llama3(
        scaling.number("factor"), scaling.number("low_freq_factor"), scaling.number("high_freq_factor"), original
    )


def _yarn(scaling: Fields, context: int) -> Scaling:
    return Yarn(
        scaling.number("factor"),
        scaling.count("original_max_position_embeddings", context),
        scaling.number("beta_fast", None) or 32.0,
        scaling.number("beta_slow", None) or 1.0,
        scaling.number("attention_factor", None),
        scaling.number("mscale", None, least=0.0) or None,
        scaling.number("mscale_all_dim", None, least=0.0) or None,
        scaling.flag("truncate", True),
    )
