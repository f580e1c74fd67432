"""Videos to be read, files, cameras and streams, and the windows that they are classified by."""

import contextlib
import glob
import math
import os
import sys
import time
from array import array
from collections import deque
from itertools import islice, takewhile
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from dataloaders import clips

VIDEO_SUFFIXES = {".avi", ".mp4", ".mkv", ".mov", ".webm", ".mpg", ".mpeg", ".m4v", ".wmv", ".flv", ".3gp", ".ts"}


def find_videos(names, output):
    """The videos that are meant by names of files and folders and by patterns.

    Args:
        names: of what to look for.
        output: a folder; what lies in it was not meant by what lies around it.

    Returns:
        A list of (path, folder), each path once; the folder is where it lies below what was named.

    Raises:
        FileNotFoundError: a name means no video.
    """
    found, output = {}, output.resolve()
    for name in names:
        if os.path.isdir(name):
            root, files = name, [file for file in Path(name).rglob("*") if file.suffix.lower() in VIDEO_SUFFIXES]
        elif os.path.isfile(name):
            root, files = os.path.dirname(name), [Path(name)]
        else:
            root = Path(*takewhile(lambda part: not glob.has_magic(part), Path(name).parts))
            files = map(Path, glob.glob(name, recursive=True))
        inside = output in (Path(root).resolve() / "file").parents
        files = (f for f in sorted(files) if f.is_file() and (inside or output not in f.resolve().parents))
        here = {file: file.parent.relative_to(root) for file in files}
        if not here:
            raise FileNotFoundError(f"{name}: no such file, nor a folder or pattern with videos")
        found |= here
    return list(found.items())


class Video:
    """A video that is read once.

    Args:
        source: the path of a file; or a string, the number of a camera or the address of a stream.

    Attributes:
        told: how many frames there are as the file has it, which may be an estimate; 0 where it does not say.
        length: in seconds, likewise.
        live: it comes as it happens.
        times: when each frame that was read begins, in seconds from the first.
        wanted: set it to False to let iterating end.

    Raises:
        OSError, ValueError: it cannot be opened.
    """

    def __init__(self, source):
        if isinstance(source, Path):
            self.capture = clips.open_video(source)
        else:
            with without_stderr():
                self.capture = open_source(source)
            if not self.capture.isOpened():
                raise OSError(f"{source}: no such camera, nor a stream that can be opened")
        self.rate = self.capture.get(cv2.CAP_PROP_FPS)
        self.told = max(0, int(self.capture.get(cv2.CAP_PROP_FRAME_COUNT)))
        self.length = self.told / self.rate if self.rate > 0 else 0.0
        self.live = not isinstance(source, Path) and not self.told
        # A camera's images come without times, and those of motion JPEG streams are made up.
        code = cv2.VideoWriter_fourcc(*"MJPG")
        self.clocked = self.live and ("://" not in source or self.capture.get(cv2.CAP_PROP_FOURCC) == code)
        self.times, self.wanted = array("d"), True

    @property
    def fps(self):
        """Frames a second: as the file has it; where it does not, and of what is live, as the last ones came."""
        known, last = 0 < self.rate < 1000, self.times[-31:]
        if (self.live or not known) and len(last) > 1:
            measured = (len(last) - 1) / (last[-1] - last[0])
            if measured < 240:  # they had not waited in a buffer
                return measured
        return self.rate if known else 25.0

    def __iter__(self):
        """Yield the frames, BGR images (H, W, 3), upright, as far as they can be decoded."""
        first = None
        while self.wanted and (result := self.capture.read())[0]:
            position = time.monotonic() if self.clocked else self.capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
            first = position if first is None else first
            even = self.times[-1] + 1 / self.fps if self.times else 0.0  # where it is not told
            self.times.append(position - first if not self.times or position - first > self.times[-1] else even)
            yield result[1]
        self.capture.release()

    def seconds(self, start, end):
        """When the frames start..end-1 begin and end."""
        return self.times[start], self.times[end] if end < len(self.times) else self.times[-1] + 1 / self.fps


def open_source(source):
    """Open a camera by its number, or a stream by its address, which is given up after ten seconds of silence."""
    if "://" in source:
        silence = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, 10_000, cv2.CAP_PROP_READ_TIMEOUT_MSEC, 10_000]
        return cv2.VideoCapture(source, cv2.CAP_FFMPEG, silence)
    return cv2.VideoCapture(min(int(source), 2**31 - 1) if source.isdecimal() else source)


class Window(NamedTuple):
    """Some frames of a video, and what a network says of them.

    start, end: they are the frames start..end-1.
    frames: images, BGR (H, W, 3), of those frames of the video whose nearest window it is.
    pixels: its clip, (T, H, W, 3) RGB, until the network has seen it.
    probabilities: tensor (num_classes,).
    heat: (T, H, W), see `network.explain.explain`.
    """

    start: int
    end: int
    frames: list
    pixels: np.ndarray | None = None
    probabilities: "torch.Tensor | None" = None  # noqa: F821
    heat: np.ndarray | None = None

    def nearest(self, number):
        """The place in the clip of what is nearest to a frame of the video."""
        last = len(self.heat) - 1
        interval = max(1, (self.end - self.start - 1) // last)
        return min(max(round((number - self.start) / interval), 0), last)


def cut_windows(frames, clip, stride=None, keep=True):
    """Cut windows over the whole of a video; each spans the frames that a clip of the training would.

    Args:
        frames: an iterable of BGR images (H, W, 3), read once; as many are held as a window spans and a stride.
        clip: the recipe.
        stride: frames from the start of one window to that of the next; half a window where it is not given.
        keep: give the images on, as well as the clips.

    Yields:
        A `Window` with its pixels, of which the last one ends on the last frame.

    Raises:
        ValueError: there is no frame.
    """
    clip_len, longest = clip["clip_len"], clip["frame_interval"]
    scaled = ((frame, clips.resize(frame)) if keep else (None, clips.resize(frame)) for frame in frames)
    first = deque(islice(scaled, (clip_len - 1) * longest + 1))  # a video no longer than these has a shorter interval
    if not first:
        raise ValueError("no frame can be decoded")
    interval = clips.frame_interval(len(first), clip_len, longest)
    stride = stride or max(1, clip_len * interval // 2)
    waiting, known, shown = deque(), None, 0

    def small_frames():
        while pair := first.popleft() if first else next(scaled, None):
            frame, small = pair
            if keep:
                waiting.append(frame)
            yield small.copy() if small is frame else small  # the frame itself is going to be drawn on

    for start, end, images in clips.sliding_windows(small_frames(), interval, stride, clip_len):
        if known:
            border = (known.start + known.end + start + end) / 4  # between the middles of two windows
            past, shown = shown, math.ceil(border - 0.5)
            yield known._replace(frames=[waiting.popleft() for _ in range(past, shown) if keep])
        known = Window(start, end, [], clips.cut(images, clip))
    yield known._replace(frames=list(waiting))


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
