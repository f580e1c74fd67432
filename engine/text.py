"""Text on images and in figures, in any script that a font of this machine has."""

import contextlib
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from dataloaders.files import shorten

MATPLOTLIB = Path(find_spec("matplotlib").origin).parent
DEJAVU = str(MATPLOTLIB / "mpl-data" / "fonts" / "ttf" / "DejaVuSans.ttf")
FONT_SIZE = 0.74  # of the height of a line
MIN_FONT_SCALE = 0.6  # a long text shrinks down to this share of the font size, then is shortened


@cache
def find_font(text: str) -> str | None:
    """Return a font file of this machine that has all letters of a text; None if there is none."""
    if text.isascii():
        return DEJAVU
    from matplotlib import font_manager
    from matplotlib.ft2font import FT2Font

    letters = set(map(ord, text))
    for path in (DEJAVU, *sorted(font_manager.findSystemFonts())):
        with contextlib.suppress(OSError, RuntimeError):  # a font of another format
            if FT2Font(path).get_charmap().keys() >= letters:
                return path
    return None


@cache
def drawable_names(names: tuple[str, ...]) -> list[str]:
    """Return names of classes that can be drawn.

    A name whose letters no font has becomes its number, as in "class 3", which is printed.
    """
    drawable = []
    replaced = []
    for label, name in enumerate(names):
        if find_font(name):
            drawable.append(name)
        else:
            drawable.append(f"class {label}")
            replaced.append(f"class {label} for {name}")
    if replaced:
        print(
            f"no font here has the letters of some classes; on pictures stands {shorten(replaced)}"
        )
    return drawable


def draw_text(box: np.ndarray, text: str, shade: int = 255) -> None:
    """Write one line of text into a box; a long text shrinks, then is shortened.

    Args:
        box: Image (H, W, 3) that is drawn on; the line is as high as it.
        text: The line.
        shade: Grey level of the letters, 0 to 255.
    """
    height, width = box.shape[:2]
    size = FONT_SIZE * height
    font = ImageFont.truetype(find_font(text) or DEJAVU, size)
    length = font.getlength(text)
    if length > width:
        font = font.font_variant(size=size * max(MIN_FONT_SCALE, width / length))
    while font.getlength(text) > width and len(text) > 1:
        text = text.rstrip("…")[:-1].rstrip() + "…"
    image = Image.fromarray(box)
    ImageDraw.Draw(image).text((0, height / 2), text, (shade,) * 3, font, anchor="lm")
    box[:] = np.asarray(image)
