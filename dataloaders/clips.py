"""Which frames make a clip, and their pixels.

A clip is `uint8`, (T, H, W, 3), RGB. Training cuts it from the JPEG frames on disk and inference from the video itself,
both by the functions below. Frame numbers are chosen first, and only those frames are read.
"""

import math
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields

import cv2
import numpy as np

from dataloaders.errors import DataError

CLIP_LEN = 16  # frames in a clip
FRAME_INTERVAL = 4  # keep every 4th frame of a video
FRAME_HEIGHT, FRAME_WIDTH = 128, 171  # size of the frames on disk
CROP_SIZE = 112  # side of the square that the network sees


@dataclass(frozen=True)
class ClipConfig:
    """How clips are cut from a video. The checkpoint stores it as a dict of plain values."""

    clip_len: int = CLIP_LEN  # frames in a clip
    frame_interval: int = FRAME_INTERVAL  # the largest distance, in frames of the video, between two frames of a clip
    height: int = FRAME_HEIGHT  # size to which frames are scaled, in pixels
    width: int = FRAME_WIDTH
    crop_size: int = CROP_SIZE  # side of the square crop, in pixels

    @classmethod
    def from_crop_size(cls, crop_size: int) -> "ClipConfig":
        """Scale the frames along with the crop (128x171 at 112), so a smaller crop has the same view with less detail.

        DataError where no such crop can be cut from the frames on disk.
        """
        if not 1 <= crop_size <= CROP_SIZE:
            raise DataError(f"--crop-size {crop_size}: must be 1 to {CROP_SIZE}")
        scale = crop_size / CROP_SIZE
        return cls(height=round(FRAME_HEIGHT * scale), width=round(FRAME_WIDTH * scale), crop_size=crop_size)

    @classmethod
    def from_dict(cls, values: dict) -> "ClipConfig":
        """Read values by name; DataError where no clip can be cut by them."""
        names = [field.name for field in fields(cls)]
        if not all(type(values.get(name)) is int and 0 < values[name] <= 4096 for name in names):
            raise DataError(f"no clip can be cut with the settings {values}")
        config = cls(**{name: values[name] for name in names})
        if config.clip_len < 2 or config.crop_size > min(config.height, config.width):
            raise DataError(f"no clip can be cut with the settings {values}")
        return config

    @property
    def shape(self) -> tuple[int, int, int]:
        """(T, H, W) of a clip."""
        return self.clip_len, self.crop_size, self.crop_size


# Which frames


def frame_interval(num_frames: int, clip_len: int = CLIP_LEN, max_interval: int = FRAME_INTERVAL) -> int:
    """Return the distance between the frames kept of a video.

    It is `max_interval`, or less where only that leaves `clip_len` distinct frames, and at least 1.
    """
    return max(1, min(max_interval, (num_frames - 1) // (clip_len - 1)))


def frame_indices(start: int, num_frames: int, clip_len: int = CLIP_LEN) -> list[int]:
    """Return the `clip_len` frame numbers of the window at `start`, from 0; a shorter video repeats its last frame."""
    return [min(start + i, num_frames - 1) for i in range(clip_len)]


def num_windows(num_frames: int, clip_len: int = CLIP_LEN) -> int:
    """Return the number of places where a window can start without leaving the video, at least 1."""
    return max(num_frames - clip_len, 0) + 1


def uniform_starts(num_frames: int, count: int, clip_len: int = CLIP_LEN) -> list[int]:
    """Return where `count` windows start that lie uniformly over a video; a single window lies in the middle.

    A video with fewer places than `count` has some starts several times, in a row.
    """
    last = num_windows(num_frames, clip_len) - 1
    return [last // 2] if count == 1 else [round(i * last / (count - 1)) for i in range(count)]


def sliding_windows(
    frames: Iterable[np.ndarray], interval: int, stride: int, clip_len: int = CLIP_LEN
) -> Iterator[tuple[int, int, list[np.ndarray]]]:
    """Cut a stream of frames, of which it keeps one window in memory, into overlapping windows.

    Args:
        interval: distance between the frames of a window, in frames of the stream.
        stride: distance between the starts of two windows, in frames. The last window ends on the last frame.

    Yields:
        (start, end, images): the window covers the frames start..end-1; `clip_len` images of it.
    """
    span = (clip_len - 1) * interval + 1
    recent = deque(maxlen=span)
    end = 0
    for end, frame in enumerate(frames, start=1):
        recent.append(frame)
        if end >= span and (end - span) % stride == 0:
            yield end - span, end, list(recent)[::interval]
    if 0 < end < span:
        yield 0, end, [recent[min(i * interval, end - 1)] for i in range(clip_len)]
    elif end > span and (end - span) % stride:
        yield end - span, end, list(recent)[::interval]


# Then pixels


def resize_frame(frame: np.ndarray, height: int = FRAME_HEIGHT, width: int = FRAME_WIDTH) -> np.ndarray:
    """Scale an image (H, W, 3) to `height` x `width`: halved while it is twice as large, then bilinear."""
    if frame.shape[:2] == (height, width):
        return frame
    while frame.shape[0] >= 2 * height and frame.shape[1] >= 2 * width:  # means of 2x2 pixels, which OpenCV does fast
        rows, columns = frame.shape[0] // 2, frame.shape[1] // 2
        frame = cv2.resize(frame[: 2 * rows, : 2 * columns], (columns, rows), interpolation=cv2.INTER_AREA)
    rows, columns = (math.ceil(n / m) for n, m in zip(frame.shape, (height, width), strict=False))
    if max(rows, columns) > 3:  # much longer one way than the target: bilinear would leave lines out
        frame = cv2.resize(frame, (columns * width, rows * height))
        return cv2.resize(frame, (width, height), interpolation=cv2.INTER_AREA)
    return cv2.resize(frame, (width, height))


def make_clip(
    frames: Iterable[np.ndarray],
    config: ClipConfig,
    top: int | None = None,
    left: int | None = None,
    flip: bool = False,
) -> np.ndarray:
    """Scale, crop and stack `config.clip_len` BGR images (H, W, 3) into a clip, `uint8` (T, H, W, 3), RGB.

    Args:
        top, left: corner of the crop in the scaled frame, in pixels; the centre crop by default.
        flip: mirror left and right.
    """
    size = config.crop_size
    top = (config.height - size) // 2 if top is None else top
    left = (config.width - size) // 2 if left is None else left
    clip = np.empty((*config.shape, 3), np.uint8)
    for target, frame in zip(clip, frames, strict=True):
        crop = resize_frame(frame, config.height, config.width)[top : top + size, left : left + size]
        target[:] = cv2.cvtColor(cv2.flip(crop, 1) if flip else crop, cv2.COLOR_BGR2RGB)
    return clip
