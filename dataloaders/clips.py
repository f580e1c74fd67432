"""How a clip is cut from a video: which frames, then their pixels.

A clip is 16 RGB frames, `uint8`, shape (T, H, W, 3). Training cuts it from the JPEG frames on disk and inference from
the video itself, by the functions below, so the two cannot disagree.
"""

import math
from collections import deque

import cv2
import numpy as np

CLIP_LEN = 16  # frames in a clip
FRAME_INTERVAL = 4  # keep every 4th frame of a video
FRAME_HEIGHT, FRAME_WIDTH = 128, 171  # of the frames on disk
CROP_SIZE = 112  # side of the square the network sees


def recipe(crop_size=CROP_SIZE):
    """How to cut clips, as plain values that travel inside the checkpoint.

    Args:
        crop_size: side of the square crop in pixels, at most 112. The frames are scaled along (128x171 at 112), so a
            smaller crop shows the same view with less detail.

    Raises:
        ValueError: no such crop can be cut from the frames.
    """
    if not 1 <= crop_size <= CROP_SIZE:
        raise ValueError(f"the crop size is {crop_size}, and must be 1 to {CROP_SIZE}")
    return {
        "clip_len": CLIP_LEN,
        "frame_interval": FRAME_INTERVAL,
        "height": round(FRAME_HEIGHT * crop_size / CROP_SIZE),
        "width": round(FRAME_WIDTH * crop_size / CROP_SIZE),
        "crop_size": crop_size,
    }


def check(clip):
    """ValueError where a recipe from a file is none by which clips can be cut."""
    whole = clip.keys() >= recipe().keys() and all(type(value) is int and 0 < value <= 4096 for value in clip.values())
    if not whole or clip["crop_size"] > min(clip["height"], clip["width"]):
        raise ValueError(f"no clips can be cut by {clip}")


# Which frames


def frame_interval(num_frames, clip_len=CLIP_LEN, longest=FRAME_INTERVAL):
    """The distance in frames between the frames kept of a video: `longest`, or less where `clip_len` distinct frames
    need it, and never less than 1."""
    return max(1, min(longest, (num_frames - 1) // (clip_len - 1)))


def window(start, num_frames, clip_len=CLIP_LEN):
    """The `clip_len` frame numbers from `start` on, counted from 0; a video that ends earlier holds its last frame."""
    return [min(start + i, num_frames - 1) for i in range(clip_len)]


def num_windows(num_frames, clip_len=CLIP_LEN):
    """How many places a clip can start at: all that leave it whole, and the first in any case."""
    return max(num_frames - clip_len, 0) + 1


def even_starts(num_frames, count, clip_len=CLIP_LEN):
    """Where `count` windows start that lie evenly over a video, from the first to the last; a single one in the middle.

    A video with fewer places than windows has some of them twice.
    """
    last = num_windows(num_frames, clip_len) - 1
    return [last // 2] if count == 1 else [round(i * last / (count - 1)) for i in range(count)]


def sliding_windows(frames, interval, stride, clip_len=CLIP_LEN):
    """Cut a stream of frames into clips.

    Args:
        frames: an iterable of frames, read once; as many are held as one window spans.
        interval: distance in frames between the frames of a clip.
        stride: distance in frames between the starts of two windows. The last window ends on the last frame,
            whatever the stride.

    Yields:
        (start, end, clip): the window covers the frames start..end-1, the clip is a list of `clip_len` of them.
    """
    span = (clip_len - 1) * interval + 1
    held = deque(maxlen=span)
    end = 0
    for end, frame in enumerate(frames, start=1):
        held.append(frame)
        if end >= span and (end - span) % stride == 0:
            yield end - span, end, list(held)[::interval]
    if 0 < end < span:
        yield 0, end, [held[i * interval] if i * interval < end else held[-1] for i in range(clip_len)]
    elif end > span and (end - span) % stride:
        yield end - span, end, list(held)[::interval]


# Then pixels


def resize(frame, height=FRAME_HEIGHT, width=FRAME_WIDTH):
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


def cut(frames, clip, top=None, left=None, flip=False):
    """Turn stored frames into a clip.

    Args:
        frames: an iterable of `clip["clip_len"]` BGR images of 128x171, as OpenCV reads them.
        clip: the recipe.
        top, left: corner of the crop in the scaled frame; the centre where they are not given.
        flip: mirror left and right.

    Returns:
        `uint8` array (T, crop_size, crop_size, 3), RGB.
    """
    size = clip["crop_size"]
    top = (clip["height"] - size) // 2 if top is None else top
    left = (clip["width"] - size) // 2 if left is None else left
    pixels = np.empty((clip["clip_len"], size, size, 3), np.uint8)
    for target, frame in zip(pixels, frames, strict=True):
        crop = resize(frame, clip["height"], clip["width"])[top : top + size, left : left + size]
        target[:] = cv2.cvtColor(cv2.flip(crop, 1) if flip else crop, cv2.COLOR_BGR2RGB)
    return pixels


# Videos


def open_video(path, threads=0):
    """Open a video file for reading, with so many threads that decode; 0 for one a core.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no video that OpenCV can read.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file")
    if any("\ud800" <= letter <= "\udfff" for letter in str(path.resolve())):
        raise ValueError(f"{path}: the name is not UTF-8, on which OpenCV crashes")
    video = cv2.VideoCapture(str(path.resolve()), cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, threads])
    if not video.isOpened():
        raise ValueError(f"{path}: not a video that OpenCV can read")
    return video
