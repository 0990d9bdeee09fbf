"""The families whose files are read and written: for each model_type of a config.json what it describes."""

from collections.abc import Callable, Mapping
from typing import Any

from jaxformer.config.model import DecoderConfig, EncoderConfig, EncoderDecoderConfig
from jaxformer.weights.families import bert, deepseek, gemma, gpt2, llama, marian, mixtral, smollm3, t5
from jaxformer.weights.families.described import Described
from jaxformer.weights.fields import Fields

FAMILIES: Mapping[str, Callable[[Fields], Described]] = {
    "bert": bert.bert,
    "roberta": bert.roberta,
    "distilbert": bert.distilbert,
    "gpt2": gpt2.gpt2,
    "llama": llama.llama,
    "mistral": llama.mistral,
    "qwen2": llama.qwen2,
    "qwen3": llama.qwen3,
    "smollm3": smollm3.smollm3,
    "gemma2": gemma.gemma2,
    "gemma3_text": gemma.gemma3,
    "mixtral": mixtral.mixtral,
    "qwen3_moe": mixtral.qwen3_moe,
    "deepseek_v3": deepseek.deepseek_v3,
    "t5": t5.t5,
    "marian": marian.marian,
}
"""By model_type. A new family is a function from the fields of its config.json to a config and a name table."""

SPELLERS: Mapping[type, Mapping[str, Callable[[Any], dict[str, Any]]]] = {
    DecoderConfig: {
        "gpt2": gpt2.gpt2_fields,
        "llama": llama.llama_fields,
        "mistral": llama.mistral_fields,
        "qwen2": llama.qwen2_fields,
        "qwen3": llama.qwen3_fields,
        "smollm3": smollm3.smollm3_fields,
        "gemma2": gemma.gemma2_fields,
        "gemma3_text": gemma.gemma3_fields,
        "mixtral": mixtral.mixtral_fields,
        "qwen3_moe": mixtral.qwen3_moe_fields,
        "deepseek_v3": deepseek.deepseek_v3_fields,
    },
    EncoderConfig: {"bert": bert.bert_fields},
    EncoderDecoderConfig: {"t5": t5.t5_fields, "marian": marian.marian_fields},
}
"""The way back, by the kind of a config and in the order in which families are tried. Each says as much of a config as
its fields can, but for the vocabulary, and raises ValueError for one that it has no fields for.
"""
