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

AFTER_ANOTHER = "{eos} $A"
"""Marks around a text that a language model reads: it begins where another one has ended, as in training."""

ENDED = "$A {eos}"
"""Marks around a text that an encoder reads to translate it."""


@singledispatch
def exported(tokenizer: Any, marks: str = AFTER_ANOTHER) -> PretrainedTokenizer:
    """The same tokenizer for `PretrainedTokenizer.save`, with marks around each text; one that was pretrained has its
    own. A new kind of tokenizer registers itself here.
    """
    raise UserError(f"a {type(tokenizer).__name__} has no form that other libraries read")


@exported.register
def _(tokenizer: PretrainedTokenizer, marks: str = AFTER_ANOTHER) -> PretrainedTokenizer:
    return tokenizer


@exported.register
def _(tokenizer: BpeTokenizer, marks: str = AFTER_ANOTHER) -> PretrainedTokenizer:
    return _marked(HfTokenizer.from_str(tokenizer.to_json()), marks)


@exported.register
def _(tokenizer: CharacterTokenizer, marks: str = AFTER_ANOTHER) -> PretrainedTokenizer:
    ids = {token: i for i, token in enumerate((*SPECIALS, *tokenizer.characters))}
    # Where we refuse a character without an id, the library asks for one to take instead; padding says the least.
    whole = HfTokenizer(models.WordLevel(ids, unk_token=SPECIALS[0]))
    whole.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    whole.decoder = decoders.Fuse()
    return _marked(whole, marks)


@exported.register
def _(tokenizer: ByteTokenizer, marks: str = AFTER_ANOTHER) -> PretrainedTokenizer:
    ids = {token: i for i, token in enumerate((*SPECIALS, *byte_characters()))}
    whole = HfTokenizer(models.BPE(ids, []))
    whole.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    whole.decoder = decoders.ByteLevel()
    return _marked(whole, marks)


def _marked(tokenizer: HfTokenizer, marks: str) -> PretrainedTokenizer:
    """With our three special tokens, and these marks around each text."""
    tokenizer.add_special_tokens([AddedToken(mark, special=True, normalized=False) for mark in SPECIALS])
    pad, bos, eos = SPECIALS
    single = marks.format(eos=eos)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=single, pair=f"{single} {single.replace('$A', '$B')}", special_tokens=[(eos, SPECIALS.index(eos))]
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
