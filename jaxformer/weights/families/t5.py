"""T5 (Raffel et al. 2020) and its version 1.1, such as Flan-T5."""

from dataclasses import replace
from typing import Any

from jaxformer.config.blocks import Block, FeedForward, Gated, MultiHead, RmsNorm, grouped, ungrouped
from jaxformer.config.model import EncoderDecoderConfig, NoPosition
from jaxformer.config.positions import RelativeBuckets
from jaxformer.weights.families.described import ACTIVATION_NAMES, ACTIVATIONS, Described
from jaxformer.weights.fields import Fields
from jaxformer.weights.layouts import Transposed
from jaxformer.weights.names import Layers, Names, NameTable, matrix, same


def _attention(ours: str, theirs: str) -> tuple[Names, ...]:
    rows = [matrix(f"{ours}/{name}", f"{theirs}.{name[0]}.weight") for name in ("query", "key", "value")]
    return *rows, matrix(f"{ours}/output", f"{theirs}.o.weight", inputs=2)


def _feed_forward(layer: int) -> tuple[Names, ...]:
    prefix = f"layer.{layer}.DenseReluDense"
    return (
        matrix("feed_forward/gate", f"{prefix}.wi_0.weight"),
        matrix("feed_forward/down", f"{prefix}.wo.weight"),
        same("around_feed_forward/norm/scale", f"layer.{layer}.layer_norm.weight"),
    )


OWN = (
    *_attention("attention", "layer.0.SelfAttention"),
    same("around_attention/norm/scale", "layer.0.layer_norm.weight"),
)
CROSS = (
    *_attention("cross", "layer.1.EncDecAttention"),
    same("around_cross/norm/scale", "layer.1.layer_norm.weight"),
)


def _bias(ours: str, theirs: str) -> Names:
    """The numbers of all distances, which the first layer keeps for all."""
    name = f"{theirs}.block.0.layer.0.SelfAttention.relative_attention_bias.weight"
    return Names((f"{ours}/table",), name, Transposed())


def _table(gated: bool) -> NameTable:
    # The one matrix has another name where there are two.
    up = "wi_1" if gated else "wi"
    encoder = matrix("feed_forward/up", f"layer.1.DenseReluDense.{up}.weight")
    decoder = matrix("feed_forward/up", f"layer.2.DenseReluDense.{up}.weight")
    return NameTable(
        (
            same("embedding/table", "shared.weight"),
            same("output", "lm_head.weight"),
            same("encoder_norm/scale", "encoder.final_layer_norm.weight"),
            same("decoder_norm/scale", "decoder.final_layer_norm.weight"),
            _bias("encoder_bias", "encoder"),
            _bias("decoder_bias", "decoder"),
        ),
        (
            Layers("encoder", "encoder.block.{i}.", (*OWN, encoder, *_feed_forward(1))),
            Layers("decoder", "decoder.block.{i}.", (*OWN, *CROSS, decoder, *_feed_forward(2))),
        ),
        (
            r"(en|de)coder\.embed_tokens\.weight",
            r"lm_head\.weight",
            r"decoder\.block\.0\.layer\.1\.EncDecAttention\.rel.*",
        ),
    )


FEED_FORWARDS = {
    **{name: (False, activation) for name, activation in ACTIVATIONS.items()},
    **{f"gated-{name}": (True, activation) for name, activation in ACTIVATIONS.items()},
    "gated-gelu": (True, "gelu_tanh"),  # it has always meant the approximate one
}
"""Whether the feed-forward layers of a feed_forward_proj have gates, and their activation."""


def t5(fields: Fields) -> Described:
    """The config.json of T5."""
    D, heads = fields.count("d_model"), fields.count("num_heads")
    norm = RmsNorm(fields.number("layer_norm_epsilon", 1e-6))
    # Scores are not divided: the initial weights were made small instead.
    attention = MultiHead(heads, heads, fields.count("d_kv"), bias=False, scale=1.0)
    gated, activation = fields.choose("feed_forward_proj", FEED_FORWARDS, "relu")
    fields.follows("dense_act_fn", "is_gated_act")
    hidden = fields.count("d_ff")
    block = Block(attention, Gated(hidden, activation) if gated else FeedForward(hidden, activation, bias=False), norm)
    tied = fields.flag("tie_word_embeddings", True)
    layers = fields.layers("num_layers")
    config = EncoderDecoderConfig(
        width=D,
        encoder=grouped([block] * layers),
        decoder=grouped([replace(block, cross=attention)] * (fields.layers("num_decoder_layers", None) or layers)),
        norm=norm,
        position=NoPosition(),
        relative=RelativeBuckets(
            fields.count("relative_attention_num_buckets", 32), fields.count("relative_attention_max_distance", 128)
        ),
        tied_output=tied,
        output_scale=D**-0.5 if fields.flag("scale_decoder_outputs", tied) else 1.0,
    )
    fields.follows("n_positions")  # without absolute positions
    described = Described(config, fields.count("vocab_size"), _table(gated), fields.count("pad_token_id", 0, least=0))
    fields.done()
    return described


def t5_fields(config: EncoderDecoderConfig) -> dict[str, Any]:
    """`t5` taken back."""
    encoder, decoder = ungrouped(config.encoder), ungrouped(config.decoder)
    attention, feed_forward, norm = encoder[0].attention, encoder[0].feed_forward, encoder[0].norm
    if not isinstance(config.relative, RelativeBuckets) or not isinstance(attention, MultiHead):
        raise ValueError("attention must be MultiHead, with relative positions in buckets")
    assert isinstance(feed_forward, FeedForward | Gated)  # the config refuses experts
    name, gated = ACTIVATION_NAMES[feed_forward.activation], isinstance(feed_forward, Gated)
    return {
        "architectures": ["T5ForConditionalGeneration"],
        "is_encoder_decoder": True,
        "d_model": config.width,
        "num_layers": len(encoder),
        "num_decoder_layers": len(decoder),
        "num_heads": attention.heads,
        "d_kv": attention.head_width,
        "d_ff": feed_forward.hidden,
        "feed_forward_proj": f"gated-{name}".replace("gelu_pytorch_tanh", "gelu") if gated else name,
        "layer_norm_epsilon": norm.epsilon,
        "relative_attention_num_buckets": config.relative.buckets,
        "relative_attention_max_distance": config.relative.reach,
        "tie_word_embeddings": config.tied_output,
        "scale_decoder_outputs": config.output_scale != 1,
        "dropout_rate": config.dropout,
    }
