import warnings

import numpy as np
import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from matplotlib import font_manager

from engine.figures import figure_fonts
from engine.text import DEJAVU, draw_text, drawable_names, find_font


@pytest.fixture
def font(tmp_path, monkeypatch):
    """The one other font of this machine: a full block for each of the letters of 跳绳, a space and a dash."""
    letters = " -跳绳"
    builder = FontBuilder(1000)
    names = [".notdef", *(f"letter{i}" for i in range(len(letters)))]
    builder.setupGlyphOrder(names)
    builder.setupCharacterMap(
        {ord(letter): name for letter, name in zip(letters, names[1:], strict=True)}
    )
    pen = TTGlyphPen(None)
    pen.moveTo((0, 0))
    for point in ((0, 700), (900, 700), (900, 0)):
        pen.lineTo(point)
    pen.closePath()
    builder.setupGlyf(dict.fromkeys(names, pen.glyph()))
    builder.setupHorizontalMetrics(dict.fromkeys(names, (1000, 0)))
    builder.setupHorizontalHeader(ascent=800, descent=-200)
    builder.setupNameTable({"familyName": "Blocks", "styleName": "Regular"})
    builder.setupOS2()
    builder.setupPost()
    builder.save(tmp_path / "blocks.ttf")
    (tmp_path / "broken.ttf").write_bytes(b"no font")
    paths = [str(tmp_path / "broken.ttf"), str(tmp_path / "blocks.ttf")]
    monkeypatch.setattr(font_manager, "findSystemFonts", lambda: paths)
    for function in (find_font, drawable_names):
        function.cache_clear()
    yield paths[1]
    for function in (find_font, drawable_names):
        function.cache_clear()


def test_a_font_that_has_the_letters_is_found(font, capsys):
    assert find_font("it's [a] (test)") == find_font("прыжок") == DEJAVU
    assert find_font("跳绳") == font
    assert find_font("跳 दौड़") is None
    assert drawable_names(("jump", "跳绳", "прыжок")) == ["jump", "跳绳", "прыжок"]
    assert not capsys.readouterr().out
    for _ in range(2):  # and is said once
        assert drawable_names(("跳绳", "दौड़", "👍🏽")) == ["跳绳", "class 1", "class 2"]
    output = capsys.readouterr().out
    assert (
        output
        == "no font here has the letters of some classes; on pictures stands class 1 for दौड़, class 2 for 👍🏽\n"
    )


@pytest.mark.parametrize(
    "label", ["Run", "跳绳", "a name that is far too long for its box, whatever its size", "прыжок"]
)
@pytest.mark.parametrize(("width", "height"), [(90, 12), (300, 40), (1500, 200)])
def test_text_fills_its_box_and_stays_in_it(font, label, width, height):
    frame = np.zeros((height + 20, width + 20, 3), np.uint8)
    draw_text(frame[10 : 10 + height, 10 : 10 + width], label)
    rows, columns = np.nonzero(frame.max(2))
    assert (
        rows.min() >= 10
        and rows.max() < 10 + height
        and columns.min() >= 10
        and columns.max() < 10 + width
    )
    assert np.ptp(rows) > 0.33 * height
    if len(label) > 20:  # it ends in three dots, which are low
        assert np.ptp(columns) > 0.8 * width
        assert rows[columns > columns.max() - 0.15 * height].min() > 10 + 0.5 * height
    assert frame.max() > 200


def test_figures_write_such_names(font):
    from matplotlib.figure import Figure

    for names in (["jump", "跳绳"], ["jump", "run"]):
        with figure_fonts(names), warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            figure = Figure(figsize=(2, 1), dpi=50)
            figure.text(0.1, 0.4, "跳绳", fontsize=20)
            figure.savefig(f"{font}.png")
        assert any("Glyph" in str(warning.message) for warning in caught) == ("跳绳" not in names)
