"""Llama, and what differs from it in a line: Mistral, Qwen 2 and 3."""

from dataclasses import replace
from typing import Any

from jaxformer.config.blocks import Block, Gated, MultiHead, RmsNorm, grouped, ungrouped
from jaxformer.config.experts import MixtureOfExperts
from jaxformer.config.model import DecoderConfig
from jaxformer.weights.families.described import (
    ACTIVATION_NAMES,
    ACTIVATIONS,
    GLOBAL,
    LOCAL,
    Described,
    part,
    rotary,
    rotary_fields,
)
from jaxformer.weights.fields import Fields
from jaxformer.weights.names import Layers, Names, NameTable, flat, matrix, same

ATTENTION: tuple[Names, ...] = (
    matrix("attention/query", "self_attn.q_proj.weight"),
    matrix("attention/key", "self_attn.k_proj.weight"),
    matrix("attention/value", "self_attn.v_proj.weight"),
    matrix("attention/output", "self_attn.o_proj.weight", inputs=2),
    flat("attention/query_bias", "self_attn.q_proj.bias"),
    flat("attention/key_bias", "self_attn.k_proj.bias"),
    flat("attention/value_bias", "self_attn.v_proj.bias"),
    same("attention/output_bias", "self_attn.o_proj.bias"),
    same("attention/query_norm/scale", "self_attn.q_norm.weight"),
    same("attention/key_norm/scale", "self_attn.k_norm.weight"),
)

GATED: tuple[Names, ...] = (
    matrix("feed_forward/gate", "mlp.gate_proj.weight"),
    matrix("feed_forward/up", "mlp.up_proj.weight"),
    matrix("feed_forward/down", "mlp.down_proj.weight"),
    flat("feed_forward/gate_bias", "mlp.gate_proj.bias"),
    flat("feed_forward/up_bias", "mlp.up_proj.bias"),
    flat("feed_forward/down_bias", "mlp.down_proj.bias"),
)

PRE_NORMS: tuple[Names, ...] = (
    same("around_attention/norm/scale", "input_layernorm.weight"),
    same("around_feed_forward/norm/scale", "post_attention_layernorm.weight"),
)

OUTSIDE: tuple[Names, ...] = (
    same("embedding/table", "model.embed_tokens.weight"),
    same("norm/scale", "model.norm.weight"),
    same("output", "lm_head.weight"),
)

SURPLUS = (r".*rotary_emb\.inv_freq", r"lm_head\.weight")
"""A file may hold the output matrix although it is tied to the embeddings, and buffers of old versions."""


def table(*rows: Names) -> NameTable:
    """The table of a family that keeps the names of Llama outside its layers."""
    return NameTable(OUTSIDE, (Layers("layers", "model.layers.{i}.", rows),), SURPLUS)


def decoder(fields: Fields, blocks: list[Block], **more: Any) -> DecoderConfig:
    """What all of these families have outside their layers."""
    return DecoderConfig(
        width=fields.count("hidden_size"),
        groups=grouped(blocks),
        norm=blocks[0].norm,
        tied_output=fields.flag("tie_word_embeddings", False),
        context=fields.count("max_position_embeddings"),
        **more,
    )


def multi_head(fields: Fields, **more: Any) -> MultiHead:
    """Heads as these families write them."""
    heads = fields.count("num_attention_heads")
    more.setdefault("bias", False)
    if "rotary" not in more:
        more["rotary"] = rotary(fields, fields.count("max_position_embeddings"))
    return MultiHead(
        heads,
        fields.count("num_key_value_heads", None) or heads,
        fields.count("head_dim", None) or fields.count("hidden_size") // heads,
        **more,
    )


def gated(fields: Fields) -> Gated:
    """The feed-forward layer of these families."""
    activation = fields.choose("hidden_act", ACTIVATIONS, "silu")
    return Gated(fields.count("intermediate_size"), activation, fields.flag("mlp_bias", False))


def norm(fields: Fields) -> RmsNorm:
    """The norm of these families."""
    return RmsNorm(fields.number("rms_norm_eps", 1e-6))


def llama(fields: Fields) -> Described:
    """Touvron et al. 2023; Grattafiori et al. 2024. SmolLM and many others call themselves llama too."""
    attention = multi_head(fields, bias=fields.flag("attention_bias", False))
    return plain(fields, [Block(attention, gated(fields), norm(fields))] * fields.layers("num_hidden_layers"))


def mistral(fields: Fields) -> Described:
    """Jiang et al. 2023: a window in every layer, where the config gives one."""
    attention = multi_head(fields, window=fields.count("sliding_window", None))
    return plain(fields, [Block(attention, gated(fields), norm(fields))] * fields.layers("num_hidden_layers"))


def qwen2(fields: Fields) -> Described:
    """Yang et al. 2024: biases of queries, keys and values; windows in the layers that ask for them."""
    attention = multi_head(fields, bias=True, output_bias=False)
    return plain(fields, _windowed(fields, attention))


def qwen3(fields: Fields) -> Described:
    """Yang et al. 2025: norms of queries and keys."""
    attention = multi_head(fields, bias=fields.flag("attention_bias", False), query_key_norm=norm(fields))
    return plain(fields, _windowed(fields, attention))


def _windowed(fields: Fields, attention: MultiHead) -> list[Block]:
    """Blocks of which some look through a window: those that are listed, else from a layer on where it is asked for."""
    layers, window = fields.layers("num_hidden_layers"), fields.count("sliding_window", None)
    used, first = fields.flag("use_sliding_window", False), fields.count("max_window_layers", 0, least=0)
    from_first = [LOCAL if used and layer >= first else GLOBAL for layer in range(layers)]
    kinds = fields.listed("layer_types", (GLOBAL, LOCAL), layers) or from_first
    block = Block(attention, gated(fields), norm(fields))
    local = replace(block, attention=replace(attention, window=window))
    return [local if kind == LOCAL else block for kind in kinds]


def plain(fields: Fields, blocks: list[Block]) -> Described:
    """A decoder of these blocks, whose config.json asks for nothing else."""
    described = Described(decoder(fields, blocks), fields.count("vocab_size"), table(*ATTENTION, *GATED, *PRE_NORMS))
    fields.done()
    return described


def decoder_fields(config: DecoderConfig, architecture: str) -> dict[str, Any]:
    """`decoder` and `norm` taken back."""
    blocks = ungrouped(config.groups)
    return {
        "architectures": [architecture],
        "hidden_size": config.width,
        "num_hidden_layers": len(blocks),
        "rms_norm_eps": blocks[0].norm.epsilon,
        "tie_word_embeddings": config.tied_output,
        "max_position_embeddings": config.context,
        "attention_dropout": 0.0,
    }


def multi_head_fields(attention: MultiHead) -> dict[str, Any]:
    """`multi_head` taken back."""
    return {
        "num_attention_heads": attention.heads,
        "num_key_value_heads": attention.kv_heads,
        "head_dim": attention.head_width,
        **rotary_fields(attention.rotary),
    }


def gated_fields(layer: Gated | MixtureOfExperts) -> dict[str, Any]:
    """`gated` taken back, but for the biases, of which few families know."""
    return {"intermediate_size": layer.hidden, "hidden_act": ACTIVATION_NAMES[layer.activation]}


def window_fields(config: DecoderConfig) -> dict[str, Any]:
    """Which layers have a window, and which."""
    windows = [getattr(block.attention, "window", None) for block in ungrouped(config.groups)]
    return {
        "sliding_window": next(filter(None, windows), None),
        "layer_types": [LOCAL if window else GLOBAL for window in windows],
    }


def whole_heads(config: DecoderConfig) -> None:
    """ValueError unless the width is a multiple of the heads, as transformers demands of Llama and Gemma."""
    heads = part(config, MultiHead).heads
    if config.width % heads:
        raise ValueError(f"width must be a multiple of heads, got width={config.width}, heads={heads}")


def llama_fields(config: DecoderConfig) -> dict[str, Any]:
    """`llama` taken back."""
    whole_heads(config)
    biases = {"attention_bias": part(config, MultiHead).bias, "mlp_bias": part(config, Gated).bias}
    return _plain_fields(config, "LlamaForCausalLM") | biases


def mistral_fields(config: DecoderConfig) -> dict[str, Any]:
    """`mistral` taken back."""
    return _plain_fields(config, "MistralForCausalLM") | {"sliding_window": part(config, MultiHead).window}


def qwen2_fields(config: DecoderConfig) -> dict[str, Any]:
    """`qwen2` taken back."""
    return _windowed_fields(config, "Qwen2ForCausalLM")


def qwen3_fields(config: DecoderConfig) -> dict[str, Any]:
    """`qwen3` taken back."""
    return _windowed_fields(config, "Qwen3ForCausalLM") | {"attention_bias": part(config, MultiHead).bias}


def _windowed_fields(config: DecoderConfig, architecture: str) -> dict[str, Any]:
    windows = window_fields(config)
    used = {"use_sliding_window": windows["sliding_window"] is not None}
    return _plain_fields(config, architecture) | windows | used


def _plain_fields(config: DecoderConfig, architecture: str) -> dict[str, Any]:
    heads, hidden = multi_head_fields(part(config, MultiHead)), gated_fields(part(config, Gated))
    return decoder_fields(config, architecture) | heads | hidden
