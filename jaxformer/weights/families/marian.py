"""Marian, the translators of Opus-MT (Junczys-Dowmunt et al. 2018; Tiedemann & Thottingal 2020)."""

from dataclasses import replace
from typing import Any

from jaxformer.config.blocks import Block, FeedForward, LayerNorm, MultiHead, PostNorm, grouped, ungrouped
from jaxformer.config.model import EncoderDecoderConfig, Sinusoidal
from jaxformer.weights.families.described import ACTIVATION_NAMES, ACTIVATIONS, Described
from jaxformer.weights.fields import Fields
from jaxformer.weights.layouts import Row
from jaxformer.weights.names import Layers, Names, NameTable, flat, matrix, same


def _attention(ours: str, theirs: str) -> tuple[Names, ...]:
    short = {"query": "q_proj", "key": "k_proj", "value": "v_proj"}
    return (
        *(matrix(f"{ours}/{name}", f"{theirs}.{part}.weight") for name, part in short.items()),
        *(flat(f"{ours}/{name}_bias", f"{theirs}.{part}.bias") for name, part in short.items()),
        matrix(f"{ours}/output", f"{theirs}.out_proj.weight", inputs=2),
        same(f"{ours}/output_bias", f"{theirs}.out_proj.bias"),
        same(f"around_{ours}/norm/scale", f"{theirs}_layer_norm.weight"),
        same(f"around_{ours}/norm/bias", f"{theirs}_layer_norm.bias"),
    )


FEED_FORWARD = (
    matrix("feed_forward/up", "fc1.weight"),
    same("feed_forward/up_bias", "fc1.bias"),
    matrix("feed_forward/down", "fc2.weight"),
    same("feed_forward/down_bias", "fc2.bias"),
    same("around_feed_forward/norm/scale", "final_layer_norm.weight"),
    same("around_feed_forward/norm/bias", "final_layer_norm.bias"),
)
ENCODER = (*_attention("attention", "self_attn"), *FEED_FORWARD)

TABLE = NameTable(
    (
        same("embedding/table", "model.shared.weight"),
        Names(("output_bias",), "final_logits_bias", Row()),
    ),
    (
        Layers("encoder", "model.encoder.layers.{i}.", ENCODER),
        Layers("decoder", "model.decoder.layers.{i}.", (*ENCODER, *_attention("cross", "encoder_attn"))),
    ),
    (r"model\.(en|de)coder\.embed_(tokens|positions)\.weight", r"lm_head\.weight"),
)


def marian(fields: Fields) -> Described:
    """The config.json of a Marian model with one vocabulary for both languages."""
    fields.must("share_encoder_decoder_embeddings", True)
    fields.must("normalize_before", False)
    fields.must("normalize_embedding", False)
    fields.must("add_final_layer_norm", False)
    fields.must("add_bias_logits", False)
    fields.must("static_position_embeddings", True)
    fields.must("extra_pos_embeddings", 0, fields.count("vocab_size") - 1)
    fields.must("tie_word_embeddings", True)
    fields.must("decoder_vocab_size", fields.count("vocab_size"), None)
    # Layers are left out at random in training alone; num_hidden_layers repeats encoder_layers.
    fields.follows("encoder_layerdrop", "decoder_layerdrop", "num_hidden_layers")
    D, activation = fields.count("d_model"), fields.choose("activation_function", ACTIVATIONS, "gelu")

    def block(side: str) -> Block:
        heads = fields.count(f"{side}_attention_heads")
        feed_forward = FeedForward(fields.count(f"{side}_ffn_dim"), activation)
        return Block(MultiHead(heads, heads, D // heads), feed_forward, LayerNorm(), PostNorm())

    decoder = block("decoder")
    config = EncoderDecoderConfig(
        width=D,
        encoder=grouped([block("encoder")] * fields.layers("encoder_layers")),
        decoder=grouped([replace(decoder, cross=decoder.attention)] * fields.layers("decoder_layers")),
        norm=None,
        position=Sinusoidal(halves=True),
        embedding_scale=D**0.5 if fields.flag("scale_embedding", False) else 1.0,
        output_bias=True,
    )
    described = Described(config, fields.count("vocab_size"), TABLE, fields.count("pad_token_id", least=0))
    fields.done()
    return described


def marian_fields(config: EncoderDecoderConfig) -> dict[str, Any]:
    """`marian` taken back."""
    sides = {"encoder": ungrouped(config.encoder), "decoder": ungrouped(config.decoder)}
    fields: dict[str, Any] = {}
    for side, blocks in sides.items():
        attention, feed_forward = blocks[0].attention, blocks[0].feed_forward
        if not isinstance(attention, MultiHead) or not isinstance(feed_forward, FeedForward):
            raise ValueError("layers must be of MultiHead and FeedForward")
        fields |= {
            f"{side}_layers": len(blocks),
            f"{side}_attention_heads": attention.heads,
            f"{side}_ffn_dim": feed_forward.hidden,
        }
    return fields | {
        "architectures": ["MarianMTModel"],
        "is_encoder_decoder": True,
        "d_model": config.width,
        "activation_function": ACTIVATION_NAMES[feed_forward.activation],
        "scale_embedding": config.embedding_scale != 1,
        "static_position_embeddings": True,
        "share_encoder_decoder_embeddings": True,
        "tie_word_embeddings": True,
        "dropout": config.dropout,
        # By default theirs is the padding, at the end of what is as long as may be.
        "forced_eos_token_id": None,
    }
