"""GPT-2 (Radford et al. 2019)."""

from typing import Any

from jaxformer.config.blocks import Block, FeedForward, LayerNorm, MultiHead, grouped, ungrouped
from jaxformer.config.model import DecoderConfig, Learned
from jaxformer.weights.families.described import ACTIVATION_NAMES, ACTIVATIONS, Described, part
from jaxformer.weights.fields import Fields
from jaxformer.weights.layouts import Flat, Joined, Turned
from jaxformer.weights.names import Layers, Names, NameTable, same

HEADS = ("attention/query", "attention/key", "attention/value")
BIASES = ("attention/query_bias", "attention/key_bias", "attention/value_bias")


def turned(ours: str, theirs: str, inputs: int = 1) -> Names:
    """A weight whose inputs come first."""
    return Names((ours,), theirs, Turned(inputs))


TABLE = NameTable(
    (
        same("embedding/table", "transformer.wte.weight"),
        same("position/position", "transformer.wpe.weight"),
        same("norm/scale", "transformer.ln_f.weight"),
        same("norm/bias", "transformer.ln_f.bias"),
        same("output", "lm_head.weight"),
    ),
    (
        Layers(
            "layers",
            "transformer.h.{i}.",
            (
                Names(HEADS, "attn.c_attn.weight", Joined(Turned(), axis=1)),
                Names(BIASES, "attn.c_attn.bias", Joined(Flat())),
                turned("attention/output", "attn.c_proj.weight", inputs=2),
                same("attention/output_bias", "attn.c_proj.bias"),
                turned("feed_forward/up", "mlp.c_fc.weight"),
                same("feed_forward/up_bias", "mlp.c_fc.bias"),
                turned("feed_forward/down", "mlp.c_proj.weight"),
                same("feed_forward/down_bias", "mlp.c_proj.bias"),
                same("around_attention/norm/scale", "ln_1.weight"),
                same("around_attention/norm/bias", "ln_1.bias"),
                same("around_feed_forward/norm/scale", "ln_2.weight"),
                same("around_feed_forward/norm/bias", "ln_2.bias"),
            ),
        ),
    ),
    (r"transformer\.h\.\d+\.attn\.(masked_)?bias", r"lm_head\.weight"),
)


def gpt2(fields: Fields) -> Described:
    """The config.json of GPT-2."""
    width, heads, context = fields.count("n_embd"), fields.count("n_head"), fields.count("n_positions")
    fields.must("scale_attn_weights", True)
    fields.must("scale_attn_by_inverse_layer_idx", False)
    fields.follows("reorder_and_upcast_attn", "n_ctx")  # rounding alone, and an older name of n_positions
    activation = fields.choose("activation_function", ACTIVATIONS, "gelu_new")
    norm = LayerNorm(fields.number("layer_norm_epsilon", 1e-5))
    feed_forward = FeedForward(fields.count("n_inner", None) or 4 * width, activation)
    block = Block(MultiHead(heads, heads, width // heads), feed_forward, norm)
    config = DecoderConfig(
        width=width,
        groups=grouped([block] * fields.layers("n_layer")),
        norm=norm,
        position=Learned(context),
        tied_output=fields.flag("tie_word_embeddings", True),
        context=context,
    )
    described = Described(config, fields.count("vocab_size"), TABLE)
    fields.done()
    return described


def gpt2_fields(config: DecoderConfig) -> dict[str, Any]:
    """`gpt2` taken back."""
    feed_forward, blocks = part(config, FeedForward), ungrouped(config.groups)
    return {
        "architectures": ["GPT2LMHeadModel"],
        "n_embd": config.width,
        "n_layer": len(blocks),
        "n_head": part(config, MultiHead).heads,
        "n_inner": feed_forward.hidden,
        "n_positions": config.context,
        "activation_function": ACTIVATION_NAMES[feed_forward.activation],
        "layer_norm_epsilon": blocks[0].norm.epsilon,
        "tie_word_embeddings": config.tied_output,
        "embd_pdrop": config.dropout,
        "resid_pdrop": config.dropout,
        "attn_pdrop": 0.0,
    }
