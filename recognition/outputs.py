"""The tables, texts and arrays that inference.py writes about videos."""

import csv
import html
import json
from contextlib import ExitStack
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np

from dataloaders.errors import FileError
from dataloaders.files import atomic_write
from engine.errors import UsageError

EVENT_COLUMNS = ("video", "start", "end", "label", "probability")
PREDICTION_COLUMNS = ("video", "label", "probability", "frames", "seconds")


class Tables:
    """The tables of all videos: `events.csv` and, where nothing else is written, `predictions.csv`.

    Each line is there as soon as its video is done.
    """

    def __init__(self, folder: Path, with_predictions: bool):
        """Open the tables; UsageError where the folder cannot be written to."""
        self._folder = folder
        self._files = ExitStack()
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._events = self._open(folder / "events.csv", EVENT_COLUMNS)
            self._predictions = None
            if with_predictions:
                self._predictions = self._open(folder / "predictions.csv", PREDICTION_COLUMNS)
        except OSError as error:
            self._files.close()
            raise UsageError(
                f"--output {folder}: cannot be written to ({error.strerror}); name another folder"
            ) from None

    def _open(self, file: Path, columns: tuple[str, ...]):
        stream = open(  # noqa: SIM115, it is closed with the tables
            file, "w", buffering=1, newline="", encoding="utf-8", errors="backslashreplace"
        )
        table = csv.writer(self._files.enter_context(stream))
        table.writerow(columns)
        return table

    def __enter__(self) -> "Tables":
        return self

    def __exit__(self, *_) -> None:
        self._files.close()

    def add(self, name: str, report: dict[str, Any], seconds: float) -> None:
        """Add the rows of a video.

        Args:
            name: That of the video.
            report: See `Recognizer.report`.
            seconds: Duration of the video.

        Raises:
            FileError: The rows cannot be written.
        """
        try:
            for event in report["events"]:
                self._events.writerow([name, *event.values()])
            if self._predictions is not None:
                best = report["top_k"][0]
                probability = f"{best['probability']:.4f}"
                self._predictions.writerow(
                    [name, best["label"], probability, report["frames"], f"{seconds:.2f}"]
                )
        except OSError as error:
            raise FileError(
                f"{self._folder}: the tables cannot be written: {error.strerror}"
            ) from None


def make_folder(folder: Path) -> None:
    """Make a folder and those above it; FileError where that fails."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FileError(f"{folder}: cannot be made: {error.strerror}") from None


def write_json(file: Path, report: dict[str, Any]) -> None:
    """Write a report atomically.

    Args:
        file: The path.
        report: See `Recognizer.report`.
    """
    write_text(file, json.dumps(report, indent=2, ensure_ascii=False) + "\n")


def write_text(file: Path, text: str) -> None:
    """Write a text atomically, in UTF-8.

    Args:
        file: The path.
        text: What is written.
    """
    with atomic_write(file) as partial:
        partial.write_text(text, encoding="utf-8", errors="backslashreplace")


def write_features(file: Path, features: np.ndarray) -> None:
    """Write an array atomically, as NumPy's .npy.

    Args:
        file: The path.
        features: (windows, 512) or (windows, 4096).
    """
    make_folder(file.parent)
    with atomic_write(file) as partial:
        np.save(partial, features)


def format_subtitles(events: list[dict[str, Any]]) -> str:
    """Return events as WebVTT, which players show as the subtitles of a video."""
    cues = ["WEBVTT\n"]
    for event in events:
        times = f"{_format_time(event['start'])} --> {_format_time(event['end'])}"
        label = html.escape(event["label"], quote=False)
        cues.append(f"{times}\n{label} ({event['probability']:.0%})\n")
    return "\n".join(cues)


def _format_time(seconds: float) -> str:
    return f"{datetime.min + timedelta(seconds=seconds):%H:%M:%S.%f}"[:-3]
