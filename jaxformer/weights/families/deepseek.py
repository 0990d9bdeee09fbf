"""DeepSeek-V3 (DeepSeek-AI 2024): latent attention, dense layers first, then experts beside shared ones."""

from typing import Any

from jaxformer.config.blocks import Block, Gated, Latent, RmsNorm, ungrouped
from jaxformer.config.experts import MixtureOfExperts, SigmoidRouter
from jaxformer.config.model import DecoderConfig
from jaxformer.config.positions import Yarn
from jaxformer.ops.rotary import yarn_magnitude
from jaxformer.weights.families.described import ACTIVATIONS, Described, part, rotary, rotary_fields
from jaxformer.weights.families.llama import GATED, PRE_NORMS, decoder, decoder_fields, gated_fields, norm, table
from jaxformer.weights.families.mixtral import EXPERTS
from jaxformer.weights.fields import Fields
from jaxformer.weights.layouts import Joined, JoinedHeads, Matrix
from jaxformer.weights.names import Names, matrix, same

LATENT = (
    matrix("attention/query", "self_attn.q_proj.weight"),
    matrix("attention/query_down", "self_attn.q_a_proj.weight"),
    same("attention/query_norm/scale", "self_attn.q_a_layernorm.weight"),
    matrix("attention/query_up", "self_attn.q_b_proj.weight"),
    Names(("attention/latent", "attention/shared_key"), "self_attn.kv_a_proj_with_mqa.weight", Joined(Matrix())),
    same("attention/latent_norm/scale", "self_attn.kv_a_layernorm.weight"),
    Names(("attention/key", "attention/value"), "self_attn.kv_b_proj.weight", JoinedHeads()),
    matrix("attention/output", "self_attn.o_proj.weight", inputs=2),
)

SHARED = (
    same("feed_forward/router_balance", "mlp.gate.e_score_correction_bias"),
    matrix("feed_forward/shared/gate", "mlp.shared_experts.gate_proj.weight"),
    matrix("feed_forward/shared/up", "mlp.shared_experts.up_proj.weight"),
    matrix("feed_forward/shared/down", "mlp.shared_experts.down_proj.weight"),
)


def deepseek_v3(fields: Fields) -> Described:
    """The config.json of DeepSeek-V3 and R1."""
    fields.must("attention_bias", False)
    fields.must("scoring_func", "sigmoid")
    fields.must("topk_method", "noaux_tc")
    fields.must("moe_layer_freq", 1)
    fields.follows("num_key_value_heads", "qk_head_dim", "head_dim")
    activation = fields.choose("hidden_act", ACTIVATIONS, "silu")
    width = fields.count("moe_intermediate_size")
    mixture = MixtureOfExperts(
        fields.count("n_routed_experts"),
        fields.count("num_experts_per_tok"),
        width,
        SigmoidRouter(
            fields.count("n_group", None) or 1,
            fields.count("topk_group", None) or 1,
            fields.number("routed_scaling_factor", 1.0),
            fields.flag("norm_topk_prob", True),
        ),
        shared=width * (fields.count("n_shared_experts", None, least=0) or 0),
        balance=0.0,
        z=0.0,
        activation=activation,
    )
    dense = Gated(fields.count("intermediate_size"), activation)
    attention, first = _attention(fields), fields.count("first_k_dense_replace", 0, least=0)
    layers = range(fields.layers("num_hidden_layers"))
    blocks = [Block(attention, dense if i < first else mixture, norm(fields)) for i in layers]
    # Layers that predict further tokens stand after the others; reading them is no part of the model itself.
    fields.follows("num_nextn_predict_layers")
    rows = (*LATENT, *PRE_NORMS, *GATED, *EXPERTS, *SHARED)
    described = Described(decoder(fields, blocks), fields.count("vocab_size"), table(*rows))
    fields.done()
    return described


def _attention(fields: Fields) -> Latent:
    still, turned = fields.count("qk_nope_head_dim"), fields.count("qk_rope_head_dim")
    context, interleaved = fields.count("max_position_embeddings"), fields.flag("rope_interleave", True)
    positions = rotary(fields, context, interleaved)
    scale = (still + turned) ** -0.5
    if isinstance(positions.scaling, Yarn) and positions.scaling.mscale_all_dim:
        scale *= yarn_magnitude(positions.scaling.factor, positions.scaling.mscale_all_dim) ** 2
    return Latent(
        fields.count("num_attention_heads"),
        fields.count("kv_lora_rank"),
        still,
        turned,
        fields.count("v_head_dim"),
        fields.count("q_lora_rank", None),
        positions,
        norm=RmsNorm(1e-6),  # whatever rms_norm_eps says
        scale=scale,
    )


def deepseek_v3_fields(config: DecoderConfig) -> dict[str, Any]:
    """`deepseek_v3` taken back. A model without experts has them after its last layer."""
    blocks = ungrouped(config.groups)
    mixture = part(config, MixtureOfExperts, otherwise=MixtureOfExperts(1, 1, 1, SigmoidRouter()))
    dense = part(config, Gated, otherwise=Gated(mixture.hidden, mixture.activation))
    sparse = [i for i, block in enumerate(blocks) if isinstance(block.feed_forward, MixtureOfExperts)]
    first = {"first_k_dense_replace": min(sparse, default=len(blocks)), "num_nextn_predict_layers": 0}
    frame = decoder_fields(config, "DeepseekV3ForCausalLM") | gated_fields(dense)
    return frame | _latent_fields(part(config, Latent)) | _mixture_fields(mixture) | first


def _latent_fields(attention: Latent) -> dict[str, Any]:
    return {
        "num_attention_heads": attention.heads,
        "num_key_value_heads": attention.heads,
        "kv_lora_rank": attention.latent_width,
        "q_lora_rank": attention.query_width,
        "qk_nope_head_dim": attention.head_width,
        "qk_rope_head_dim": attention.rotary_width,
        "v_head_dim": attention.value_width,
        "rope_interleave": attention.rotary.interleaved,
        **rotary_fields(attention.rotary),
    }


def _mixture_fields(mixture: MixtureOfExperts) -> dict[str, Any]:
    # Another router is no part of this family, and is seen not to be when the fields are read again.
    router = mixture.router if isinstance(mixture.router, SigmoidRouter) else SigmoidRouter()
    return {
        "n_routed_experts": mixture.experts,
        "n_shared_experts": mixture.shared // mixture.hidden,
        "num_experts_per_tok": mixture.active,
        "moe_intermediate_size": mixture.hidden,
        "scoring_func": "sigmoid",
        "topk_method": "noaux_tc",
        "n_group": router.groups,
        "topk_group": router.active_groups,
        "routed_scaling_factor": router.scale,
        "norm_topk_prob": router.normalise,
    }
