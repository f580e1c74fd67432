"""The probabilities of a video over time, in as many points as a screen shows."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

MAX_POINTS = 2000


@dataclass(frozen=True)
class CurvePoint:
    """One or more neighbouring windows.

    Attributes:
        start: When the part of the video for which they stand begins, in seconds.
        end: When it ends.
        probabilities: (num_classes,) `float32`, the largest of each class.
    """

    start: float
    end: float
    probabilities: np.ndarray


class Curve:
    """Collects the probabilities of a video of any length in a memory that does not grow with it.

    Each point has one window. When there would be more than `MAX_POINTS`, neighbours are joined in
    pairs, and from then on each point has twice as many windows.
    """

    def __init__(self):
        self._points: list[CurvePoint] = []
        self._num_windows = 0
        self._windows_per_point = 1

    def add(self, start: float, end: float, probabilities: np.ndarray) -> None:
        """Add the next window.

        Args:
            start: When the part of the video for which it stands begins, in seconds.
            end: When it ends.
            probabilities: (num_classes,) `float32`.
        """
        point = CurvePoint(start, end, probabilities)
        if self._num_windows % self._windows_per_point:
            self._points[-1] = _join(self._points[-1], point)
        else:
            if len(self._points) == MAX_POINTS:
                self._points = _join_pairs(self._points)
                self._windows_per_point *= 2
            self._points.append(point)
        self._num_windows += 1

    def points(self, limit: int = MAX_POINTS) -> list[CurvePoint]:
        """Return the points, joined in pairs until there are at most `limit`."""
        points = self._points
        while len(points) > limit:
            points = _join_pairs(points)
        return points


def _join(one: CurvePoint, other: CurvePoint) -> CurvePoint:
    probabilities = np.maximum(one.probabilities, other.probabilities)
    return CurvePoint(one.start, other.end, probabilities)


def _join_pairs(points: Sequence[CurvePoint]) -> list[CurvePoint]:
    joined = [_join(*points[i : i + 2]) for i in range(0, len(points) - 1, 2)]
    return joined + list(points[2 * len(joined) :])
