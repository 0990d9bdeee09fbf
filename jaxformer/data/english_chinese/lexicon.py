"""Turns the tables of the language into the inflected words of the grammar."""

from collections import Counter
from collections.abc import Iterator

from jaxformer.data.english_chinese import modifiers, nouns, verbs
from jaxformer.data.grammar import Word

_REFERENCE = {"m": ("he", "they-m"), "f": ("she", "they-f"), "x": ("he she", "they-m"), "": ("it", "they-n")}


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


def _word(category: str, english: str, chinese: str, lemma: str = "", /, *, put: dict[str, str] | None = None,
          **features: str) -> Word:  # fmt: skip
    """One word. Feature values are lists of atoms; `put` holds its attributes. Chinese tokens are split at spaces."""
    sets = {name: frozenset(text.split()) for name, text in features.items()}
    name = f"{lemma or english}={chinese}"
    return Word(category, tuple(english.split()), tuple(chinese.split()), name, sets, put or {})


def _classes(text: str) -> str:
    """Close a list of classes under `KINDS`."""
    found: list[str] = []
    todo = text.split()
    while todo:
        name = todo.pop()
        found.append(name)
        todo.extend(nouns.KINDS.get(name, "").split())
    return " ".join(sorted(set(found)))


def _plural(cell: str) -> tuple[str, str]:
    singular, _, plural = cell.partition("/")
    return singular, plural or singular + "s"


def _nouns() -> Iterator[Word]:
    rows = list(_rows(nouns.NOUNS))
    spelled = Counter(form for cell, *_ in rows for form in _plural(cell))
    for cell, chinese, measure, classes in rows:
        ambiguous = "yes" if any(spelled[form] > 1 for form in _plural(cell)) else "no"
        yield from _noun("noun", cell, chinese, measure, "", classes, "that", "those", ambiguous)
    for cell, chinese, measure, gender, classes in _rows(nouns.PEOPLE):
        fellow, plain = ("fellow" in classes.split(), "plain" in classes.split())
        one, many = ("mine", "mine") if fellow else ("that" if plain else "bare", "men")
        yield from _noun("noun", cell, chinese, measure, gender, classes, one, many)
    for cell, chinese, measure, gender, classes in _rows(nouns.KIN):
        yield from _noun("kin", cell, chinese, measure, gender, classes + " kin", "bare", "men")
    for number, (english, chinese, gender) in enumerate(_rows(nouns.NAMES)):
        ref = _REFERENCE[gender][0]
        half = "one two"[number % 2 * 4 :][:3]
        yield _word("name", english, chinese, agr="third", ref=ref, half=half, num="one", **{"class": _classes("adult child")})
    for english, chinese, classes in _rows(nouns.COMPANIES):
        yield _word("noun", english, chinese, num="name", agr="third", ref="it", amb="no", **{"class": classes})


def _noun(
    category: str, cell: str, chinese: str, measure: str, gender: str, classes: str, one: str, many: str, amb: str = "no"
) -> Iterator[Word]:
    """Yield singular and plural; `one` and `many` say how "the" is rendered with them."""
    singular, plural = _plural(cell)
    it, they = _REFERENCE[gender]
    mark, _, detail = measure.partition(" ")
    common = {"class": _classes(classes), "amb": amb, "half": "one" if len(singular) % 2 else "two"}
    if mark == "+":
        put = {"measure": detail}
        yield _word("noun", cell, chinese, num="pair", agr="plain", ref=they, **{"def": "that"}, put=put, **common)
    elif mark == "-":
        agr, ref, rendered = ("plain", they, "those") if detail == "them" else ("third", it, "bare")
        yield _word("noun", cell, chinese, num="mass", agr=agr, ref=ref, **{"def": rendered}, **common)
    else:
        put = {"measure": measure}
        yield _word(category, singular, chinese, num="sg", agr="third", ref=it, **{"def": one}, put=put, **common)
        if plural == "-":
            return
        yield _word(
            category, plural, chinese, singular, num="pl", agr="plain", ref=they, **{"def": many}, put=put, **common
        )


def _places() -> Iterator[Word]:
    for cell, chinese, preposition, article, localiser, tags, classes in _rows(nouns.PLACES):
        english = _plural(cell)[0]
        put = {"in": preposition, "the": article.strip("'"), "inside": localiser.strip("'")}
        features = {"for": tags, "class": _classes(classes), "agr": "third", "ref": "it"}
        yield _word("place", english, chinese, put=put, **features)


def _pronouns() -> Iterator[Word]:
    for subject, object_, possessive, chinese, ref, agr in _rows(nouns.PRONOUNS):
        who = "third" if ref[0] in "hsi" or ref.startswith("they") else "speaker"
        features = {"ref": ref, "agr": agr, "who": who, "num": "one", "class": _classes("adult child")}
        for case, english in (("subject", subject), ("object", object_), ("possessive", possessive)):
            yield _word("pronoun", english, chinese, subject, case=case, **features)


def _inflect(cell: str) -> dict[str, str]:
    """Return the forms base, third, past, pp, ing of a row such as `eat ate eaten` or `look + for`."""
    head, _, particle = cell.partition("+")
    parts = head.split()
    base = parts[0]
    stem = base.removesuffix("e")
    past = parts[1] if len(parts) > 1 else (stem if base.endswith("e") else base) + "ed"
    third = parts[4] if len(parts) > 4 else base + ("es" if base.endswith(("s", "sh", "ch", "x", "o")) else "s")
    if third == base + "s" and base.endswith("y") and base[-2] not in "aeiou":
        third = base[:-1] + "ies"
    forms = {
        "base": base,
        "third": third,
        "past": past,
        "pp": parts[2] if len(parts) > 2 else past,
        "ing": parts[3] if len(parts) > 3 else (base if base.endswith("ee") else stem) + "ing",
    }
    return {name: f"{form} {particle}".strip() for name, form in forms.items()}


def _verb(category: str, cell: str, chinese: str, **features: str) -> Iterator[Word]:
    for form, english in _inflect(cell).items():
        forms = "base first plain" if form == "base" else form
        yield _word(category, english, chinese, cell, form=forms, **features)


def _verbs() -> Iterator[Word]:
    paces = (("durative", verbs.DURATIVE), ("achievement", verbs.ACHIEVEMENT), ("activity", verbs.ACTIVITY))
    for pace, table in paces:
        for cell, chinese, subject, takes, at, aura in _rows(table):
            features = {"subject": subject, "object": takes, "at": at, "aura": aura, "pace": pace}
            yield from _verb("transitive", cell, chinese, **features)
    for cell, chinese, subject, takes, _, aura, will in _rows(verbs.RESULTATIVE):
        yield from _verb("resultative", cell, chinese, subject=subject, object=takes, aura=aura, will=will)
    for cell, chinese, subject, takes, det in _rows(verbs.STATIVE):
        yield from _verb("stative", cell, chinese, subject=subject, object=takes, det=det)
    for category, table in (("cherish", verbs.CHERISH), ("acquire", verbs.ACQUIRE)):
        for cell, chinese in _rows(table):
            yield from _verb(category, cell, chinese)
    for cell, chinese, subject, at, aura in _rows(verbs.INTRANSITIVE):
        yield from _verb("intransitive", cell, chinese, subject=subject, at=at, aura=aura)
    for category, table in (("dative", verbs.DATIVE), ("benefit", verbs.BENEFIT), ("coverb", verbs.COVERB)):
        for cell, chinese, takes in _rows(table):
            yield from _verb(category, cell, chinese, object=takes)
    for cell, chinese in _rows(verbs.SPEECH):
        yield from _verb("speech", cell, chinese)
    for cell, chinese, mode in _rows(verbs.CONTROL):
        yield from _verb("control", cell, chinese, mode=mode)
    yield from _verb("go", "go went gone going", "去")
    yield from _verb("put", "put put put putting", "放")
    yield from _verb("wish", "want", "想")
    yield from _verb("own", "have had had having has", "有")
    yield from _verb("weather", "rain", "下雨")
    yield from _verb("weather", "snow", "下雪")
    for cell, chinese, takes in _rows(verbs.NEUTRAL):
        yield from _verb("neutral", cell, chinese, object=takes)


def _adjectives() -> Iterator[Word]:
    for cell, chinese, of, *story in _rows(modifiers.ADJECTIVES):
        base, _, comparative = cell.partition(" ")
        before = "no" if chinese.endswith("!") else "yes"
        put = {"de": "" if chinese.endswith("-") else "的"}
        chinese = chinese.rstrip("!-")
        cause, effect = story or ("", "")
        passing = "yes" if story else "no"
        appeal = "yes" * (base in modifiers.APPEALING.split()) or "no" * (base in modifiers.REPELLENT.split()) or "none"
        common = {"of": of, "appeal": appeal, "passing": passing, "before": before, "cause": cause or "none", "effect": effect or "none"}
        yield _word("adjective", base, chinese, base, degree="plain", put=put, **common)
        yield _word("adjective", comparative or f"more {base}", chinese, base, degree="more", put=put, **common)
    for english, chinese in _rows(modifiers.COLORS):
        yield _word("color", english, chinese, of="colored")


def _small_words() -> Iterator[Word]:
    for english, chinese, tense in _rows(modifiers.TIMES):
        yield _word("time", english, chinese, tense=tense)
    for category, table in (("frequency", modifiers.FREQUENCY), ("modal", modifiers.MODALS)):
        for english, chinese in _rows(table):
            yield _word(category, english, chinese)
    for english, chinese, size in _rows(modifiers.NUMBERS):
        yield _word("number", english, chinese, size=size)
    for english, chinese, to in _rows(modifiers.RIDES):
        yield _word("ride", english, chinese, to=to)
    for english, chinese, spot in _rows(modifiers.RELATIONS):
        yield _word("relation", english, chinese, spot=spot)
    for cell, chinese, of in _rows(modifiers.CONTAINERS):
        singular, plural = _plural(cell)
        yield _word("container", singular, chinese, num="sg", of=of)
        yield _word("container", plural, chinese, singular, num="pl", of=of)
    for english, chinese, num in (("this", "这", "sg"), ("that", "那", "sg"), ("these", "这些", "pl"), ("those", "那些", "pl")):
        yield _word("this", english, chinese, num=num)
    for english, chinese in (("some", "一些"), ("many", "很多")):
        yield _word("several", english, chinese)
    for english, chinese, mood in _rows(modifiers.SKIES):
        yield _word("sky", english, chinese, mood=mood)
    for english, chinese in (("very", "非常"), ("really", "真"), ("quite", "相当")):
        yield _word("degree", english, chinese)
    yield from _auxiliaries()


def _auxiliaries() -> Iterator[Word]:
    """English words without a Chinese side, and the Chinese aspect words, which have no English side."""
    agreeing = {"be": "am is are", "was": "was was were", "do": "do does do", "have": "have has have"}
    for category, forms in agreeing.items():
        for english, agr in zip(forms.split(), ("first", "third", "plain"), strict=True):
            yield _word(category, english, "", category, agr=agr)
    # 了 and 过 stand after a verb, or 了 at the end of an activity: 踢了..., 踢足球了, 踢过足球.
    for chinese, aspect, after in (("了", "done", "verb"), ("过", "ever", "verb inner"), ("", "done", "inner"),
                                   ("了", "done", "end"), ("", "ever", "end"), ("", "none", "verb inner end")):  # fmt: skip
        yield _word("aspect", "", chinese, "aspect", aspect=aspect, after=after)
