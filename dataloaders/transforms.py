"""The pixels of a clip: frames are scaled, cropped, mirrored and stacked."""

import math
from collections.abc import Iterable

import cv2
import numpy as np

from dataloaders.sampling import FRAME_HEIGHT, FRAME_WIDTH, ClipConfig


def resize_frame(
    frame: np.ndarray, height: int = FRAME_HEIGHT, width: int = FRAME_WIDTH
) -> np.ndarray:
    """Scale an image (H, W, 3) to `height` x `width`: halved while it is twice as large, then bilinear."""
    if frame.shape[:2] == (height, width):
        return frame
    while (
        frame.shape[0] >= 2 * height and frame.shape[1] >= 2 * width
    ):  # means of 2x2 pixels, which OpenCV does fast
        rows, columns = frame.shape[0] // 2, frame.shape[1] // 2
        frame = cv2.resize(
            frame[: 2 * rows, : 2 * columns], (columns, rows), interpolation=cv2.INTER_AREA
        )
    rows, columns = (math.ceil(n / m) for n, m in zip(frame.shape, (height, width), strict=False))
    if (
        max(rows, columns) > 3
    ):  # much longer one way than the target: bilinear would leave lines out
        frame = cv2.resize(frame, (columns * width, rows * height))
        return cv2.resize(frame, (width, height), interpolation=cv2.INTER_AREA)
    return cv2.resize(frame, (width, height))


def make_clip(
    frames: Iterable[np.ndarray], config: ClipConfig, crop: tuple | None = None, flip=False
) -> np.ndarray:
    """Scale, crop and stack `config.clip_len` BGR images (H, W, 3) into a clip, `uint8` (T, H, W, 3), RGB.
    `crop` is (top, left, height, width) in the scaled frame, in pixels, by default its centre; it is resized where it
    has not the crop size. `flip` mirrors left and right."""
    size = config.crop_size
    top, left, height, width = crop or (
        (config.height - size) // 2,
        (config.width - size) // 2,
        size,
        size,
    )
    clip = np.empty((*config.shape, 3), np.uint8)
    for target, frame in zip(clip, frames, strict=True):
        frame = resize_frame(frame, config.height, config.width)[
            top : top + height, left : left + width
        ]
        frame = resize_frame(frame, size, size)
        target[:] = cv2.cvtColor(cv2.flip(frame, 1) if flip else frame, cv2.COLOR_BGR2RGB)
    return clip
