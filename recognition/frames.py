"""Frames that hold their images, such as those that a program hands in."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import cv2
import numpy as np

from dataloaders.errors import DataError


@dataclass(frozen=True)
class ImageFrame:
    """A frame of a source whose image is at hand; see `dataloaders.frame_source.Frame`."""

    time: float
    image: np.ndarray

    def to_image(self) -> np.ndarray:
        """Return the image."""
        return self.image


def number_images(images: Iterable[np.ndarray], fps: float) -> Iterator[ImageFrame]:
    """Yield images of an even rate as frames with their times.

    Args:
        images: BGR `uint8` (H, W, 3), or grey (H, W) or (H, W, 1).
        fps: Images a second.

    Raises:
        DataError: An item is no such image.
    """
    for number, image in enumerate(images):
        yield ImageFrame(number / fps, _to_bgr(image, f"frames[{number}]"))


def _to_bgr(image: np.ndarray, name: str) -> np.ndarray:
    is_image = isinstance(image, np.ndarray) and image.dtype == np.uint8 and image.size > 0
    if is_image and (image.ndim == 2 or image.ndim == 3 and image.shape[2] == 1):
        return cv2.cvtColor(image, cv2.COLOR_GRAY2BGR)
    if is_image and image.ndim == 3 and image.shape[2] == 3:
        return image
    found = f"a {type(image).__name__}"
    if isinstance(image, np.ndarray):
        found = f"{image.dtype} {image.shape}"
    raise DataError(f"{name}: not an image, BGR uint8 (H, W, 3) or grey (H, W), but {found}")
