"""The built-in English-Chinese corpus: draws sentence pairs from the grammar and splits them without leaks.

The grammar is our own: its words stand in `nouns`, `verbs` and `modifiers`, its rules in `phrases`, `sentences` and
`stories`. The Chinese side is a function of the English side. The two differ by word order, measure words and aspect; a
pronoun takes its character from its antecedent, an ambiguous word its translation from the word that decides its sense.

Alignment. Every English noun, name, verb, adjective, adverb, number, time word, place and pronoun is aligned, and so is
punctuation (a Chinese comma that joins clauses, with "and"). A measure word is aligned with the determiner or number
that calls for it, 们 with the noun or its article, a localiser (里, 上) with the preposition, 正在 with the progressive
"be", 的 with the possessive 's. Unaligned are, in English: other auxiliaries (do, be, have), "to", "that", "who", "of",
"there", "ever", the first "as", "it" of the weather, an article or "some" that Chinese leaves out; in Chinese: 了, 过,
着, 吗, 很, 把, 给, 就, 一起, 那么, 但是, 所以 beside "because", and 的 unless it renders 's.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import islice
from zlib import crc32

from jaxformer.data.derivation import Derived, Sampler
from jaxformer.data.english_chinese.lexicon import words
from jaxformer.data.english_chinese.phrases import PHRASES
from jaxformer.data.english_chinese.sentences import SIMPLE
from jaxformer.data.english_chinese.stories import STORIES
from jaxformer.data.grammar import Example, Grammar, rules

# Families of sentences and their share of the corpus.
FAMILIES = {
    "statement": 34,
    "negation": 9,
    "question": 14,
    "relative": 6,
    "comparison": 5,
    "existence": 6,
    "linked": 9,
    "coreference": 16,
    "sense": 12,
}


_LONGEST = 18  # English tokens, punctuation included
_HELD_OUT = 40  # one free combination of words in so many is kept out of the training split
_PATIENCE = 400  # draws for each sentence of valid and test before a small training split is given up


@dataclass(frozen=True)
class Splits:
    """The three splits; no sentence of either language stands in two of them."""

    train: tuple[Example, ...]
    valid: tuple[Example, ...]
    test: tuple[Example, ...]


@cache
def language() -> Grammar:
    """The compiled grammar; `word_count` and `rule_count` say how large it is."""
    top = "".join(f"{share} sentence[]: F => F\n    F = {family}[]\n" for family, share in FAMILIES.items())
    return Grammar(
        words(),
        rules(top + PHRASES + SIMPLE + STORIES),
        anaphors=frozenset({"pronoun"}),
        selectors=frozenset({"subject", "object", "of", "spot", "aura", "cause", "effect", "to"}),
        closed=frozenset(
            ["pronoun", "be", "was", "do", "have", "this", "number", "several", "container", "time", "degree", "aspect"]
        ),
        deciding=frozenset({"class", "object", "of", "for"}),
    )


def _spell(tokens: list[str]) -> list[str]:
    """English spelling: capitals at the start of a sentence, and "an" before a vowel."""
    spelled = []
    for at, token in enumerate(tokens):
        following = tokens[at + 1] if at + 1 < len(tokens) else ""
        if token == "a" and following[:1].lower() in tuple("aeiou") and not following.startswith(("use", "uni")):
            token = "an"
        if token == "a" and following == "honest":
            token = "an"
        if at == 0 or tokens[at - 1] == ".":
            token = token[0].upper() + token[1:]
        spelled.append(token)
    return spelled


def sentences(seed: int = 0, family: str = "sentence") -> Iterator[Example]:
    """Yield distinct examples without end, of one family (a key of `FAMILIES`) or of all ("sentence").

    The links are the handle for more, for instance pronouns at least six words after their antecedent:
    `(x for x in sentences(0, "coreference") if any(k.word - k.decider >= 6 for k in x.links))`.
    """
    if family != "sentence" and family not in FAMILIES:
        raise ValueError(f"family must be one of {['sentence', *FAMILIES]}, got {family!r}")
    for derived in _distinct(seed, family):
        yield derived.example


def english_chinese(train: int = 20_000, valid: int = 500, test: int = 500, seed: int = 0) -> Splits:
    """Draw the corpus: so many pairs a split, the same for the same arguments on every machine.

    No English and no Chinese sentence stands twice. Some pairs of words (verb and object, adjective and noun) never
    meet in `train`; sentences with such a pair make up half of `valid` and `test`, if so many turned up on the way.
    Every word of `valid` and `test`, on both sides, occurs in `train`. Raises ValueError for a size below zero, or if
    `train` is too small to know the words of the other splits.
    """
    for name, size in (("train", train), ("valid", valid), ("test", test)):
        if size < 0:
            raise ValueError(f"{name} must be at least 0, got {size}")
    stream = _distinct(seed, "sentence")
    learned: list[Example] = []
    unseen: list[Example] = []  # holds a combination that the training split never shows
    while len(learned) < train:
        derived = next(stream)
        (unseen if _held_out(derived) else learned).append(derived.example)
    known = {token for example in learned for token in (*example.english, *example.chinese)}
    wanted = valid + test
    asked = [example for example in unseen if _knows(known, example)][: wanted // 2]
    for derived in islice(stream, _PATIENCE * (wanted - len(asked))):
        if len(asked) == wanted:
            break
        if _knows(known, derived.example):
            asked.append(derived.example)
    if len(asked) < wanted:
        raise ValueError(f"train must be large enough to show every word of valid and test, got {train}")
    # Both kinds go to both splits in proportion.
    order = sorted(range(wanted), key=lambda at: crc32(asked[at].source.encode()))
    shuffled = tuple(asked[at] for at in order)
    return Splits(tuple(learned), shuffled[:valid], shuffled[valid:])


def _distinct(seed: int, family: str) -> Iterator[Derived]:
    """Yield derivations of which neither side was seen before and that are not over-long."""
    seen: set[str] = set()
    for derived in Sampler(language(), seed, _spell).stream(family):
        source, target = derived.example.source, derived.example.target
        if len(derived.example.english) <= _LONGEST and source not in seen and target not in seen:
            seen.update((source, target))
            yield derived


def _held_out(derived: Derived) -> bool:
    return any(crc32(b"%d %d" % pair) % _HELD_OUT == 0 for pair in derived.ties)


def _knows(known: set[str], example: Example) -> bool:
    return known.issuperset(example.english) and known.issuperset(example.chinese)
