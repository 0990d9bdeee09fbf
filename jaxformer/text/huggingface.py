"""The tokenizer files of a Hugging Face folder: found, understood, or refused. Nothing in them is executed."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

from jaxformer.config.errors import UserError
from jaxformer.config.io import parse_json

TOKENIZER, CONFIG, SPECIALS_MAP = "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"
ADDED, TEMPLATE = "added_tokens.json", "chat_template.jinja"
FILES = (TOKENIZER, CONFIG, SPECIALS_MAP, ADDED, TEMPLATE)

ROLES = ("bos", "eos", "unk", "sep", "pad", "cls", "mask")

BERT_MARKS = {"pad": "[PAD]", "unk": "[UNK]", "cls": "[CLS]", "sep": "[SEP]", "mask": "[MASK]"}

_FAMILIES = {
    "BertTokenizer": BERT_MARKS,
    "RobertaTokenizer": {
        **{"bos": "<s>", "eos": "</s>", "unk": "<unk>", "sep": "</s>"},
        **{"pad": "<pad>", "cls": "<s>", "mask": "<mask>"},
    },
    "GPT2Tokenizer": dict.fromkeys(("bos", "eos", "unk"), "<|endoftext|>"),
    "T5Tokenizer": {"eos": "</s>", "unk": "<unk>", "pad": "<pad>"},
    "LlamaTokenizer": {"bos": "<s>", "eos": "</s>", "unk": "<unk>"},
}
"""The special tokens of the families whose first releases named them in code alone."""

_WORDPIECE_CLASSES = ("BertTokenizer", "DistilBertTokenizer", "ElectraTokenizer")
_BYTE_LEVEL_CLASSES = ("GPT2Tokenizer", "RobertaTokenizer", "BartTokenizer")


def read_files(path: Path) -> dict[str, bytes]:
    """The tokenizer's files of a folder, by name, or a single tokenizer.json.

    A folder without tokenizer.json has one made of vocab.txt (BERT), or of vocab.json and merges.txt (GPT-2, RoBERTa).
    Raises UserError where the folder holds no tokenizer that can be read.
    """
    try:
        if not path.is_dir():
            return {TOKENIZER: path.read_bytes()}
        files = {name: (path / name).read_bytes() for name in FILES if (path / name).is_file()}
        if TOKENIZER not in files:
            files[TOKENIZER] = _from_vocabulary(path, files).to_str().encode()
    except OSError as error:
        raise UserError(f"no tokenizer can be read: {error.strerror}") from None
    return files


def read_object(files: Mapping[str, bytes], name: str) -> dict[str, Any]:
    """The JSON object in the file `name`, empty where there is none. Raises UserError for anything else."""
    try:
        data = parse_json(files.get(name, b"{}"))
    except ValueError as error:
        raise UserError(f"{name} is damaged: {error}") from None
    if not isinstance(data, dict):
        raise UserError(f"{name} must hold an object, got {type(data).__name__}")
    return data


def settings(files: Mapping[str, bytes]) -> dict[str, Any]:
    """What tokenizer_config.json says, and special_tokens_map.json above it unless the former lists all tokens."""
    config = read_object(files, CONFIG)
    return config if "added_tokens_decoder" in config else config | read_object(files, SPECIALS_MAP)


def build(files: Mapping[str, bytes]) -> Tokenizer:
    """The tokenizer of tokenizer.json with the tokens that only the files beside it name; no truncation, no padding.

    Raises UserError for a broken file, and where the files give one token two ids.
    """
    try:
        tokenizer = Tokenizer.from_buffer(files[TOKENIZER])
    except Exception as error:  # the library raises bare Exception for a broken file
        raise UserError(f"{TOKENIZER} is damaged: {first_line(error)}") from None
    tokenizer.no_truncation()
    tokenizer.no_padding()
    _add_numbered(tokenizer, files)
    config = settings(files)
    known = {token.content for token in tokenizer.get_added_tokens_decoder().values()}
    named = [content_of(config.get(f"{role}_token")) for role in ROLES] + list(_extra_tokens(config))
    tokenizer.add_special_tokens([token for token in dict.fromkeys(named) if token and token not in known])
    return tokenizer


def roles(config: Mapping[str, Any], tokenizer: Tokenizer) -> dict[str, str]:
    """The token of each role that has one: what the files name, and for the rest what the family has by default.

    Where they name neither tokens nor a class, the family is the first all of whose tokens are in the vocabulary.
    """
    named = {role: content_of(config[f"{role}_token"]) for role in ROLES if f"{role}_token" in config}
    family = _FAMILIES.get(_class(config), {})
    if not named and not family:
        known = tokenizer.get_vocab()
        family = next((family for family in _FAMILIES.values() if known.keys() >= set(family.values())), {})
    default = {role: token for role, token in family.items() if tokenizer.token_to_id(token) is not None}
    return {role: token for role, token in (default | named).items() if token is not None}


def content_of(token: Any) -> str | None:
    """The text of a token, which the files give plainly or as an object with its "content"."""
    token = token.get("content") if isinstance(token, dict) else token
    return token if isinstance(token, str) else None


def bert(model: models.WordPiece, config: Mapping[str, Any], token_of: Mapping[str, str]) -> Tokenizer:
    """A WordPiece model with all that BERT does around it, by the settings of tokenizer_config.json.

    Text is cleaned and split at spaces and punctuation; it stands between marks, [CLS] text [SEP], and a second text,
    its [SEP] included, has token type 1. `token_of` gives the five marks by role.
    """
    tokenizer = Tokenizer(model)
    tokenizer.normalizer = normalizers.BertNormalizer(
        clean_text=True,
        handle_chinese_chars=config.get("tokenize_chinese_chars", True),
        strip_accents=config.get("strip_accents"),
        lowercase=config.get("do_lower_case", True),
    )
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece(prefix="##")
    tokenizer.add_special_tokens(list(token_of.values()))
    cls, sep = token_of["cls"], token_of["sep"]
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{cls}:0 $A:0 {sep}:0",
        pair=f"{cls}:0 $A:0 {sep}:0 $B:1 {sep}:1",
        special_tokens=[(token, tokenizer.token_to_id(token)) for token in (cls, sep)],
    )
    return tokenizer


def chat_template(files: Mapping[str, bytes]) -> str | None:
    """The chat template: a file of its own, or text in the config, or the default among several there."""
    if TEMPLATE in files:
        try:
            return files[TEMPLATE].decode("utf-8")
        except UnicodeDecodeError as error:
            raise UserError(f"{TEMPLATE} is damaged: {error}") from None
    template = read_object(files, CONFIG).get("chat_template")
    entries = template if isinstance(template, list) else []
    named = {entry.get("name"): entry.get("template") for entry in entries if isinstance(entry, dict)}
    return template if isinstance(template, str) else named.get("default")


def _class(config: Mapping[str, Any]) -> str:
    """The name of the class that reads the folder elsewhere; empty where it is not named."""
    return str(config.get("tokenizer_class") or "").removesuffix("Fast")


def first_line(error: Exception) -> str:
    """What an error of the library says, which may go on for pages."""
    return str(error).splitlines()[0] if str(error) else type(error).__name__


def _add_numbered(tokenizer: Tokenizer, files: Mapping[str, bytes]) -> None:
    """Add the tokens that come with an id, in its order: each gets the next one, so a gap would shift the rest."""
    config = settings(files)
    source = CONFIG if "added_tokens_decoder" in config else ADDED
    special = {content_of(value) for key, value in config.items() if key.endswith("_token")}
    known = {token.content for token in tokenizer.get_added_tokens_decoder().values()}
    try:
        if source == CONFIG:
            numbered = {int(i): _added_token(token) for i, token in config["added_tokens_decoder"].items()}
        else:
            numbered = {
                int(i): AddedToken(content, special=content in special, normalized=content not in special)
                for content, i in read_object(files, ADDED).items()
            }
    except (AttributeError, TypeError, ValueError) as error:
        raise UserError(f"the added tokens in {source} are damaged: {first_line(error)}") from None
    for i, token in sorted(numbered.items(), key=lambda item: item[0]):
        if token.content not in known:
            tokenizer.add_tokens([token])
        if tokenizer.token_to_id(token.content) != i:
            raise UserError(
                f"{TOKENIZER} gives {token.content!r} the id {tokenizer.token_to_id(token.content)}, {source} gives it "
                f"{i}; fetch the folder again, all files of one version"
            )


def _added_token(token: dict[str, Any]) -> AddedToken:
    return AddedToken(**{key: value for key, value in token.items() if key != "__type"})


def _extra_tokens(config: Mapping[str, Any]) -> Iterator[str | None]:
    """Special tokens without one of the common roles."""
    for name in ("additional_special_tokens", "extra_special_tokens"):
        extra = config.get(name)
        extra = list(extra.values()) if isinstance(extra, dict) else extra
        yield from map(content_of, extra if isinstance(extra, list) else [])


def _from_vocabulary(folder: Path, files: Mapping[str, bytes]) -> Tokenizer:
    """The tokenizer of a folder that holds a bare vocabulary."""
    config = settings(files)
    kind = _class(config)
    names = {name for name in ("vocab.txt", "vocab.json", "merges.txt") if (folder / name).is_file()}
    try:
        if "vocab.txt" in names and kind in ("", *_WORDPIECE_CLASSES):
            return _wordpiece(folder / "vocab.txt", config)
        if {"vocab.json", "merges.txt"} <= names and kind in ("", *_BYTE_LEVEL_CLASSES):
            return _byte_level(folder, config)
    except Exception as error:  # the library raises bare Exception for a broken file
        raise UserError(f"the vocabulary is damaged: {first_line(error)}") from None
    raise UserError(
        f"there is no {TOKENIZER}, and no vocabulary that says enough without it ({kind or 'of unknown kind'}); let "
        "transformers write one: AutoTokenizer.from_pretrained(folder).save_pretrained(folder)"
    )


def _wordpiece(path: Path, config: Mapping[str, Any]) -> Tokenizer:
    tokens = path.read_text(encoding="utf-8").removesuffix("\n").split("\n")
    token_of = BERT_MARKS | {role: token for role in ROLES if (token := content_of(config.get(f"{role}_token")))}
    if missing := set(token_of.values()) - set(tokens):
        raise ValueError(f"it has no {', '.join(sorted(missing))}")
    model = models.WordPiece({token: i for i, token in enumerate(tokens)}, unk_token=token_of["unk"])
    return bert(model, config, token_of)


def _byte_level(folder: Path, config: Mapping[str, Any]) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE.from_file(str(folder / "vocab.json"), str(folder / "merges.txt")))
    space = bool(config.get("add_prefix_space", False))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=space)
    tokenizer.decoder = decoders.ByteLevel()
    token_of = roles(config, tokenizer)
    tokenizer.add_special_tokens(list(dict.fromkeys(token_of.values())))
    id_of = tokenizer.get_vocab()
    mark = {role: (token, id_of[token]) for role, token in token_of.items()}
    if {"cls", "sep"} <= mark.keys():
        tokenizer.post_processor = processors.RobertaProcessing(mark["sep"], mark["cls"], True, space)
    else:
        bos, eos = (mark.get(role) if config.get(f"add_{role}_token") else None for role in ("bos", "eos"))
        tokenizer.post_processor = _between_ends(bos, eos)
    return tokenizer


def _between_ends(bos: tuple[str, int] | None, eos: tuple[str, int] | None) -> processors.TemplateProcessing:
    """The marks of beginning and end around each of the two texts, where they are given."""
    single, second = (
        " ".join(f"{part}:{segment}" for part in (bos and bos[0], text, eos and eos[0]) if part)
        for segment, text in enumerate(("$A", "$B"))
    )
    marks = [mark for mark in (bos, eos) if mark]
    return processors.TemplateProcessing(single=single, pair=f"{single} {second}", special_tokens=marks)
