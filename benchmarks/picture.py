"""Pictures of measurements: lines with error bars in panels, each line labelled where it ends.

matplotlib is imported late, so that a benchmark can be described without it, and drawn without a display.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Okabe and Ito 2008: told apart by colour-blind readers; the marks are for print in grey.
STYLES = (("#D55E00", "o"), ("#009E73", "s"), ("#0072B2", "^"), ("#CC79A7", "D"), ("#000000", "v"), ("#E69F00", "P"))


@dataclass(frozen=True)
class Line:
    """Medians y over x with the range of their middle half."""

    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float]
    high: Sequence[float]


def logarithmic(axis: "Axes", lines: Mapping[str, Line]) -> None:
    """Both axes, with a tick at every x, of which many are named every other time: for what was measured at the powers
    of two.
    """
    from matplotlib.ticker import EngFormatter, LogLocator

    axis.set_xscale("log", base=2)
    axis.set_yscale("log")
    ticks = sorted({x for line in lines.values() for x in line.x})
    gap = 2 if len(ticks) > 8 else 1
    axis.set_xticks(ticks, [f"{tick:,.0f}" if i % gap == 0 else "" for i, tick in enumerate(ticks)])
    axis.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axis.yaxis.set_major_formatter(EngFormatter(sep=""))


def linear(axis: "Axes", lines: Mapping[str, Line]) -> None:
    """Both axes, x from 0: for what goes on in time."""
    axis.set_xlim(left=0)


def at_ends(axis: "Axes", lines: Mapping[str, Line], points: float) -> None:
    """Names each line beside its last point, in the final layout, in which it moves names that would overlap. A pixel
    is so many points of text.
    """
    ends = [(line.x[-1], line.y[-1]) for line in lines.values()]
    heights = [axis.transData.transform(end)[1] * points for end in ends]
    for name, end, height, place, (color, _) in zip(lines, ends, heights, spread(heights, 11.0), STYLES, strict=False):
        axis.annotate(
            name,
            end,
            xytext=(8, place - height),
            textcoords="offset points",
            color=color,
            fontsize=9,
            va="center",
            annotation_clip=False,
        )


def in_corner(axis: "Axes", lines: Mapping[str, Line], points: float) -> None:
    """Names the lines in a corner of the panel, where they end too close together."""
    axis.legend(axis.containers, lines, loc="upper right", frameon=False, fontsize=9)


def panels(
    path: Path,
    grid: Sequence[Sequence[tuple[str, Mapping[str, Line]]]],
    *,
    title: str,
    x_label: str,
    y_label: str,
    comparable: bool = True,
    scales: Callable[["Axes", Mapping[str, Line]], None] = logarithmic,
    names: Callable[["Axes", Mapping[str, Line], float], None] = at_ends,
) -> None:
    """Draws a grid of (heading, lines by name) and writes it as PNG: axes as `scales` lays them out, lines named as
    `names` does it. The panels of a row share their heights if these are `comparable`.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(1.0 + 4.6 * len(grid[0]), 1.0 + 3.2 * len(grid)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(grid), len(grid[0]), sharex=True, sharey="row" if comparable else "none", squeeze=False)
    for row, panel_row in zip(axes, grid, strict=True):
        for axis, (heading, lines) in zip(row, panel_row, strict=True):
            _panel(axis, heading, lines)
            scales(axis, lines)
            axis.minorticks_off()
        row[0].set_ylabel(y_label)
    for axis in axes[-1]:
        axis.set_xlabel(x_label)
    figure.suptitle(title, x=0.01, ha="left", fontsize=10)
    figure.canvas.draw()
    for row, panel_row in zip(axes, grid, strict=True):
        for axis, (_, lines) in zip(row, panel_row, strict=True):
            names(axis, lines, 72 / figure.dpi)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150, bbox_inches="tight")


def _panel(axis: "Axes", heading: str, lines: Mapping[str, Line]) -> None:
    for line, (color, mark) in zip(lines.values(), STYLES, strict=False):
        reach = [np.subtract(line.y, line.low), np.subtract(line.high, line.y)]
        axis.errorbar(line.x, line.y, yerr=reach, color=color, marker=mark, markersize=5, linewidth=1.6, capsize=3)
    axis.grid(True, which="major", color="#dddddd", linewidth=0.6)
    axis.spines[["top", "right"]].set_visible(False)
    axis.set_title(heading, loc="left", fontsize=10)


def spread(heights: Sequence[float], gap: float) -> list[float]:
    """The nearest heights, by least squares, in the same order and at least `gap` apart.

    Less i·gap, they need only be in order: isotonic regression, which pools neighbours that are not.
    """
    order = np.argsort(heights, kind="stable")
    pools: list[list[float]] = []
    for i, height in enumerate(np.asarray(heights, float)[order]):
        pools.append([height - gap * i])
        while len(pools) > 1 and np.mean(pools[-2]) > np.mean(pools[-1]):
            pools[-2:] = [pools[-2] + pools[-1]]
    level = np.concatenate([np.full(len(pool), np.mean(pool)) for pool in pools])
    moved = np.empty(len(heights))
    moved[order] = level + gap * np.arange(len(heights))
    return moved.tolist()
