"""What the headers of the videos of a data set say: length, frame rate and size."""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from PIL import Image
from tqdm import tqdm

from dataloaders.errors import UserError
from dataloaders.ffmpeg import av, open_header
from dataloaders.frames import DataSettings
from dataloaders.images import ImageFolder
from dataloaders.records import VideoRecord
from dataloaders.sources import Source, split_source
from dataloaders.workers import available_cores


@dataclass(frozen=True)
class Header:
    """What the header of a video says; what it does not say is None.

    Attributes:
        seconds: How long the video is, or the part that a table selects.
        fps: Frames a second.
        size: (width, height) in pixels, as the file has them: no frame is decoded that could tell
            that it is to be turned.
    """

    seconds: float | None = None
    fps: float | None = None
    size: tuple[int, int] | None = None


def read_headers(settings: DataSettings, records: Sequence[VideoRecord]) -> list[Header]:
    """Read the headers of videos; those that are not there say nothing.

    Args:
        settings: The data set.
        records: The videos.
    """
    if not os.path.exists(settings.root_dir):
        return [Header()] * len(records)
    sources = [split_source(settings.root_dir, record.source) for record in records]
    paths = list(dict.fromkeys(source.path for source in sources))
    executor = ThreadPoolExecutor(available_cores())
    try:
        results = executor.map(lambda path: read_header(path, settings), paths)
        results = tqdm(results, "headers", len(paths), leave=False, delay=1, unit="file")
        headers = dict(zip(paths, results, strict=True))
    finally:
        executor.shutdown(cancel_futures=True)
    return [_of_part(headers[source.path], source) for source in sources]


def read_header(path: Path, settings: DataSettings) -> Header:
    """Read the header of a video file, or what is known of a folder of images.

    Args:
        path: Of the file or folder.
        settings: The data set, which knows the rate of folders of images.
    """
    try:
        if os.path.isdir(path):
            return _of_images(ImageFolder(path, settings.source_fps, settings.image_prefix))
        with open_header(path) as container:
            return _of_video(container)
    except (UserError, OSError, av.FFmpegError):
        return Header()


def _of_images(folder: ImageFolder) -> Header:
    with Image.open(folder.files[0]) as image:
        return Header(folder.duration, folder.fps, image.size)


def _of_video(container: "av.container.InputContainer") -> Header:
    stream = container.streams.best("video")
    if stream is None or stream.codec_context is None:
        return Header()
    rate = stream.average_rate or stream.guessed_rate
    seconds = None
    if stream.duration:
        seconds = float(stream.duration * stream.time_base)
    elif container.duration:
        seconds = container.duration / av.time_base
    size = (stream.width, stream.height) if stream.width and stream.height else None
    return Header(seconds, float(rate) if rate else None, size)


def _of_part(header: Header, source: Source) -> Header:
    """Return the header of a part of a recording."""
    if header.seconds is None and source.end is None:
        return header
    end = header.seconds if source.end is None else source.end
    if header.seconds is not None:
        end = min(end, header.seconds)
    return replace(header, seconds=end - source.start)
