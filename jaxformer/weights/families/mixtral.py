"""Mixtures of experts on the frame of Llama: Mixtral and Qwen 3 MoE."""

from typing import Any

from jaxformer.config.blocks import Block, Gated, MultiHead, ungrouped
from jaxformer.config.experts import MixtureOfExperts, SoftmaxRouter
from jaxformer.config.model import DecoderConfig
from jaxformer.weights.families.described import ACTIVATIONS, Described, part
from jaxformer.weights.families.llama import (
    ATTENTION,
    GATED,
    PRE_NORMS,
    decoder,
    decoder_fields,
    gated_fields,
    multi_head,
    multi_head_fields,
    norm,
    table,
)
from jaxformer.weights.fields import Fields
from jaxformer.weights.layouts import Matrix, Stacked
from jaxformer.weights.names import Names, matrix


def experts(ours: str, theirs: str) -> Names:
    """A matrix for each expert."""
    return Names((ours,), theirs, Stacked(Matrix()))


EXPERTS = (
    matrix("feed_forward/router", "mlp.gate.weight"),
    experts("feed_forward/expert_gate", "mlp.experts.{e}.gate_proj.weight"),
    experts("feed_forward/expert_up", "mlp.experts.{e}.up_proj.weight"),
    experts("feed_forward/expert_down", "mlp.experts.{e}.down_proj.weight"),
)

MIXTRAL = (
    matrix("feed_forward/router", "block_sparse_moe.gate.weight"),
    experts("feed_forward/expert_gate", "block_sparse_moe.experts.{e}.w1.weight"),
    experts("feed_forward/expert_up", "block_sparse_moe.experts.{e}.w3.weight"),
    experts("feed_forward/expert_down", "block_sparse_moe.experts.{e}.w2.weight"),
)


def mixtral(fields: Fields) -> Described:
    """Jiang et al. 2024."""
    mixture = MixtureOfExperts(
        fields.count("num_local_experts"),
        fields.count("num_experts_per_tok"),
        fields.count("intermediate_size"),
        balance=0.0,
        z=0.0,
        activation=fields.choose("hidden_act", ACTIVATIONS, "silu"),
    )
    attention = multi_head(fields, window=fields.count("sliding_window", None))
    blocks = [Block(attention, mixture, norm(fields))] * fields.layers("num_hidden_layers")
    described = Described(decoder(fields, blocks), fields.count("vocab_size"), table(*ATTENTION, *PRE_NORMS, *MIXTRAL))
    fields.done()
    return described


def qwen3_moe(fields: Fields) -> Described:
    """Yang et al. 2025: dense layers where the config says so, experts elsewhere."""
    activation = fields.choose("hidden_act", ACTIVATIONS, "silu")
    mixture = MixtureOfExperts(
        # The newer name is that of Mixtral.
        fields.count("num_experts", None) or fields.count("num_local_experts"),
        fields.count("num_experts_per_tok"),
        fields.count("moe_intermediate_size"),
        SoftmaxRouter(fields.flag("norm_topk_prob", False)),
        balance=0.0,
        z=0.0,
        activation=activation,
    )
    dense = Gated(fields.count("intermediate_size"), activation)
    attention = multi_head(fields, bias=fields.flag("attention_bias", False), query_key_norm=norm(fields))
    fields.must("use_sliding_window", False)
    fields.follows("sliding_window", "max_window_layers")  # without use_sliding_window they say nothing
    layers, step = range(fields.layers("num_hidden_layers")), fields.count("decoder_sparse_step", 1)
    only_dense = fields.listed("mlp_only_layers", layers)
    blocks = [Block(attention, dense if i in only_dense or (i + 1) % step else mixture, norm(fields)) for i in layers]
    rows = (*ATTENTION, *PRE_NORMS, *GATED, *EXPERTS)
    described = Described(decoder(fields, blocks), fields.count("vocab_size"), table(*rows))
    fields.done()
    return described


def mixtral_fields(config: DecoderConfig) -> dict[str, Any]:
    """`mixtral` taken back."""
    attention, mixture = part(config, MultiHead), part(config, MixtureOfExperts)
    asked = {
        "num_local_experts": mixture.experts,
        "num_experts_per_tok": mixture.active,
        "sliding_window": attention.window,
    }
    frame = decoder_fields(config, "MixtralForCausalLM")
    return frame | multi_head_fields(attention) | gated_fields(mixture) | asked


def qwen3_moe_fields(config: DecoderConfig) -> dict[str, Any]:
    """`qwen3_moe` taken back."""
    attention, mixture = part(config, MultiHead), part(config, MixtureOfExperts)
    layers = enumerate(ungrouped(config.groups))
    asked = {
        "attention_bias": attention.bias,
        "num_experts": mixture.experts,
        "num_experts_per_tok": mixture.active,
        "moe_intermediate_size": mixture.hidden,
        "norm_topk_prob": mixture.router.normalise,
        "decoder_sparse_step": 1,
        "mlp_only_layers": [i for i, block in layers if not isinstance(block.feed_forward, MixtureOfExperts)],
    }
    dense = gated_fields(part(config, Gated, otherwise=Gated(mixture.hidden, mixture.activation)))
    return decoder_fields(config, "Qwen3MoeForCausalLM") | multi_head_fields(attention) | dense | asked
