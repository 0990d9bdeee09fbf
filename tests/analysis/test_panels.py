"""An experiment's picture shows the figures it is given, names them in place, and never draws empty boxes."""

import os
import subprocess
import sys

import numpy as np
import pytest

from jaxformer.analysis import panels
from jaxformer.analysis.evidence import interval

X = [0, 5, 10]
BANDS = {
    "best": interval([[0.5, 0.9, 1.0], [0.4, 0.8, 1.0], [0.6, 0.7, 1.0]]),
    "也好": interval([[0.5, 0.6, 1.0], [0.5, 0.7, 1.0], [0.5, 0.8, 1.0]]),
}


@pytest.fixture
def no_fonts(monkeypatch):
    """A machine that has none but Matplotlib's own fonts."""
    monkeypatch.setattr("matplotlib.font_manager.findSystemFonts", lambda: [])


def names(axes):
    """Texts beside a panel, with their heights as parts of its own."""
    return {text.get_text(): (text.xy[1], text.get_color()) for text in axes.texts if getattr(text, "xy", (0,))[0] > 1}


def test_a_curve_is_its_mean_and_its_name_stands_beside_the_panel_in_its_colour():
    _, (axes,) = panels.row(["heading"])
    panels.curves(axes, X, BANDS, (0.0, 1.1))
    for (name, band), curve in zip(BANDS.items(), axes.get_lines(), strict=True):
        np.testing.assert_allclose(curve.get_ydata(), band.mean)
        assert names(axes)[name][1] == curve.get_color()
    assert len(axes.collections) == len(BANDS)


def test_on_a_logarithmic_axis_the_name_stands_as_high_as_the_end_of_its_curve():
    for scale, values, limits in (("linear", [1.0, 1.0], (0.0, 2.0)), ("log", [1e-3, 1e-1], (1e-2, 1.0))):
        _, (axes,) = panels.row(["heading"])
        axes.set_yscale(scale)
        panels.curves(axes, [1, 2], {"curve": interval([values, values])}, limits)
        assert names(axes)["curve"][0] == pytest.approx(0.5)


@pytest.mark.parametrize("end", [0.0, 0.4, 1.0])
def test_names_of_curves_that_end_together_stand_around_their_end_apart_and_within_the_panel(end):
    _, (axes,) = panels.row(["heading"])
    panels.curves(axes, [1, 2], {name: interval([[0.5, end]] * 2) for name in "abc"}, (0.0, 1.0))
    places = sorted(place for place, _ in names(axes).values())
    assert places[0] > 0 and places[-1] <= 1 and np.diff(places).min() > 0.05
    assert end in (0.0, 1.0) or np.mean(places) == pytest.approx(end)


def test_names_stand_in_the_order_of_the_ends_and_only_those_that_are_too_close_are_moved():
    _, (axes,) = panels.row(["heading"])
    ends = {"a": 0.3, "b": 0.9, "c": 0.31}
    panels.curves(axes, [1, 2], {name: interval([[0.5, end]] * 2) for name, end in ends.items()}, (0.0, 1.0))
    places = {name: place for name, (place, _) in names(axes).items()}
    assert places["b"] == pytest.approx(0.9) and places["a"] + 0.05 < places["c"] < 0.4
    assert (places["a"] + places["c"]) / 2 == pytest.approx(0.305)


def test_clouds_are_the_pairs_that_they_are_given_and_are_named():
    _, (axes,) = panels.row(["heading"])
    pairs = {"one": ([0.1, 0.2], [3.0, 4.0]), "other": ([0.3], [5.0])}
    panels.clouds(axes, pairs)
    for line, (x, y) in zip(axes.get_lines(), pairs.values(), strict=True):
        np.testing.assert_allclose(line.get_xydata(), np.transpose([x, y]))
    assert [text.get_text() for text in axes.get_legend().get_texts()] == list(pairs)


def test_every_value_is_a_dot_over_its_column_and_what_is_too_small_stands_on_the_axis():
    values = np.array([[1e-3, 0.0], [1e-2, 1e-1], [1e-4, 1.0]])
    _, (axes,) = panels.row(["heading"])
    panels.dots(axes, ["左", "右"], {"one": values, "other": 10 * values}, (1e-6, 100.0))
    drawn = sorted(
        (round(float(x)), float(y))
        for line in axes.get_lines()
        for x, y in zip(line.get_xdata().ravel(), line.get_ydata().ravel(), strict=True)
    )
    expected = sorted((i, max(v, 1e-6)) for both in (values, 10 * values) for row in both for i, v in enumerate(row))
    np.testing.assert_allclose(drawn, expected)


def test_the_name_of_dots_stands_beside_those_of_the_last_column():
    _, (axes,) = panels.row(["heading"])
    groups = {"high": np.array([[1e-6, 1.0]] * 3), "low": np.array([[1.0, 1e-3]] * 3)}
    panels.dots(axes, ["before", "after"], groups, (1e-4, 1e4))
    heights = {name: place for name, (place, _) in names(axes).items()}
    assert heights == {"high": pytest.approx(0.5), "low": pytest.approx(1 / 8)}


def test_a_row_is_a_mark_on_its_interval_from_the_top_down():
    _, (axes,) = panels.row(["heading"])
    values = interval([[0.5, -1.0, 3.0], [0.7, -2.0, 3.0]])
    panels.rows(axes, ["first", "second", "third"], values)
    (marks,), (bars,) = axes.get_lines(), axes.collections
    np.testing.assert_allclose(marks.get_xydata(), np.stack([values.mean, [0, 1, 2]], axis=1))
    np.testing.assert_allclose([bar[:, 0] for bar in bars.get_segments()], np.stack([values.low, values.high], axis=1))
    assert [label.get_text() for label in axes.get_yticklabels()] == ["first", "second", "third"]
    assert axes.yaxis_inverted()


def test_points_have_their_interval_and_the_legend_has_their_names():
    _, (axes,) = panels.row(["heading"])
    for style, (name, band) in enumerate(BANDS.items()):
        panels.points(axes, X, name, band, style)
    for (name, band), drawn, text in zip(BANDS.items(), axes.containers, axes.get_legend().get_texts(), strict=True):
        marks, _, (bars,) = drawn.lines
        np.testing.assert_allclose(marks.get_xydata(), np.stack([X, band.mean], axis=1))
        np.testing.assert_allclose([bar[:, 1] for bar in bars.get_segments()], np.stack([band.low, band.high], axis=1))
        assert text.get_text() == name


def test_a_mark_stands_at_a_height_for_each_value_and_is_named():
    _, (axes,) = panels.row(["heading"])
    panels.marks(axes, [200, 350], 0.5, "half")
    np.testing.assert_array_equal(axes.get_lines()[0].get_xydata(), [[200, 0.5], [350, 0.5]])
    assert [text.get_text() for text in axes.texts] == ["half"]


def test_a_logarithmic_axis_has_the_numbers_that_it_is_given():
    _, (axes,) = panels.row(["heading"])
    axes.plot([13.8, 301.0], [0.0, 1.0])
    panels.logarithmic(axes, [13.824, 55.3, 301.0, 1024])
    assert axes.get_xscale() == "log"
    assert [label.get_text() for label in axes.get_xticklabels()] == ["13.82", "55.3", "301", "1,024"]
    assert len(axes.get_xticks(minor=True)) == 0


def test_a_character_without_a_font_becomes_its_code_point(no_fonts, tmp_path):
    figure, (axes,) = panels.row(["heading"])
    panels.curves(axes, X, BANDS, (0.0, 1.1))
    assert panels.save(figure, tmp_path / "picture.png", "a note") == "也好"
    assert [text.get_text() for text in axes.texts] == ["best", "U+4E5F U+597D"]
    assert (tmp_path / "picture.png").stat().st_size > 1000


def test_axes_of_decades_name_what_stands_there():
    _, (axes,) = panels.row(["heading"])
    panels.decades(axes, [64, 1024], {"depth": interval([[1.5, 3.2], [1.5, 3.2]])})
    axes.figure.canvas.draw()
    assert [label.get_text() for label in axes.get_yticklabels()] == ["50", "100", "200", "500", "1,000"]


def test_a_heat_map_shows_its_values_beside_a_scale():
    figure, (axes,) = panels.row(["heading"])
    values = np.arange(6.0).reshape(2, 3)
    panels.heat(axes, values, "weight", ["a", "b", "c"], ["d", "e"])
    np.testing.assert_array_equal(axes.images[0].get_array(), values)
    assert axes.images[0].norm.vmin == 0
    assert "weight" in [other.get_ylabel() for other in figure.axes]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["a", "b", "c"]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["d", "e"]


def test_a_picture_needs_no_display(tmp_path):
    """Whatever window system the environment asks for."""
    hidden = {"DISPLAY", "WAYLAND_DISPLAY"}
    environment = {name: value for name, value in os.environ.items() if name not in hidden} | {"MPLBACKEND": "TkAgg"}
    code = (
        "import sys; from pathlib import Path; from jaxformer.analysis import panels\n"
        "figure, (axes,) = panels.row(['heading']); axes.plot([1, 2])\n"
        "panels.save(figure, Path(sys.argv[1]), 'note')"
    )
    subprocess.run([sys.executable, "-c", code, tmp_path / "picture.png"], env=environment, check=True)
    assert (tmp_path / "picture.png").stat().st_size > 5_000
