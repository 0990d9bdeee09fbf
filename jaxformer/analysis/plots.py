"""Pictures of what a model reads and knows. Matplotlib is imported when the first is drawn."""

import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal
from unicodedata import east_asian_width

import numpy as np

from jaxformer.analysis.fonts import Lettering, Typeface, lettering
from jaxformer.config.errors import UserError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage
    from matplotlib.text import Text

CELL = 0.24
"""Inches for one pair of tokens."""
LETTER = 0.075
"""Inches for a letter of 8 points."""
SMALLEST = (4.0, 2.4)
"""Inches that a picture has at least, for the words around a small panel."""
LARGEST = 8000
"""Pixels that no side of a picture exceeds, so that long sentences still open in a viewer."""


def draw_attention(
    path: str | Path,
    weights_NTS: np.ndarray,
    source_pieces: Sequence[str],
    target_pieces: Sequence[str],
    title: str = "",
) -> str:
    """Draw one layer's attention to the source: a panel for the mean of the heads, then one for each head.

    Row t shows what the model read while it predicted target_pieces[t]. All panels share one scale, which begins at
    zero. The suffix of `path` says which format. Returns the characters that no installed font has, which stand as code
    points in the picture (`fonts.ADVICE` says how to mend that); empty where there are none. Raises UserError for an
    unknown suffix.
    """
    expected = (len(target_pieces), len(source_pieces))
    if weights_NTS.ndim != 3 or weights_NTS.shape[1:] != expected:
        raise ValueError(f"weights_NTS must be [heads, {expected[0]}, {expected[1]}], got {weights_NTS.shape}")
    panels = {f"head {number}": head_TS for number, head_TS in enumerate(weights_NTS, 1)}
    if len(panels) > 1:
        panels = {f"mean of {len(panels)} heads": weights_NTS.mean(0), **panels}
    letters = lettering([*source_pieces, *target_pieces, title])
    longest_source, longest_target = (
        max(len(letters.of(piece).spell(piece)) for piece in pieces) for pieces in (source_pieces, target_pieces)
    )
    size = (CELL * len(source_pieces) + 0.2, CELL * len(target_pieces) + 0.35)
    margin = (1.2 + LETTER * longest_target, 0.3 + LETTER * longest_source)
    figure, grid, columns = _grid(len(panels), size, margin, "compressed")
    rotation = 90 if longest_source > 2 else 0
    for place, (axes, (name, weights_TS)) in enumerate(zip(grid, panels.items(), strict=True)):
        image = _heat_map(axes, weights_TS, float(weights_NTS.max()))
        axes.set_title(name, fontsize=9)
        _label(axes.xaxis, source_pieces if place < columns else [], letters, rotation)
        _label(axes.yaxis, [] if place % columns else target_pieces, letters)
    bar = figure.colorbar(image, ax=grid, shrink=0.6, aspect=30)
    bar.set_label("attention weight", fontsize=9)
    _entitle(figure, title, letters)
    _save(figure, path)
    return letters.missing


def draw_table(
    path: str | Path,
    values_RC: np.ndarray,
    rows: Sequence[str],
    columns: Sequence[str],
    quantity: str,
    title: str = "",
    cells: Sequence[Sequence[str]] | None = None,
) -> str:
    """Draw numbers as a heat map with a name for every row and column: heads of layers, tokens of layers.

    `quantity` says what they are, with its unit. The scale begins at zero; where there are negative values zero is
    white, in the middle. `cells` are texts to stand in them, such as the token that a logit lens sees. Returns and
    raises as `draw_attention`.
    """
    if values_RC.shape != (len(rows), len(columns)):
        raise ValueError(f"values_RC must be [{len(rows)}, {len(columns)}], as they have names, got {values_RC.shape}")
    texts = [text for line in cells or [] for text in line]
    letters = lettering([*rows, *columns, *texts, quantity, title])
    longest_row, longest_column, longest_cell = (
        max((len(letters.of(name).spell(name)) for name in names), default=0) for names in (rows, columns, texts)
    )
    width = max(CELL, 2 * LETTER * min(longest_column, 2), 1.2 * LETTER * longest_cell + 0.1)
    size = (width * len(columns) + 0.2, CELL * len(rows) + 0.35)
    figure, (axes,), _ = _grid(1, size, (1.4 + LETTER * longest_row, 0.3 + LETTER * longest_column), "compressed")
    image = _heat_map(axes, values_RC, float(np.abs(values_RC).max()), signed=bool((values_RC < 0).any()))
    axes.set_aspect("auto" if cells else "equal")
    _label(axes.xaxis, columns, letters, 90 if longest_column * LETTER > width else 0)
    _label(axes.yaxis, rows, letters)
    for r, line in enumerate(cells or []):
        for c, text in enumerate(line):
            dark = abs(values_RC[r, c]) > 0.6 * np.abs(values_RC).max()
            face, colour = letters.of(text), "white" if dark else "black"
            _use(axes.text(c, r, face.spell(text), ha="center", va="center", fontsize=7, color=colour), face)
    bar = figure.colorbar(image, ax=axes, shrink=0.8, aspect=20)
    bar.set_label("\n".join(_wrapped(quantity, figure.get_figheight() - 0.4)), fontsize=9)
    _entitle(figure, title, letters)
    _save(figure, path)
    return letters.missing


def _grid(
    count: int, size: tuple[float, float], margin: tuple[float, float], layout: Literal["constrained", "compressed"]
) -> "tuple[Figure, list[Axes], int]":
    """Panels of this size in inches, in columns that bring the picture close to three by two and leave few gaps.

    `margin` is the room beside and above all of them. Returns the figure, its panels row by row, and the columns.
    """
    from matplotlib.figure import Figure

    def badness(columns: int) -> float:
        rows = math.ceil(count / columns)
        return abs(math.log(columns * size[0] / (rows * size[1]) / 1.5)) + (rows * columns - count) / count

    columns = min(range(1, count + 1), key=badness)
    rows = math.ceil(count / columns)
    # A figure of its own, not one of pyplot, which would keep it and might open a window.
    figsize = (max(SMALLEST[0], columns * size[0] + margin[0]), max(SMALLEST[1], rows * size[1] + margin[1]))
    figure = Figure(figsize=figsize, layout=layout)
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    for spare in grid[count:]:
        spare.remove()
    return figure, list(grid[:count]), columns


def _heat_map(axes: "Axes", weights_TS: np.ndarray, largest: float, signed: bool = False) -> "AxesImage":
    T, S = weights_TS.shape
    line = {"color": "0.9", "linewidth": 0.4}
    axes.hlines(np.arange(1, T) - 0.5, -0.5, S - 0.5, **line)
    axes.vlines(np.arange(1, S) - 0.5, -0.5, T - 0.5, **line)
    axes.xaxis.tick_top()
    axes.tick_params(length=0, labelsize=8)
    colours, lowest = ("RdBu", -largest) if signed else ("Blues", 0.0)
    return axes.imshow(weights_TS, cmap=colours, vmin=lowest, vmax=largest, aspect="equal", interpolation="nearest")


def _label(axis: "Axis", pieces: Sequence[str], letters: Lettering, rotation: float = 0) -> None:
    faces = [letters.of(piece) for piece in pieces]
    axis.set_ticks(range(len(pieces)), [face.spell(piece) for face, piece in zip(faces, pieces, strict=True)])
    for text, face in zip(axis.get_ticklabels(), faces, strict=True):
        text.set_rotation(rotation)
        _use(text, face)


def _use(text: "Text", face: Typeface) -> None:
    """Draws a text in this font, and as it stands: a dollar sign begins no formula."""
    from matplotlib.font_manager import FontProperties

    text.set_fontproperties(FontProperties(fname=face.path, size=text.get_fontsize()))
    text.set_parse_math(False)


def _entitle(figure: "Figure", title: str, letters: Lettering) -> None:
    """The title above all panels, in as many lines as their width asks for."""
    if not title:
        return
    face = letters.of(title)
    lines = _wrapped(face.spell(title), figure.get_figwidth() - 0.2)
    figure.set_figheight(figure.get_figheight() + 0.18 * len(lines))
    _use(figure.suptitle("\n".join(lines), fontsize=10), face)


def _wrapped(text: str, inches: float) -> list[str]:
    """Lines of 10 points that fit; they break between words and, as there are no spaces, between Chinese characters."""
    lines, used = [""], 0.0
    for word in re.findall(r"\s+|[\u2e80-\uffef]|[^\s\u2e80-\uffef]+", text):
        width = sum(2 * LETTER if east_asian_width(c) in "WF" else 1.2 * LETTER for c in word)
        if used and used + width > inches:
            lines.append("")
            used = 0.0
        lines[-1] += word
        used += width
    return [line.strip() for line in lines]


def _save(figure: "Figure", path: str | Path) -> None:
    path = Path(path)
    known = figure.canvas.get_supported_filetypes()
    suffix = path.suffix.lstrip(".").lower()
    if suffix not in known:
        allowed = ", ".join(f".{kind}" for kind in sorted(known))
        raise UserError(f"a picture must be one of {allowed}, got {path.name!r}; name it {path.stem}.png")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=min(150.0, LARGEST / max(figure.get_size_inches())))
