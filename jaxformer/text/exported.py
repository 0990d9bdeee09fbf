"""A tokenizer of this library as the files that others read: the same ids, in the layout of Hugging Face."""

import json
from functools import singledispatch
from typing import Any

from tokenizers import AddedToken, Regex, decoders, models, pre_tokenizers, processors
from tokenizers import Tokenizer as HfTokenizer

from jaxformer.config.errors import UserError
from jaxformer.text.bpe import BpeTokenizer
from jaxformer.text.characters import ByteTokenizer, CharacterTokenizer
from jaxformer.text.huggingface import CONFIG, TOKENIZER
from jaxformer.text.pieces import byte_characters
from jaxformer.text.pretrained import PretrainedTokenizer
from jaxformer.text.tokenizer import SPECIALS


@singledispatch
def exported(tokenizer: Any) -> PretrainedTokenizer:
    """The same tokenizer for `PretrainedTokenizer.save`. A new kind of tokenizer registers itself here."""
    raise UserError(f"a {type(tokenizer).__name__} has no form that other libraries read")


@exported.register
def _(tokenizer: PretrainedTokenizer) -> PretrainedTokenizer:
    return tokenizer


@exported.register
def _(tokenizer: BpeTokenizer) -> PretrainedTokenizer:
    return _marked(HfTokenizer.from_str(tokenizer.to_json()))


@exported.register
def _(tokenizer: CharacterTokenizer) -> PretrainedTokenizer:
    ids = {token: i for i, token in enumerate((*SPECIALS, *tokenizer.characters))}
    # Where we refuse a character without an id, the library asks for one to take instead; padding says the least.
    whole = HfTokenizer(models.WordLevel(ids, unk_token=SPECIALS[0]))
    whole.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    whole.decoder = decoders.Fuse()
    return _marked(whole)


@exported.register
def _(tokenizer: ByteTokenizer) -> PretrainedTokenizer:
    ids = {token: i for i, token in enumerate((*SPECIALS, *byte_characters()))}
    whole = HfTokenizer(models.BPE(ids, []))
    whole.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    whole.decoder = decoders.ByteLevel()
    return _marked(whole)


def _marked(tokenizer: HfTokenizer) -> PretrainedTokenizer:
    """With our three marks, and the end of a document before each text, as in training."""
    tokenizer.add_special_tokens([AddedToken(mark, special=True, normalized=False) for mark in SPECIALS])
    pad, bos, eos = SPECIALS
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{eos} $A", pair=f"{eos} $A {eos} $B", special_tokens=[(eos, SPECIALS.index(eos))]
    )
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "pad_token": pad,
        "bos_token": bos,
        "eos_token": eos,
        "clean_up_tokenization_spaces": False,
    }
    files = {TOKENIZER: tokenizer.to_str(), CONFIG: json.dumps(settings, indent=2) + "\n"}
    return PretrainedTokenizer({name: text.encode() for name, text in files.items()})
