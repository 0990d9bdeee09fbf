"""A small synchronous grammar with features: one derivation, two languages.

A `Word` pairs the two sides of a lexical item. A `Rule` pairs an English and a Chinese sequence over the same slots. It
is written as a line with its weight, its head and its two sides, and indented lines with its slots:

    2 clause[]: S did not/1 V O => S 没/1 V O
        S = subject[class=?s]; V = verb[form=base subject=?s object=?o]; O = object[class=?o]

* Capitalised symbols are slots; everything else is a literal token. A slot may stand on one side only.
* Symbols that carry the same tag (`/1`) on the two sides are aligned with each other; the two sides of a word always
  are; other literals are unaligned.
* `N.measure` writes an attribute of the word that heads the slot N (an empty attribute writes nothing).
* The slots are expanded in the order in which they are declared. A feature value is a set of atoms (`person|animal`);
  a word fits if, for every feature asked, the two sets share an atom. A feature that a word does not mention is free.
  A variable `?s` carries what the last word bound to it offers (a selector, see `Grammar`, only checks it); `!s` is a
  variable that must be bound from above for the rule to apply.
* The first declared slot heads the phrase, unless `heads = X Y` names others (a coordination has two).

`derivation` draws sentences from a grammar.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace

ANY = -1  # the mask with every bit set: a feature that a word leaves free


@dataclass(frozen=True)
class Link:
    """The word at English index `word` takes its Chinese form from the word at English index `decider`.

    `kind` is "coreference" (pronoun, antecedent) or "sense" (ambiguous word, word that decides its meaning).
    """

    kind: str
    word: int
    decider: int


@dataclass(frozen=True)
class Example:
    """A sentence pair as tokens, with its gold alignment (English index, Chinese index) and gold links."""

    english: tuple[str, ...]
    chinese: tuple[str, ...]
    alignment: tuple[tuple[int, int], ...]
    links: tuple[Link, ...]

    @property
    def source(self) -> str:
        """The English text: tokens joined by spaces, none before punctuation or the possessive."""
        return re.sub(r" (?=[.,?]|'s\b)", "", " ".join(self.english))

    @property
    def target(self) -> str:
        """The Chinese text, without spaces."""
        return "".join(self.chinese)


@dataclass(frozen=True)
class Word:
    """A lexical item in one inflected form; `lemma` names it across its forms."""

    category: str
    english: tuple[str, ...]
    chinese: tuple[str, ...]
    lemma: str
    features: Mapping[str, frozenset[str]] = field(default_factory=dict)
    attributes: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Rule:
    """One row of the grammar, as written; `Grammar` compiles it."""

    head: str
    english: str
    chinese: str
    slots: Mapping[str, str]
    weight: float = 1.0
    heads: str = ""


_HEADER = re.compile(r"^(?P<weight>[\d.]+) (?P<head>\w+\[[^\]]*\]): (?P<english>.+?) => (?P<chinese>.+)$")


def rules(text: str) -> tuple[Rule, ...]:
    """Read rules in the notation above. Lines that begin with `#` are comments; a header may be broken before `=>`."""
    found: list[Rule] = []
    lines = [line.rstrip() for line in re.sub(r"\n\s*=> ", " => ", text).splitlines()]
    for line in lines:
        if not line or line.startswith("#"):
            continue
        header = _HEADER.match(line)
        if header is not None:
            weight, *sides = header.groups()
            found.append(Rule(*sides, slots={}, weight=float(weight)))
        elif line.startswith(" ") and found:
            parts = dict(part.strip().split(" = ", 1) for part in line.strip(" ;").split(";"))
            heads = parts.pop("heads", found[-1].heads)
            found[-1] = replace(found[-1], slots={**found[-1].slots, **parts}, heads=heads)
        else:
            raise ValueError(f"a rule must read `weight head[]: english => chinese` or be indented slots, got {line!r}")
    return tuple(found)


class Entry:
    """A word compiled: feature masks, the union with its rivals, and the rivals themselves."""

    __slots__ = ("attributes", "blurred", "category", "chinese", "english", "lemma", "masks", "rivals")

    def __init__(self, word: Word, masks: dict[str, int], lemma: int):
        self.category, self.english, self.chinese = word.category, word.english, word.chinese
        self.masks, self.lemma, self.blurred = masks, lemma, masks
        self.attributes = {name: tuple(text.split()) for name, text in word.attributes.items()}
        self.rivals: tuple[Entry, ...] = ()


_SYMBOL = re.compile(r"^(?P<body>[^/]+?)(?:\.(?P<attribute>[a-z]+))?(?:/(?P<tag>\w+))?$")
_PATTERN = re.compile(r"^(?P<category>\w+)\[(?P<features>[^\]]*)\]$")


Asked = tuple[str, int | None, int]  # feature, number of its variable or None, mask of its constant


class Compiled:
    """A rule with its variables numbered, its constants as masks and its two sides as steps."""

    def __init__(self, written: Rule, mask: Callable[[Iterable[str]], int], selectors: frozenset[str]):
        names = list(written.slots)
        self.variables: dict[str, int] = {}
        self.required: set[str] = set()
        self.category, self.own = self._pattern(written.head, mask)
        self.slots = [self._pattern(text, mask) for text in written.slots.values()]
        # Which variables a word found for the slot binds, and whether it may bind them anew.
        self.binds = [
            [(name, number, name not in selectors) for name, number, _ in features if number is not None]
            for _, features in self.slots
        ]
        self.weight = written.weight
        self.heads = [names.index(name) for name in (written.heads.split() or names[:1])]
        self.english = [self._step(symbol, names) for symbol in written.english.split()]
        self.chinese = [self._step(symbol, names) for symbol in written.chinese.split()]

    def _pattern(self, text: str, mask: Callable[[Iterable[str]], int]) -> tuple[str, list[Asked]]:
        """Return the category and what is asked of it."""
        found = _PATTERN.match(text)
        if found is None:
            raise ValueError(f"a pattern must read category[feature=value ...], got {text!r}")
        features = []
        for part in found["features"].split():
            name, _, value = part.partition("=")
            if value[0] in "?!":
                if value[0] == "!":
                    self.required.add(name)
                features.append((name, self.variables.setdefault(value[1:], len(self.variables)), ANY))
            else:
                features.append((name, None, mask(sorted(value.split("|")))))
        return found["category"], features

    @staticmethod
    def _step(symbol: str, names: list[str]) -> tuple[int | None, str, str]:
        """Return (slot number or None, literal text or attribute name, alignment tag)."""
        found = _SYMBOL.match(symbol)
        if found is None or (found["body"][0].isascii() and found["body"][0].isupper() and found["body"] not in names):
            raise ValueError(f"a symbol must be a literal or one of the slots {names}, got {symbol!r}")
        if found["body"] in names:
            return names.index(found["body"]), found["attribute"] or "", found["tag"] or ""
        return None, found["body"], found["tag"] or ""


class Grammar:
    """Words and rules, compiled.

    `anaphors` are the lexical categories whose links are coreference links. `selectors` are the features by which a
    word asks something of another (a verb's `object`): they constrain a variable that is bound, and never rebind it.
    `closed` are the lexical categories of function words: only these may stand twice in a sentence.
    `deciding` are the features of an ambiguous word through which its neighbours decide its sense.
    """

    def __init__(
        self,
        words: Iterable[Word],
        rules: Iterable[Rule],
        anaphors: frozenset[str],
        selectors: frozenset[str],
        closed: frozenset[str],
        deciding: frozenset[str],
    ):
        self.closed, self.deciding = closed, deciding
        self._bits: dict[str, int] = {}
        self.lemmas: dict[str, int] = {}
        self.anaphors = anaphors
        self.lexicon: dict[str, list[Entry]] = {}
        self.rules: dict[str, list[Compiled]] = {}
        for word in words:
            masks = {name: self._mask(sorted(atoms)) for name, atoms in word.features.items()}
            lemma = self.lemmas.setdefault(word.lemma, len(self.lemmas))
            self.lexicon.setdefault(word.category, []).append(Entry(word, masks, lemma))
        for written in rules:
            compiled = Compiled(written, self._mask, selectors)
            self.rules.setdefault(compiled.category, []).append(compiled)
        for entries in self.lexicon.values():
            _find_rivals(entries)
        self._check()

    @property
    def word_count(self) -> int:
        """How many content words (lemmas of the open categories) there are."""
        return len({e.lemma for c, entries in self.lexicon.items() if c not in self.closed for e in entries})

    @property
    def rule_count(self) -> int:
        """How many rules there are."""
        return sum(len(rules) for rules in self.rules.values())

    def _mask(self, atoms: Iterable[str]) -> int:
        """One bit an atom, the same for all features, so that a verb's `object` can meet a noun's `class`."""
        return sum(1 << self._bits.setdefault(atom, len(self._bits)) for atom in set(atoms))

    def _check(self) -> None:
        """Refuse a rule that asks for a category or a feature that nothing declares (a slip of the pen)."""
        declared = {category: {f for e in entries for f in e.masks} for category, entries in self.lexicon.items()}
        for category, rules in self.rules.items():
            declared.setdefault(category, set()).update(name for r in rules for name, _, _ in r.own)
        asked = [(r.category, *slot) for rules in self.rules.values() for r in rules for slot in r.slots]
        both = sorted(self.lexicon.keys() & self.rules.keys())
        if both:
            raise ValueError(f"a category holds either words or rules, got both in {both}")
        unknown = {f"{category} in {head}" for head, category, _ in asked if category not in declared}
        unknown |= {
            f"{category}[{name}] in {head}"
            for head, category, features in asked
            for name, _, _ in features
            if category in declared and name not in declared[category]
        }
        if unknown:
            raise ValueError(f"a rule may ask only for declared categories and features, got {sorted(unknown)}")


def _find_rivals(entries: list[Entry]) -> None:
    """Entries of one category that look the same in English and differ in Chinese are rivals."""
    alike: dict[str, list[Entry]] = {}
    for entry in entries:
        if entry.english:
            alike.setdefault(" ".join(entry.english).lower(), []).append(entry)
    for group in alike.values():
        for entry in group:
            entry.rivals = tuple(other for other in group if other.chinese != entry.chinese)
        names = {name for entry in group for name in entry.masks}
        union = {name: 0 for name in names}
        for name in names:
            for entry in group:
                union[name] |= entry.masks.get(name, ANY)
        for entry in group:
            entry.blurred = union if entry.rivals else entry.masks
