"""SmolLM3: a Llama of which every fourth layer does not turn its queries and keys (Bakouch et al. 2025)."""

from dataclasses import replace
from typing import Any

from jaxformer.config.blocks import Block, Group, ungrouped
from jaxformer.config.model import DecoderConfig
from jaxformer.weights.families.described import Described
from jaxformer.weights.families.llama import gated, llama_fields, multi_head, norm, plain
from jaxformer.weights.fields import Fields


def smollm3(fields: Fields) -> Described:
    """The config.json of SmolLM3; its tensors have the names of Llama's."""
    layers, every = fields.layers("num_hidden_layers"), fields.count("no_rope_layer_interval", 4)
    turns = fields.listed("no_rope_layers", (0, 1), layers) or [(layer + 1) % every for layer in range(layers)]
    fields.must("use_sliding_window", False)
    fields.follows("sliding_window", "max_window_layers", "layer_types")
    block = Block(multi_head(fields, bias=fields.flag("attention_bias", False)), gated(fields), norm(fields))
    still = replace(block, attention=replace(block.attention, rotary=None))
    return plain(fields, [block if turn else still for _, turn in zip(range(layers), turns, strict=True)])


def smollm3_fields(config: DecoderConfig) -> dict[str, Any]:
    """`smollm3` taken back."""
    turns = [int(getattr(block.attention, "rotary", None) is not None) for block in ungrouped(config.groups)]
    if not any(turns):
        raise ValueError("one layer at least must turn, got none")
    first = ungrouped(config.groups)[turns.index(1)]
    alike = replace(config, groups=(Group((first,), len(turns)),))
    return llama_fields(alike) | {"architectures": ["SmolLM3ForCausalLM"], "no_rope_layers": turns}
