"""The tokenizer inside a GGUF file, rebuilt for the `tokenizers` library from the file's metadata.

Keys: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md#tokenizer.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

from jaxformer.config.errors import UserError

_ROLES = {
    "bos": "bos",
    "eos": "eos",
    "unk": "unknown",
    "sep": "separator",
    "pad": "padding",
    "cls": "cls",
    "mask": "mask",
    "eot": "eot",
    "eom": "eom",
}
"""Our name of each role of a special token, and the file's."""

_UNKNOWN, _CONTROL, _USER_DEFINED = 2, 3, 4
"""The token types that are looked for in the text as a whole, before anything is split."""


class Vocabulary(NamedTuple):
    """A tokenizer and what a chat needs to know beside it.

    `tokenizer.encode(text)` adds a begin or end mark exactly if the file asks for it; with `add_special_tokens=False`
    it never does. `roles` has an id for each of bos, eos, unk, sep, pad, cls, mask, eot (end of a turn) and eom (end
    of a message) that the file names.
    """

    tokenizer: Tokenizer
    roles: dict[str, int]
    chat_template: str | None


def gguf_tokenizer(metadata: Mapping[str, Any]) -> Vocabulary:
    """Rebuild the byte-level BPE that the metadata of a GGUF file describe.

    Some vocabularies lack a token for bytes that hardly occur; such a byte is left out of the ids, as everywhere.

    Raises UserError, one line, for another kind of tokenizer, for a way of splitting text that is not known here, and
    for missing or contradictory metadata.
    """
    kind = metadata.get("tokenizer.ggml.model")
    if kind == "llama":
        raise UserError(
            "this GGUF file has a SentencePiece vocabulary (tokenizer.ggml.model is llama), which cannot be rebuilt "
            "exactly; load the model from its Hugging Face folder, which has a tokenizer.json"
        )
    if kind != "gpt2":
        raise UserError(f"tokenizer.ggml.model must be gpt2 (byte-level BPE), got {kind!r:.80}")
    splitter = _splitter(metadata)
    tokens = _strings(metadata, "tokenizer.ggml.tokens")
    roles = _roles(metadata, len(tokens))
    tokenizer = Tokenizer(_bpe(tokens, _strings(metadata, "tokenizer.ggml.merges"), splitter.whole_words_first))
    if splitter.composed:
        tokenizer.normalizer = normalizers.NFC()
    splits = [pre_tokenizers.Split(Regex(pattern), "isolated") for pattern in splitter.patterns]
    to_bytes = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([*splits, to_bytes])
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_tokens(_added(tokens, _types(metadata, len(tokens))))
    if marks := _marks(metadata, tokens, roles, splitter.begins):
        tokenizer.post_processor = marks
    return Vocabulary(tokenizer, roles, _chat_template(metadata))


# How text is split before pairs are merged


@dataclass(frozen=True)
class _Splitter:
    """A family's way of splitting text, and what else its name implies."""

    patterns: tuple[str, ...]
    """Each splits what the one before it left: what it matches and what lies between are pieces."""
    whole_words_first: bool = False
    """A piece that is a token is taken as such, even if no merges lead to it."""
    composed: bool = False
    """Text is brought into normal form C first."""
    begins: bool = False
    """A begin mark is put in front unless the file says otherwise."""


_GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
_LLAMA3, _QWEN2 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|"
    rf"{digits}| ?[^\s\p{{L}}\p{{N}}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
    for digits in (r"\p{N}{1,3}", r"\p{N}")
)

_SPLITTERS = {
    # What llama.cpp does for a file whose writer did not know the tokenizer.
    "default": _Splitter((r"[\p{P}$+<=>^~|]+", _GPT2, r"\p{N}+", "[0-9]{3}")),
    "gpt-2": _Splitter((_GPT2,)),
    "smollm": _Splitter((r"\p{N}", _GPT2)),
    "llama-bpe": _Splitter((_LLAMA3,), whole_words_first=True, begins=True),
    "qwen2": _Splitter((_QWEN2,), composed=True),
}


# The parts of the metadata


def _splitter(metadata: Mapping[str, Any]) -> _Splitter:
    name = metadata.get("tokenizer.ggml.pre", "default")
    if not isinstance(name, str) or name not in _SPLITTERS:
        raise UserError(f"tokenizer.ggml.pre must be one of {', '.join(_SPLITTERS)}, got {name!r:.80}")
    return _SPLITTERS[name]


def _chat_template(metadata: Mapping[str, Any]) -> str | None:
    template = metadata.get("tokenizer.chat_template")
    if not isinstance(template, str | None):
        raise UserError(f"tokenizer.chat_template must be text, got {template!r:.80}")
    return template


def _strings(metadata: Mapping[str, Any], key: str) -> list[str]:
    values = metadata.get(key)
    if not isinstance(values, list) or not values or not all(isinstance(value, str) for value in values):
        raise UserError(f"{key} must be a list of strings, got {values!r:.80}")
    return values


def _types(metadata: Mapping[str, Any], count: int) -> list[int]:
    types = metadata.get("tokenizer.ggml.token_type", [1] * count)
    if not isinstance(types, list) or len(types) != count or not all(type(kind) is int for kind in types):
        raise UserError(f"tokenizer.ggml.token_type must be {count} whole numbers, one a token")
    return types


def _roles(metadata: Mapping[str, Any], count: int) -> dict[str, int]:
    roles = {}
    for role, theirs in _ROLES.items():
        key = f"tokenizer.ggml.{theirs}_token_id"
        if key in metadata:
            if type(metadata[key]) is not int or not 0 <= metadata[key] < count:
                raise UserError(f"{key} must lie in 0 … {count - 1}, got {metadata[key]!r:.80}")
            roles[role] = metadata[key]
    return roles


def _bpe(tokens: list[str], merges: list[str], whole_words_first: bool) -> models.BPE:
    id_of = {token: n for n, token in enumerate(tokens)}
    if len(id_of) < len(tokens):
        twice = next(token for n, token in enumerate(tokens) if id_of[token] != n)
        raise UserError(f"tokenizer.ggml.tokens must differ from each other, got {twice!r:.80} twice")
    pairs = []
    for merge in merges:
        left, space, right = merge.partition(" ")
        if not (left in id_of and space and right in id_of and left + right in id_of):
            raise UserError(f"tokenizer.ggml.merges must join two tokens into a third, got {merge!r:.80}")
        pairs.append((left, right))
    return models.BPE(id_of, pairs, ignore_merges=whole_words_first)


def _added(tokens: list[str], types: list[int]) -> list[AddedToken]:
    """The tokens that text is searched for; control tokens are left out of decoded text."""
    return [
        AddedToken(token, special=kind != _USER_DEFINED, normalized=False)
        for token, kind in zip(tokens, types, strict=True)
        if kind in (_UNKNOWN, _CONTROL, _USER_DEFINED)
    ]


def _marks(
    metadata: Mapping[str, Any], tokens: list[str], roles: dict[str, int], begins: bool
) -> processors.TemplateProcessing | None:
    """Puts a begin and an end mark around a text; None where the file asks for neither."""
    wanted = [role for role, default in (("bos", begins), ("eos", False)) if _wants(metadata, role, default)]
    for role in wanted:
        if role not in roles:
            raise UserError(f"tokenizer.ggml.add_{role}_token is true, but there is no tokenizer.ggml.{role}_token_id")
    if not wanted:
        return None
    return processors.TemplateProcessing(
        single=[*(r for r in wanted if r == "bos"), "$A", *(r for r in wanted if r == "eos")],
        special_tokens=[{"id": r, "ids": [roles[r]], "tokens": [tokens[roles[r]]]} for r in wanted],
    )


def _wants(metadata: Mapping[str, Any], role: str, default: bool) -> bool:
    wanted = metadata.get(key := f"tokenizer.ggml.add_{role}_token", default)
    if not isinstance(wanted, bool):
        raise UserError(f"{key} must be true or false, got {wanted!r:.80}")
    return wanted
