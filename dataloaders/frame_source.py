"""The protocol of all that gives frames: video files, folders of images, streams and cameras."""

import math
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

import numpy as np


class Frame:
    """One frame of a source.

    Attributes:
        time: When it is shown, in seconds since the first frame of the source.
    """

    def __init__(self, time: float, make_image: Callable[[], np.ndarray]):
        self.time = time
        self._make_image = make_image

    def to_image(self) -> np.ndarray:
        """Return the frame upright, BGR `uint8` (H, W, 3); only now it is converted."""
        return self._make_image()


class FrameSource(Protocol):
    """What gives frames.

    Attributes:
        name: For messages; an address has no password in it.
        fps: Mean frame rate in frames a second; None where it is not known.
        num_frames: Number of frames by the header, perhaps an estimate; None where it has none.
        duration: Seconds from the first frame to the end of the last; None where it is not known.
        pixel_aspect: Width of a pixel divided by its height, upright.
        is_live: Whether frames come as they happen and wait for nobody.
    """

    name: str
    fps: float | None
    num_frames: int | None
    duration: float | None
    pixel_aspect: float
    is_live: bool

    def frames(self, start: float = 0.0, end: float = math.inf) -> Iterator[Frame]:
        """Open the source anew and yield the frames of a part of it.

        Args:
            start: Time of the first frame to yield, in seconds.
            end: Time from which no frame is yielded, in seconds.
        """

    def close(self) -> None:
        """Let go of files and devices."""


def display_name(source: str | Path) -> str:
    """Return a path as it is, and an address without user, password and tokens, in one line."""
    name = str(source)
    if not isinstance(source, Path):
        name = re.sub(r"(?i)((pass\w*|pwd|token|key|secret|auth\w*)=)[^&#]*", r"\1...", name)
        name = re.sub(r"(?s)^(.*?://)?.*@", r"\1", name)  # a password may have any character
    return re.sub(r"[\x00-\x1f\x7f]", lambda match: ascii(match[0])[1:-1], name)
