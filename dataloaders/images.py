"""Frames that lie as images in a folder."""

import os
import re
from pathlib import Path

import cv2
import numpy as np

from dataloaders.errors import DataError

SUFFIXES = (".bmp", ".jpeg", ".jpg", ".png", ".webp")


def is_image_folder(folder: str | Path) -> bool:
    """Whether a folder holds images."""
    return os.path.isdir(folder) and any(entry.name.lower().endswith(SUFFIXES) for entry in os.scandir(folder))


class ImageFolder:
    """Reads a folder of images as `VideoReader` reads a video, in the order of the numbers in their names."""

    has_frame_rate = True

    def __init__(self, folder: Path, fps: float):
        names = [name for name in os.listdir(folder) if name.lower().endswith(SUFFIXES) and not name.startswith(".")]
        # "a2.jpg" before "a10.jpg": texts and numbers take turns.
        in_order = sorted(names, key=lambda name: [int(s) if s.isdecimal() else s for s in re.split(r"(\d+)", name)])
        self.folder, self.fps, self.files = folder, fps, [str(folder / name) for name in in_order]
        self.num_frames, self.position = len(self.files), -1

    def grab(self) -> bool:
        """Advance to the next image; False at the end."""
        self.position += 1
        return self.position < self.num_frames

    def retrieve(self) -> np.ndarray | None:
        """Return the image, BGR (H, W, 3); None where it is damaged."""
        return cv2.imread(self.files[self.position])

    def no_frame_error(self) -> DataError:
        """Return the error for a folder without an image."""
        return DataError(f"{self.folder}: no images in it")
