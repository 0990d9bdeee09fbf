"""The built-in English-Chinese corpus: draws sentence pairs from the grammar and splits them without leaks.

The grammar is our own: about 480 words (`nouns`, `verbs`, `modifiers`) and 130 rules (`phrases`, `sentences`,
`stories`). The Chinese side is a function of the English side. It differs from the English side by word order, measure
words, aspect, pronouns whose character the antecedent decides, and words whose sense the context decides.

Alignment. Every English noun, verb, adjective, adverb, number, time and pronoun is aligned. A measure word is aligned
with the determiner or number that calls for it, 们 with "the", a localiser (里, 上) with the preposition, 的 with the
possessive 's. Unaligned are: in English the auxiliaries do, be, have, the infinitive "to", "that", "the" where Chinese
has a bare noun; in Chinese 了, 过, 吗, 很, 把, 给, the 的 of relative clauses, adjectives and pronouns, 就 and 所以.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import islice
from zlib import crc32

from jaxformer.data.english_chinese import phrases, stories
from jaxformer.data.english_chinese import sentences as simple
from jaxformer.data.english_chinese.lexicon import words
from jaxformer.data.grammar import Derived, Example, Grammar, Rule, Sampler, rule

# Families of sentences and their share of the corpus.
FAMILIES = {
    "statement": 30,
    "negation": 9,
    "question": 14,
    "relative": 6,
    "comparison": 5,
    "existence": 6,
    "linked": 6,
    "coreference": 16,
    "sense": 12,
}


_SELECTORS = frozenset({"subject", "object", "of", "at", "spot", "aura", "cause", "effect", "to"})

_REPEATABLE = frozenset(
    {"pronoun", "be", "was", "do", "have", "this", "number", "several", "container", "time", "degree"}
)


def _rules() -> tuple[Rule, ...]:
    top = tuple(rule("sentence[]", "F", "F", share, F=f"{name}[]") for name, share in FAMILIES.items())
    return (*top, *phrases.PHRASES, *simple.FAMILIES, *stories.STORIES)


@cache
def language() -> Grammar:
    """The compiled grammar; `word_count` and `rule_count` say how large it is."""
    return Grammar(words(), _rules(), anaphors=frozenset({"pronoun"}), selectors=_SELECTORS, repeatable=_REPEATABLE)


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

    Filter by the links for more, say `(x for x in sentences(0, "coreference") if any(k.word - k.decider > 6 for k in x.links))`.
    """
    seen: set[str] = set()
    for derived in Sampler(language(), seed, _spell).stream(family):
        example = derived.example
        if example.source not in seen:
            seen.add(example.source)
            yield example
