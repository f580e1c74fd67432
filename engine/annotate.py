"""Text on images, predictions on the frames of a video, and the file that these are written to."""

import contextlib
import signal
import time
from collections.abc import Iterator, Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from dataloaders.clips import ClipConfig
from dataloaders.errors import DataError
from dataloaders.index import atomic_write, shorten
from dataloaders.stderr_log import STDERR_LOG
from dataloaders.video import VideoReader

DEJAVU = str(
    Path(find_spec("matplotlib").origin).parent / "mpl-data/fonts/ttf/DejaVuSans.ttf"
)  # comes with matplotlib
MIN_FONT_SCALE = (
    0.6  # of the size that fits the height, to which a long text shrinks; a longer one is shortened
)
CODECS = {
    "mp4": ("avc1", "mp4v"),
    "webm": ("VP80",),
}  # the first that this OpenCV can write: avc1 is H.264
HEATMAP_OPACITY = 0.7
GREY, LIGHT_GREY = (60, 60, 60), (140, 140, 140)
PALETTE = "c8781e 2882f0 50a028 463cc8 aa5a96 969632 2896c8 785050"  # BGR, of the classes in turn
COLOURS = [tuple(bytes.fromhex(colour)) for colour in PALETTE.split()]


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
    if missing := [
        f"{new} for {name}" for name, new in zip(names, drawable, strict=True) if new != name
    ]:
        print(
            f"no font here has the letters of some classes; on pictures stands {shorten(missing)}"
        )
    return drawable


def draw_text(
    frame: np.ndarray, text: str, left: int, top: int, width: int, height: int, shade: int = 255
) -> None:
    """Write one line of grey letters into a box of an image, in the middle of its height; a long text is shortened."""
    size = 0.74 * height
    font = ImageFont.truetype(find_font(text) or DEJAVU, size)
    if (length := font.getlength(text)) > width:
        font = font.font_variant(size=size * max(MIN_FONT_SCALE, width / length))
    while font.getlength(text) > width and len(text) > 1:
        text = text.rstrip("…")[:-1].rstrip() + "…"
    box = frame[top : top + height, left : left + width]
    image = Image.fromarray(box)
    ImageDraw.Draw(image).text((0, box.shape[0] / 2), text, (shade,) * 3, font, anchor="lm")
    box[:] = np.asarray(image)


def make_panel(
    height: int, width: int, predictions: Sequence[tuple], with_colour_bar: bool = False
) -> np.ndarray:
    """Draw a panel, BGR (its height, W, 3), for an image of such a size: a line and a bar for each prediction.
    They are (label, probability, colour), the likeliest first, which alone is written on an image too small for bars; a
    probability of None has neither. The colour bar explains those of a heat map."""
    line, margin = max(13, height // 16), max(2, height // 60)
    ramp = cv2.applyColorMap(np.arange(256, dtype=np.uint8)[None], cv2.COLORMAP_TURBO)
    if width < 160 or height < 8 * line:
        label, probability, _ = predictions[0]
        panel = np.zeros((max(12, height // 12), width, 3), np.uint8)
        text = label if probability is None else f"{probability:.0%}  {label}"
        draw_text(panel, text, margin, 0, width - 2 * margin, len(panel))
        if with_colour_bar:
            panel[-2:] = cv2.resize(ramp, (width, 2))
        return panel
    rows = [*predictions[:2], ("contribution", None, None)] if with_colour_bar else predictions
    panel = np.zeros((len(rows) * line + margin, width, 3), np.uint8)
    left, right = round(0.6 * width), width - margin
    for row, (label, probability, colour) in enumerate(rows):
        top = margin // 2 + row * line
        upper, lower = top + line // 6, top + line - line // 6
        draw_text(panel, label, margin, top, left - 3 * margin, line, 255 if row == 0 else 190)
        if colour is None:
            panel[upper:lower, left:right] = cv2.resize(ramp, (right - left, lower - upper))
            if right - left > 5 * line:
                draw_text(panel, "low", left + margin, top, right - left, line)
                draw_text(panel, "high", right - 2 * line, top, 2 * line, line)
        elif probability is not None:
            cv2.rectangle(panel, (left, upper), (right, lower), (80, 80, 80), -1)
            cv2.rectangle(
                panel,
                (left, upper),
                (left + round(probability * (right - left)), lower),
                colour,
                -1,
            )
            draw_text(panel, f"{probability:.0%}", left + margin, top, right - left, line)
    return panel


def draw_overlay(
    frame: np.ndarray, panel: np.ndarray, timeline: np.ndarray, position: float
) -> None:
    """Draw a panel and the timeline, BGR (W, 3), marked at `position`, 0 to 1, at the bottom of an image (H, W, 3)."""
    height, width = frame.shape[:2]
    strip = max(2, height // 60)
    band = frame[max(0, height - strip - len(panel)) : max(0, height - strip)]
    np.maximum(band // 4, panel[: len(band)], out=band)
    frame[height - strip :] = timeline
    x = round(position * (width - 1))
    frame[height - strip :, max(0, x - strip // 2) : x + strip // 2 + 1] = 255


def draw_heatmap(frame: np.ndarray, heatmap: np.ndarray, config: ClipConfig) -> None:
    """Colour the centre crop of an image, BGR (H, W, 3), by a heat map, float32 (crop_size, crop_size), 0 to 1."""
    height, width = frame.shape[:2]
    crop_height = round(height * config.crop_size / config.height)
    crop_width = round(width * config.crop_size / config.width)
    top, left = (height - crop_height) // 2, (width - crop_width) // 2
    crop = frame[top : top + crop_height, left : left + crop_width]
    heatmap = cv2.resize(heatmap, (crop_width, crop_height))
    colours = cv2.applyColorMap((255 * heatmap).astype(np.uint8), cv2.COLORMAP_TURBO)
    cv2.blendLinear(
        colours, crop, HEATMAP_OPACITY * heatmap, 1 - HEATMAP_OPACITY * heatmap, dst=crop
    )


def open_writer(path: Path, fps: float, size: tuple[int, int]) -> cv2.VideoWriter:
    """Open a video file for writing, in the format of its ending; OSError where that fails."""
    fps = round(fps, 1) if fps > 65 else fps  # MPEG-4 stores a fraction with terms up to 65535
    for codec in CODECS.get(path.suffix[1:].lower(), ()):
        with STDERR_LOG:  # OpenCV and FFmpeg report each codec that they lack
            writer = cv2.VideoWriter(
                str(path.absolute()), cv2.CAP_FFMPEG, cv2.VideoWriter_fourcc(*codec), fps, size
            )
        if writer.isOpened():
            return writer
    raise OSError(
        f"{path}: cannot be written as a video of {size[0]}x{size[1]}, {fps:.4g} frames/s"
    )


def annotate(
    windows, target: Path, classes, video, config, threshold=0, layout="overlay", show=False
) -> Iterator:
    """Write a video atomically, with the likeliest classes of its window on every frame; OSError where that fails.
    The frames keep their size, except that pixels become square, and that the codec drops an odd last row or column;
    in the layout "below" classes and timeline have rows of their own. A window whose likeliest class is below the
    threshold shows "none". Each is yielded when its frames are written. With `show`, q and Escape act like Ctrl-C."""
    writer, num_written, started_at, names = None, 0, None, drawable_names(tuple(classes))
    with atomic_write(target) as partial, contextlib.ExitStack() as stack:
        for window in windows:
            top = zip(
                *(values.tolist() for values in window.probabilities.topk(min(3, len(classes)))),
                strict=True,
            )
            predictions = [
                (names[label], value, COLOURS[label % len(COLOURS)]) for value, label in top
            ]
            if predictions[0][1] < threshold:
                others = [(name, value, LIGHT_GREY) for name, value, _ in predictions[:-1]]
                predictions = [("none", None, GREY), *others]
            if window.frames:
                if writer is None:
                    height, width = window.frames[0].shape[:2]
                    width = round(width * video.pixel_aspect)
                panel = make_panel(height, width, predictions, window.heatmap is not None)
                below = (
                    0 if layout == "overlay" else len(panel) + max(2, (height + len(panel)) // 59)
                )
                if writer is None:
                    writer = open_writer(partial, video.fps, (width, height + below))
                    stack.callback(writer.release)
                    timeline, duration, segments = (
                        np.full((width, 3), GREY, np.uint8),
                        video.duration,
                        [],
                    )
                segments.append((*video.interval(*window.nearest), predictions[0][2]))
                is_longer = duration < (
                    end := segments[-1][1]
                )  # the header is wrong, or does not say
                if is_longer:
                    duration = end if video.num_frames else max(end, 2 * duration)
                    timeline[:] = GREY
                for start, end, colour in segments if is_longer else segments[-1:]:
                    timeline[int(width * start / duration) : int(width * end / duration)] = colour
            for number, frame in enumerate(window.frames, start=window.nearest[0]):
                if frame.shape[:2] != (height, width):
                    frame = cv2.resize(frame, (width, height))
                if window.heatmap is not None:
                    draw_heatmap(frame, window.heatmap_at(number), config)
                if below:
                    frame = cv2.copyMakeBorder(frame, 0, below, 0, 0, cv2.BORDER_CONSTANT)
                seconds = video.timestamps[number]
                draw_overlay(frame, panel, timeline, seconds / duration)
                if writer.write(frame) is False:  # None before OpenCV 5
                    raise OSError(f"{target}: cannot be written; is the disk full?")
                if show:
                    try:
                        cv2.imshow(target.name, frame)
                    except cv2.error:
                        raise OSError(
                            "this OpenCV has no windows to --show videos in; opencv-python does"
                        ) from None
                    started_at = started_at or time.monotonic() - seconds
                    if cv2.waitKey(
                        max(1, int(1000 * (started_at + seconds - time.monotonic())))
                    ) in (ord("q"), 27):
                        show = False  # one Ctrl-C is enough
                        cv2.destroyWindow(target.name)
                        signal.raise_signal(signal.SIGINT)
            num_written += len(window.frames)
            yield window
        writer.release()
        with contextlib.suppress(DataError):
            if VideoReader(partial).num_frames >= num_written - 1:
                return
        raise OSError(f"{target}: cannot be written completely; is the disk full?")
