"""BERT's WordPiece (Schuster and Nakajima 2012; as in Devlin et al. 2019), learned by the `tokenizers` library."""

import json
from collections import Counter
from collections.abc import Iterable

from tokenizers import Tokenizer as HfTokenizer
from tokenizers import models, trainers

from jaxformer.config.text import WordPiece
from jaxformer.text import huggingface as hf
from jaxformer.text.pretrained import PretrainedTokenizer

_INSIDE = "##"


def train_wordpiece(texts: Iterable[str], config: WordPiece) -> PretrainedTokenizer:
    """Learn a WordPiece vocabulary; its ids 0 … 4 are [PAD] [UNK] [CLS] [SEP] [MASK]. The same texts give the same one.

    Two pieces become one, the most frequent pair first, if they were seen side by side at least twice, so a small
    corpus yields fewer than `config.vocabulary`. A word with a character so rare that the vocabulary has no room for it
    is unknown. What is saved is the folder of a BERT tokenizer.
    """
    texts, marks = list(texts), hf.BERT_MARKS
    settings = {
        "tokenizer_class": "BertTokenizer",
        "do_lower_case": config.lowercase,
        **{f"{role}_token": token for role, token in marks.items()},
    }
    learner = hf.bert(models.WordPiece(unk_token=marks["unk"]), settings, marks)
    characters, inside = _alphabet(texts, learner, limit=(config.vocabulary - len(marks)) // 2)
    # The trainer numbers what it meets inside of words in an order that changes from process to process, and ties
    # between pairs are decided by these numbers; as special tokens of the trainer they have fixed ones.
    trainer = trainers.WordPieceTrainer(
        vocab_size=config.vocabulary,
        min_frequency=2,
        special_tokens=[*marks.values(), *inside],
        initial_alphabet=characters,
        limit_alphabet=len(characters),
        show_progress=False,
    )
    learner.train_from_iterator(texts, trainer=trainer)
    learned = hf.bert(models.WordPiece(learner.get_vocab(), unk_token=marks["unk"]), settings, marks)
    return PretrainedTokenizer(
        {hf.TOKENIZER: learned.to_str().encode(), hf.CONFIG: (json.dumps(settings, indent=2) + "\n").encode()}
    )


def _alphabet(texts: list[str], tokenizer: HfTokenizer, limit: int) -> tuple[list[str], list[str]]:
    """The most frequent characters, at most `limit`, and those among them that occur inside of words, as ##c."""
    words: Counter[str] = Counter()
    for text in texts:
        clean = tokenizer.normalizer.normalize_str(text)
        words.update(word for word, _ in tokenizer.pre_tokenizer.pre_tokenize_str(clean))
    count: Counter[str] = Counter()
    for word, n in words.items():
        for character in word:
            count[character] += n
    characters = sorted(sorted(count, key=lambda c: (-count[c], c))[:limit])
    inside = {character for word in words for character in word[1:]}
    return characters, [_INSIDE + character for character in characters if character in inside]
