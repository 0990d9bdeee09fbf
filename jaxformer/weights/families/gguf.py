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

KNOWN = frozenset(
    """block_count context_length embedding_length feed_forward_length attention.head_count attention.head_count_kv
    attention.layer_norm_rms_epsilon attention.key_length attention.value_length rope.freq_base rope.dimension_count
    vocab_size""".split()  # noqa: SIM905
)
"""What is read of a model's metadata; any other key of its architecture would ask for something else."""


def describe_gguf(metadata: Mapping[str, Any], tensors: Tensors) -> Described:
    """What the metadata of a GGUF file come to. Raises UserError for another architecture than llama, and for a key
    that asks for what is not supported.
    """
    family = metadata.get("general.architecture")
    if family != "llama":
        raise UserError(f"{tensors.path}: general.architecture must be llama to be supported, got {family!r}")
    asked = {key.removeprefix("llama."): value for key, value in metadata.items() if key.startswith("llama.")}
    if unknown := sorted(set(asked) - KNOWN):
        raise UserError(f"{tensors.path}: the key llama.{unknown[0]} is not supported, got {asked[unknown[0]]!r}")
    if "rope_freqs.weight" in tensors:
        raise UserError(f"{tensors.path}: rope_freqs.weight (scaled rotary positions) is not supported")
    try:
        width, heads = asked["embedding_length"], asked["attention.head_count"]
        head_width = asked.get("attention.key_length", width // heads)
        # The rows of queries and keys were reordered for pairs of neighbours.
        fraction = asked.get("rope.dimension_count", head_width) / head_width
        rotary = Rotary(asked.get("rope.freq_base", 10_000.0), fraction, interleaved=True)
        attention = MultiHead(
            heads,
            asked.get("attention.head_count_kv", heads),
            head_width,
            bias="blk.0.attn_q.bias" in tensors,
            output_bias=False,
            rotary=rotary,
        )
        norm = RmsNorm(asked["attention.layer_norm_rms_epsilon"])
        block = Block(attention, Gated(asked["feed_forward_length"]), norm)
        config = DecoderConfig(
            width=width,
            groups=grouped([block] * asked["block_count"]),
            norm=norm,
            tied_output="output.weight" not in tensors,
            context=asked["context_length"],
        )
    except KeyError as error:
        raise UserError(f"{tensors.path} has no llama.{error.args[0]}, which a llama model needs") from None
    except (TypeError, ValueError, ZeroDivisionError) as error:
        raise UserError(f"{tensors.path}: {error}") from None
    return Described(config, tensors.shape("token_embd.weight")[0], TABLE)
