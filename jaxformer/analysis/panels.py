"""The panels of an experiment's picture: means with their intervals, and every seed as a dot. All is named in place."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxformer.analysis.evidence import Interval
from jaxformer.analysis.fonts import lettering

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe & Ito 2008: told apart by colour-blind readers. The marks and dashes are for print in grey.
STYLES = (
    ("#0072B2", "o", "-"),
    ("#D55E00", "s", "--"),
    ("#009E73", "^", "-."),
    ("#CC79A7", "D", ":"),
    ("#E69F00", "v", (0, (5, 1))),
    ("#56B4E9", "P", (0, (3, 1, 1, 1))),
    ("#000000", "X", (0, (1, 1))),
)
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


def curves(axes: "Axes", x: Sequence[float], bands: Mapping[str, Interval], limits: tuple[float, float]) -> None:
    """A mean over x with its interval for each name, which stands right of the panel, as close to the height of the
    curve's end as the other names allow; vertical `limits`.

    Axes that are to be logarithmic are made so before.
    """
    axes.set_ylim(*limits)
    ends = {}
    for (name, band), (colour, _, dashes) in zip(bands.items(), STYLES, strict=False):
        axes.plot(x, band.mean, color=colour, linestyle=dashes, linewidth=1.8)
        axes.fill_between(x, band.low, band.high, color=colour, alpha=0.2, linewidth=0)
        end = axes.transData.transform((x[-1], band.mean[-1]))
        ends[name] = float(axes.transAxes.inverted().transform(end)[1]), colour
    _named(axes, ends)


def _named(axes: "Axes", ends: Mapping[str, tuple[float, str]]) -> None:
    """Names right of the panel, each with the height that it belongs to, as a part of the panel's, and its colour."""
    downwards = sorted(ends.items(), key=lambda end: -end[1][0])
    for (name, (_, colour)), place in zip(downwards, _apart([height for _, (height, _) in downwards]), strict=True):
        axes.annotate(name, (1.02, place), xycoords="axes fraction", color=colour, va="center", fontsize=9)


_GAP = 0.065
"""Between the names of two curves, as a part of the panel's height."""


def _apart(heights: Sequence[float]) -> np.ndarray:
    """Heights from the top down, moved as little as it takes, by least squares, to have gaps between them; none leaves
    the panel.
    """
    from scipy.optimize import isotonic_regression

    moved = _GAP * np.arange(len(heights))
    together = isotonic_regression(np.add(heights, moved), increasing=False).x
    return np.clip(together, min(1.0, _GAP * (len(heights) - 0.5)), 1.0) - moved


def dots(axes: "Axes", columns: Sequence[str], groups: Mapping[str, np.ndarray], limits: tuple[float, float]) -> None:
    """Values [seeds, columns] of each group as dots on a logarithmic axis; its name stands right of those of
    the last column.

    A value below the lower of the `limits`, zero among them, is drawn there.
    """
    axes.set(yscale="log", ylim=limits, xlim=(-0.5, len(columns) - 0.5), xticks=[])
    for i, column in enumerate(columns):
        axes.text(i, -0.03, column, transform=axes.get_xaxis_transform(), ha="center", va="top")
    lanes = np.linspace(-0.36, 0.36, len(groups) + 1)
    ends = {}
    for (name, values_SC), (colour, mark, _), lane in zip(groups.items(), STYLES, lanes, strict=False):
        x_SC = np.arange(len(columns)) + lane + (lanes[1] - lanes[0]) * np.linspace(0.15, 0.85, len(values_SC))[:, None]
        drawn_SC = np.maximum(values_SC, limits[0])
        axes.plot(x_SC, drawn_SC, linestyle="none", color=colour, marker=mark, markersize=4.5, alpha=0.7, clip_on=False)
        height = np.log(np.median(drawn_SC[:, -1]) / limits[0]) / np.log(limits[1] / limits[0])
        ends[name] = float(height), colour
    _named(axes, ends)


def decades(axes: "Axes", x: Sequence[float], bands: Mapping[str, Interval]) -> None:
    """`curves` of decimal logarithms, on a vertical axis that names what they are the logarithms of."""
    lowest = min(float(np.min(band.low)) for band in bands.values())
    highest = max(float(np.max(band.high)) for band in bands.values())
    curves(axes, x, bands, (lowest - 0.03 * (highest - lowest), highest + 0.03 * (highest - lowest)))
    steps = (1, 2, 5) if highest - lowest < 2 else (1,)
    powers = range(int(np.floor(lowest)), int(np.ceil(highest)) + 1)
    ticks = [power + np.log10(step) for power in powers for step in steps]
    axes.set_yticks([tick for tick in ticks if axes.get_ylim()[0] <= tick <= axes.get_ylim()[1]])
    axes.yaxis.set_major_formatter(lambda value, _: f"{10.0**value:,.6g}")


def heat(
    axes: "Axes", values_RC: np.ndarray, quantity: str, columns: Sequence[str] = (), rows: Sequence[str] = ()
) -> None:
    """Values from 0 up as the shades of a table, its first row on top, beside the scale of the quantity; columns and
    rows are numbered unless they have names.
    """
    image = axes.imshow(values_RC, cmap="Blues", vmin=0.0, aspect="auto", interpolation="nearest")
    axes.locator_params(integer=True)
    if columns:
        axes.set_xticks(range(len(columns)), columns, fontsize=8, rotation=90)
    if rows:
        axes.set_yticks(range(len(rows)), rows, fontsize=8)
    axes.grid(visible=False)
    axes.figure.colorbar(image, ax=axes, shrink=0.85, label=quantity)


def clouds(axes: "Axes", groups: Mapping[str, tuple[Any, Any]]) -> None:
    """Pairs of values of each group as dots; names stand where the fewest dots are."""
    for (name, (x, y)), (colour, mark, _) in zip(groups.items(), STYLES, strict=False):
        axes.plot(x, y, linestyle="none", color=colour, marker=mark, markersize=4.5, alpha=0.6, label=name)
    axes.legend(fontsize=9, labelcolor="linecolor", frameon=False, handletextpad=0.2)
    axes.locator_params(nbins=5)  # more numbers would touch each other


def points(axes: "Axes", x: Sequence[float], name: str, values: Interval, style: int = 0) -> None:
    """Marks over x with their intervals, named in a legend."""
    colour, mark, _ = STYLES[style]
    ends = np.abs(np.stack([values.mean - values.low, values.high - values.mean]))
    axes.errorbar(x, values.mean, ends, fmt=mark, color=colour, markersize=5, capsize=3, label=name)
    axes.legend(frameon=False, fontsize=9)


def logarithmic(axes: "Axes", ticks: Sequence[float]) -> None:
    """A logarithmic horizontal axis with its numbers written out at `ticks`."""
    axes.set_xscale("log")
    axes.minorticks_off()
    axes.set_xticks(ticks, [f"{tick:,.4g}" for tick in ticks])


def rows(axes: "Axes", names: Sequence[str], values: Interval) -> None:
    """A mark with its interval for each name, from the top down; `values` has an entry for each."""
    places, colour = np.arange(len(names)), STYLES[0][0]
    axes.hlines(places, values.low, values.high, color=colour, linewidth=2.2, alpha=0.6)
    axes.plot(values.mean, places, linestyle="none", color=colour, marker="o", markersize=4.5)
    axes.set(ylim=(len(names) - 0.5, -0.5), yticks=places, yticklabels=names)
    axes.tick_params(axis="y", length=0)


def level(axes: "Axes", height: float, name: str) -> None:
    """A value to compare with, as a line across."""
    axes.axhline(height, color=GREY, linewidth=0.8)
    right = axes.get_yaxis_transform()
    axes.annotate(name, (1.0, height), (0, 3), right, "offset points", color=GREY, fontsize=9, ha="right", va="bottom")


def marks(axes: "Axes", x: Sequence[float], height: float, name: str) -> None:
    """A tick for each seed where its curve passes a height, and what that is called, in the panel's upper left."""
    axes.plot(x, np.full(len(x), height), linestyle="none", color="black", marker="|", markersize=12)
    axes.annotate(name, (0.02, 0.97), xycoords="axes fraction", fontsize=9, va="top")


def save(figure: "Figure", path: Path, note: str) -> str:
    """Writes the picture over a note; each text gets a font that has its characters.

    Returns the characters that no installed font has, which stand as code points (`fonts.ADVICE`).
    """
    from matplotlib.font_manager import FontProperties
    from matplotlib.text import Text

    figure.supxlabel(note, x=0.01, ha="left", fontsize=9, color=GREY)
    texts = [text for text in figure.findobj(Text) if isinstance(text, Text) and text.get_text()]
    letters = lettering([text.get_text() for text in texts])
    for text in texts:
        face = letters.of(text.get_text())
        if set(letters.missing) & set(text.get_text()):
            text.set_text(face.spell(text.get_text()))
        if face is not letters.typefaces[0]:
            text.set_fontproperties(FontProperties(fname=face.path, size=text.get_fontsize()))
    figure.savefig(path, dpi=150)
    return letters.missing
