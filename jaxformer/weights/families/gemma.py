"""Gemma 2 and 3: norms on both sides of a sublayer, local and global layers in turn."""

from typing import Any

from jaxformer.config.blocks import Block, Gated, MultiHead, RmsNorm, SandwichNorm, ungrouped
from jaxformer.config.model import DecoderConfig
from jaxformer.config.positions import Rotary
from jaxformer.weights.families.described import (
    ACTIVATION_NAMES,
    ACTIVATIONS,
    GLOBAL,
    LOCAL,
    Described,
    part,
    rotary,
    rotary_fields,
    turning,
)
from jaxformer.weights.families.llama import (
    ATTENTION,
    GATED,
    decoder,
    decoder_fields,
    multi_head,
    multi_head_fields,
    table,
    whole_heads,
    window_fields,
)
from jaxformer.weights.fields import Fields
from jaxformer.weights.names import same

SANDWICH = (
    same("around_attention/norm/scale", "input_layernorm.weight"),
    same("around_attention/after/scale", "post_attention_layernorm.weight"),
    same("around_feed_forward/norm/scale", "pre_feedforward_layernorm.weight"),
    same("around_feed_forward/after/scale", "post_feedforward_layernorm.weight"),
)


def gemma2(fields: Fields) -> Described:
    """Gemma Team 2024: soft-caps, and a window in every other layer."""
    cap = fields.number("attn_logit_softcapping", None)
    turning = rotary(fields, fields.count("max_position_embeddings"))
    blocks = [_block(fields, kind, turning, softcap=cap) for kind in _kinds(fields, every=2)]
    return _described(fields, blocks)


def gemma3(fields: Fields) -> Described:
    """Gemma Team 2025, text alone: norms of queries and keys, five local layers for a global one, with bases of their
    own.
    """
    context, inside = fields.count("max_position_embeddings"), fields.inside("rope_parameters")
    if inside is not None:
        turns = {kind: turning(inside.inside(kind), None, context) for kind in (LOCAL, GLOBAL)}
    else:
        base, local = fields.number("rope_theta", 1e6), fields.number("rope_local_base_freq", 1e4)
        turns = {
            LOCAL: Rotary(local),
            GLOBAL: turning(fields.inside("rope_scaling"), base, context),
        }
    fields.must("attn_logit_softcapping", None)
    every = fields.count("sliding_window_pattern", None) or fields.count("_sliding_window_pattern", None) or 6
    blocks = [_block(fields, kind, turns[kind], query_key_norm=_norm(fields)) for kind in _kinds(fields, every)]
    return _described(fields, blocks)


def _kinds(fields: Fields, every: int) -> list[str]:
    """Local or global, for each layer: as the config lists them, else every so many layers a global one."""
    count = fields.layers("num_hidden_layers")
    local_first = [GLOBAL if i % every == every - 1 else LOCAL for i in range(count)]
    return fields.listed("layer_types", (GLOBAL, LOCAL), count) or local_first


def _norm(fields: Fields) -> RmsNorm:
    return RmsNorm(fields.number("rms_norm_eps", 1e-6), offset=1.0)


def _block(fields: Fields, kind: str, turning: Rotary, **more) -> Block:
    attention: MultiHead = multi_head(
        fields,
        rotary=turning,
        bias=fields.flag("attention_bias", False),
        scale=fields.number("query_pre_attn_scalar", 256) ** -0.5,
        window=fields.count("sliding_window") if kind == LOCAL else None,
        **more,
    )
    activation = fields.choose("hidden_activation", ACTIVATIONS, "gelu_pytorch_tanh")
    fields.follows("hidden_act")  # an older name, which the newer one replaces
    feed_forward = Gated(fields.count("intermediate_size"), activation)
    return Block(attention, feed_forward, _norm(fields), SandwichNorm())


def _described(fields: Fields, blocks: list[Block]) -> Described:
    fields.must("use_bidirectional_attention", False, None)
    config = decoder(
        fields,
        blocks,
        embedding_scale=fields.count("hidden_size") ** 0.5,
        softcap=fields.number("final_logit_softcapping", None),
    )
    described = Described(config, fields.count("vocab_size"), table(*ATTENTION, *GATED, *SANDWICH))
    fields.done()
    return described


def gemma2_fields(config: DecoderConfig) -> dict[str, Any]:
    """`gemma2` taken back."""
    return _fields(config, "Gemma2ForCausalLM")


def gemma3_fields(config: DecoderConfig) -> dict[str, Any]:
    """`gemma3` taken back."""
    heads = [block.attention for block in ungrouped(config.groups) if isinstance(block.attention, MultiHead)]
    turns = {attention.window is None: attention.rotary for attention in heads}
    local = turns.get(False) or Rotary()
    bases = rotary_fields(turns.get(True)) | {"rope_local_base_freq": local.base}
    return _fields(config, "Gemma3ForCausalLM") | bases


def _fields(config: DecoderConfig, architecture: str) -> dict[str, Any]:
    whole_heads(config)
    attention, feed_forward = part(config, MultiHead), part(config, Gated)
    asked = {
        "intermediate_size": feed_forward.hidden,
        "hidden_activation": ACTIVATION_NAMES[feed_forward.activation],
        "attention_bias": attention.bias,
        "query_pre_attn_scalar": round(attention.score_scale**-2),  # transformers allows whole ones alone
        "attn_logit_softcapping": attention.softcap,
        "final_logit_softcapping": config.softcap,
    }
    return decoder_fields(config, architecture) | multi_head_fields(attention) | window_fields(config) | asked
