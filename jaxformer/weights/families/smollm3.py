"""SmolLM3: a Llama of which every fourth layer does not turn its queries and keys (Bakouch et al. 2025)."""

from dataclasses import replace

from jaxformer.config.blocks import Block
from jaxformer.weights.families.described import Described
from jaxformer.weights.families.llama import gated, multi_head, norm, plain
from jaxformer.weights.fields import Fields


def smollm3(fields: Fields) -> Described:
    """The config.json of SmolLM3; its tensors have the names of Llama's."""
    layers, every = range(fields("num_hidden_layers")), fields("no_rope_layer_interval", 4)
    turns = fields("no_rope_layers", None) or [(layer + 1) % every for layer in layers]
    fields.must("use_sliding_window", False)
    fields.follows("sliding_window", "layer_types")
    block = Block(multi_head(fields, bias=fields("attention_bias", False)), gated(fields), norm(fields))
    still = replace(block, attention=replace(block.attention, rotary=None))
    return plain(fields, [block if turns[layer] else still for layer in layers])
