"""Small pictures of stored frames, as they stand in a page."""

import base64
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import cv2

from dataloaders.records import VideoRecord, frame_name, spread_numbers
from dataloaders.workers import available_cores

HEIGHT = 96  # pixels
QUALITY = 60  # of JPEG, 0 to 100


@dataclass(frozen=True)
class Strip:
    """A video and pictures of a few of its frames.

    Attributes:
        record: The video.
        pictures: Addresses of the pictures, which hold the pictures themselves; frames that cannot
            be read have none.
    """

    record: VideoRecord
    pictures: list[str]


def make_strips(frames_dir: Path, records: Sequence[VideoRecord], num_frames: int) -> list[Strip]:
    """Make small pictures of evenly spaced frames of each video.

    Args:
        frames_dir: The folder that the places of the records lie in.
        records: The videos, which have frames.
        num_frames: Pictures of each, fewer where it has fewer frames.
    """
    make_strip = partial(_make_strip, frames_dir, num_frames=num_frames)
    with ThreadPoolExecutor(available_cores()) as executor:
        return list(executor.map(make_strip, records))


def _make_strip(frames_dir: Path, record: VideoRecord, num_frames: int) -> Strip:
    folder = record.folder(frames_dir)
    numbers = dict.fromkeys(spread_numbers(record.frames, num_frames))
    pictures = [make_thumbnail(folder / frame_name(number)) for number in numbers]
    return Strip(record, [picture for picture in pictures if picture is not None])


def make_thumbnail(file: Path) -> str | None:
    """Return the address of a small picture of a JPEG file, which holds the picture itself.

    Returns:
        A `data:` address; None where the file cannot be read.
    """
    if not file.is_file():  # OpenCV would print a warning
        return None
    image = cv2.imread(str(file))
    if image is None:
        return None
    height, width = image.shape[:2]
    size = (max(1, round(width * HEIGHT / height)), HEIGHT)
    image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    _, data = cv2.imencode(".jpg", image, (cv2.IMWRITE_JPEG_QUALITY, QUALITY))
    return "data:image/jpeg;base64," + base64.b64encode(data).decode()
