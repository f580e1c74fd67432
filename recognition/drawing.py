"""Predictions on the frames of a video: labels with bars, a timeline, heat maps."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from dataloaders.sampling import ClipConfig
from engine.text import draw_text

LAYOUTS = ("overlay", "below")
HEATMAP_OPACITY = 0.7
MAX_BARS = 3
MIN_WIDTH_FOR_BARS = 160
MIN_LINES_FOR_BARS = 8  # as high as an image must be
GREY = (60, 60, 60)
LIGHT_GREY = (140, 140, 140)
PALETTE = "c8781e 2882f0 50a028 463cc8 aa5a96 969632 2896c8 785050"  # BGR, of the classes in turn
COLOURS = [tuple(bytes.fromhex(colour)) for colour in PALETTE.split()]
COLOUR_RAMP = np.arange(256, dtype=np.uint8)[None]


@dataclass(frozen=True)
class Bar:
    """A line of the panel: a label, and a bar as long as its probability, None for no bar."""

    label: str
    probability: float | None
    colour: tuple[int, int, int]


def make_panel(
    height: int, width: int, bars: Sequence[Bar], with_colour_bar: bool = False
) -> np.ndarray:
    """Draw the panel of an image.

    Args:
        height: That of the image.
        width: That of the image, and of the panel.
        bars: The likeliest class first, which alone is written on an image too small for bars.
        with_colour_bar: Whether the last line explains the colours of a heat map.

    Returns:
        The panel, BGR `uint8` (its height, W, 3).
    """
    line = max(13, height // 16)
    margin = max(2, height // 60)
    if width < MIN_WIDTH_FOR_BARS or height < MIN_LINES_FOR_BARS * line:
        return _make_small_panel(height, width, bars[0], with_colour_bar)
    if with_colour_bar:
        bars = bars[: MAX_BARS - 1]
    panel = np.zeros(((len(bars) + with_colour_bar) * line + margin, width, 3), np.uint8)
    rows = [panel[top : top + line] for top in range(margin // 2, len(panel) - line + 1, line)]
    for number, bar in enumerate(bars):
        _draw_bar(rows[number], bar, margin, shade=255 if number == 0 else 190)
    if with_colour_bar:
        _draw_colour_bar(rows[len(bars)], margin)
    return panel


def _make_small_panel(height: int, width: int, bar: Bar, with_colour_bar: bool) -> np.ndarray:
    margin = max(2, height // 60)
    panel = np.zeros((max(12, height // 12), width, 3), np.uint8)
    text = bar.label if bar.probability is None else f"{bar.probability:.0%}  {bar.label}"
    draw_text(panel[:, margin : width - margin], text)
    if with_colour_bar:
        panel[-2:] = cv2.resize(_colour_ramp(), (width, 2))
    return panel


def _draw_bar(row: np.ndarray, bar: Bar, margin: int, shade: int) -> None:
    """Draw a label into the left and its bar into the right of a row (line, W, 3)."""
    line, width = row.shape[:2]
    left = round(0.6 * width)
    right = width - margin
    draw_text(row[:, margin : left - 2 * margin], bar.label, shade)
    if bar.probability is None:
        return
    top_left = (left, line // 6)
    bottom = line - line // 6
    end = left + round(bar.probability * (right - left))
    cv2.rectangle(row, top_left, (right, bottom), (80, 80, 80), -1)
    cv2.rectangle(row, top_left, (end, bottom), bar.colour, -1)
    draw_text(row[:, left + margin : right + margin], f"{bar.probability:.0%}")


def _draw_colour_bar(row: np.ndarray, margin: int) -> None:
    line, width = row.shape[:2]
    left = round(0.6 * width)
    right = width - margin
    draw_text(row[:, margin : left - 2 * margin], "contribution", 190)
    top = line // 6
    bottom = line - line // 6
    row[top:bottom, left:right] = cv2.resize(_colour_ramp(), (right - left, bottom - top))
    if right - left > 5 * line:
        draw_text(row[:, left + margin : right], "low")
        draw_text(row[:, right - 2 * line : right], "high")


def _colour_ramp() -> np.ndarray:
    return cv2.applyColorMap(COLOUR_RAMP, cv2.COLORMAP_TURBO)


def draw_overlay(
    frame: np.ndarray, panel: np.ndarray, timeline: np.ndarray, position: float
) -> None:
    """Draw a panel and a timeline at the bottom of an image.

    Args:
        frame: The image, BGR (H, W, 3), which is drawn on.
        panel: BGR (its height, W, 3).
        timeline: BGR (W, 3).
        position: Place of the mark on the timeline, 0 to 1.
    """
    height, width = frame.shape[:2]
    strip = max(2, height // 60)
    band = frame[max(0, height - strip - len(panel)) : max(0, height - strip)]
    np.maximum(band // 4, panel[: len(band)], out=band)
    frame[height - strip :] = timeline
    x = round(position * (width - 1))
    frame[height - strip :, max(0, x - strip // 2) : x + strip // 2 + 1] = 255


def draw_heatmap(frame: np.ndarray, heatmap: np.ndarray, config: ClipConfig) -> None:
    """Colour the centre crop of an image by a heat map.

    Args:
        frame: The image, BGR (H, W, 3), which is drawn on.
        heatmap: `float32` (crop_size, crop_size), 0 to 1.
        config: How the crop was cut.
    """
    height, width = frame.shape[:2]
    crop_height = round(height * config.crop_size / config.height)
    crop_width = round(width * config.crop_size / config.width)
    top = (height - crop_height) // 2
    left = (width - crop_width) // 2
    crop = frame[top : top + crop_height, left : left + crop_width]
    heatmap = cv2.resize(heatmap, (crop_width, crop_height))
    colours = cv2.applyColorMap((255 * heatmap).astype(np.uint8), cv2.COLORMAP_TURBO)
    opacity = HEATMAP_OPACITY * heatmap
    cv2.blendLinear(colours, crop, opacity, 1 - opacity, dst=crop)


class Timeline:
    """A row of pixels as long as a video, with the colour of the label at each time."""

    def __init__(self, width: int, duration: float | None):
        """Start with an empty row.

        Args:
            width: Pixels.
            duration: Seconds of the video, which may be wrong; None where it is not known.
        """
        self.row = np.full((width, 3), GREY, np.uint8)
        self._grows = duration is None
        self._duration = duration or 0.0
        self._parts: list[tuple[float, float, tuple[int, int, int]]] = []

    def add(self, start: float, end: float, colour: tuple[int, int, int]) -> None:
        """Colour the next part of the video.

        Args:
            start: Where it begins, in seconds.
            end: Where it ends.
            colour: BGR.
        """
        self._parts.append((start, end, colour))
        if end <= self._duration:
            self._paint(start, end, colour)
            return
        # The video is longer than it was said to be; one of unknown length doubles its row.
        self._duration = max(end, 2 * self._duration) if self._grows else end
        self.row[:] = GREY
        for part in self._parts:
            self._paint(*part)

    def position(self, time: float) -> float:
        """Return the place of a time in the row, 0 to 1."""
        return time / self._duration

    def _paint(self, start: float, end: float, colour: tuple[int, int, int]) -> None:
        width = len(self.row)
        self.row[int(width * start / self._duration) : int(width * end / self._duration)] = colour
