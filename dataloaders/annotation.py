"""What is drawn on the frames of a video, and the file that they are written to."""

import os
import signal
import time

import cv2
import numpy as np

from dataloaders.videos import without_stderr

CODES = {"mp4": ("avc1", "mp4v"), "webm": ("VP80",)}  # the first that this OpenCV can write: avc1 is H.264
FONT = cv2.FONT_HERSHEY_SIMPLEX
MOST_HEAT = 0.7  # how much of a pixel heat may hide
COLOURS = (  # BGR, of the classes in turn
    (200, 120, 30),
    (40, 130, 240),
    (80, 160, 40),
    (70, 60, 200),
    (170, 90, 150),
    (150, 150, 50),
    (40, 150, 200),
    (120, 80, 80),
)


def make_panel(height, width, guesses):
    """What stands on the dark band along the bottom edge of an image: a line and a bar for each guess.

    Args:
        height, width: of the image. One too small for bars has the first guess alone.
        guesses: (label, probability, colour) of the likeliest classes, likeliest first.

    Returns:
        BGR (H of the band, W, 3), black where the image shines through.
    """
    line, margin = max(13, height // 13), max(2, height // 60)
    if width < 160 or height < 8 * line:
        label, probability, _ = guesses[0]
        panel = np.zeros((max(12, height // 12), width, 3), np.uint8)
        draw_text(panel, f"{label}  {probability:.0%}", margin, 0, width - 2 * margin, len(panel))
        return panel
    panel = np.zeros((len(guesses) * line + margin, width, 3), np.uint8)
    left, right = round(0.6 * width), width - margin
    for row, (label, probability, colour) in enumerate(guesses):
        top = margin // 2 + row * line
        upper, lower = top + line // 6, top + line - line // 6
        draw_text(panel, label, margin, top, left - 3 * margin, line, 255 if row == 0 else 190)
        cv2.rectangle(panel, (left, upper), (right, lower), (80, 80, 80), -1)
        cv2.rectangle(panel, (left, upper), (left + round(probability * (right - left)), lower), colour, -1)
        draw_text(panel, f"{probability:.0%}", left + margin, top, right - left, line)
    return panel


def stamp(frame, panel, timeline, cursor):
    """Put a panel into an image, and below it a strip that tells what was said when.

    Args:
        frame: BGR (H, W, 3).
        panel: as `make_panel` gives it.
        timeline: BGR (W, 3), the colour of what was said from the first frame of the video to the last.
        cursor: where on it this frame is, 0 to 1.
    """
    height, width = frame.shape[:2]
    thin = max(2, height // 60)
    band = frame[max(0, height - thin - len(panel)) : max(0, height - thin)]
    np.maximum(band // 4, panel[: len(band)], out=band)
    frame[height - thin :] = timeline
    x = round(cursor * (width - 1))
    frame[height - thin :, max(0, x - thin // 2) : x + thin // 2 + 1] = 255


def draw_text(frame, text, left, top, width, height, shade=255):
    """Write one line of grey letters into a box of an image, in the middle of its height."""
    (text_width, text_height), below = cv2.getTextSize(text, FONT, 1, 2)
    scale = min(0.62 * height / text_height, width / text_width)
    baseline = top + round((height + scale * (text_height - below / 2)) / 2)
    cv2.putText(frame, text, (left, baseline), FONT, scale, (shade,) * 3, max(1, round(2 * scale)), cv2.LINE_AA)


def open_writer(path, fps, size):
    """Open a video file for writing, as its ending says; OSError where that cannot be done."""
    fps = round(fps, 1) if fps > 65 else fps  # MPEG-4 counts in fractions with 65535 at most
    for code in CODES[path.suffix[1:]]:
        with without_stderr():  # OpenCV and FFmpeg tell of each code that they do without
            writer = cv2.VideoWriter(str(path.absolute()), cv2.CAP_FFMPEG, cv2.VideoWriter_fourcc(*code), fps, size)
        if writer.isOpened():
            return writer
    raise OSError(f"{path}: cannot be written")


def overlay(frame, heat, clip):
    """Colour an image by how much the network looks at each place.

    Args:
        frame: BGR (H, W, 3).
        heat: float32 (crop_size, crop_size), 0 to 1, of the centre crop that the recipe `clip` cuts from it.
    """
    height, width = frame.shape[:2]
    size = clip["crop_size"]
    tall, wide = round(height * size / clip["height"]), round(width * size / clip["width"])
    top, left = (height - tall) // 2, (width - wide) // 2
    part = frame[top : top + tall, left : left + wide]
    heat = cv2.resize(heat, (wide, tall))
    colour = cv2.applyColorMap((255 * heat).astype(np.uint8), cv2.COLORMAP_TURBO)
    cv2.blendLinear(colour, part, MOST_HEAT * heat, 1 - MOST_HEAT * heat, dst=part)


def show_frame(name, frame):
    """Show an image in a window of that name."""
    try:
        cv2.imshow(name, frame)
    except cv2.error:
        raise OSError("this OpenCV has no windows to --show videos in; opencv-python does") from None


def annotate(windows, target, classes, video, clip, show=False):
    """Write a video, whole or not at all, with the likeliest classes of the nearest window on every frame.

    The frames keep their size, except that the codec drops the last row or column where it is odd.

    Args:
        windows: a `Window` each, with probabilities (num_classes,), the images whose nearest window it is, and where it
            was asked for the heat (T, crop_size, crop_size) of its clip.
        target: the file to write.
        video: the `Video` that they are of. Where nobody knows how long it is, the timeline shrinks as it grows.
        clip: the recipe by which the clips were cut.
        show: play it in a window as well; q and Escape are a Ctrl-C.

    Yields:
        Each window, when its frames are written.

    Raises:
        OSError: the file cannot be written.
    """
    writer, partial = None, target.with_suffix(f".partial{target.suffix}")
    number, length, began = 0, video.length, None
    try:
        for window in windows:
            values, labels = (found.tolist() for found in window.probabilities.topk(min(3, len(classes))))
            guesses = [
                (classes[label], value, COLOURS[label % len(COLOURS)])
                for label, value in zip(labels, values, strict=True)
            ]
            for first, frame in enumerate(window.frames, start=number):
                height, width = frame.shape[:2]
                if writer is None:
                    writer = open_writer(partial, video.fps, (width, height))
                    timeline = np.full((width, 3), 60, np.uint8)
                if first == number:
                    start, end = video.seconds(number, number + len(window.frames))
                    if length < end:
                        before, length = length, end if video.told else max(end, 2 * length)
                        past = cv2.resize(timeline[None], (max(1, int(width * before / length)), 1))[0]
                        timeline[:] = 60
                        timeline[: len(past)] = past
                    panel = make_panel(height, width, guesses)
                    timeline[int(width * start / length) : int(width * end / length)] = guesses[0][2]
                if window.heat is not None:
                    overlay(frame, window.heat[window.nearest(first)], clip)
                now = video.seconds(first, first + 1)[0]
                stamp(frame, panel, timeline, now / length)
                if writer.write(frame) is False:  # None before OpenCV 5
                    raise OSError(f"{target}: cannot be written; is the disk full?")
                if show:
                    show_frame(target.name, frame)
                    began = began or time.monotonic() - now
                    if cv2.waitKey(max(1, int(1000 * (began + now - time.monotonic())))) in (ord("q"), 27):
                        show = False  # a Ctrl-C is enough
                        cv2.destroyWindow(target.name)
                        signal.raise_signal(signal.SIGINT)
            number += len(window.frames)
            yield window
        writer.release()
        written = cv2.VideoCapture(str(partial.absolute()), cv2.CAP_FFMPEG)
        if not written.isOpened() or written.get(cv2.CAP_PROP_FRAME_COUNT) < number - 1:
            raise OSError(f"{target}: cannot be written whole; is the disk full?")
        os.replace(partial, target)
    finally:
        if writer:
            writer.release()
        partial.unlink(missing_ok=True)
