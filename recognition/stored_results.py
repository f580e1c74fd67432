"""What inference.py leaves in its folder about videos, read again: which it did, their windows."""

import csv
import json
import math
import os
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from dataloaders.errors import DataError
from dataloaders.files import read_text
from recognition.classifier import Prediction, Smoother
from recognition.settings import Settings

TIME_TOLERANCE = 0.001  # seconds: the times in a JSON have three digits


class StoredResults:
    """The folder of a table of events."""

    def __init__(self, folder: Path):
        self._folder = folder
        self._listed = set()  # without folders and endings
        table = folder / "predictions.csv"  # of a start with --no-video
        if table.is_file():
            rows = csv.reader(read_text(table).splitlines())
            self._listed = {PurePosixPath(row[0]).stem for row in rows if row}

    def has(self, video: str) -> bool:
        """Whether inference.py has processed a video."""
        return PurePosixPath(video).stem in self._listed or self.find_json(video) is not None

    def find_json(self, video: str) -> Path | None:
        """Return the JSON of a video, which lies below the folder as the video lies in its own."""
        path = PurePosixPath(video.replace("\\", "/"))
        folders = [name for name in path.parent.parts if name not in ("/", ".", "..")]
        for first in range(len(folders) + 1):
            folder = self._folder.joinpath(*folders[first:])
            for name in (path.name, path.stem):  # videos that differ in their ending keep it
                file = folder / f"{name}.json"
                if file.is_file():
                    return file
        return None


@dataclass(frozen=True)
class StoredWindows:
    """The windows of a video, in order.

    Attributes:
        video: The path, as inference.py was given it.
        checkpoint: What computed them.
        stride: The flag of inference.py; None for the default.
        classes: Their names, sorted; those that no window lists are missing.
        probabilities: (windows, classes) `float32`, 0 where a window does not list a class.
        unlisted: How many classes have a probability in no window or only in some.
        middles: (windows,), the time that each window is about, in seconds.
        window_duration: Of the first window, in seconds.
        start: When the first frame begins, in seconds.
        end: When the last frame ends, in seconds.
        frame_duration: In seconds, the mean.
    """

    video: str
    checkpoint: str
    stride: int | None
    classes: list[str]
    probabilities: np.ndarray
    unlisted: int
    middles: np.ndarray
    window_duration: float
    start: float
    end: float
    frame_duration: float

    def is_about(self, video: str) -> bool:
        """Whether a path, which may be longer than the one that inference.py was given, is it."""
        same_path = os.path.abspath(video) == os.path.abspath(self.video)
        return same_path or os.path.normpath(video).endswith(os.path.normpath(f"/{self.video}"))

    def choose(self, step: int) -> list[int]:
        """Return the places of the windows at `step` times the stride of these.

        They are every `step`th one, and the last, which ends with the video at any stride.
        """
        last = len(self.middles) - 1
        return [*range(0, last, step), last]

    def smooth(self, places: list[int], count: int) -> np.ndarray:
        """Return the mean probabilities over neighbouring windows, (windows, classes).

        Args:
            places: The windows, without those between them.
            count: How many are averaged.
        """
        smoother = Smoother(count)
        predictions = []
        for place in places:
            prediction = Prediction(0.0, 0.0, np.zeros(1), 0, self.probabilities[place])
            predictions += smoother.push(prediction)
        predictions += smoother.flush()
        return np.stack([prediction.probabilities for prediction in predictions])

    def borders(self, places: list[int]) -> list[float]:
        """Return where the parts begin for which windows stand, and where the last part ends.

        A part begins with the first frame that is nearer to its window than to the one before.

        Args:
            places: The windows, without those between them.
        """
        middles = self.middles[places]
        borders = [self.start]
        for moment in (middles[:-1] + middles[1:]) / 2:
            frame = math.ceil((moment - self.start - TIME_TOLERANCE) / self.frame_duration)
            borders.append(self.start + frame * self.frame_duration)
        return [*borders, self.end]


def read_windows(file: Path) -> StoredWindows:
    """Read the windows in a JSON of inference.py.

    Raises:
        FileError: The file cannot be read.
        DataError: It is damaged or of an earlier version, or says too little.
    """
    try:
        report = json.loads(read_text(file))
        settings = Settings(**report["settings"])
        middles = np.array([window["middle"] for window in report["windows"]])
        guesses = [_probabilities_of(window) for window in report["windows"]]
        first = report["windows"][0]
        start = first["start"]
        end = report["windows"][-1]["end"]
    except (KeyError, IndexError, TypeError, json.JSONDecodeError):
        raise DataError(f"{file}: no windows of this version; run inference.py again") from None
    if "dropped" in report:
        raise DataError(f"{file}: of a live source; run inference.py on the recording")
    if settings.smooth > 1:
        raise DataError(
            f"{file}: made with --smooth {settings.smooth}; run inference.py without it"
        )
    classes = sorted(set().union(*guesses))
    unlisted = report["num_classes"] - min(map(len, guesses))
    if unlisted == 1:
        _add_last_classes(guesses, classes)
        unlisted = 0
    probabilities = np.zeros((len(guesses), len(classes)), np.float32)
    for row, of_window in zip(probabilities, guesses, strict=True):
        row[:] = [of_window.get(name, 0.0) for name in classes]
    return StoredWindows(
        video=report["video"],
        checkpoint=report["checkpoint"],
        stride=settings.stride,
        classes=classes,
        probabilities=probabilities,
        unlisted=unlisted,
        middles=middles,
        window_duration=first["end"] - start,
        start=start,
        end=end,
        frame_duration=(end - start) / report["frames"],
    )


def _probabilities_of(window: dict[str, Any]) -> dict[str, float]:
    return {guess["label"]: guess["probability"] for guess in window["top_k"]}


def _add_last_classes(guesses: list[dict[str, float]], classes: list[str]) -> None:
    """Give the one class that a window does not list what the others leave of its probability.

    A class that no window lists is the least probable one in all, and needs no probability.
    """
    for of_window in guesses:
        rest = max(0.0, 1 - sum(of_window.values()))
        for name in classes:
            of_window.setdefault(name, rest)
