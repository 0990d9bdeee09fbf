"""Pictures show the numbers and the words they are given, in fonts that have the characters."""

import warnings

import matplotlib
import matplotlib.figure
import numpy as np
import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen

from jaxformer.analysis.fonts import lettering, typeface
from jaxformer.analysis.plots import draw_attention, draw_table
from jaxformer.config.errors import UserError

N, T, S = 3, 5, 7
SOURCE = ["▁the", "▁girl", "▁$5", "▁or", "▁$6", ".", "<eos>"]
TARGET = ["女", "孩", "$5", "…", "<eos>"]
WEIGHTS = np.random.default_rng(0).dirichlet(np.ones(S), size=(N, T)).astype(np.float32)


@pytest.fixture
def no_fonts(monkeypatch):
    """A machine that has none but Matplotlib's own fonts."""
    monkeypatch.setattr("matplotlib.font_manager.findSystemFonts", lambda: [])


@pytest.fixture
def chinese_fonts(monkeypatch, tmp_path):
    """A machine with a font that has 女 and 孩, one that has 女 and x alone, and a file that is no font."""
    (tmp_path / "aaa.ttf").write_bytes(b"no font")
    paths = [str(tmp_path / "aaa.ttf"), font(tmp_path / "few.ttf", " 女x"), font(tmp_path / "more.ttf", " 女孩")]
    monkeypatch.setattr("matplotlib.font_manager.findSystemFonts", lambda: paths)
    return paths


@pytest.fixture
def figures(monkeypatch):
    """The figures that are saved while the test runs."""
    saved, save = [], matplotlib.figure.Figure.savefig
    monkeypatch.setattr(
        "matplotlib.figure.Figure.savefig", lambda self, *args, **kw: (saved.append(self), save(self, *args, **kw))
    )
    return saved


def font(path, characters):
    """A font in which every one of these characters is a box."""
    pen = TTGlyphPen(None)
    pen.moveTo((0, 0))
    for corner in ((0, 700), (700, 700), (700, 0)):
        pen.lineTo(corner)
    pen.closePath()
    names = [".notdef", *(f"u{ord(character):04X}" for character in characters)]
    builder = FontBuilder(1000, isTTF=True)
    builder.setupGlyphOrder(names)
    builder.setupCharacterMap({ord(c): name for c, name in zip(characters, names[1:], strict=True)})
    builder.setupGlyf(dict.fromkeys(names, pen.glyph()))
    builder.setupHorizontalMetrics(dict.fromkeys(names, (800, 0)))
    builder.setupHorizontalHeader(ascent=800, descent=-200)
    builder.setupNameTable({"familyName": path.stem, "styleName": "Regular"})
    builder.setupOS2()
    builder.setupPost()
    builder.save(path)
    return str(path)


def panels(figure):
    return {axes.get_title(): axes for axes in figure.axes if axes.get_images() and axes.get_title()}


def draw(path, weights=WEIGHTS, **kw):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return draw_attention(path, weights, SOURCE, TARGET, **kw)


def test_panels_show_the_mean_and_every_head_on_one_scale(tmp_path, figures, no_fonts):
    draw(tmp_path / "made" / "a.png")
    shown = panels(figures[0])
    assert list(shown) == ["mean of 3 heads", "head 1", "head 2", "head 3"]
    expected = [WEIGHTS.mean(0), *WEIGHTS]
    for axes, weights_TS in zip(shown.values(), expected, strict=True):
        (image,) = axes.get_images()
        np.testing.assert_array_equal(image.get_array(), weights_TS)
        assert image.get_clim() == (0.0, pytest.approx(WEIGHTS.max()))
    assert (tmp_path / "made" / "a.png").read_bytes().startswith(b"\x89PNG")


def test_a_single_head_is_drawn_once(tmp_path, figures, no_fonts):
    draw(tmp_path / "a.png", WEIGHTS[:1])
    assert list(panels(figures[0])) == ["head 1"]


def test_what_no_font_has_stands_as_code_points_and_is_returned(tmp_path, figures, no_fonts):
    assert draw(tmp_path / "a.png", title="女孩 x") == "女孩"
    axes = panels(figures[0])["mean of 3 heads"]
    assert [text.get_text() for text in axes.get_xticklabels()] == SOURCE
    assert [text.get_text() for text in axes.get_yticklabels()] == ["U+5973", "U+5B69", "$5", "…", "<eos>"]
    assert figures[0].get_suptitle() == "U+5973 U+5B69 x"


def test_an_installed_font_is_found_by_the_characters_it_has(tmp_path, figures, chinese_fonts):
    assert draw(tmp_path / "a.png") == ""
    axes = panels(figures[0])["mean of 3 heads"]
    labels = {text.get_text(): text.get_fontproperties().get_file() for text in axes.get_yticklabels()}
    assert list(labels) == TARGET
    assert labels["女"] == labels["孩"] == chinese_fonts[-1]
    assert labels["<eos>"].endswith("DejaVuSans.ttf")


def test_dollars_begin_no_formula(tmp_path, figures, no_fonts):
    draw(tmp_path / "a.svg", title="from $5 to $6")
    axes = panels(figures[0])["mean of 3 heads"]
    texts = [*axes.get_xticklabels(), *axes.get_yticklabels(), figures[0]._suptitle]
    assert not any(text.get_parse_math() for text in texts)


@pytest.mark.parametrize("title", ["a long title " * 20, "女孩 " + "女孩" * 60], ids=["latin", "chinese"])
def test_a_long_title_stays_inside_the_picture(tmp_path, figures, chinese_fonts, title):
    draw(tmp_path / "a.png", WEIGHTS[:1], title=title)
    (figure,) = figures
    figure.draw_without_rendering()
    box, (width, height) = figure._suptitle.get_window_extent(), figure.get_size_inches() * figure.dpi
    assert box.x0 >= 0 and box.x1 <= width and box.y1 <= height and box.height > 20
    assert figure.get_suptitle().replace("\n", "").replace(" ", "") == title.replace(" ", "")


def test_fonts_are_opened_only_for_what_the_own_one_lacks(monkeypatch):
    monkeypatch.setattr("matplotlib.font_manager.findSystemFonts", lambda: pytest.fail("looked for fonts"))
    assert lettering(["▁the naïve Ωμέγα ж ⟨E6⟩…"]).missing == ""


def test_each_text_gets_the_font_that_draws_most_of_it(chinese_fonts):
    letters = lettering(["女孩", "x", "買"])
    assert letters.missing == "買"
    assert letters.of("女孩").path == chinese_fonts[-1]
    assert letters.of("x") is letters.typefaces[0]
    assert typeface(chinese_fonts[-1]).spell("女 買孩") == "女 U+8CB7 孩"


def test_a_picture_leaves_the_settings_of_matplotlib_alone(tmp_path, no_fonts):
    before = dict(matplotlib.rcParams)
    draw(tmp_path / "a.png")
    assert dict(matplotlib.rcParams) == before


def test_weights_of_another_shape_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"must be \[heads, 5, 7\], got \(3, 7, 5\)"):
        draw_attention(tmp_path / "a.png", WEIGHTS.swapaxes(1, 2), SOURCE, TARGET)


def test_an_unknown_format_is_the_persons_error(tmp_path, no_fonts):
    with pytest.raises(UserError, match=r"got 'a.jqg'; name it a.png"):
        draw_attention(tmp_path / "a.jqg", WEIGHTS, SOURCE, TARGET)
    assert not list(tmp_path.iterdir())


HEADS = np.array([[0.5, -0.1, 0.2], [0.0, 0.3, 0.4]])


def test_a_table_shows_its_numbers_under_their_names_with_zero_in_the_middle(figures, tmp_path):
    missing = draw_table(tmp_path / "heads.png", HEADS, ["layer 1", "layer 2"], "abc", "loss (nats)", "Without $1 head")
    assert missing == ""
    axes, bar = figures[0].axes
    (image,) = axes.images
    np.testing.assert_array_equal(image.get_array(), HEADS)
    assert image.get_clim() == (-0.5, 0.5)
    assert [label.get_text() for label in axes.get_yticklabels()] == ["layer 1", "layer 2"]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["a", "b", "c"]
    assert bar.get_ylabel() == "loss (nats)"


def test_a_long_name_of_a_quantity_stands_within_the_picture(figures, tmp_path):
    quantity = "loss without the head, less that of the whole model (nats)"
    draw_table(tmp_path / "heads.png", HEADS, ["1", "2"], "abc", quantity)
    (figure,) = figures
    box = figure.axes[1].yaxis.label.get_window_extent()
    assert box.y0 >= 0 and box.y1 <= figure.bbox.height and figure.axes[1].get_ylabel().count("\n") >= 1


def test_cells_hold_their_texts_and_missing_characters_are_told(no_fonts, figures, tmp_path):
    cells = [["a", "女", "$5"], ["x", "y", "z"]]
    missing = draw_table(tmp_path / "lens.png", abs(HEADS), ["1", "2"], ["孩", "b", "c"], "probability", cells=cells)
    assert missing == "女孩"
    axes = figures[0].axes[0]
    assert [text.get_text() for text in axes.texts] == ["a", "U+5973", "$5", "x", "y", "z"]
    assert axes.images[0].get_clim() == (0, 0.5)


def test_a_table_without_a_name_for_each_row_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"values_RC must be \[1, 3\], as they have names, got \(2, 3\)"):
        draw_table(tmp_path / "heads.png", HEADS, ["1"], "abc", "loss")
