"""Tiny tokenizers of every kind that Hugging Face folders hold, made by the `tokenizers` library."""

import json

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

TEXTS = ["the cat sat on the mat", "the dog ate the cat's dinner, didn't it?", "我爱你，你爱我", "Über den Wolken"] * 3
BYTES = [f"<0x{byte:02X}>" for byte in range(256)]


def gpt2():
    """Byte-level BPE whose specials no file names."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    tokenizer.train_from_iterator(
        TEXTS, trainers.BpeTrainer(vocab_size=306, initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    )
    tokenizer.add_special_tokens(["<|endoftext|>"])
    return tokenizer, {"tokenizer_class": "GPT2Tokenizer"}


def llama3():
    """Byte-level BPE with a beginning put in front, many specials and no padding."""
    tokenizer = gpt2()[0]
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(r"\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+|\s+"), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.add_special_tokens(["<|begin_of_text|>", "<|eot_id|>", "<|start_header_id|>", "<|end_header_id|>"])
    tokenizer.add_tokens(["<think>"])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<|begin_of_text|>:0 $A:0",
        pair="<|begin_of_text|>:0 $A:0 <|begin_of_text|>:1 $B:1",
        special_tokens=[("<|begin_of_text|>", tokenizer.token_to_id("<|begin_of_text|>"))],
    )
    roles = {"bos_token": {"content": "<|begin_of_text|>", "__type": "AddedToken"}, "eos_token": "<|eot_id|>"}
    return tokenizer, {"tokenizer_class": "PreTrainedTokenizerFast", **roles}


def mistral():
    """BPE over characters with bytes for the rest, spaces written as ▁, its specials among the common tokens."""
    words = ["▁", *"acdehimnostu", "▁t", "▁th", "▁the", "▁c", "at"]
    vocabulary = {token: i for i, token in enumerate(["<unk>", "<s>", "</s>", *BYTES, *words])}
    merges = [("▁", "t"), ("▁t", "h"), ("▁th", "e"), ("▁", "c"), ("a", "t")]
    tokenizer = Tokenizer(models.BPE(vocabulary, merges, unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    tokenizer.add_special_tokens(["<unk>", "<s>", "</s>"])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A <s>:1 $B:1", special_tokens=[("<s>", 1)]
    )
    roles = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    return tokenizer, {"tokenizer_class": "PreTrainedTokenizerFast", **roles}


def t5():
    """Unigram, in whose vocabulary the end is a piece like any other and the likeliest of all."""
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -2.0), ("▁the", -3.0), ("▁cat", -3.5), ("at", -4.0)]
    pieces += [(character, -5.0 - i / 97) for i, character in enumerate("acdehimnostu</>,'?")]
    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=2))
    tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.Metaspace(), decoders.Metaspace()
    tokenizer.add_special_tokens(["<pad>", "</s>", "<unk>", "<extra_id_0>"])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A </s>", pair="$A </s> $B </s>", special_tokens=[("</s>", 1)]
    )
    roles = {"eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>"}
    return tokenizer, {"tokenizer_class": "PreTrainedTokenizerFast", **roles}


def bert():
    """WordPiece, lowercased, between marks."""
    marks = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    words = ["the", "cat", "sat", "di", "##nn", "##er", "'", "s", "t", ",", "?", "[", "]", "mask", "uber", "爱", "##s"]
    tokenizer = Tokenizer(models.WordPiece({w: i for i, w in enumerate(marks + words)}, unk_token="[UNK]"))
    tokenizer.normalizer, tokenizer.pre_tokenizer = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.add_special_tokens(marks)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return tokenizer, {"tokenizer_class": "BertTokenizer", "do_lower_case": True}


def roberta():
    """Byte-level BPE between marks, each with two roles."""
    tokenizer = gpt2()[0]
    tokenizer.add_special_tokens(["<s>", "</s>", "<unk>", "<pad>", "<mask>"])
    ends = [(token, tokenizer.token_to_id(token)) for token in ("</s>", "<s>")]
    tokenizer.post_processor = processors.RobertaProcessing(*ends, trim_offsets=True, add_prefix_space=False)
    return tokenizer, {"tokenizer_class": "RobertaTokenizer"}


KINDS = {kind.__name__: kind for kind in (gpt2, llama3, mistral, t5, bert, roberta)}
PADS = {"t5": "<pad>", "bert": "[PAD]", "roberta": "<pad>"}


def write(folder, kind, **more):
    """The folder of a kind, with more settings in its tokenizer_config.json."""
    tokenizer, config = KINDS[kind]()
    folder.mkdir(parents=True, exist_ok=True)
    # Files may hold these, and yet no text loses its end or becomes longer.
    tokenizer.enable_truncation(3)
    if kind in PADS:
        tokenizer.enable_padding(pad_token=PADS[kind], pad_id=tokenizer.token_to_id(PADS[kind]), length=61)
    (folder / "tokenizer.json").write_text(tokenizer.to_str(), encoding="utf-8")
    (folder / "tokenizer_config.json").write_text(json.dumps(config | more), encoding="utf-8")
    return folder
