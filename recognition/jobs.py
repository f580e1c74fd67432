"""The sources that a start of inference.py works on, and the files it writes about each."""

import os
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from dataloaders.errors import FileError
from dataloaders.frame_source import display_name
from dataloaders.video_files import find_videos
from engine.errors import UsageError

DEFAULT_NAME_LIMIT = 255  # bytes, of file systems that do not say


@dataclass(frozen=True)
class Job:
    """A source, and the files that are written about it.

    Attributes:
        source: The path of a video, or a camera or stream.
        stem: The path of all files without their endings.
    """

    source: Path | str
    stem: Path

    @property
    def annotated(self) -> Path:
        """The annotated video."""
        return self._file("_annotated.mp4")

    @property
    def subtitles(self) -> Path:
        """The events as subtitles, which players find by the name of the annotated video."""
        return self._file("_annotated.vtt")

    @property
    def json(self) -> Path:
        """All predictions."""
        return self._file(".json")

    @property
    def features(self) -> Path:
        """What the last layer sees."""
        return self._file(".npy")

    def _file(self, ending: str) -> Path:
        return self.stem.with_name(self.stem.name + ending)


def live_job(source: str, output: Path) -> Job:
    """Return the job of a camera or stream, named by the source and the time of the start.

    Args:
        source: Number of a camera, or address of a stream.
        output: Folder of its files.

    Raises:
        UsageError: The source is no address.
    """
    started_at = time.strftime("%Y-%m-%d_%H-%M-%S")
    return Job(source, output / f"{_name_of_source(source)}_{started_at}")


def _name_of_source(source: str) -> str:
    if source.isdecimal():
        return f"camera_{source}"
    try:
        host = urlsplit(source).hostname
    except ValueError:
        raise UsageError(f"--source {display_name(source)}: not an address") from None
    return f"stream_{host or Path(source).stem}"


def video_jobs(names: Sequence[str], output: Path) -> list[Job]:
    """Return the jobs of videos, in order.

    Args:
        names: Files, folders and patterns.
        output: Folder in which their files have the places of the videos in theirs.

    Raises:
        FileError: A name stands for no video.
    """
    videos = find_videos(names, output)
    stems = Counter(output / folder / path.stem for path, folder in videos)
    jobs = []
    for path, folder in videos:
        stem = output / folder / path.stem
        # Videos that differ only in their ending keep it.
        jobs.append(Job(path, stem if stems[stem] == 1 else stem.with_name(path.name)))
    return jobs


def check_output_collisions(jobs: list[Job], *, with_videos: bool) -> None:
    """Raise UsageError where two sources would write one file, or one would overwrite a source.

    Args:
        jobs: The sources.
        with_videos: Whether annotated videos are written.
    """
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
    """Raise FileError where the file system allows no name as long as that of a file."""
    partial = f"{file.stem}.partial{file.suffix}"  # as `atomic_write` names it
    limit = DEFAULT_NAME_LIMIT
    if hasattr(os, "pathconf"):
        folder = next(path for path in file.absolute().parents if os.path.exists(path))
        limit = os.pathconf(folder, "PC_NAME_MAX")
    length = len(os.fsencode(partial))
    if length > limit:
        raise FileError(
            f"{file.parent / partial}: a name of {length} bytes, and the file system allows"
            f" {limit}; give the video a shorter name"
        )
