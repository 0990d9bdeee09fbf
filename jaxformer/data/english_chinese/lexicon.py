"""Turns the tables of the language into the inflected words of the grammar."""

from collections import Counter
from collections.abc import Iterator

from jaxformer.data.english_chinese import modifiers, nouns, verbs
from jaxformer.data.grammar import Word

# What pronoun stands for one, and for several. Men and mixed company are 他们.
_REFERENCE = {"m": ("he", "they-m"), "f": ("she", "they-f"), "x": ("he she", "they-m"), "": ("it", "they-n")}
_SEX = {"m": "male", "f": "female", "x": "", "": ""}

_SMALL_WORDS = (
    ("this", "this", "这", {"num": "sg"}),
    ("this", "that", "那", {"num": "sg"}),
    ("this", "these", "这些", {"num": "pl"}),
    ("this", "those", "那些", {"num": "pl"}),
    ("several", "some", "一些", {}),
    ("several", "many", "很多", {}),
    ("degree", "very", "非常", {}),
    ("degree", "really", "真", {}),
    ("degree", "quite", "相当", {}),
)
# 了 and 过 have no English side. They stand after the verb, or 了 at the end of an activity: 踢足球了, 踢过足球.
_ASPECTS = (
    ("了", "done", "verb"),
    ("", "done", "inner"),
    ("了", "done", "end"),
    ("过", "ever", "verb inner"),
    ("", "ever", "end"),
    ("", "none", "verb inner end"),
)
_AUXILIARIES = {"be": "am is are", "was": "was was were", "do": "do does do", "have": "have has have"}


def words() -> Iterator[Word]:
    """Yield all words of the language, every inflected form once."""
    yield from _nouns()
    yield from _places()
    yield from _pronouns()
    yield from _verbs()
    yield from _adjectives()
    yield from _small_words()


def _rows(table: str) -> Iterator[list[str]]:
    for line in table.strip().splitlines():
        yield [cell.strip() for cell in line.split("|")]


def _word(
    category: str,
    english: str,
    chinese: str,
    features: dict[str, str],
    lemma: str = "",
    attributes: dict[str, str] | None = None,
) -> Word:
    """One word; a feature value is a list of atoms, and `lemma` the form that names the word."""
    sets = {name: frozenset(text.split()) for name, text in features.items()}
    name = f"{lemma or english}={chinese}"
    return Word(category, tuple(english.split()), tuple(chinese.split()), name, sets, attributes or {})


def _classes(text: str) -> str:
    """Close a list of classes under `KINDS`."""
    found: set[str] = set()
    todo = text.split()
    while todo:
        name = todo.pop()
        found.add(name)
        todo.extend(nouns.KINDS.get(name, "").split())
    return " ".join(sorted(found))


def _plural(cell: str) -> tuple[str, str]:
    singular, _, plural = cell.partition("/")
    return singular, plural or singular + "s"


def _nouns() -> Iterator[Word]:
    rows = list(_rows(nouns.NOUNS))
    spelled = Counter(form for cell, *_ in rows for form in _plural(cell))
    for cell, chinese, measure, classes in rows:
        ambiguous = "yes" if any(spelled[form] > 1 for form in _plural(cell)) else "no"
        yield from _noun("noun", cell, chinese, measure, "", {"class": classes, "amb": ambiguous}, ("that", "those"))
    for cell, chinese, measure, gender, classes in _rows(nouns.PEOPLE):
        kinds = classes.split()
        # How "the" is rendered: a friend is always somebody's, a role is a bare noun, 那个 goes with man, boy, child.
        the = ("mine", "mine") if "fellow" in kinds else ("that", "men") if "plain" in kinds else ("bare", "men")
        yield from _noun("noun", cell, chinese, measure, gender, {"class": classes, "amb": "no"}, the)
    for cell, chinese, measure, gender, classes in _rows(nouns.KIN):
        yield from _noun(
            "kin", cell, chinese, measure, gender, {"class": classes + " kin", "amb": "no"}, ("bare", "men")
        )
    for number, (english, chinese, gender) in enumerate(_rows(nouns.NAMES)):
        features = {"agr": "third", "ref": _REFERENCE[gender][0], "half": ("one", "two")[number % 2], "num": "one"}
        yield _word("name", english, chinese, features | {"class": _classes(f"adult child {_SEX[gender]}")})
    for english, chinese, classes in _rows(nouns.COMPANIES):
        features = {"num": "name", "agr": "third", "ref": "it", "amb": "no", "class": classes}
        yield _word("noun", english, chinese, features)


def _noun(
    category: str, cell: str, chinese: str, measure: str, gender: str, features: dict[str, str], the: tuple[str, str]
) -> Iterator[Word]:
    """Yield the forms of a noun; `the` says how the article is rendered with singular and plural."""
    singular, plural = _plural(cell)
    it, they = _REFERENCE[gender]
    mark, _, detail = measure.partition(" ")
    half = "one" if len(singular) % 2 else "two"
    common = features | {"class": _classes(f"{features['class']} {_SEX[gender]}"), "half": half}
    one = common | {"agr": "third", "ref": it}
    many = common | {"agr": "plain", "ref": they}
    if mark == "+":
        yield _word("noun", cell, chinese, many | {"num": "pair", "def": "that"}, attributes={"measure": detail})
    elif mark == "-" and detail:
        yield _word("noun", cell, chinese, many | {"num": "mass", "def": "those"})
    elif mark == "-":
        yield _word("noun", cell, chinese, one | {"num": "mass", "def": "bare"})
    else:
        put = {"measure": measure}
        yield _word(category, singular, chinese, one | {"num": "sg", "def": the[0]}, attributes=put)
        if plural != "-":
            yield _word(category, plural, chinese, many | {"num": "pl", "def": the[1]}, singular, put)


def _places() -> Iterator[Word]:
    for english, chinese, preposition, article, localiser, tags, classes in _rows(nouns.PLACES):
        put = {"in": preposition, "the": article.strip("'"), "inside": localiser.strip("'")}
        features = {"for": tags, "class": _classes(classes), "agr": "third", "ref": "it"}
        yield _word("place", english, chinese, features, attributes=put)


def _pronouns() -> Iterator[Word]:
    for subject, object_, possessive, chinese, ref, agr in _rows(nouns.PRONOUNS):
        who = "speaker" if ref in ("me", "you", "us") else "third"
        classes = _classes("adult child") + {"he": " male", "she": " female"}.get(ref, "")
        features = {"ref": ref, "agr": agr, "who": who, "num": "one", "class": classes}
        for case, english in (("subject", subject), ("object", object_), ("possessive", possessive)):
            yield _word("pronoun", english, chinese, features | {"case": case}, subject)


def _inflect(cell: str) -> dict[str, str]:
    """Return the forms base, third, past, pp and ing of a row such as `eat ate eaten` or `look + for`."""
    head, _, particle = cell.partition("+")
    parts = head.split()
    base = parts[0]
    stem = base.removesuffix("e")
    past = parts[1] if len(parts) > 1 else stem + "ed"
    if len(parts) > 4:
        third = parts[4]
    elif base.endswith("y") and base[-2] not in "aeiou":
        third = base[:-1] + "ies"
    else:
        third = base + ("es" if base.endswith(("s", "sh", "ch", "x", "o")) else "s")
    forms = {
        "base": base,
        "third": third,
        "past": past,
        "pp": parts[2] if len(parts) > 2 else past,
        "ing": parts[3] if len(parts) > 3 else stem + "ing",
    }
    return {name: f"{form} {particle}".strip() for name, form in forms.items()}


def _verb(category: str, cell: str, chinese: str, **features: str) -> Iterator[Word]:
    for form, english in _inflect(cell).items():
        forms = "base first plain" if form == "base" else form
        yield _word(category, english, chinese, features | {"form": forms}, cell)


def _verbs() -> Iterator[Word]:
    for pace, table in (
        ("durative", verbs.DURATIVE),
        ("achievement", verbs.ACHIEVEMENT),
        ("activity", verbs.ACTIVITY),
    ):
        for cell, chinese, subject, takes, at, aura in _rows(table):
            ties = {"subject": subject, "object": takes, "at": at, "aura": aura, "pace": pace}
            yield from _verb("transitive", cell, chinese, **ties)
    for category, (columns, table) in verbs.OTHERS.items():
        for cell, chinese, *ties in _rows(table):
            yield from _verb(category, cell, chinese, **dict(zip(columns.split(), ties, strict=True)))


def _adjectives() -> Iterator[Word]:
    for cell, chinese, of, *story in _rows(modifiers.ADJECTIVES):
        base, _, comparative = cell.partition(" ")
        put = {"de": "" if chinese.endswith("-") else "的"}
        cause, effect = story or ("", "")
        appeal = (
            "yes" if base in modifiers.APPEALING.split() else "no" if base in modifiers.REPELLENT.split() else "none"
        )
        features = {
            "of": of,
            "appeal": appeal,
            "passing": "yes" if story else "no",
            "before": "no" if chinese.endswith("!") else "yes",
            "cause": cause or "none",
            "effect": effect or "none",
        }
        for degree, english in (("plain", base), ("more", comparative or f"more {base}")):
            yield _word("adjective", english, chinese.rstrip("!-"), features | {"degree": degree}, base, put)


def _small_words() -> Iterator[Word]:
    for category, (columns, table) in modifiers.OTHERS.items():
        for english, chinese, *cells in _rows(table):
            yield _word(category, english, chinese, dict(zip(columns.split(), cells, strict=True)))
    for cell, chinese, of in _rows(modifiers.CONTAINERS):
        for num, english in zip(("sg", "pl"), _plural(cell), strict=True):
            yield _word("container", english, chinese, {"num": num, "of": of}, cell)
    for category, english, chinese, features in _SMALL_WORDS:
        yield _word(category, english, chinese, features)
    for category, forms in _AUXILIARIES.items():
        for english, agr in zip(forms.split(), ("first", "third", "plain"), strict=True):
            yield _word(category, english, "", {"agr": agr}, category)
    for chinese, aspect, after in _ASPECTS:
        yield _word("aspect", "", chinese, {"aspect": aspect, "after": after}, "aspect")
