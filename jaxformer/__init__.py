"""Transformers in JAX and Flax, from the formula for one head to a trained model.

The names below are looked up when they are first used, so that `import jaxformer` costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jaxformer.analysis.ablation import ablate_each, ablated
    from jaxformer.analysis.attention_maps import attention_maps
    from jaxformer.analysis.hidden_states import hidden_states, logit_lens
    from jaxformer.analysis.parallelism import parallelism
    from jaxformer.analysis.probes import probe_layers
    from jaxformer.analysis.token_gradients import gradient_by_token
    from jaxformer.config.attention import Auto, Blockwise, Cudnn, Formula, Kernel, Splash
    from jaxformer.config.errors import UserError
    from jaxformer.config.model import (
        DecoderConfig,
        EncoderConfig,
        EncoderDecoderConfig,
        RnnConfig,
        TransformerConfig,
    )
    from jaxformer.config.presets import preset
    from jaxformer.config.sampling import Sampling
    from jaxformer.decoding.beam import beam
    from jaxformer.decoding.generate import generate
    from jaxformer.decoding.greedy import greedy
    from jaxformer.models.build import build
    from jaxformer.models.decoder import Decoder
    from jaxformer.models.encoder import Encoder
    from jaxformer.models.rnn import Rnn
    from jaxformer.models.seq2seq import Transformer
    from jaxformer.ops.attention import attention, attention_with_weights
    from jaxformer.ops.attention.masks import Causal, Mask, Prefix, Segments, Valid, Window
    from jaxformer.recipes.load import load
    from jaxformer.training.step import make_step

_HOMES = {
    "analysis.ablation": ("ablate_each", "ablated"),
    "analysis.attention_maps": ("attention_maps",),
    "analysis.hidden_states": ("hidden_states", "logit_lens"),
    "analysis.parallelism": ("parallelism",),
    "analysis.probes": ("probe_layers",),
    "analysis.token_gradients": ("gradient_by_token",),
    "config.attention": ("Auto", "Blockwise", "Cudnn", "Formula", "Kernel", "Splash"),
    "config.errors": ("UserError",),
    "config.model": ("DecoderConfig", "EncoderConfig", "EncoderDecoderConfig", "RnnConfig", "TransformerConfig"),
    "config.presets": ("preset",),
    "config.sampling": ("Sampling",),
    "decoding.beam": ("beam",),
    "decoding.generate": ("generate",),
    "decoding.greedy": ("greedy",),
    "models.build": ("build",),
    "models.decoder": ("Decoder",),
    "models.encoder": ("Encoder",),
    "models.rnn": ("Rnn",),
    "models.seq2seq": ("Transformer",),
    "ops.attention": ("attention", "attention_with_weights"),
    "ops.attention.masks": ("Causal", "Mask", "Prefix", "Segments", "Valid", "Window"),
    "recipes.load": ("load",),
    "training.step": ("make_step",),
}

__all__ = [
    "Auto",
    "Blockwise",
    "Causal",
    "Cudnn",
    "Decoder",
    "DecoderConfig",
    "Encoder",
    "EncoderConfig",
    "EncoderDecoderConfig",
    "Formula",
    "Kernel",
    "Mask",
    "Prefix",
    "Rnn",
    "RnnConfig",
    "Sampling",
    "Segments",
    "Splash",
    "Transformer",
    "TransformerConfig",
    "UserError",
    "Valid",
    "Window",
    "ablate_each",
    "ablated",
    "attention",
    "attention_maps",
    "attention_with_weights",
    "beam",
    "build",
    "generate",
    "gradient_by_token",
    "greedy",
    "hidden_states",
    "load",
    "logit_lens",
    "make_step",
    "parallelism",
    "preset",
    "probe_layers",
]


def __getattr__(name: str) -> Any:
    for home, names in _HOMES.items():
        if name in names:
            return getattr(import_module(f"jaxformer.{home}"), name)
    raise AttributeError(f"module 'jaxformer' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
