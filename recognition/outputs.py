"""The files that inference.py writes about videos."""

import csv
import html
import json
import os
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np

from dataloaders.errors import FileError
from dataloaders.files import atomic_write
from engine.errors import UsageError

EVENT_COLUMNS = ("video", "start", "end", "label", "probability")
PREDICTION_COLUMNS = ("video", "label", "probability", "frames", "seconds")
DEFAULT_NAME_LIMIT = 255  # bytes, of file systems that do not say


@dataclass(frozen=True)
class Job:
    """A source, and the path of what is written about it, without an ending."""

    source: Path | str
    stem: Path

    @property
    def annotated(self) -> Path:
        return self.stem.with_name(f"{self.stem.name}_annotated.mp4")

    @property
    def subtitles(self) -> Path:
        return self.stem.with_name(f"{self.stem.name}_annotated.vtt")

    @property
    def json(self) -> Path:
        return self.stem.with_name(f"{self.stem.name}.json")

    @property
    def features(self) -> Path:
        return self.stem.with_name(f"{self.stem.name}.npy")


class Tables:
    """The tables of all videos: `events.csv` and, where nothing else is written, `predictions.csv`.

    Each line is there as soon as its video is done.
    """

    def __init__(self, folder: Path, with_predictions: bool):
        """Open the tables; UsageError where the folder cannot be written to."""
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
            name: that of the video.
            report: see `Recognizer.report`.
            seconds: duration of the video.
        """
        for event in report["events"]:
            self._events.writerow([name, *event.values()])
        if self._predictions is not None:
            best = report["top_k"][0]
            probability = f"{best['probability']:.4f}"
            self._predictions.writerow(
                [name, best["label"], probability, report["frames"], f"{seconds:.2f}"]
            )


def write_json(file: Path, report: dict[str, Any]) -> None:
    write_text(file, json.dumps(report, indent=2, ensure_ascii=False) + "\n")


def write_text(file: Path, text: str) -> None:
    with atomic_write(file) as partial:
        partial.write_text(text, encoding="utf-8", errors="backslashreplace")


def write_features(file: Path, features: np.ndarray) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
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


def check_output_collisions(jobs: list[Job], *, with_videos: bool, with_features: bool) -> None:
    """Raise UsageError where two sources would write one file, or one would overwrite a source.

    Args:
        jobs: the sources.
        with_videos: whether annotated videos are written.
        with_features: whether features are written.
    """
    if not (with_videos or with_features):
        return
    owners: dict[Path, Path | str] = {}
    sources = {os.path.realpath(job.source) for job in jobs}
    for job in jobs:
        owner = owners.setdefault(job.stem, job.source)
        if owner is not job.source:
            raise UsageError(
                f"{owner} and {job.source} would write the same files; give each its own --output"
            )
        if with_videos and os.path.realpath(job.annotated) in sources:
            raise UsageError(f"{job.annotated}: would be overwritten; choose another --output")


def check_name_length(file: Path) -> None:
    """Raise OSError where the file system allows no name as long as that of a file."""
    partial = f"{file.stem}.partial{file.suffix}"  # as `atomic_write` names it
    limit = DEFAULT_NAME_LIMIT
    if hasattr(os, "pathconf"):
        folder = next(path for path in file.absolute().parents if path.exists())
        limit = os.pathconf(folder, "PC_NAME_MAX")
    length = len(os.fsencode(partial))
    if length > limit:
        raise FileError(
            f"{file.parent / partial}: a name of {length} bytes, and the file system allows"
            f" {limit}; give the video a shorter name"
        )
