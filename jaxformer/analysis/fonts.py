"""Which installed fonts can draw a text. Matplotlib's own has Latin, Greek and Cyrillic, but no Chinese."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache

ADVICE = (
    "install a font that has them: fonts-wqy-microhei or fonts-noto-cjk (Debian, Ubuntu), "
    "google-noto-sans-cjk-fonts (Fedora), font-noto-sans-cjk-sc (Homebrew)"
)
"""How to mend missing Chinese characters, to be said after which are missing."""


@dataclass(frozen=True)
class Typeface:
    """A font file and the characters that it has."""

    path: str
    plain: bool
    """Upright, of usual weight and without serifs, as far as its name tells."""
    characters: frozenset[str]

    def spell(self, text: str) -> str:
        """The text with code points for what the font lacks, U+82F9 for 苹: unlike an empty box, readable."""
        spelled = "".join(c if c in self.characters or c.isspace() else f" U+{ord(c):04X} " for c in text)
        return " ".join(spelled.split())


@dataclass(frozen=True)
class Lettering:
    """Fonts that together draw some texts: Matplotlib's own, and others as far as it lacks characters."""

    typefaces: tuple[Typeface, ...]
    missing: str
    """Characters that no installed font has, in order; empty where all can be drawn."""

    def of(self, text: str) -> Typeface:
        """The font for one text: of those that draw the most of it, the first."""
        return max(self.typefaces, key=lambda face: sum(c in face.characters for c in text))


def lettering(texts: Iterable[str]) -> Lettering:
    """Fonts for all characters of these texts that any installed font has."""
    from matplotlib.font_manager import FontProperties, findfont, findSystemFonts

    chosen = [typeface(str(findfont(FontProperties())))]
    wanted = {c for c in "".join(texts) if not c.isspace()} - chosen[0].characters
    # Not Matplotlib's own list of fonts, which is cached and does not know a font that was installed since.
    paths = sorted(findSystemFonts()) if wanted else []
    found = [face for path in paths if (face := _readable(str(path)))]
    while wanted and found:
        best = max(found, key=lambda face: (len(wanted & face.characters), face.plain))
        if not wanted & best.characters:
            break
        chosen.append(best)
        wanted = wanted - best.characters
    return Lettering(tuple(chosen), "".join(sorted(wanted)))


@cache
def typeface(path: str) -> Typeface:
    """Reads a font file. Raises RuntimeError or OSError where that fails or the font does not scale."""
    from matplotlib.ft2font import FT2Font

    font = FT2Font(path)
    font.set_size(12, 72)
    name = f"{font.family_name} {font.style_name}".lower()
    odd = ("bold", "italic", "oblique", "light", "thin", "black", "condensed", "mono", "serif", "math")
    return Typeface(path, not any(word in name for word in odd), frozenset(map(chr, font.get_charmap())))


def _readable(path: str) -> Typeface | None:
    try:
        return typeface(path)
    except (RuntimeError, OSError):
        return None
