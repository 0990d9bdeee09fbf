"""Tiny random models of every family that is read and written, as the `transformers` library makes them."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

V, D, F, N, K, L, CONTEXT = 101, 24, 40, 4, 2, 3, 64

DECODER = dict(
    vocab_size=V, hidden_size=D, intermediate_size=F, num_attention_heads=N, num_key_value_heads=K,
    num_hidden_layers=L, max_position_embeddings=CONTEXT, initializer_range=0.15,
)  # fmt: skip
ENCODER = dict(
    vocab_size=V, hidden_size=D, intermediate_size=F, num_attention_heads=N, num_hidden_layers=2,
    max_position_embeddings=CONTEXT, initializer_range=0.15,
)  # fmt: skip
LLAMA3 = dict(
    rope_type="llama3", rope_theta=500.0, factor=4.0, low_freq_factor=1.0, high_freq_factor=4.0,
    original_max_position_embeddings=16,
)  # fmt: skip
YARN = dict(rope_type="yarn", rope_theta=100.0, factor=4.0, original_max_position_embeddings=16)
LATENT = dict(
    num_key_value_heads=N, kv_lora_rank=16, qk_nope_head_dim=8, qk_rope_head_dim=4, v_head_dim=6, n_routed_experts=4,
    n_shared_experts=1, num_experts_per_tok=2, moe_intermediate_size=12, first_k_dense_replace=1, n_group=2,
    topk_group=1,
)  # fmt: skip


@dataclass(frozen=True)
class Family:
    """The class of a model and of its config, and what the config is made with."""

    model: str
    config: str
    options: dict[str, Any] = field(default_factory=dict)

    def make(self, transformers: Any) -> Any:
        """A model with random weights, ready to be asked."""
        config = getattr(transformers, self.config)(**self.options)
        return getattr(transformers, self.model)(config).eval()


def _decoder(name: str, **options: Any) -> Family:
    return Family(f"{name}ForCausalLM", f"{name}Config", DECODER | options)


DECODERS: dict[str, Family] = {
    "gpt2": Family(
        "GPT2LMHeadModel",
        "GPT2Config",
        dict(vocab_size=V, n_embd=D, n_head=N, n_layer=L, n_positions=CONTEXT, initializer_range=0.15),
    ),
    "llama": _decoder("Llama"),
    "llama, biases, tied, llama-3 scaling": _decoder(
        "Llama", attention_bias=True, mlp_bias=True, tie_word_embeddings=True, rope_parameters=LLAMA3
    ),
    "llama, one key/value head, yarn": _decoder("Llama", num_key_value_heads=1, rope_parameters=YARN),
    "mistral, window": _decoder("Mistral", sliding_window=5),
    "qwen2": _decoder("Qwen2"),
    "qwen2, windows above": _decoder("Qwen2", use_sliding_window=True, sliding_window=5, max_window_layers=1),
    "qwen3": _decoder("Qwen3", head_dim=8),
    "smollm3": _decoder("SmolLM3", no_rope_layer_interval=2, pad_token_id=None),
    "gemma2": _decoder(
        "Gemma2", head_dim=8, sliding_window=5, query_pre_attn_scalar=10, attn_logit_softcapping=2.0,
        final_logit_softcapping=3.0,
    ),
    "gemma3": Family(
        "Gemma3ForCausalLM",
        "Gemma3TextConfig",
        DECODER | dict(head_dim=8, sliding_window=5, query_pre_attn_scalar=10, layer_types=[
            "sliding_attention", "sliding_attention", "full_attention"
        ]),
    ),
    "mixtral": _decoder("Mixtral", num_local_experts=4, num_experts_per_tok=2),
    "qwen3 of experts": _decoder(
        "Qwen3Moe", head_dim=8, num_experts=4, num_experts_per_tok=2, moe_intermediate_size=12, mlp_only_layers=[1]
    ),
    "qwen3 of experts, normalised": _decoder(
        "Qwen3Moe", head_dim=8, num_experts=4, num_experts_per_tok=2, moe_intermediate_size=12, norm_topk_prob=True
    ),
    "deepseek-v3": _decoder("DeepseekV3", **LATENT, q_lora_rank=12),
    "deepseek-v3, whole queries, yarn": _decoder(
        "DeepseekV3", **LATENT, q_lora_rank=None, rope_parameters=YARN | dict(mscale=1.0, mscale_all_dim=0.8)
    ),
}  # fmt: skip

ENCODERS: dict[str, Family] = {
    "bert": Family("BertForMaskedLM", "BertConfig", ENCODER),
    "bert without a head": Family("BertModel", "BertConfig", ENCODER),
    "roberta": Family("RobertaForMaskedLM", "RobertaConfig", ENCODER | dict(type_vocab_size=1)),
    "distilbert": Family(
        "DistilBertForMaskedLM",
        "DistilBertConfig",
        dict(vocab_size=V, dim=D, hidden_dim=F, n_heads=N, n_layers=2, max_position_embeddings=CONTEXT),
    ),
}

T5 = dict(vocab_size=V, d_model=D, d_kv=5, d_ff=F, num_layers=2, num_decoder_layers=2, num_heads=N)
ENCODER_DECODERS: dict[str, Family] = {
    "t5": Family("T5ForConditionalGeneration", "T5Config", T5 | dict(decoder_start_token_id=0)),
    "t5 1.1": Family(
        "T5ForConditionalGeneration",
        "T5Config",
        T5 | dict(decoder_start_token_id=0, feed_forward_proj="gated-gelu", tie_word_embeddings=False),
    ),
    "marian": Family(
        "MarianMTModel",
        "MarianConfig",
        dict(
            vocab_size=V,
            d_model=D,
            encoder_layers=2,
            decoder_layers=3,
            encoder_attention_heads=N,
            decoder_attention_heads=N,
            encoder_ffn_dim=F,
            decoder_ffn_dim=F,
            max_position_embeddings=CONTEXT,
            pad_token_id=0,
            decoder_start_token_id=0,
            eos_token_id=1,
            scale_embedding=True,
            init_std=0.15,
            activation_function="swish",
        ),
    ),
}

FAMILIES = DECODERS | ENCODERS | ENCODER_DECODERS

Gradient = Callable[[str], Any]


def gradient_by_name(model: Any) -> Gradient:
    """A tensor's name in the file → its gradient in a torch model, which keeps the experts of a layer in one array."""
    parameters = {name: parameter.grad for name, parameter in model.named_parameters()}

    def gradient(name: str) -> Any:
        name = name if name in parameters else name.replace("block_sparse_moe", "mlp")
        if name in parameters:
            return parameters[name]
        *layer, _experts, expert, part, _weight = name.split(".")
        path = ".".join([*layer, "experts"])
        if part in ("down_proj", "w2"):
            return parameters[f"{path}.down_proj"][int(expert)]
        both = parameters[f"{path}.gate_up_proj"][int(expert)]
        gate, up = both.chunk(2)
        return gate if part in ("gate_proj", "w1") else up

    return gradient
