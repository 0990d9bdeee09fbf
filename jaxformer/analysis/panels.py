"""The panels of an experiment's picture: means with their intervals, and every seed as a dot. Matplotlib comes in late."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from jaxformer.analysis.evidence import Interval
from jaxformer.analysis.fonts import lettering

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe & Ito 2008: told apart by colour-blind readers. The marks and dashes are for print in grey.
STYLES = (("#0072B2", "o", "-"), ("#D55E00", "s", "--"), ("#009E73", "^", "-."), ("#CC79A7", "D", ":"))
GREY = "#555555"


def row(headings: Sequence[str], width: float = 4.3, height: float = 3.9) -> "tuple[Figure, list[Axes]]":
    """A figure with a panel under each heading; `width` and `height` of one in inches."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width * len(headings), height), layout="constrained")
    figure.get_layout_engine().set(w_pad=0.12, h_pad=0.08)  # pyright: ignore[reportOptionalMemberAccess, reportCallIssue]
    grid = list(figure.subplots(1, len(headings), squeeze=False)[0])
    for axes, heading in zip(grid, headings, strict=True):
        axes.set_title(heading, loc="left", fontsize=11, pad=10)
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(axis="y", color="#dddddd", linewidth=0.6)
        axes.set_axisbelow(True)
    return figure, grid


def curves(axes: "Axes", x: Sequence[float], bands: Mapping[str, Interval], gap: float = 0.065) -> None:
    """A mean over x with its interval for each name, which is written below the curve's end.

    `gap` is the least distance of two names, as a part of the vertical axis, whose limits must be set before.
    """
    bottom, top = axes.get_ylim()
    lowest = top + (top - bottom)
    for (name, band), (colour, _, dashes) in sorted(
        zip(bands.items(), STYLES, strict=False), key=lambda entry: -entry[0][1].mean[-1]
    ):
        axes.plot(x, band.mean, color=colour, linestyle=dashes, linewidth=1.8)
        axes.fill_between(x, band.low, band.high, color=colour, alpha=0.2, linewidth=0)
        lowest = min(float(band.mean[-1]), lowest) - gap * (top - bottom)
        axes.text(x[-1], lowest, name, color=colour, ha="right", va="center", fontsize=9)


def dots(axes: "Axes", columns: Sequence[str], groups: Mapping[str, np.ndarray], floor: float) -> None:
    """Each group's values [seeds, columns] as dots on a logarithmic axis, side by side over the names of the columns.

    Values below `floor`, zero among them, are drawn there. A group is named above its highest dot.
    """
    axes.set_yscale("log")
    axes.set_xticks([])
    for i, column in enumerate(columns):
        axes.text(i, -0.03, column, transform=axes.get_xaxis_transform(), ha="center", va="top", fontsize=12)
    lanes = np.linspace(-0.3, 0.3, len(groups) + 1)
    for (name, values), (colour, mark, _), start, end in zip(
        groups.items(), STYLES, lanes[:-1], lanes[1:], strict=False
    ):
        x = np.arange(len(columns)) + np.linspace(start, end, len(values) + 2)[1:-1, None]
        style = {"color": colour, "marker": mark, "markersize": 4, "markeredgewidth": 0, "alpha": 0.7}
        axes.plot(x, np.maximum(values, floor), linestyle="none", **style)
        axes.text(0, 0, name, color=colour)
    axes.set_xlim(-0.5, len(columns) - 0.5)


def save(figure: "Figure", path: Path) -> str:
    """Writes the picture; each text gets a font that has its characters. Returns those that no installed font has."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.text import Text

    texts = [text for text in figure.findobj(Text) if isinstance(text, Text) and text.get_text()]
    letters = lettering([text.get_text() for text in texts])
    for text in texts:
        face = letters.of(text.get_text())
        if face is not letters.typefaces[0]:
            text.set_fontproperties(FontProperties(fname=face.path, size=text.get_fontsize()))
            text.set_text(face.spell(text.get_text()))
    figure.savefig(path, dpi=150)
    return letters.missing
