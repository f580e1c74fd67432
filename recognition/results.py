"""What is found in a video: its windows, its likeliest classes, and its events."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from statistics import fmean
from typing import Any

import numpy as np

from recognition.classifier import Prediction
from recognition.curve import Curve
from recognition.segments import Segment


@dataclass(frozen=True)
class Labels:
    """How predictions are put into words.

    Attributes:
        classes: Names of the classes.
        top_k: How many of the likeliest classes are reported.
        threshold: A window whose likeliest class is less probable has no label.
    """

    classes: Sequence[str]
    top_k: int
    threshold: float

    def likeliest(self, probabilities: np.ndarray) -> list[dict[str, Any]]:
        """Return the likeliest classes, the first one first: "label" and "probability"."""
        order = np.argsort(-probabilities, kind="stable")[: self.top_k]
        return [
            {"label": self.classes[label], "probability": float(probabilities[label])}
            for label in order
        ]

    def describe(self, prediction: Prediction) -> dict[str, Any]:
        """Return a window as in the JSON: "start", "end", "middle", "label" and "top_k"."""
        likeliest = self.likeliest(prediction.probabilities)
        is_sure = likeliest[0]["probability"] >= self.threshold
        return {
            "start": round(prediction.start, 3),
            "end": round(prediction.end, 3),
            "middle": round(prediction.middle, 3),
            "label": likeliest[0]["label"] if is_sure else None,
            "top_k": likeliest,
        }


@dataclass(frozen=True)
class LabelledSpan:
    """The time for which a window stands, in seconds, and its label; None where it has none."""

    start: float
    end: float
    label: str | None
    probability: float


def find_events(spans: Sequence[LabelledSpan]) -> list[dict[str, Any]]:
    """Merge neighbours of one label into events.

    Args:
        spans: One for each window, in order.

    Returns:
        For each event its "start" and "end", in seconds, its "label", and its "probability", the
        mean over its windows.
    """
    events = []
    for label, group in groupby(spans, key=lambda span: span.label):
        neighbours = list(group)
        if label is None:
            continue
        event = {
            "start": round(neighbours[0].start, 3),
            "end": round(neighbours[-1].end, 3),
            "label": label,
            "probability": fmean(span.probability for span in neighbours),
        }
        events.append(event)
    return events


class VideoResult:
    """Collects what is found in a video, segment by segment."""

    def __init__(self, labels: Labels):
        self._labels = labels
        self._windows: list[dict[str, Any]] = []
        self._spans: list[LabelledSpan] = []
        self._features: list[np.ndarray] = []
        self._precision: str | None = None
        self._total: np.ndarray | float = 0.0
        self.curve = Curve()  # the probabilities over time
        self.num_frames = 0
        self.duration = 0.0  # seconds from the first frame to the end of the last one

    def add(self, segment: Segment) -> None:
        """Add the part of the video for which the next window stands."""
        prediction = segment.prediction
        window = self._labels.describe(prediction)
        probability = window["top_k"][0]["probability"]
        self._windows.append(window)
        self._spans.append(LabelledSpan(segment.start, segment.end, window["label"], probability))
        self._precision = prediction.precision
        if prediction.features is not None:
            self._features.append(prediction.features)
        self._total = self._total + prediction.probabilities.astype(np.float64)
        self.curve.add(segment.start, segment.end, prediction.probabilities)
        self.num_frames += segment.num_frames
        self.duration = segment.end

    @property
    def fps(self) -> float:
        """Mean frames a second."""
        return self.num_frames / self.duration

    @property
    def features(self) -> np.ndarray:
        """(windows, 512) or (windows, 4096) `float32`."""
        return np.stack(self._features)

    def describe(self) -> dict[str, Any]:
        """Return the precision, the classes, the events and the windows as in the JSON."""
        return {
            "precision": self._precision,
            "num_classes": len(self._labels.classes),
            "top_k": self._labels.likeliest(self._total / len(self._windows)),
            "events": find_events(self._spans),
            "windows": self._windows,
        }
