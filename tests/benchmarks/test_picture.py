"""Pictures: names beside line ends never overlap; the file is a picture."""

from itertools import pairwise

import pytest

from benchmarks.picture import Line, panels, spread


@pytest.mark.parametrize("heights", [[1.0, 1.0, 1.0, 1.0], [0.0, 3.0, 100.0], [30.0, 0.0, 27.0, 31.0], [5.0]])
def test_spread_keeps_order_and_distance(heights):
    placed = spread(heights, 11.0)
    order = sorted(range(len(heights)), key=lambda i: heights[i])
    assert all(placed[j] - placed[i] >= 11.0 - 1e-9 for i, j in pairwise(order))
    assert sum(placed) == pytest.approx(sum(heights))


def test_what_has_room_stays():
    assert spread([40.0, 0.0, 20.0], 11.0) == [40.0, 0.0, 20.0]


def test_panels_are_written_as_png(tmp_path):
    line = Line([8, 16], [3.0, 4.0], [2.5, 3.5], [3.5, 5.0])
    path = tmp_path / "new" / "picture.png"
    grid = [[("left", {"A": line}), ("right", {"A": line, "B": line})]]
    panels(path, grid, title="title", x_label="length", y_label="speed")
    assert path.read_bytes().startswith(b"\x89PNG") and path.stat().st_size > 5_000
