"""What a config.json comes to."""

from typing import NamedTuple

from jaxformer.config.blocks import Groups
from jaxformer.config.model import DecoderConfig, EncoderConfig, EncoderDecoderConfig
from jaxformer.config.positions import Linear, Llama3, Rotary, Scaling, Yarn
from jaxformer.weights.fields import Fields
from jaxformer.weights.names import NameTable

ModelConfig = DecoderConfig | EncoderConfig | EncoderDecoderConfig


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
    "silu": "silu",
    "swish": "silu",
    "relu2": "squared_relu",
}
"""Our names of the activations that a config.json may ask for."""


def rotary(fields: Fields, context: int, interleaved: bool = False) -> Rotary:
    """The rotary positions of a model: rope_parameters since version 5 of transformers, else rope_theta and
    rope_scaling.
    """
    base = fields("rope_theta", None)
    inside, older = fields.inside("rope_parameters"), fields.inside("rope_scaling")
    return turning(inside or older, base, context, interleaved)


def turning(scaling: Fields | None, base: float | None, context: int, interleaved: bool = False) -> Rotary:
    """The rotary positions that one object of parameters asks for."""
    if scaling is None:
        return Rotary(base or 10_000.0, interleaved=interleaved)
    base = float(scaling("rope_theta", base or 10_000.0))
    fraction = scaling("partial_rotary_factor", 1.0)
    kinds = {"default": _none, "linear": _linear, "llama3": _llama3, "yarn": _yarn}
    kind = scaling.choose("rope_type", kinds, scaling("type", "default"))
    made = kind(scaling, context)
    scaling.done()
    return Rotary(base, fraction, made, interleaved)


def _none(scaling: Fields, context: int) -> None:
    return None


def _linear(scaling: Fields, context: int) -> Scaling:
    return Linear(scaling("factor"))


def _llama3(scaling: Fields, context: int) -> Scaling:
    original = scaling("original_max_position_embeddings")
    return Llama3(scaling("factor"), scaling("low_freq_factor"), scaling("high_freq_factor"), original)


def _yarn(scaling: Fields, context: int) -> Scaling:
    return Yarn(
        scaling("factor"),
        scaling("original_max_position_embeddings", context),
        scaling("beta_fast", None) or 32.0,
        scaling("beta_slow", None) or 1.0,
        scaling("attention_factor", None),
        scaling("mscale", None) or None,
        scaling("mscale_all_dim", None) or None,
        scaling("truncate", True),
    )
