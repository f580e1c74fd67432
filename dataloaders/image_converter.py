"""Decoded pictures -> upright BGR images."""

from dataclasses import dataclass

import cv2
import numpy as np

from dataloaders.ffmpeg import av
from dataloaders.hdr import HLG, PQ, tone_map

DISPLAY_MATRIX = 6  # FFmpeg's AV_FRAME_DATA_DISPLAYMATRIX


class ImageConverter:
    """Turns decoded pictures into images, by the colour matrix and range that they name.

    One converter serves one video, in one thread: it reuses the tables of FFmpeg's scaler.
    """

    def __init__(self):
        self._reformatter = av.video.reformatter.VideoReformatter()

    def convert(self, frame) -> np.ndarray:
        """Return a picture as an upright image, BGR `uint8` (H, W, 3).

        HDR pictures (PQ, HLG) get the colours of an ordinary screen.
        """
        if frame.color_trc in (PQ, HLG):
            image = tone_map(self._to_array(frame, "bgr48le"), frame.color_trc)
        else:
            image = self._to_array(frame, "bgr24")
        return DisplayMatrix.of(frame).turn(image)

    def _to_array(self, frame, pixel_format: str) -> np.ndarray:
        return self._reformatter.reformat(frame, format=pixel_format, threads=1).to_ndarray()


@dataclass(frozen=True)
class DisplayMatrix:
    """How players turn and mirror a picture: a pixel at (x, y) is shown at (ax + cy, bx + dy).

    Attributes:
        a, b, c, d: Entries of the matrix, in any unit.
    """

    a: int = 1
    b: int = 0
    c: int = 0
    d: int = 1

    @classmethod
    def of(cls, frame) -> "DisplayMatrix":
        """Return the matrix of a picture; the identity where it names none."""
        for data in frame.side_data:
            if int(data.type.value) == DISPLAY_MATRIX:
                a, b, _, c, d = np.frombuffer(bytes(data), np.int32)[:5].tolist()
                return cls(a, b, c, d)
        return cls()

    @property
    def swaps_axes(self) -> bool:
        """Whether width and height are swapped."""
        return abs(self.b) > abs(self.a)

    def turn(self, image: np.ndarray) -> np.ndarray:
        """Turn and mirror an image by the nearest multiple of 90 degrees.

        Args:
            image: `uint8` (H, W, 3).

        Returns:
            The image, (W, H, 3) where the axes are swapped.
        """
        if self.swaps_axes:
            image = cv2.transpose(image)
            flips_columns = self.c < 0
            flips_rows = self.b < 0
        else:
            flips_columns = self.a < 0
            flips_rows = self.d < 0
        if flips_columns:
            image = cv2.flip(image, 1)
        if flips_rows:
            image = cv2.flip(image, 0)
        return image
