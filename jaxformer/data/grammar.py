"""A small synchronous grammar with features: one derivation, two languages, and gold links for free.

A `Word` pairs the two sides of a lexical item. A `Rule` pairs an English and a Chinese sequence over the same slots:

    rule("clause[]", "S did not/1 V O", "S 没/1 V O",
         S="subject[class=?s]", V="verb[form=base subject=?s object=?o]", O="object[class=?o]")

* Capitalised symbols are slots; everything else is a literal token. A slot may stand on one side only.
* Symbols that carry the same tag (`/1`) on the two sides are aligned with each other; the two sides of a word always
  are; other literals are unaligned.
* `N.measure` writes an attribute of the word that heads the slot N (an empty attribute writes nothing).
* The slots are expanded in the order in which they are declared. A feature value is a set of atoms
  (`person|animal`); a word fits if, for every feature asked, the two sets share an atom. A variable `?s` carries what
  the last word bound to it offers (a selector, see `Grammar`, only checks it); `!s` is a variable that must be bound from above for the rule to apply.
  A feature that a word does not mention is free.
* The first declared slot heads the phrase, unless `heads` names others (a coordination has two).

Links follow from the same features. Where a variable ties two words and the second one is a pronoun, the link is
"coreference". Where one of them is ambiguous (the same English form has another Chinese side in its category) and the
other one excludes every rival reading, the link is "sense". A derivation that leaves an ambiguous word undecided is
rejected, therefore the Chinese side is a function of the English side.
"""

import re
from bisect import bisect
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import accumulate
from random import Random

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


def rule(head: str, english: str, chinese: str, weight: float = 1.0, heads: str = "", **slots: str) -> Rule:
    """Write a rule as a row: head, English side, Chinese side, then each slot as `Name="category[features]"`."""
    return Rule(head, english, chinese, slots, weight, heads)


class DeadEnd(Exception):
    """No word or rule fits: the derivation is dropped and begun again."""


class _Value:
    """What a feature holds and the words (leaves) that brought it; `blurred` adds their rival readings."""

    __slots__ = ("blurred", "feature", "leaves", "mask")

    def __init__(self, mask: int, blurred: int, leaves: tuple["_Leaf", ...], feature: str):
        self.mask, self.blurred, self.leaves, self.feature = mask, blurred, leaves, feature


_Values = tuple[_Value, ...]


class _Entry:
    """A word compiled: feature masks, the union with its rivals, and the rivals themselves."""

    __slots__ = ("attributes", "blurred", "category", "chinese", "english", "lemma", "masks", "rivals")

    def __init__(self, word: Word, masks: dict[str, int], lemma: int):
        self.category, self.english, self.chinese = word.category, word.english, word.chinese
        self.masks, self.lemma, self.blurred = masks, lemma, masks
        self.attributes = {name: tuple(text.split()) for name, text in word.attributes.items()}
        self.rivals: tuple[_Entry, ...] = ()


class _Leaf:
    __slots__ = ("chinese", "choices", "english", "entry", "given")

    def __init__(self, entry: _Entry, given: list[tuple[str, _Value]], choices: int):
        self.entry, self.given, self.choices = entry, given, choices
        self.english: range | None = None
        self.chinese: range | None = None

    def value(self, feature: str) -> _Values:
        entry = self.entry
        return (_Value(entry.masks.get(feature, ANY), entry.blurred.get(feature, ANY), (self,), feature),)

    def heads(self) -> tuple["_Leaf", ...]:
        return (self,)


class _Branch:
    __slots__ = ("children", "features", "rule")

    def __init__(self, rule: "_Compiled", children: list["_Leaf | _Branch"], features: dict[str, _Values]):
        self.rule, self.children, self.features = rule, children, features

    def value(self, feature: str) -> _Values:
        return self.features.get(feature, ())

    def heads(self) -> tuple[_Leaf, ...]:
        return tuple(leaf for at in self.rule.heads for leaf in self.children[at].heads())


_Node = _Leaf | _Branch
_SYMBOL = re.compile(r"^(?P<body>[^/]+?)(?:\.(?P<attribute>[a-z]+))?(?:/(?P<tag>\w+))?$")
_PATTERN = re.compile(r"^(?P<category>\w+)\[(?P<features>[^\]]*)\]$")


class _Compiled:
    """A rule with its variables numbered, its constants as masks and its two sides as steps."""

    def __init__(self, written: Rule, mask: Callable[[Iterable[str]], int]):
        names = list(written.slots)
        self.variables: dict[str, int] = {}
        self.required: set[str] = set()
        self.category, self.own = self._pattern(written.head, mask)
        self.slots = [self._pattern(text, mask) for text in written.slots.values()]
        self.weight = written.weight
        self.heads = [names.index(name) for name in (written.heads.split() or names[:1])]
        self.english = [self._step(symbol, names) for symbol in written.english.split()]
        self.chinese = [self._step(symbol, names) for symbol in written.chinese.split()]

    def _pattern(self, text: str, mask: Callable[[Iterable[str]], int]) -> tuple[str, list[tuple[str, int | None, _Value]]]:
        """Return the category and, for each feature, (name, number of its variable or None, constant value)."""
        found = _PATTERN.match(text)
        if found is None:
            raise ValueError(f"a pattern must read category[feature=value ...], got {text!r}")
        features = []
        for part in found["features"].split():
            name, _, value = part.partition("=")
            if value[0] in "?!":
                if value[0] == "!":
                    self.required.add(name)
                number = self.variables.setdefault(value[1:], len(self.variables))
                features.append((name, number, _Value(ANY, ANY, (), name)))
            else:
                bits = mask(sorted(value.split("|")))
                features.append((name, None, _Value(bits, bits, (), name)))
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
    `repeatable` are the lexical categories of which one word may stand twice in a sentence.
    """

    def __init__(
        self,
        words: Iterable[Word],
        rules: Iterable[Rule],
        anaphors: frozenset[str],
        selectors: frozenset[str],
        repeatable: frozenset[str],
    ):
        self.selectors, self.repeatable = selectors, repeatable
        self._bits: dict[str, int] = {}
        self.lemmas: dict[str, int] = {}
        self.anaphors = anaphors
        self.lexicon: dict[str, list[_Entry]] = {}
        self.rules: dict[str, list[_Compiled]] = {}
        for word in words:
            masks = {name: self._mask(sorted(atoms)) for name, atoms in word.features.items()}
            lemma = self.lemmas.setdefault(word.lemma, len(self.lemmas))
            self.lexicon.setdefault(word.category, []).append(_Entry(word, masks, lemma))
        for written in rules:
            compiled = _Compiled(written, self._mask)
            self.rules.setdefault(compiled.category, []).append(compiled)
        for entries in self.lexicon.values():
            _find_rivals(entries)
        self._check()

    @property
    def word_count(self) -> int:
        """How many lexical words (lemmas) there are."""
        return len(self.lemmas)

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


def _find_rivals(entries: list[_Entry]) -> None:
    """Entries of one category that look the same in English and differ in Chinese are rivals."""
    alike: dict[str, list[_Entry]] = {}
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


@dataclass(frozen=True)
class Derived:
    """An example with the pairs of lemmas (as numbers, in the order chosen) that its features tie together."""

    example: Example
    ties: tuple[tuple[int, int], ...]


class Sampler:
    """Draws examples from a grammar. Of two candidate words it takes the one used less, so every word is seen."""

    def __init__(self, grammar: Grammar, seed: int, finish: Callable[[list[str]], list[str]]):
        self.grammar, self._random, self._finish = grammar, Random(seed).random, finish
        self._used = [0] * len(grammar.lemmas)
        self._words: dict[tuple, list[_Entry]] = {}
        self._rules: dict[tuple, tuple[list[_Compiled], list[float]]] = {}

    def stream(self, start: str) -> Iterator[Derived]:
        """Yield examples without end (repetitions included) that derive from the category `start`."""
        while True:
            try:
                root = self._expand(start, [])
            except DeadEnd:
                continue
            derived = _write(root, self.grammar, self._finish)
            if derived is not None:
                yield derived

    def _expand(self, category: str, given: list[tuple[str, _Value]]) -> _Node:
        key = (category, *((name, value.mask) for name, value in given))
        if category in self.grammar.lexicon:
            return self._pick_word(category, given, key)
        rule = self._pick_rule(category, given, key)
        bound: list[_Values] = [()] * len(rule.variables)
        for name, number, _ in rule.own:
            if number is not None:
                bound[number] = tuple(value for given_name, value in given if given_name == name)
        children = []
        for slot, features in rule.slots:
            asked = []
            for name, number, constant in features:
                if number is None:
                    asked.append((name, constant))
                else:
                    asked.extend((name, value) for value in bound[number])
            child = self._expand(slot, asked)
            children.append(child)
            for name, number, _ in features:
                if number is not None and (name not in self.grammar.selectors or not bound[number]):
                    bound[number] = child.value(name) or bound[number]
        return _close(rule, children, bound)

    def _pick_word(self, category: str, given: list[tuple[str, _Value]], key: tuple) -> _Leaf:
        candidates = self._words.get(key)
        if candidates is None:
            candidates = [
                entry
                for entry in self.grammar.lexicon[category]
                if all(entry.masks.get(name, ANY) & value.mask for name, value in given)
            ]
            self._words[key] = candidates
        if not candidates:
            raise DeadEnd
        one = candidates[int(self._random() * len(candidates))]
        two = candidates[int(self._random() * len(candidates))]
        chosen = one if self._used[one.lemma] <= self._used[two.lemma] else two
        self._used[chosen.lemma] += 1
        return _Leaf(chosen, given, len(candidates))

    def _pick_rule(self, category: str, given: list[tuple[str, _Value]], key: tuple) -> _Compiled:
        found = self._rules.get(key)
        if found is None:
            fitting = [
                rule
                for rule in self.grammar.rules[category]
                if rule.required <= {name for name, _ in given}
                and all(
                    constant.mask & value.mask
                    for own, number, constant in rule.own
                    if number is None
                    for name, value in given
                    if name == own
                )
            ]
            found = (fitting, list(accumulate(rule.weight for rule in fitting)))
            self._rules[key] = found
        fitting, weights = found
        if not fitting:
            raise DeadEnd
        return fitting[bisect(weights, self._random() * weights[-1])]


def _close(rule: _Compiled, children: list[_Node], bound: list[_Values]) -> _Branch:
    """Finish a phrase: variables pass up what they hold, constants pass up with the heads as their origin."""
    branch = _Branch(rule, children, {})
    for name, number, constant in rule.own:
        if number is not None:
            branch.features[name] = bound[number]
        elif name not in branch.features:
            branch.features[name] = (_Value(constant.mask, constant.mask, branch.heads(), name),)
    return branch


def _write(root: _Node, grammar: Grammar, finish: Callable[[list[str]], list[str]]) -> Derived | None:
    """Write both sides with alignment and links; None if a word repeats or an ambiguous word stays undecided."""
    english: list[str] = []
    chinese: list[str] = []
    leaves: list[_Leaf] = []
    tags: dict[tuple[int, str], tuple[list[int], list[int]]] = {}
    _walk(root, english, leaves, tags, 0)
    content = [leaf.entry.lemma for leaf in leaves if leaf.entry.category not in grammar.repeatable]
    if len(content) != len(set(content)):
        return None
    _walk(root, chinese, leaves, tags, 1)
    alignment = {(i, j) for left, right in tags.values() for i in left for j in right}
    spoken = [leaf for leaf in leaves if leaf.english is not None]
    for leaf in spoken:
        if leaf.chinese is not None and leaf.english is not None:
            alignment.update((i, j) for i in leaf.english for j in leaf.chinese)
    links = _links(spoken, grammar.anaphors)
    if links is None:
        return None
    example = Example(tuple(finish(english)), tuple(chinese), tuple(sorted(alignment)), links)
    return Derived(example, tuple(_ties(spoken)))


def _walk(node: _Node, out: list[str], leaves: list[_Leaf], tags: dict, side: int) -> None:
    if isinstance(node, _Leaf):
        tokens = node.entry.chinese if side else node.entry.english
        if not tokens:
            return
        place = range(len(out), len(out) + len(tokens))
        out.extend(tokens)
        if side:
            node.chinese = place
        else:
            node.english = place
            leaves.append(node)
        return
    for slot, text, tag in node.rule.chinese if side else node.rule.english:
        start = len(out)
        if slot is None:
            out.append(text)
        elif text:
            out.extend(node.children[slot].heads()[0].entry.attributes.get(text, ()))
        else:
            _walk(node.children[slot], out, leaves, tags, side)
        if tag:
            tags.setdefault((id(node), tag), ([], []))[side].extend(range(start, len(out)))


def _antecedents(leaf: _Leaf, anaphors: frozenset[str]) -> list[_Leaf]:
    """The nouns that a pronoun goes back to, through other pronouns where there is a chain."""
    found: list[_Leaf] = []
    for _, value in leaf.given:
        for other in value.leaves:
            if value.feature == "ref":
                found.extend(_antecedents(other, anaphors) if other.entry.category in anaphors else [other])
    return found


def _links(leaves: list[_Leaf], anaphors: frozenset[str]) -> tuple[Link, ...] | None:
    links: set[Link] = set()
    undecided = {id(leaf) for leaf in leaves if leaf.entry.rivals}
    for leaf in leaves:
        pronoun = leaf.entry.category in anaphors
        if pronoun:
            others = _antecedents(leaf, anaphors)
            links.update(_link("coreference", leaf, other) for other in others if other.english)
            if others:
                undecided.discard(id(leaf))
        for name, value in leaf.given:
            for other in value.leaves:
                if other.english is None or other is leaf:
                    continue
                if not pronoun and _decides(leaf.entry, name, value.blurred):
                    links.add(_link("sense", leaf, other))
                    undecided.discard(id(leaf))
                reverse = other.entry.category not in anaphors and len(value.leaves) == 1
                if reverse and _decides(other.entry, value.feature, leaf.entry.blurred.get(name, ANY)):
                    links.add(_link("sense", other, leaf))
                    undecided.discard(id(other))
    if undecided:
        return None
    return tuple(sorted(links, key=lambda link: (link.word, link.decider, link.kind)))


def _decides(entry: _Entry, feature: str, mask: int) -> bool:
    """Whether a neighbour that asks for `mask` leaves none of the rival readings of `entry`."""
    return bool(entry.rivals) and not any(rival.masks.get(feature, ANY) & mask for rival in entry.rivals)


def _link(kind: str, word: _Leaf, decider: _Leaf) -> Link:
    assert word.english is not None and decider.english is not None
    return Link(kind, word.english[-1], decider.english[-1])


def _ties(leaves: list[_Leaf]) -> Iterator[tuple[int, int]]:
    """Pairs of lemmas tied by a feature, where neither is ambiguous and the choice was wide."""
    for leaf in leaves:
        for _, value in leaf.given:
            for other in value.leaves:
                if other.english and leaf.choices >= 8 and not leaf.entry.rivals and not other.entry.rivals:
                    yield leaf.entry.lemma, other.entry.lemma
