"""Text of any script, drawn on images."""

import contextlib
from collections.abc import Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from dataloaders.index import shorten

DEJAVU = str(Path(find_spec("matplotlib").origin).parent / "mpl-data/fonts/ttf/DejaVuSans.ttf")  # comes with matplotlib
MIN_SHARE = 0.6  # of the size that fits the height, to which a long text shrinks; a longer one is shortened


@cache
def find_font(text: str) -> str | None:
    """Return a font file of this machine that has all the letters of a text, None where there is none."""
    if text.isascii():
        return DEJAVU
    from matplotlib import font_manager
    from matplotlib.ft2font import FT2Font

    for path in (DEJAVU, *sorted(font_manager.findSystemFonts())):
        with contextlib.suppress(OSError, RuntimeError):  # of another format
            if FT2Font(path).get_charmap().keys() >= set(map(ord, text)):
                return path
    return None


@cache
def drawable_names(names: tuple[str, ...]) -> list[str]:
    """Return the names of classes for pictures: numbers stand for those that no font has, which is printed."""
    drawable = [name if find_font(name) else f"class {label}" for label, name in enumerate(names)]
    if missing := [f"{new} for {name}" for name, new in zip(names, drawable, strict=True) if new != name]:
        print(f"no font here has the letters of some classes; on pictures stands {shorten(missing)}")
    return drawable


def draw_text(frame: np.ndarray, text: str, left: int, top: int, width: int, height: int, shade: int = 255) -> None:
    """Write one line of grey letters into a box of an image, in the middle of its height; a long text is shortened."""
    size = 0.74 * height
    font = ImageFont.truetype(find_font(text) or DEJAVU, size)
    if (length := font.getlength(text)) > width:
        font = font.font_variant(size=size * max(MIN_SHARE, width / length))
    while font.getlength(text) > width and len(text) > 1:
        text = text.rstrip("…")[:-1].rstrip() + "…"
    box = frame[top : top + height, left : left + width]
    image = Image.fromarray(box)
    ImageDraw.Draw(image).text((0, box.shape[0] / 2), text, (shade,) * 3, font, anchor="lm")
    box[:] = np.asarray(image)


@contextlib.contextmanager
def figure_fonts(names: Sequence[str]):
    """Let the figures of matplotlib made in this block write such names."""
    import matplotlib
    from matplotlib import font_manager

    paths = {find_font(name) for name in names} - {None, DEJAVU}
    for path in paths:
        font_manager.fontManager.addfont(path)
    families = [font_manager.FontProperties(fname=path).get_name() for path in sorted(paths)]
    with matplotlib.rc_context({"font.family": ["DejaVu Sans", *families]}):
        yield
