"""Frames and predictions -> the part of a video for which each window stands."""

import math
from collections import deque
from dataclasses import dataclass

from dataloaders.sampling import TIME_TOLERANCE
from recognition.classifier import Prediction
from recognition.frames import ImageFrame


@dataclass(frozen=True)
class Segment:
    """The frames to which one window is nearer than any other.

    Attributes:
        prediction: That of the window.
        start: When the first of the frames begins, in seconds.
        end: When the last of the frames ends, in seconds.
        num_frames: How many there are.
        frames: The frames, where they are kept, else none.
    """

    prediction: Prediction
    start: float
    end: float
    num_frames: int
    frames: list[ImageFrame]


@dataclass(frozen=True)
class _Waiting:
    """A frame that belongs to no segment yet."""

    run: int
    time: float
    frame: ImageFrame | None


class SegmentBuilder:
    """Gives each frame to the window in whose middle it is nearest, within its run of frames."""

    def __init__(self, keep_frames: bool):
        self._keep_frames = keep_frames
        self._waiting: deque[_Waiting] = deque()
        self._previous: Prediction | None = None

    def push_frame(self, frame: ImageFrame, run: int) -> None:
        """Take the next frame.

        Args:
            frame: With its image.
            run: Number of its run of consecutive frames.
        """
        kept = frame if self._keep_frames else None
        self._waiting.append(_Waiting(run, frame.time, kept))

    def push(self, prediction: Prediction) -> list[Segment]:
        """Take the next window; return the segment of the one before it, in a list."""
        segments = []
        if self._previous is not None:
            border = math.inf
            if prediction.run == self._previous.run:
                border = (self._previous.middle + prediction.middle) / 2
            segments.append(self._build(self._previous, border))
        self._previous = prediction
        return segments

    def flush(self) -> list[Segment]:
        """Return the segment of the last window, in a list."""
        if self._previous is None:
            return []
        segment = self._build(self._previous, math.inf)
        self._previous = None
        return [segment]

    def _build(self, prediction: Prediction, border: float) -> Segment:
        """Build the segment of a window that ends at a border, `inf` for the end of its run."""
        taken = []
        while self._waiting and self._is_before(self._waiting[0], prediction.run, border):
            taken.append(self._waiting.popleft())
        end = prediction.end if border == math.inf else self._waiting[0].time
        start = taken[0].time if taken else end
        frames = [waiting.frame for waiting in taken if waiting.frame is not None]
        return Segment(prediction, start, end, len(taken), frames)

    @staticmethod
    def _is_before(waiting: _Waiting, run: int, border: float) -> bool:
        # A frame on the border is in the later segment, whatever the times round to.
        is_early = waiting.time < border - TIME_TOLERANCE
        return waiting.run < run or waiting.run == run and is_early
