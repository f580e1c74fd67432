"""Videos that are read: files, cameras and streams."""

import contextlib
import glob
import os
import sys
import time
from array import array
from collections.abc import Iterator, Sequence
from itertools import takewhile
from pathlib import Path

import cv2
import numpy as np

from dataloaders.errors import DataError

VIDEO_SUFFIXES = {".avi", ".mp4", ".mkv", ".mov", ".webm", ".mpg", ".mpeg", ".m4v", ".wmv", ".flv", ".3gp", ".ts"}
MAX_FPS = 240  # a higher measured rate means that frames had waited in a buffer
STREAM_TIMEOUT = 10_000  # milliseconds of silence after which a stream is given up


def find_videos(names: Sequence[str], output_dir: Path) -> list[tuple[Path, Path]]:
    """Find the videos that names of files, names of folders and patterns stand for.

    Args:
        names: files, folders or glob patterns.
        output_dir: a folder whose content is not found from outside it.

    Returns:
        A list of (path, folder), each path once; `folder` is its place below the folder or pattern that was named.

    Raises:
        FileNotFoundError: a name stands for no video.
    """
    videos, output_dir = {}, output_dir.resolve()
    for name in names:
        if os.path.isdir(name):
            root, files = name, [file for file in Path(name).rglob("*") if file.suffix.lower() in VIDEO_SUFFIXES]
        elif os.path.isfile(name):
            root, files = os.path.dirname(name), [Path(name)]
        else:
            root = Path(*takewhile(lambda part: not glob.has_magic(part), Path(name).parts))
            files = map(Path, glob.glob(name, recursive=True))
        is_inside = output_dir in (Path(root).resolve() / "file").parents
        files = (f for f in sorted(files) if f.is_file() and (is_inside or output_dir not in f.resolve().parents))
        here = {file: file.parent.relative_to(root) for file in files}
        if not here:
            raise FileNotFoundError(f"{name}: no such file, nor a folder or pattern with videos")
        videos |= here
    return list(videos.items())


class VideoReader:
    """Reads the frames of a video once. No other code opens a `cv2.VideoCapture`.

    Args:
        source: the path of a file; or a string, the number of a camera or the address of a stream.
        threads: threads that decode a file; 0 means one a core.

    Attributes:
        num_frames: as the header of the file has it, which may be an estimate; 0 where it does not say.
        duration: in seconds, likewise.
        is_file: whether `source` is a path.
        is_live: whether frames come as they happen.
        timestamps: when each frame read so far begins, in seconds from the first.

    Raises:
        FileNotFoundError: there is no such file.
        OSError: the camera or stream cannot be opened.
        DataError: the file is not a video that OpenCV can read.
    """

    def __init__(self, source: Path | str, threads: int = 0):
        self.is_file = isinstance(source, Path)
        self.capture = _open_file(source, threads) if self.is_file else _open_source(source)
        self.header_fps = self.capture.get(cv2.CAP_PROP_FPS)
        self.num_frames = max(0, int(self.capture.get(cv2.CAP_PROP_FRAME_COUNT)))
        self.duration = self.num_frames / self.header_fps if self.header_fps > 0 else 0.0
        self.is_live = not self.is_file and not self.num_frames
        # The images of a camera have no time stamps, and those of motion JPEG streams are made up.
        mjpg = cv2.VideoWriter_fourcc(*"MJPG")
        self.uses_clock = self.is_live and ("://" not in source or self.capture.get(cv2.CAP_PROP_FOURCC) == mjpg)
        self.timestamps = array("d")

    @property
    def fps(self) -> float:
        """Frames a second: as the header has it; measured where it does not say, and for live sources."""
        is_known, recent = 0 < self.header_fps < 1000, self.timestamps[-31:]
        if (self.is_live or not is_known) and len(recent) > 1:
            measured = (len(recent) - 1) / (recent[-1] - recent[0])
            if measured < MAX_FPS:
                return measured
        return self.header_fps if is_known else 25.0

    def grab(self) -> bool:
        """Advance to the next frame; False at the end."""
        return self.capture.grab()

    def retrieve(self) -> np.ndarray | None:
        """Return the frame that was grabbed, BGR (H, W, 3); None where it cannot be decoded."""
        is_decoded, frame = self.capture.retrieve()
        return frame if is_decoded else None

    def __iter__(self) -> Iterator[np.ndarray]:
        """Yield the frames, BGR (H, W, 3), upright, as far as they can be decoded."""
        first = None
        while self.grab() and (frame := self.retrieve()) is not None:
            position = time.monotonic() if self.uses_clock else self.capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
            first = position if first is None else first
            seconds = position - first
            if self.timestamps and seconds <= self.timestamps[-1]:  # missing or wrong
                seconds = self.timestamps[-1] + 1 / self.fps
            self.timestamps.append(seconds)
            yield frame
        self.capture.release()

    def interval(self, start: int, end: int) -> tuple[float, float]:
        """Return when the frames start..end-1 begin and end, in seconds."""
        times = self.timestamps
        return times[start], times[end] if end < len(times) else times[-1] + 1 / self.fps


def _open_file(path: Path, threads: int) -> cv2.VideoCapture:
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file")
    if any("\ud800" <= letter <= "\udfff" for letter in str(path.resolve())):
        raise DataError(f"{path}: the name is not UTF-8, on which OpenCV crashes; rename the file")
    capture = cv2.VideoCapture(str(path.resolve()), cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, threads])
    if not capture.isOpened():
        raise DataError(f"{path}: not a video that OpenCV can read")
    return capture


def _open_source(source: str) -> cv2.VideoCapture:
    with silence_stderr():
        if "://" in source:
            timeouts = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, STREAM_TIMEOUT, cv2.CAP_PROP_READ_TIMEOUT_MSEC, STREAM_TIMEOUT]
            capture = cv2.VideoCapture(source, cv2.CAP_FFMPEG, timeouts)
        else:
            capture = cv2.VideoCapture(min(int(source), 2**31 - 1) if source.isdecimal() else source)
    if not capture.isOpened():
        raise OSError(f"{source}: no such camera, nor a stream that can be opened")
    return capture


def silence_opencv() -> None:
    """Keep OpenCV and its FFmpeg from printing; a damaged video ends in one line of ours."""
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    logging = getattr(cv2.utils, "logging", cv2)  # OpenCV 4.10 to 4.12 have it elsewhere
    if hasattr(logging, "setLogLevel"):
        logging.setLogLevel(0)


@contextlib.contextmanager
def silence_stderr() -> Iterator[None]:
    """Discard what libraries written in C print to the standard error stream."""
    sys.stderr.flush()
    with open(os.devnull, "w") as devnull:
        stderr = os.dup(2)
        os.dup2(devnull.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)
