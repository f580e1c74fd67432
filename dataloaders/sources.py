"""The videos of a data set, in the forms in which people have them: folders and tables."""

import os
import re
from collections import Counter, defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from dataloaders.class_folders import has_split_folders, list_class_folders
from dataloaders.errors import DataError, FileError
from dataloaders.files import named_errors, shorten
from dataloaders.groups import set_groups
from dataloaders.records import VideoRecord
from dataloaders.tables import list_table, read_cells

SOURCE = re.compile(r"(.*?)(?:#t=([\d.]+),([\d.]+))?")  # path#t=start,end
NOT_IN_TABLES = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff\\]")
MAX_NAME_LENGTH = 255  # bytes, on the usual file systems


class Source(NamedTuple):
    """Where a video lies, and which part of it is meant.

    Attributes:
        path: The file, or the folder of images.
        start: In seconds.
        end: In seconds; None for that of the file.
    """

    path: Path
    start: float
    end: float | None


def list_videos(root_dir: Path, group_pattern: str | None = None) -> list[VideoRecord]:
    """List the videos of a data set, without frames; they have a split where the data set says it.

    Args:
        root_dir: A folder of class folders, of videos or of folders of images; a folder of such
            `train`, `val` and `test`; or a table.
        group_pattern: A regular expression; what it captures in the path of a video is its group.

    Returns:
        A record for each video.

    Raises:
        FileError: There is no video, or a folder cannot be read.
        DataError: Two videos would share a frame folder, or a row of a table is unusable.
    """
    if not os.path.exists(root_dir):
        raise FileError(f"{root_dir}: no such folder. mypath.py says where the videos lie")
    with named_errors():
        if os.path.isfile(root_dir):
            videos = list_table(root_dir)
        else:
            videos = list_class_folders(root_dir, is_split=has_split(root_dir))
    if group_pattern:
        videos = set_groups(videos, group_pattern)
    for video in videos:
        if NOT_IN_TABLES.search(video.source):
            raise DataError(
                f"{root_dir}/{video.source!a}: a table cannot hold this name; rename the file"
            )
    return _name_apart(root_dir, videos)


def _name_apart(root_dir: Path, videos: list[VideoRecord]) -> list[VideoRecord]:
    """Give the videos that would share a frame folder the ending of their file as part of its name.

    `a.avi` and `a.mp4` of one class become `a.avi` and `a.mp4`, another `b.avi` stays `b`.
    DataError where two still share one.
    """
    counts = Counter(map(_folder_key, videos))
    if len(counts) == len(videos):
        return videos
    renamed = []
    sources = defaultdict(list)
    for video in videos:
        if counts[_folder_key(video)] > 1:
            ending = split_source(root_dir, video.source).path.suffix
            video = video._replace(video=video.video + ending)
        renamed.append(video)
        sources[video.key].append(video.source)
    twins = [" and ".join(names) for names in sources.values() if len(names) > 1]
    if twins:
        raise DataError(
            f"{root_dir}: {shorten(twins)} would share a frame folder; rename one of each"
        )
    return renamed


def _folder_key(video: VideoRecord) -> tuple[str, str]:
    """Return what two frame folders must not have in common, on any file system."""
    return video.class_name, video.video.casefold()


def check_name_lengths(videos: Iterable[VideoRecord]) -> None:
    """Raise DataError where a class or video has a name too long for a frame folder."""
    for video in videos:
        for name in video.key:
            length = len(os.fsencode(name))
            if length > MAX_NAME_LENGTH:
                raise DataError(
                    f"{video.source}: its frames need a folder named {name[:40]!r}... of {length} "
                    f"bytes, and a folder takes {MAX_NAME_LENGTH} at most; use a shorter name"
                )


def has_split(root_dir: Path, sources: Iterable[str] = ()) -> bool:
    """Return whether a data set says who is in train, val and test.

    Args:
        root_dir: The data set, as `list_videos` takes it.
        sources: Where it is gone, the sources in the index.
    """
    if os.path.isfile(root_dir):
        return "split" in read_cells(root_dir).columns
    if os.path.isdir(root_dir):
        with named_errors(root_dir):
            names = {entry.name.lower() for entry in os.scandir(root_dir) if os.path.isdir(entry)}
    else:
        names = {source.partition("/")[0].lower() for source in sources}
    names.discard("__macosx")
    return has_split_folders(names)


def split_source(root_dir: Path, source: str) -> Source:
    """Return which part of which file a source is.

    Args:
        root_dir: The data set, as `list_videos` takes it.
        source: Of a record.
    """
    path, start, end = SOURCE.fullmatch(source).groups()
    path = _folder_of_sources(root_dir) / path
    return Source(path, float(start or 0), float(end) if end else None)


def modification_times(root_dir: Path, sources: Iterable[str]) -> dict[str, float]:
    """Return when the file or folder of each source was changed last, in seconds.

    Args:
        root_dir: The data set, as `list_videos` takes it.
        sources: Those of its records.

    Raises:
        FileError: A file is gone or out of reach.
    """
    folder = str(_folder_of_sources(root_dir))  # joining Paths would take as long as all the rest
    times = {}
    with named_errors():
        for source in sources:
            path = SOURCE.fullmatch(source)[1] if "#t=" in source else source
            times[source] = os.stat(os.path.join(folder, path)).st_mtime  # it may be absolute
    return times


def _folder_of_sources(root_dir: Path) -> Path:
    return root_dir.parent if os.path.isfile(root_dir) else root_dir
