"""A model that was trained here in the words of a config.json, from which the very same model is read."""

import math
from dataclasses import replace
from typing import Any

from jaxformer.config.blocks import Block, Group, MultiHead, ungrouped
from jaxformer.config.errors import UserError
from jaxformer.config.experts import MixtureOfExperts
from jaxformer.config.io import difference
from jaxformer.config.model import DecoderConfig, EncoderDecoderConfig, Layers, Learned
from jaxformer.text.tokenizer import Specials
from jaxformer.weights.families import SPELLERS
from jaxformer.weights.families.described import Described, ModelConfig
from jaxformer.weights.folder import describe


def spelled(config: ModelConfig, vocabulary: int, specials: Specials) -> tuple[Described, dict[str, Any]]:
    """What `save_folder` needs of a trained model: its description, and the fields of its config.json, in the words of
    the first family that computes the same logits.

    The description keeps the groups of the config, so that parameters are found where they are; blocks that predict
    further tokens are left out, for no logits need them. Raises UserError, with the nearest family, where none computes
    the same.
    """
    if type(config) not in SPELLERS:
        kinds = " or ".join(kind.__name__ for kind in SPELLERS)
        raise UserError(f"a config must be a {kinds} to be written as a config.json, got {type(config).__name__}")
    sizes = {"vocab_size": vocabulary} | {f"{role}_token_id": getattr(specials, role) for role in ("bos", "eos", "pad")}
    if isinstance(config, EncoderDecoderConfig) and specials.bos is not None:
        sizes["decoder_start_token_id"] = specials.bos
    refusals: list[tuple[float, str]] = []
    for family, fields_of in SPELLERS[type(config)].items():
        try:
            fields = {"model_type": family, **fields_of(config), **sizes}
            described = describe(fields, "its config.json")
        except (ValueError, UserError) as error:
            refusals.append((math.inf, f"{family}: {error}"))
            continue
        changes = difference(computed(config), computed(described.config))
        if not changes:
            return described._replace(config=_without_further(config)), fields
        refusals.append((len(changes), f"{family}, which would change {_listed(changes)}"))
    nearest = min(refusals, key=lambda refusal: refusal[0])[1]
    raise UserError(f"no family of Hugging Face models computes what this config says; the nearest is {nearest}")


def computed(config: ModelConfig) -> ModelConfig:
    """The config as far as logits depend on it, so that equal ones say the same of the same parameters: every layer
    written out, defaults filled in, and all that is for training alone, or for speed, set alike.
    """
    stacks = ("encoder", "decoder") if isinstance(config, EncoderDecoderConfig) else ("groups",)
    written_out = {name: (Group(tuple(map(_computed, ungrouped(getattr(config, name))))),) for name in stacks}
    position = replace(config.position, deviation=1.0) if isinstance(config.position, Learned) else config.position
    alike = {"dropout": 0.0, "layers": Layers(), "dtype": "float32"}
    config = replace(_without_further(config), position=position, **written_out, **alike)
    match config:
        case DecoderConfig():
            return replace(config, embedding_scale=_rounded(config.embedding_scale))
        case EncoderDecoderConfig():
            scales = ("embedding_scale", "output_scale")
            return replace(config, **{name: _rounded(getattr(config, name)) for name in scales})
    return config if config.masked_head else replace(config, activation="gelu")


def _computed(block: Block) -> Block:
    cross, feed_forward = block.cross, block.feed_forward
    if isinstance(feed_forward, MixtureOfExperts):
        feed_forward = replace(feed_forward, balance=0.0, z=0.0, bias_rate=0.0)
    cross = None if cross is None else _attention(cross)
    return replace(block, attention=_attention(block.attention), feed_forward=feed_forward, cross=cross)


def _attention(attention: Any) -> Any:
    attention = replace(attention, scale=_rounded(attention.score_scale))
    return replace(attention, output_bias=attention.biased_output) if isinstance(attention, MultiHead) else attention


def _without_further(config: ModelConfig) -> ModelConfig:
    return replace(config, further=0) if isinstance(config, DecoderConfig) else config


def _rounded(factor: float) -> float:
    """To more digits than a float32 has: √n and n^½ differ in the last of a float64's."""
    return float(f"{factor:.9g}")


def _listed(changes: list[str]) -> str:
    first = changes[0].removeprefix("groups.0.")
    return first if len(changes) == 1 else f"{first} and {len(changes) - 1} more"
