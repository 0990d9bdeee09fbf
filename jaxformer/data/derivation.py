"""Draws sentence pairs from a grammar, with gold alignment and gold links.

A slot is filled by a word or a rule that fits what is asked of it; what leads nowhere is tried again. With each word it
is noted which words asked for it: these ties give the links. A pronoun that is tied by `ref` has a "coreference" link.
Where one of two tied words is ambiguous (the same English form has another Chinese side in its category) and the other
excludes every rival reading, there is a "sense" link. A derivation that leaves an ambiguous word undecided is dropped;
therefore the Chinese side is a function of the English side.
"""

from bisect import bisect
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import accumulate
from random import Random

from jaxformer.data.grammar import ANY, Compiled, Entry, Example, Grammar, Link

_WIDE = 8  # a pair of words is a free combination where at least so many others would have done
_FREE = 0.4  # how often a word is drawn freely, so that every combination can occur; otherwise the rare are preferred
_CONTEST = 4  # with how many others a candidate is then compared
_IN_VAIN = 0.25  # what a word is charged for being chosen at all, lest one that leads nowhere be tried for ever
_TRIES = 2  # how many rules are tried before the phrase above is told that this leads nowhere


class DeadEnd(Exception):
    """No word or rule fits: the derivation is dropped and begun again."""


class _Value:
    """What a feature holds and the words (leaves) that brought it; `blurred` adds their rival readings."""

    __slots__ = ("blurred", "feature", "leaves", "mask")

    def __init__(self, mask: int, blurred: int, leaves: tuple["_Leaf", ...], feature: str):
        self.mask, self.blurred, self.leaves, self.feature = mask, blurred, leaves, feature


_Values = tuple[_Value, ...]


class _Leaf:
    """A word in its place; `given` is what was asked of it, and by whom."""

    __slots__ = ("chinese", "choices", "english", "entry", "given")

    def __init__(self, entry: Entry, given: "_Given", choices: int):
        self.entry, self.given, self.choices = entry, given, choices
        self.english: range | None = None
        self.chinese: range | None = None

    def value(self, feature: str) -> _Values:
        entry = self.entry
        return (_Value(entry.masks.get(feature, ANY), entry.blurred.get(feature, ANY), (self,), feature),)

    def heads(self) -> tuple["_Leaf", ...]:
        return (self,)


class _Branch:
    """A rule applied; `features` is what it offers to the phrase above."""

    __slots__ = ("children", "features", "rule")

    def __init__(self, rule: Compiled, children: list["_Leaf | _Branch"], features: dict[str, _Values]):
        self.rule, self.children, self.features = rule, children, features

    def value(self, feature: str) -> _Values:
        return self.features.get(feature, ())

    def heads(self) -> tuple[_Leaf, ...]:
        return tuple(leaf for at in self.rule.heads for leaf in self.children[at].heads())


_Node = _Leaf | _Branch
_Given = list[tuple[str, _Value]]


@dataclass(frozen=True)
class Derived:
    """An example with the numbers of its lemmas, and the pairs of them that a feature ties (a verb and its object)."""

    example: Example
    lemmas: tuple[int, ...]
    ties: frozenset[tuple[int, int]]


class Sampler:
    """Draws examples. More often than not it takes the least used of a few words, so that every word is seen."""

    def __init__(self, grammar: Grammar, seed: int, finish: Callable[[list[str]], list[str]]):
        self.grammar, self._random, self._finish = grammar, Random(seed).random, finish
        self._used = [0.0] * len(grammar.lemmas)
        self._constants: dict[tuple[str, int], _Value] = {}
        self._words: dict[tuple, list[Entry]] = {}
        self._parts: dict[tuple[str, str, int], set[int]] = {}
        self._rules: dict[tuple, tuple[list[Compiled], list[float]]] = {}

    def stream(self, start: str) -> Iterator[Derived]:
        """Yield examples without end (repetitions included) that derive from the category `start`."""
        while True:
            try:
                root = self._expand(start, [])
            except DeadEnd:
                continue
            derived = _write(root, self.grammar, self._finish)
            if derived is not None:
                for lemma in derived.lemmas:
                    self._used[lemma] += 1
                yield derived

    def _expand(self, category: str, given: _Given) -> _Node:
        key = (category, *[(name, value.mask) for name, value in given])
        if category in self.grammar.lexicon:
            return self._pick_word(category, given, key)
        for _ in range(_TRIES):
            try:
                return self._apply(self._pick_rule(category, given, key), given)
            except DeadEnd:
                continue
        raise DeadEnd

    def _apply(self, rule: Compiled, given: _Given) -> _Branch:
        offered: dict[str, _Values] = {}
        for name, value in given:
            offered[name] = (*offered.get(name, ()), value)
        bound: list[_Values] = [()] * len(rule.variables)
        for name, number, _ in rule.own:
            if number is not None and name in offered:
                bound[number] = offered[name]
        children: list[_Node] = []
        for (slot, features), binds in zip(rule.slots, rule.binds, strict=True):
            asked: _Given = []
            for name, number, mask in features:
                if number is None:
                    asked.append((name, self._constant(name, mask)))
                else:
                    for value in bound[number]:
                        asked.append((name, value))
            child = self._expand(slot, asked)
            children.append(child)
            for name, number, anew in binds:
                if anew or not bound[number]:
                    bound[number] = child.value(name) or bound[number]
        return self._close(rule, children, bound)

    def _close(self, rule: Compiled, children: list[_Node], bound: list[_Values]) -> _Branch:
        """Finish a phrase: variables pass up what they hold, constants pass up, with the heads where it may matter."""
        branch = _Branch(rule, children, {})
        for name, number, mask in rule.own:
            if number is not None:
                branch.features[name] = bound[number]
            elif name == "ref" or name in self.grammar.deciding:
                branch.features.setdefault(name, (_Value(mask, mask, branch.heads(), name),))
            else:
                branch.features.setdefault(name, (self._constant(name, mask),))
        return branch

    def _constant(self, name: str, mask: int) -> _Value:
        value = self._constants.get((name, mask))
        if value is None:
            value = self._constants[name, mask] = _Value(mask, mask, (), name)
        return value

    def _pick_word(self, category: str, given: _Given, key: tuple) -> _Leaf:
        candidates = self._words.get(key)
        if candidates is None:
            candidates = self._words[key] = self._fitting(category, given)
        if not candidates:
            raise DeadEnd
        chosen = candidates[int(self._random() * len(candidates))]
        for _ in range(_CONTEST if self._random() > _FREE else 0):
            other = candidates[int(self._random() * len(candidates))]
            if self._used[other.lemma] < self._used[chosen.lemma]:
                chosen = other
        self._used[chosen.lemma] += _IN_VAIN
        return _Leaf(chosen, given, len(candidates))

    def _fitting(self, category: str, given: _Given) -> list[Entry]:
        """The words that share an atom with every value given. Answers to one value are kept as sets of positions."""
        entries = self.grammar.lexicon[category]
        left = set(range(len(entries)))
        for name, value in given:
            part = self._parts.get((category, name, value.mask))
            if part is None:
                part = {at for at, entry in enumerate(entries) if entry.masks.get(name, ANY) & value.mask}
                self._parts[category, name, value.mask] = part
            left &= part
        return [entries[at] for at in sorted(left)]

    def _pick_rule(self, category: str, given: _Given, key: tuple) -> Compiled:
        found = self._rules.get(key)
        if found is None:
            fitting = [
                rule
                for rule in self.grammar.rules[category]
                if rule.required <= {name for name, _ in given}
                and all(
                    mask & value.mask
                    for own, number, mask in rule.own
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


def _write(root: _Node, grammar: Grammar, finish: Callable[[list[str]], list[str]]) -> Derived | None:
    """Write both sides with alignment and links; None if a word repeats or an ambiguous word stays undecided."""
    english: list[str] = []
    chinese: list[str] = []
    leaves: list[_Leaf] = []
    tags: dict[tuple[int, str], tuple[list[int], list[int]]] = {}
    _walk(root, english, leaves, tags, 0)
    content = [leaf.entry.lemma for leaf in leaves if leaf.entry.category not in grammar.closed]
    if len(content) != len(set(content)):
        return None
    _walk(root, chinese, leaves, tags, 1)
    alignment = {(i, j) for left, right in tags.values() for i in left for j in right}
    spoken = [leaf for leaf in leaves if leaf.english is not None]
    for leaf in spoken:
        if leaf.chinese is not None and leaf.english is not None:
            alignment.update((i, j) for i in leaf.english for j in leaf.chinese)
    links = _links(spoken, grammar)
    if links is None:
        return None
    example = Example(tuple(finish(english)), tuple(chinese), tuple(sorted(alignment)), links)
    return Derived(example, tuple(leaf.entry.lemma for leaf in spoken), frozenset(_ties(spoken, grammar.closed)))


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


def _links(leaves: list[_Leaf], grammar: Grammar) -> tuple[Link, ...] | None:
    links: set[Link] = set()
    undecided = {id(leaf) for leaf in leaves if leaf.entry.rivals}
    for leaf in leaves:
        pronoun = leaf.entry.category in grammar.anaphors
        if pronoun:
            others = [other for other in _antecedents(leaf, grammar.anaphors) if other.english]
            links.update(_link("coreference", leaf, other) for other in others)
            if others:
                undecided.discard(id(leaf))
        for name, value in leaf.given:
            for other in value.leaves:
                if other.english is None:
                    continue
                if not pronoun and name in grammar.deciding and _decides(leaf.entry, name, value.blurred):
                    links.add(_link("sense", leaf, other))
                    undecided.discard(id(leaf))
                # The tie works both ways, unless a coordination stands between.
                both = other.entry.category not in grammar.anaphors and len(value.leaves) == 1
                wanted = leaf.entry.blurred.get(name, ANY)
                if both and value.feature in grammar.deciding and _decides(other.entry, value.feature, wanted):
                    links.add(_link("sense", other, leaf))
                    undecided.discard(id(other))
    if undecided:
        return None
    return tuple(sorted(links, key=lambda link: (link.word, link.decider, link.kind)))


def _decides(entry: Entry, feature: str, mask: int) -> bool:
    """Whether a neighbour that asks for `mask` leaves none of the rival readings of `entry`."""
    return bool(entry.rivals) and not any(rival.masks.get(feature, ANY) & mask for rival in entry.rivals)


def _link(kind: str, word: _Leaf, decider: _Leaf) -> Link:
    assert word.english is not None and decider.english is not None
    return Link(kind, word.english[-1], decider.english[-1])


def _ties(leaves: list[_Leaf], closed: frozenset[str]) -> Iterator[tuple[int, int]]:
    """Pairs of content words tied by a feature, where neither is ambiguous and the choice was wide."""
    for leaf in leaves:
        if leaf.choices < _WIDE or leaf.entry.rivals or leaf.entry.category in closed:
            continue
        for _, value in leaf.given:
            for other in value.leaves:
                if other.english and not other.entry.rivals and other.entry.category not in closed:
                    yield min(leaf.entry.lemma, other.entry.lemma), max(leaf.entry.lemma, other.entry.lemma)
