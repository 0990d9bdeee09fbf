"""Pictures: names beside line ends never overlap; the file is a picture."""

from itertools import pairwise

import pytest
from matplotlib.figure import Figure

from benchmarks.picture import Line, at_ends, in_corner, linear, logarithmic, panels, spread


@pytest.mark.parametrize("heights", [[1.0, 1.0, 1.0, 1.0], [0.0, 3.0, 100.0], [30.0, 0.0, 27.0, 31.0], [5.0]])
def test_spread_keeps_order_and_distance(heights):
    placed = spread(heights, 11.0)
    order = sorted(range(len(heights)), key=lambda i: heights[i])
    assert all(placed[j] - placed[i] >= 11.0 - 1e-9 for i, j in pairwise(order))
    assert sum(placed) == pytest.approx(sum(heights))


def test_what_has_room_stays():
    assert spread([40.0, 0.0, 20.0], 11.0) == [40.0, 0.0, 20.0]


LINE = Line([8, 16], [3.0, 4.0], [2.5, 3.5], [3.5, 5.0])


LAYOUTS = {"as it is": {}, "in time": {"scales": linear, "names": in_corner}, "of several units": {"comparable": False}}


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_panels_are_written_as_png(tmp_path, layout):
    path = tmp_path / "new" / "picture.png"
    grid = [[("left", {"A": LINE}), ("right", {"A": LINE, "B": LINE})]]
    panels(path, grid, title="title", x_label="length", y_label="speed", **layout)
    assert path.read_bytes().startswith(b"\x89PNG") and path.stat().st_size > 5_000


def test_axes_and_names_are_what_they_are_called():
    axis = Figure().subplots()
    lines = {"A": LINE, "B": Line([8, 32], [1.0, 2.0], [1.0, 2.0], [1.0, 2.0])}
    for line in lines.values():
        axis.errorbar(line.x, line.y, yerr=0)
    logarithmic(axis, lines)
    assert (axis.get_xscale(), axis.get_yscale(), list(axis.get_xticks())) == ("log", "log", [8, 16, 32])
    at_ends(axis, lines, 1.0)
    assert [(text.get_text(), text.xy) for text in axis.texts] == [("A", (16, 4.0)), ("B", (32, 2.0))]
    axis.set_xscale("linear")
    linear(axis, lines)
    in_corner(axis, lines, 1.0)
    assert axis.get_xlim()[0] == 0 and [text.get_text() for text in axis.get_legend().get_texts()] == ["A", "B"]


def test_many_ticks_are_named_every_other_time():
    axis, many = Figure().subplots(), [2.0**power for power in range(6, 16)]
    logarithmic(axis, {"A": Line(many, many, many, many)})
    named = [tick.get_text() for tick in axis.get_xticklabels()]
    assert named == ["64", "", "256", "", "1,024", "", "4,096", "", "16,384", ""]
