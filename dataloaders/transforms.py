"""The pixels of a clip: frames are scaled, cropped, mirrored, stacked and recoloured.

A further augmentation of training clips is a field of `Augmentation` for its strength, a draw in
`Augmentation.draw`, a field of `Transform` for what was drawn, and a line in `make_clip`.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np

from dataloaders.color_jitter import ColorJitter
from dataloaders.sampling import FRAME_HEIGHT, FRAME_WIDTH, ClipConfig


class Crop(NamedTuple):
    """A rectangle of a scaled frame, in pixels."""

    top: int
    left: int
    height: int
    width: int


@dataclass(frozen=True)
class Transform:
    """What is done to every frame of one clip.

    Attributes:
        crop: What is cut out of the scaled frame, and resized where it has not the crop size.
        flip: Whether left and right are mirrored.
        color_jitter: How colours are changed; None to leave them.
    """

    crop: Crop
    flip: bool = False
    color_jitter: ColorJitter | None = None


@dataclass(frozen=True)
class Augmentation:
    """How the transforms of training clips are drawn.

    Attributes:
        min_scale: 1 for a crop of the crop size; below, a crop has a random share of the frame's
            area, so much or more, and a random shape.
        flip: Whether half of the clips are mirrored.
        color_jitter: How much colours change at most, 0 to 1, see `ColorJitter.draw`.
    """

    min_scale: float = 1.0
    flip: bool = True
    color_jitter: float = 0.0

    def draw(self, rng: np.random.Generator, config: ClipConfig) -> Transform:
        """Draw the transform of a clip.

        Args:
            rng: Of this clip alone.
            config: How clips are cut.
        """
        return Transform(
            crop=self._draw_crop(rng, config),
            flip=self._draw_flip(rng),
            color_jitter=self._draw_color_jitter(rng),
        )

    def _draw_crop(self, rng: np.random.Generator, config: ClipConfig) -> Crop:
        """Draw a crop, resized as in Szegedy et al. 2015 (arXiv:1409.4842), section 6."""
        height = config.crop_size
        width = config.crop_size
        if self.min_scale < 1:
            area = rng.uniform(self.min_scale, 1) * config.height * config.width
            aspect = np.exp(rng.uniform(np.log(3 / 4), np.log(4 / 3)))
            height = min(config.height, max(1, round(np.sqrt(area / aspect))))
            width = min(config.width, max(1, round(np.sqrt(area * aspect))))
        top = int(rng.integers(config.height - height + 1))
        left = int(rng.integers(config.width - width + 1))
        return Crop(top, left, height, width)

    def _draw_flip(self, rng: np.random.Generator) -> bool:
        is_drawn = bool(rng.random() < 0.5)  # also without mirroring, so that the crops stay alike
        return is_drawn and self.flip

    def _draw_color_jitter(self, rng: np.random.Generator) -> ColorJitter | None:
        return ColorJitter.draw(rng, self.color_jitter) if self.color_jitter > 0 else None


def centre_crop(config: ClipConfig) -> Transform:
    """Return the transform of clips for evaluation, in which nothing is random."""
    size = config.crop_size
    top = (config.height - size) // 2
    left = (config.width - size) // 2
    return Transform(Crop(top, left, size, size))


def make_clip(
    frames: Iterable[np.ndarray], config: ClipConfig, transform: Transform | None = None
) -> np.ndarray:
    """Scale, crop, mirror and stack frames into a clip, and change its colours.

    Args:
        frames: `config.clip_len` images, BGR `uint8` (H, W, 3).
        config: How clips are cut.
        transform: What is cut out of each and what is done to it; None for the centre.

    Returns:
        `uint8` (T, H, W, 3), RGB.
    """
    if transform is None:
        transform = centre_crop(config)
    size = config.crop_size
    top, left, height, width = transform.crop
    clip = np.empty((*config.shape, config.channels), np.uint8)
    for target, frame in zip(clip, frames, strict=True):
        scaled = resize_frame(frame, config.height, config.width)
        cropped = scaled[top : top + height, left : left + width]
        image = resize_frame(cropped, size, size)
        if transform.flip:
            image = cv2.flip(image, 1)
        target[:] = cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
    if transform.color_jitter is not None:
        clip = transform.color_jitter.apply(clip)
    return clip


def resize_frame(
    frame: np.ndarray, height: int = FRAME_HEIGHT, width: int = FRAME_WIDTH
) -> np.ndarray:
    """Scale an image: halved while it is twice as large or more, then bilinear.

    Args:
        frame: (H, W, 3).
        height: Of the result, in pixels.
        width: Of the result, in pixels.
    """
    if frame.shape[:2] == (height, width):
        return frame
    while frame.shape[0] >= 2 * height and frame.shape[1] >= 2 * width:
        frame = _halve(frame)
    rows = math.ceil(frame.shape[0] / height)
    columns = math.ceil(frame.shape[1] / width)
    if max(rows, columns) > 3:
        # It is much longer one way than the result, and bilinear would leave lines out.
        frame = cv2.resize(frame, (columns * width, rows * height))
        return cv2.resize(frame, (width, height), interpolation=cv2.INTER_AREA)
    return cv2.resize(frame, (width, height))


def _halve(frame: np.ndarray) -> np.ndarray:
    """Return the means of 2x2 pixels, which OpenCV computes fast."""
    rows = frame.shape[0] // 2
    columns = frame.shape[1] // 2
    even = frame[: 2 * rows, : 2 * columns]
    return cv2.resize(even, (columns, rows), interpolation=cv2.INTER_AREA)
