"""The page `index.html`: the videos of a start with their events, to look at and to correct."""

import math
import os
import tempfile
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
from jinja2.utils import htmlsafe_json_dumps

from dataloaders.files import named_errors
from dataloaders.frame_source import display_name
from dataloaders.groups import group_of
from dataloaders.html import write_page
from recognition.curve import MAX_POINTS, Curve, CurvePoint
from recognition.drawing import COLOURS, GREY
from recognition.jobs import Job
from recognition.results import Labels

TEMPLATE = Path(__file__).with_name("templates") / "index.html"
MAX_CURVES = 5  # classes of a video whose probabilities are drawn
# The points of all videos together, so that a page of 10,000 videos opens in a second.
MAX_TOTAL_POINTS = 400_000


class Page:
    """Writes `index.html` about the videos of a start when the `with` block ends, however it ends.

    Until then what is known of each video waits in a temporary file, so the memory does not grow.

    Attributes:
        file: The page.
    """

    def __init__(
        self,
        folder: Path,
        jobs: Sequence[Job],
        labels: Labels,
        *,
        with_videos: bool,
        model: str,
    ):
        """Prepare to write.

        Args:
            folder: That of the page.
            jobs: All sources of the start.
            labels: The classes, and from which probability on a window has a label.
            with_videos: Whether annotated videos and JSON files are written.
            model: Of the start, as one line.

        Raises:
            FileError: The folder cannot be written to.
        """
        self._folder = folder
        self._labels = labels
        self._numbers = {name: number for number, name in enumerate(labels.classes)}
        self._with_videos = with_videos
        self._model = model
        self._source_folder = common_folder(jobs)
        self._max_points = min(MAX_POINTS, max(20, MAX_TOTAL_POINTS // len(jobs)))
        self.file = folder / "index.html"
        with named_errors(folder):
            self._lines = tempfile.TemporaryFile("w+", encoding="ascii", dir=folder)  # noqa: SIM115

    def __enter__(self) -> "Page":
        return self

    def __exit__(self, *_) -> None:
        facts = {
            "id": uuid.uuid4().hex,  # corrections that are not saved are stored under it
            "classes": list(self._labels.classes),
            "colours": [to_css(colour) for colour in COLOURS],
            "noLabel": to_css(GREY),
            "folder": self._source_folder,
        }
        with self._lines as lines:
            if lines.tell() == 0:  # stopped in the first video
                return
            lines.seek(0)
            write_page(
                self.file,
                TEMPLATE,
                title="Recognised actions",
                model=self._model,
                facts=facts,
                lines=lines,
            )
        print(f"all videos: {self.file}")

    def add(
        self,
        job: Job,
        report: dict[str, Any] | None,
        curve: Curve | None,
        *,
        problem: str | None,
    ) -> None:
        """Add a video that is done.

        Args:
            job: The source, and its files.
            report: See `Recognizer.report`; None where nothing was found.
            curve: The probabilities over time; None likewise.
            problem: What is wrong with the video; None for nothing.

        Raises:
            FileError: The temporary file cannot be written.
        """
        video = self._describe_source(job) | {"problem": problem}
        if report is not None:
            points = curve.points(self._max_points)
            video |= self._describe_files(job)
            video |= self._describe_report(report)
            video |= self._describe_points(points, video["top"])
        line = htmlsafe_json_dumps(video, separators=(",", ":"))
        with named_errors(self._folder):
            self._lines.write(f"{line}\n")

    def _describe_source(self, job: Job) -> dict[str, Any]:
        name = display_name(job.source)
        if not isinstance(job.source, Path):
            return {"name": name, "path": name, "group": name, "isLive": True}
        path = Path(os.path.abspath(job.source))
        if self._source_folder is not None:
            path = path.relative_to(self._source_folder)
        group = group_of(job.source.absolute().parent.name, job.source.stem)
        return {"name": name, "path": path.as_posix(), "group": group, "isLive": False}

    def _describe_files(self, job: Job) -> dict[str, Any]:
        if self._with_videos:
            return {"src": self._link(job.annotated), "json": self._link(job.json)}
        is_live = not isinstance(job.source, Path)
        return {"src": None if is_live else self._link(job.source), "json": None}

    def _describe_report(self, report: dict[str, Any]) -> dict[str, Any]:
        best = report["top_k"]
        top = [[self._numbers[item["label"]], rounded(item["probability"])] for item in best]
        events = [
            [
                event["start"],
                event["end"],
                self._numbers[event["label"]],
                rounded(event["probability"]),
            ]
            for event in report["events"]
        ]
        return {"top": top, "events": events}

    def _describe_points(self, points: Sequence[CurvePoint], top: list[list]) -> dict[str, Any]:
        """Return the windows, and the curves of the likeliest classes of the video."""
        best = [int(np.argmax(point.probabilities)) for point in points]
        largest = [float(np.max(point.probabilities)) for point in points]
        threshold = self._labels.threshold
        return {
            "duration": round(points[-1].end, 3),
            "starts": [round(point.start, 3) for point in points],
            "ends": [round(point.end, 3) for point in points],
            "labels": [
                label if probability >= threshold else None
                for label, probability in zip(best, largest, strict=True)
            ],
            "largest": [rounded(probability) for probability in largest],
            "curves": [curve_of(number, points) for number, _ in top[:MAX_CURVES]],
        }

    def _link(self, file: Path) -> str:
        """Return the address of a file, relative to the page, so that the folder can be moved."""
        try:
            path = os.path.relpath(file, self._folder)
        except ValueError:  # another drive of Windows
            return file.absolute().as_uri()
        return quote(os.fsencode(path.replace(os.sep, "/")))


def common_folder(jobs: Sequence[Job]) -> str | None:
    """Return the folder below which the videos of all jobs lie; None where there is none."""
    folders = [os.path.abspath(job.source.parent) for job in jobs if isinstance(job.source, Path)]
    try:
        return os.path.commonpath(folders)
    except ValueError:  # no files, or several drives of Windows
        return None


def to_css(colour: tuple[int, int, int]) -> str:
    """Return a colour, BGR, as style sheets write it."""
    return f"#{bytes(reversed(colour)).hex()}"


def curve_of(number: int, points: Sequence[CurvePoint]) -> list[float | None]:
    """Return the probability of a class at each point.

    Args:
        number: Of the class.
        points: Those of a video.
    """
    return [rounded(point.probabilities[number]) for point in points]


def rounded(probability: float) -> float | None:
    """Return a probability with four digits; None where a broken network gives none."""
    return round(float(probability), 4) if math.isfinite(probability) else None
