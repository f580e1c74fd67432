"""Videos -> folders of JPEG frames, in worker processes, which may hang or crash."""

import concurrent.futures
import itertools
import math
import multiprocessing
import os
import shutil
import sys
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
from pebble import ProcessExpired, ProcessPool

from dataloaders.errors import DataError, FileError, TransientReadError
from dataloaders.frame_source import Frame, FrameSource
from dataloaders.frames import DataSettings
from dataloaders.images import ImageFolder
from dataloaders.records import VideoRecord, frame_name
from dataloaders.sampling import ClipConfig, Extent, Spacing, nearest_in_time
from dataloaders.sources import split_source
from dataloaders.transforms import resize_frame
from dataloaders.video import MIN_WHOLE_SHARE, Damage, VideoFile
from dataloaders.workers import describe_missing_shared_memory

BASE_TIME_LIMIT = 120.0  # seconds that any video may take
# Bytes of a file for which its time limit grows by a second; a slow core reads ten times as many.
BYTES_PER_SECOND = 50_000
FRAMES_PER_SECOND = 5  # of a folder of images, likewise
KILLED = -9  # exit status of a process that the system has killed, as for lack of memory


@dataclass(frozen=True)
class ExtractionJob:
    """A video or a part of it, and where its frames go.

    Attributes:
        source: A video file or a folder of images.
        folder: Where the frames go, as `00001.jpg`, ...; what lies there is removed.
        config: The clips that the frames are for.
        start: Where the part begins, in seconds since the first frame of the video.
        end: Where it ends; None for the end of the video.
        source_fps: Frame rate of a folder of images.
        image_prefix: Beginning of the names of the images to take; None where all are of one kind.
    """

    source: Path
    folder: Path
    config: ClipConfig
    start: float = 0.0
    end: float | None = None
    source_fps: float = 25.0
    image_prefix: str | None = None


def make_job(settings: DataSettings, record: VideoRecord, folder: Path) -> ExtractionJob:
    """Return the job that extracts the frames of a video of a data set.

    Args:
        settings: The data set.
        record: The video.
        folder: Where its frames go.
    """
    source = split_source(settings.root_dir.absolute(), record.source)
    return ExtractionJob(
        source=source.path,
        folder=folder.absolute(),
        config=settings.config,
        start=source.start,
        end=source.end,
        source_fps=settings.source_fps,
        image_prefix=settings.image_prefix,
    )


@dataclass(frozen=True)
class Extraction:
    """What became of a job.

    Attributes:
        num_frames: Number of JPEG frames that were written.
        is_repeated: Whether frames are repeated, as the video has fewer a second than clips need.
        has_timestamps: Whether the video has time stamps; otherwise its frames are counted.
        damage: What could not be decoded; None where all could.
    """

    num_frames: int
    is_repeated: bool
    has_timestamps: bool
    damage: Damage | None


def extract_frames(job: ExtractionJob) -> Extraction:
    """Write the frames that clips of a video are cut from.

    Raises:
        FileError: The source is gone, or a frame cannot be written.
        TransientReadError: The source cannot be read, which may be no fault of its own.
        DataError: No frame of the part can be decoded, or less than half of it.
    """
    source = open_source(job.source, job.source_fps, job.image_prefix)
    extent = _expected_extent(source, job)
    while True:
        spacing = job.config.spacing(extent)
        counted = _Counted(source.frames(job.start, math.inf if job.end is None else job.end))
        num_written = _write_frames(_select(counted, spacing), job)
        if counted.num_frames == 0:
            raise DataError(f"{job.source}: there is no frame in this part")
        extent = counted.extent
        if job.config.spacing(extent) == spacing:
            break  # otherwise the header misled about the length
    source.close()
    damage = source.damage
    if damage is not None and damage.num_lost > (1 - MIN_WHOLE_SHARE) * damage.num_frames:
        raise DataError(f"{job.source}: {damage}")
    is_repeated = spacing.seconds is not None and spacing.seconds < 0.99 * extent.mean_interval
    return Extraction(num_written, is_repeated, source.has_timestamps, damage)


class _Counted:
    """Frames that pass, and how many and how long they were."""

    def __init__(self, frames: Iterator[Frame]):
        self._frames = frames
        self.num_frames = 0
        self._first = 0.0
        self._last = 0.0

    def __iter__(self) -> Iterator[Frame]:
        for frame in self._frames:
            if self.num_frames == 0:
                self._first = frame.time
            self._last = frame.time
            self.num_frames += 1
            yield frame

    @property
    def extent(self) -> Extent:
        return Extent(self.num_frames, self._last - self._first)


def open_source(path: Path, source_fps: float, image_prefix: str | None) -> ImageFolder | VideoFile:
    """Open a video file, or a folder of images, to read it in one thread.

    Args:
        path: Of the file or folder.
        source_fps: Frame rate of a folder of images.
        image_prefix: What the names of its images begin with; None for any.
    """
    if os.path.isdir(path):
        return ImageFolder(path, source_fps, image_prefix)
    return VideoFile(path, threads=1)


def _expected_extent(source: FrameSource, job: ExtractionJob) -> Extent | None:
    """Return how long a part is by the header; None where that does not say."""
    if source.num_frames is None or source.fps is None:
        return None
    num_frames = source.num_frames
    if job.end is not None:
        num_frames = min(num_frames, max(1, round((job.end - job.start) * source.fps)))
    return Extent(num_frames, (num_frames - 1) / source.fps)


def _select(frames: Iterable[Frame], spacing: Spacing) -> Iterator[Frame]:
    """Yield the frames that are stored, by number or by time."""
    if spacing.seconds is not None:
        yield from nearest_in_time(frames, spacing.seconds)
        return
    for number, frame in enumerate(frames):
        if number % spacing.frames == 0:
            yield frame


def _write_frames(frames: Iterable[Frame], job: ExtractionJob) -> int:
    """Write frames as `00001.jpg`, ... and return their number."""
    shutil.rmtree(job.folder, ignore_errors=True)
    try:
        job.folder.mkdir(parents=True)
    except OSError as error:
        raise FileError(f"{job.folder}: cannot be written: {error.strerror}") from None
    num_written = 0
    for frame in frames:
        num_written += 1
        file = job.folder / frame_name(num_written)
        image = resize_frame(frame.to_image(), *job.config.stored_size)
        if not cv2.imwrite(str(file), image):
            raise FileError(f"{file}: cannot be written; is the disk full?")
    return num_written


def extract_all(
    jobs: Iterable[ExtractionJob], processes: int
) -> Iterator[tuple[int, Extraction | DataError]]:
    """Extract the frames of many videos, several at a time.

    Args:
        jobs: Jobs with absolute paths; they are taken as workers become free.
        processes: Number of worker processes.

    Yields:
        The number of a job and its `Extraction`, or the `DataError` for which the video is skipped,
        in the order in which they are done.

    Raises:
        FileError: A source is gone, or frames cannot be written.
    """
    if describe_missing_shared_memory(0):  # which a pool of processes needs
        yield from _extract_here(jobs)
        return
    # Workers are forked where that is safe, as they then import nothing again.
    context = multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn")
    pool = ProcessPool(max_workers=processes, initializer=_prepare_worker, context=context)
    try:
        # Twice as many jobs as workers are scheduled, so that these wait for nobody.
        yield from _extract_in_pool(pool, jobs, max_scheduled=2 * processes)
    finally:
        pool.stop()
        pool.join()


def _extract_here(jobs: Iterable[ExtractionJob]) -> Iterator[tuple[int, Extraction | DataError]]:
    """Extract the frames of videos in this process, one after the other."""
    for number, job in enumerate(jobs):
        try:
            yield number, extract_frames(job)
        except DataError as error:
            yield number, error


@dataclass(frozen=True)
class _Attempt:
    number: int
    job: ExtractionJob
    is_last: bool = False


def _schedule(pool: ProcessPool, running: dict[Future, _Attempt], attempt: _Attempt) -> None:
    limit = time_limit(attempt.job.source)
    running[pool.schedule(extract_frames, args=[attempt.job], timeout=limit)] = attempt


def _extract_in_pool(
    pool: ProcessPool, jobs: Iterable[ExtractionJob], max_scheduled: int
) -> Iterator[tuple[int, Extraction | DataError]]:
    numbered = enumerate(jobs)
    running: dict[Future, _Attempt] = {}
    while True:
        for number, job in itertools.islice(numbered, max_scheduled - len(running)):
            _schedule(pool, running, _Attempt(number, job))
        if not running:
            return
        done, _ = wait(running, return_when=FIRST_COMPLETED)
        for future in done:
            attempt = running.pop(future)
            result = _result_of(future, attempt)
            if result is None:
                _schedule(pool, running, replace(attempt, is_last=True))
            else:
                yield attempt.number, result


def _result_of(future: Future, attempt: _Attempt) -> Extraction | DataError | None:
    """Return the result of an attempt; None where its worker died and the job is tried again."""
    source = attempt.job.source
    try:
        return future.result()
    except DataError as error:
        return error
    except concurrent.futures.TimeoutError:  # another class than TimeoutError in Python 3.10
        return DataError(f"{source}: not decoded within {time_limit(source):.0f} s")
    except ProcessExpired as error:
        if not attempt.is_last:
            return None
        if error.exitcode == KILLED:
            return TransientReadError(f"{source}: the system killed its worker; is memory short?")
        return DataError(f"{source}: the decoder crashed, status {error.exitcode}")


def time_limit(source: Path) -> float:
    """Return how many seconds the extraction of a video may take; it grows with its length."""
    try:
        if source.is_dir():
            return BASE_TIME_LIMIT + len(os.listdir(source)) / FRAMES_PER_SECOND
        return BASE_TIME_LIMIT + source.stat().st_size / BYTES_PER_SECOND
    except OSError:  # the worker reports it
        return BASE_TIME_LIMIT


def _prepare_worker() -> None:
    """Keep OpenCV to one thread, and end the worker when its parent has ended."""
    cv2.setNumThreads(0)  # 1 would wait for threads of the parent, which a fork does not have
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    multiprocessing.parent_process().join()
    os._exit(1)
