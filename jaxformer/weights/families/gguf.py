"""The Llama family in a GGUF file: its metadata in place of a config.json, and its own names of the tensors.

Keys and names: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md.
"""

from collections.abc import Mapping
from typing import Any

from jaxformer.config.blocks import Block, Gated, MultiHead, RmsNorm, grouped
from jaxformer.config.errors import UserError
from jaxformer.config.model import DecoderConfig
from jaxformer.config.positions import Rotary
from jaxformer.weights.families.described import Described
from jaxformer.weights.fields import Fields
from jaxformer.weights.names import Layers, NameTable, flat, matrix, same
from jaxformer.weights.tensors import Tensors

TABLE = NameTable(
    (
        same("embedding/table", "token_embd.weight"),
        same("norm/scale", "output_norm.weight"),
        same("output", "output.weight"),
    ),
    (
        Layers(
            "layers",
            "blk.{i}.",
            (
                matrix("attention/query", "attn_q.weight"),
                matrix("attention/key", "attn_k.weight"),
                matrix("attention/value", "attn_v.weight"),
                matrix("attention/output", "attn_output.weight", inputs=2),
                flat("attention/query_bias", "attn_q.bias"),
                flat("attention/key_bias", "attn_k.bias"),
                flat("attention/value_bias", "attn_v.bias"),
                matrix("feed_forward/gate", "ffn_gate.weight"),
                matrix("feed_forward/up", "ffn_up.weight"),
                matrix("feed_forward/down", "ffn_down.weight"),
                same("around_attention/norm/scale", "attn_norm.weight"),
                same("around_feed_forward/norm/scale", "ffn_norm.weight"),
            ),
        ),
    ),
)


def describe_gguf(metadata: Mapping[str, Any], tensors: Tensors) -> Described:
    """What the metadata of a GGUF file come to. Raises UserError for another architecture than llama, and for a key
    that asks for what is not supported.
    """
    family = metadata.get("general.architecture")
    if family != "llama":
        raise UserError(f"{tensors.path}: general.architecture must be llama to be supported, got {family!r}")
    fields = Fields({key: value for key, value in metadata.items() if key.startswith("llama.")}, str(tensors.path))
    if "rope_freqs.weight" in tensors:
        raise UserError(f"{tensors.path}: rope_freqs.weight (scaled rotary positions) is not supported")
    width, heads = fields.count("llama.embedding_length"), fields.count("llama.attention.head_count")
    head_width = fields.count("llama.attention.key_length", width // heads)
    # The rows of queries and keys were reordered for pairs of neighbours.
    turned = fields.count("llama.rope.dimension_count", head_width)
    rotary = Rotary(fields.number("llama.rope.freq_base", 10_000.0), turned / head_width, interleaved=True)
    fields.follows("llama.attention.value_length", "llama.vocab_size")  # the tensors' shapes tell them
    norm = RmsNorm(fields.number("llama.attention.layer_norm_rms_epsilon"))
    try:
        attention = MultiHead(
            heads,
            fields.count("llama.attention.head_count_kv", heads),
            head_width,
            bias="blk.0.attn_q.bias" in tensors,
            output_bias=False,
            rotary=rotary,
        )
        block = Block(attention, Gated(fields.count("llama.feed_forward_length")), norm)
        config = DecoderConfig(
            width=width,
            groups=grouped([block] * fields.layers("llama.block_count")),
            norm=norm,
            tied_output="output.weight" not in tensors,
            context=fields.count("llama.context_length"),
        )
    except ValueError as error:
        raise UserError(f"{tensors.path}: {error}") from None
    fields.done()
    return Described(config, tensors.shape("token_embd.weight")[0], TABLE)
