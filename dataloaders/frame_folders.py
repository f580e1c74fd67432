"""The folders of frames, one a video: how they are named and where they move."""

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from dataloaders.comparison import Comparison, find_places
from dataloaders.files import named_errors, shorten
from dataloaders.frames import DataSettings, lock_frames
from dataloaders.records import REMOVED, SPLITS, UNUSED, VideoRecord


class FolderNames:
    """Names for frame folders that no folder of the index has.

    A video that has changed gets new frames beside the old ones, as `<video>.2`: a run that reads
    the old ones goes on reading them.
    """

    def __init__(self, frames_dir: Path, comparison: Comparison):
        self._frames_dir = frames_dir
        self._taken = {record.key for record in comparison.gone}
        self._taken.update(r.key for r in comparison.records if r.frames is not None)

    def choose(self, record: VideoRecord) -> VideoRecord:
        """Return the record with the name that its frame folder gets."""
        number = 2
        named = record
        while named.key in self._taken or self._folder(named, REMOVED).exists():
            named = record._replace(video=f"{record.video}.{number}")
            number += 1
        self._taken.add(named.key)
        for place in (*SPLITS, UNUSED):  # a start may have been killed before it listed the folder
            shutil.rmtree(self._folder(named, place), ignore_errors=True)
        return named

    def _folder(self, record: VideoRecord, place: str) -> Path:
        return record._replace(place=place).folder(self._frames_dir)


def remove_gone(gone: list[VideoRecord], frames_dir: Path) -> None:
    """Move the frames of videos that are gone or have changed to the folder `removed`.

    Args:
        gone: Their records.
        frames_dir: The frames of a sampling.
    """
    if not gone:
        return
    places = find_places(frames_dir)
    for record in gone:
        if places.get(record.key) in (None, REMOVED):
            continue
        located = record._replace(place=places[record.key])
        move_folder(located.folder(frames_dir), located._replace(place=REMOVED).folder(frames_dir))
    names = shorten(sorted({record.source for record in gone}))
    print(f"gone or changed, their frames are in {frames_dir / REMOVED}: {names}")


def move_folder(folder: Path, target: Path) -> None:
    """Move a frame folder; what is in its way is left over, and listed nowhere.

    Args:
        folder: Where it lies.
        target: Where it goes.

    Raises:
        FileError: It cannot be moved.
    """
    with named_errors(target):
        if target.is_dir():
            shutil.rmtree(target)
        os.renames(folder, target)


def prune(settings: DataSettings) -> None:
    """Delete the frames of videos that are gone or have changed; no run may read them any more."""
    with lock_frames(settings.frames_dir, settings.frames_dir):
        shutil.rmtree(settings.frames_dir / REMOVED, ignore_errors=True)


def place(
    records: list[VideoRecord], places: Mapping[str, str], frames_dir: Path
) -> list[VideoRecord]:
    """Move the frame folders that lie elsewhere; a run that reads them finds them there.

    Args:
        records: The videos that have frames.
        places: Where they belong, by source.
        frames_dir: The frames of a sampling.

    Returns:
        The records with their places.
    """
    placed = []
    for record in records:
        target = record._replace(place=places[record.source])
        if target.place != record.place:
            move_folder(record.folder(frames_dir), target.folder(frames_dir))
        placed.append(target)
    return placed
