"""Video files: found by their names, read, and written with labels on their frames."""

import contextlib
import glob
import os
import sys
from pathlib import Path

import cv2
import numpy as np

VIDEO_SUFFIXES = {".avi", ".mp4", ".mkv", ".mov", ".webm", ".mpg", ".mpeg", ".m4v", ".wmv", ".flv", ".3gp", ".ts"}
CODES = {"mp4": ("avc1", "mp4v"), "webm": ("VP80",)}  # the first that this OpenCV can write: avc1 is H.264
FONT = cv2.FONT_HERSHEY_SIMPLEX
COLOURS = (  # BGR, of the classes in turn
    (200, 120, 30), (40, 130, 240), (80, 160, 40), (70, 60, 200),
    (170, 90, 150), (150, 150, 50), (40, 150, 200), (120, 80, 80),
)


def find_videos(names):
    """The videos that are meant by names of files and folders and by patterns.

    Returns:
        A list of (path, folder), each path once; the folder is where it lies below the one that was named.

    Raises:
        FileNotFoundError: a name means no video.
    """
    found = {}
    for name in names:
        if os.path.isdir(name):
            files = [file for file in sorted(Path(name).rglob("*")) if file.suffix.lower() in VIDEO_SUFFIXES]
            here = {file: file.parent.relative_to(name) for file in files if file.is_file()}
        else:
            files = [name] if os.path.isfile(name) else sorted(glob.glob(name, recursive=True))
            here = {Path(file): Path() for file in files if os.path.isfile(file)}
        if not here:
            raise FileNotFoundError(f"{name}: no such file, nor a folder or pattern with videos")
        found |= here
    return list(found.items())


def read_frames(video):
    """Yield the frames of an open video, BGR images (H, W, 3), as far as it can be decoded."""
    while (result := video.read())[0]:
        yield result[1]


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
    band = frame[height - thin - len(panel) : height - thin]
    cv2.max(band // 4, panel, dst=band)
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
    for code in CODES[path.suffix[1:]]:
        with without_stderr():  # OpenCV and FFmpeg tell of each code that they do without
            writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, cv2.VideoWriter_fourcc(*code), fps, size)
        if writer.isOpened():
            return writer
    raise OSError(f"{path}: cannot be written")


@contextlib.contextmanager
def without_stderr():
    """Keep what libraries print, past Python, off the terminal."""
    sys.stderr.flush()
    with open(os.devnull, "w") as nowhere:
        kept = os.dup(2)
        os.dup2(nowhere.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(kept, 2)
            os.close(kept)


def annotate(windows, target, classes, fps, length, show=False):
    """Write a video, whole or not at all, with the likeliest classes of the nearest window on every frame.

    The frames keep their size, except that the codec drops the last row or column where it is odd.

    Args:
        windows: (start, end, probabilities, frames) of each: the images whose nearest window it is.
        target: the file to write.
        length: how many frames the video is thought to have, for the timeline.

    Yields:
        (start, end, probabilities) of each window, when its frames are written.

    Raises:
        OSError: the file cannot be written.
    """
    writer, partial, number = None, target.with_suffix(f".partial{target.suffix}"), 0
    try:
        for start, end, probabilities, frames in windows:
            values, labels = (found.tolist() for found in probabilities.topk(min(3, len(classes))))
            guesses = [
                (classes[label], value, COLOURS[label % len(COLOURS)])
                for label, value in zip(labels, values, strict=True)
            ]
            for first, frame in enumerate(frames, start=number):
                height, width = frame.shape[:2]
                if writer is None:
                    writer = open_writer(partial, fps, (width, height))
                    timeline = np.full((width, 3), 60, np.uint8)
                if first == number:
                    length = max(length, number + len(frames))
                    panel = make_panel(height, width, guesses)
                    past, now = (width * n // length for n in (number, number + len(frames)))
                    timeline[past:now] = guesses[0][2]
                stamp(frame, panel, timeline, first / max(1, length - 1))
                writer.write(frame)
                if show:
                    cv2.imshow(target.name, frame)
                    cv2.waitKey(1)
            number += len(frames)
            yield start, end, probabilities
        writer.release()
        os.replace(partial, target)
    finally:
        if writer:
            writer.release()
        partial.unlink(missing_ok=True)
