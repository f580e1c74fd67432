"""Figures of a test, and captioned pictures."""

import contextlib
import math
from collections.abc import Sequence

import cv2
import matplotlib
import numpy as np
from matplotlib import font_manager
from matplotlib.figure import Figure

from engine.text import DEJAVU, draw_text, find_font

CAPTION_HEIGHT = 24  # above a tile, in pixels
BARS_OF_A_COLUMN = 40
BAR_COLOUR = "#2160b0"


def figure_fonts(names: Sequence[str]) -> contextlib.AbstractContextManager:
    """Return a context in which the figures of matplotlib write such names."""
    paths = {find_font(name) for name in names} - {None, DEJAVU}
    families = ["DejaVu Sans"]
    for path in sorted(paths):
        font_manager.fontManager.addfont(path)
        families.append(font_manager.FontProperties(fname=path).get_name())
    # A "$" in a name is no formula.
    return matplotlib.rc_context({"font.family": families, "text.parse_math": False})


def plot_confusion_matrix(matrix: np.ndarray, names: Sequence[str]) -> Figure:
    """Return a figure of a confusion matrix, shaded by row; it grows so that 400 can be read.

    Args:
        matrix: (classes, classes), the videos by class and prediction.
        names: Of the classes.
    """
    cell = min(0.45, max(0.13, 20 / len(names)))  # inches
    font = min(10, 60 * cell)
    longest = max(len(name) for name in names)
    side = cell * len(names) + 0.09 * font * longest / 10 + 1.2
    figure = Figure(figsize=(side, side), dpi=100, layout="constrained")
    axes = figure.subplots()
    fractions = matrix / np.maximum(matrix.sum(1, keepdims=True), 1)
    axes.imshow(fractions, "Blues", interpolation="nearest", vmin=0, vmax=1)
    axes.set(xlabel="predicted", ylabel="true")
    axes.set_xticks(range(len(names)), names, fontsize=font, rotation="vertical")
    axes.set_yticks(range(len(names)), names, fontsize=font)
    for i, j in np.argwhere(matrix):
        colour = "white" if fractions[i, j] > 0.5 else "black"
        axes.text(j, i, matrix[i, j], ha="center", va="center", color=colour, fontsize=0.9 * font)
    return figure


def plot_class_accuracy(matrix: np.ndarray, names: Sequence[str]) -> Figure:
    """Return a figure with a bar for each class that was tested, the lowest first, in columns.

    Args:
        matrix: (classes, classes), the videos by class and prediction.
        names: Of the classes.
    """
    accuracy = matrix.diagonal() / np.maximum(matrix.sum(1), 1)
    order = [i for i in np.argsort(accuracy, kind="stable") if matrix[i].sum()]
    columns = np.array_split(order, math.ceil(len(order) / BARS_OF_A_COLUMN))
    width = 2.5 + 0.08 * max(len(names[i]) for i in order)
    height = 0.24 * len(columns[0]) + 0.7
    figure = Figure(figsize=(width * len(columns), height), dpi=100, layout="constrained")
    all_axes = figure.subplots(1, len(columns), squeeze=False)[0]
    for axes, column in zip(all_axes, columns, strict=True):
        bars = axes.barh(range(len(column)), accuracy[column], color=BAR_COLOUR)
        axes.bar_label(bars, [f"{accuracy[i]:.0%}" for i in column], padding=3, fontsize=8)
        axes.set_yticks(range(len(column)), [names[i] for i in column], fontsize=8)
        axes.set(xlim=(0, 1.2), xticks=(0, 0.5, 1), ylim=(len(columns[0]) - 0.5, -0.5))
        axes.spines[["top", "right"]].set_visible(False)
    return figure


def draw_tile(image: np.ndarray, caption: str, side: int = 224) -> np.ndarray:
    """Return a square picture with a caption above it.

    Args:
        image: RGB `uint8` (H, W, 3).
        caption: One line.
        side: Of the picture, in pixels.

    Returns:
        (side + 24, side, 3).
    """
    image = cv2.resize(image, (side, side), interpolation=cv2.INTER_CUBIC)
    tile = cv2.copyMakeBorder(image, CAPTION_HEIGHT, 0, 0, 0, cv2.BORDER_CONSTANT)
    draw_text(tile[4:20, 6 : side - 6], caption)
    return tile
