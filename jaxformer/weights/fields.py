"""Reading a config.json: every field is either used, or known to say nothing, or stops the load."""

import math
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

from jaxformer.config.errors import UserError

_REQUIRED: Any = object()

MOST, MOST_LAYERS = 1 << 24, 1 << 12
"""Far above any model's sizes and layers. A number from a stranger's file is held against them before anything is made
as large as it says.
"""

SILENT = frozenset(
    [
        "architectures",
        "model_type",
        "torch_dtype",
        "dtype",
        "transformers_version",
        "_name_or_path",
        "use_cache",
        "return_dict",
        "bos_token_id",
        "eos_token_id",
        "pad_token_id",
        "sep_token_id",
        "cls_token_id",
        "mask_token_id",
        "unk_token_id",
        "decoder_start_token_id",
        "forced_eos_token_id",
        "forced_bos_token_id",
        "bad_words_ids",
        "num_beams",
        "max_length",
        "early_stopping",
        "length_penalty",
        "initializer_range",
        "initializer_factor",
        "initializer_cutoff_factor",
        "init_std",
        "output_attentions",
        "output_hidden_states",
        "output_router_logits",
        "output_past",
        "gradient_checkpointing",
        "id2label",
        "label2id",
        "problem_type",
        "task_specific_params",
        "is_encoder_decoder",
        "is_decoder",
        "add_cross_attention",
        "tie_word_embeddings",
        "max_position_embeddings",
        "attn_implementation",
        "attention_dropout",
        "attn_pdrop",
        "resid_pdrop",
        "embd_pdrop",
        "hidden_dropout",
        "hidden_dropout_prob",
        "attention_probs_dropout_prob",
        "activation_dropout",
        "classifier_dropout",
        "classif_dropout",
        "dropout",
        "dropout_rate",
        "summary_activation",
        "summary_first_dropout",
        "summary_proj_to_labels",
        "summary_type",
        "summary_use_proj",
        "seq_classif_dropout",
        "qa_dropout",
        "pretraining_tp",
        "classifier_dropout_prob",
        "keys_to_ignore_at_inference",
        "chunk_size_feed_forward",
        "prefix",
        "suffix",
        "num_labels",
        "finetuning_task",
        "tokenizer_class",
        "auto_map",
        "router_jitter_noise",
        "router_aux_loss_coef",
        "aux_loss_alpha",
        "seq_aux",
        "ep_size",
        "cache_implementation",
    ]
)
"""Fields without influence on the logits of a forward pass without dropout."""


class Fields:
    """The fields of a config.json, or of an object inside one. What was asked for is remembered."""

    def __init__(self, data: Mapping[str, Any], where: str) -> None:
        self._data, self.where = dict(data), where
        self._used: set[str] = set()

    def __call__(self, name: str, default: Any = _REQUIRED) -> Any:
        """The value of a field; UserError where there is none and no default."""
        self._used.add(name)
        if name in self._data:
            return self._data[name]
        if default is _REQUIRED:
            raise UserError(f"{self.where} has no field {name}, which its model needs")
        return default

    def count(self, name: str, default: Any = _REQUIRED, least: int = 1, most: int = MOST) -> Any:
        """A whole number between bounds; None, or null in the file, where that is the default."""

        def fits(value: Any) -> bool:
            return type(value) is int and least <= value <= most

        return self._fitting(name, default, fits, f"a whole number from {least} to {most}")

    def layers(self, name: str, default: Any = _REQUIRED) -> Any:
        """A number of layers."""
        return self.count(name, default, most=MOST_LAYERS)

    def number(self, name: str, default: Any = _REQUIRED, least: float = math.ulp(0.0)) -> Any:
        """A number above 0, or from another bound on, that float32 can hold; None as in `count`."""

        def fits(value: Any) -> bool:
            return type(value) in (int, float) and least <= value <= 3e38

        return self._fitting(name, default, fits, f"a number {'above 0' if 0 < least < 1 else f'from {least:g} on'}")

    def flag(self, name: str, default: bool) -> bool:
        """True or false; null is false."""
        return bool(self._fitting(name, default, lambda value: value is None or type(value) is bool, "true or false"))

    def listed(self, name: str, allowed: Collection[Any], length: int | None = None) -> list[Any]:
        """A list of values that are allowed, of so many where a length is given; empty where there is none, or null."""

        def fits(value: Any) -> bool:
            whole = isinstance(value, list) and all(each in allowed for each in value)
            return whole and (length is None or len(value) == length)

        many = "" if length is None else f"{length} "
        return self._fitting(name, None, fits, f"a list of {many}values in {allowed}") or []

    def _fitting(self, name: str, default: Any, fits: Callable[[Any], bool], what: str) -> Any:
        value = self(name, default)
        if not (fits(value) or (value is None and default is None)):
            raise UserError(f"{self.where}: {name} must be {what}, got {value!r}")
        return value

    def follows(self, *names: str) -> None:
        """These fields follow from others, or say nothing of a forward pass."""
        self._used.update(names)

    def must(self, name: str, *allowed: Any) -> None:
        """UserError unless the field is one of these; the first is what it is where it is not given."""
        value = self(name, allowed[0])
        if value not in allowed:
            shown = " or ".join(map(repr, allowed))
            raise UserError(f"{self.where}: {name} must be {shown} to be supported, got {value!r}")

    def choose(self, name: str, choices: Mapping[Any, Any], default: Any = _REQUIRED) -> Any:
        """What the field's value stands for; UserError, with what is known, for another value."""
        value = self(name, default)
        if value not in list(choices):  # a mapping would ask for the hash of a list
            known = ", ".join(map(repr, choices))
            raise UserError(f"{self.where}: {name} must be one of {known} to be supported, got {value!r}")
        return choices[value]

    def inside(self, name: str) -> "Fields | None":
        """The object that a field holds, or None where there is none."""
        value = self(name, None)
        if value is None:
            return None
        if not isinstance(value, dict):
            raise UserError(f"{self.where}: {name} must be an object, got {value!r}")
        return Fields(value, f"{self.where}: {name}")

    def done(self, silent: Iterable[str] = ()) -> None:
        """UserError for a field that nobody asked for and that is not known to say nothing; one that is null or false
        asks for nothing.
        """
        for name, value in self._data.items():
            if name in self._used or name in SILENT or name in silent or value is None or value is False:
                continue
            raise UserError(f"{self.where}: the field {name} is not supported, got {value!r}")
