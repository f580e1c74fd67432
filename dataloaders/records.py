"""The records of videos, the tables that store them, and how a change of the data is noticed."""

import hashlib
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from sys import intern
from typing import NamedTuple

from dataloaders.errors import DataError
from dataloaders.files import plural, read_table, shorten, write_table

SPLITS = ("train", "val", "test")
# The names of them in the data sets of others.
SPLIT_NAMES = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}
UNUSED = "unused"  # the split of videos that are in none of the three
REMOVED = "removed"  # the folder of frames whose videos are gone or replaced
PLACES = (*SPLITS, UNUSED, REMOVED)  # the folders that frame folders lie in
INDEX = "index.csv"
INDEX_COLUMNS = (
    "split",
    "class",
    "video",
    "group",
    "frames",
    "source",
    "modified",
    "group from",
)
USER, NAME = "user", "name"  # what a group can be from
SEPARATORS = re.compile(r"[/\\\0]")
SPLIT_FILE = "split.csv"
SPLIT_COLUMNS = ("split", "class", "video", "group", "source")


class VideoRecord(NamedTuple):
    """A video of a data set, or a part of a recording.

    A named tuple, as a changed copy of a frozen dataclass takes four times as long (`_replace`
    1.9, `dataclasses.replace` 7.1 microseconds), and data sets have 240,000 videos.

    Attributes:
        split: "train", "val", "test" or "unused"; None where no split has been made.
        class_name: Its class.
        video: The name of its frame folder, which is that of the file as far as it can be.
        group: The recording that it was cut from.
        source: The path of the file below the folder of the data set, and which part of it.
        frames: The number of JPEG frames on disk; None where there are none yet.
        modified: When the source was changed last, as its frames were extracted, in seconds;
            None likewise.
        place: The folder in which its frame folder lies, "train", "val", "test", "unused" or
            "removed"; None likewise.
        group_is_given: Whether the user has named the group, in a table or by a pattern; otherwise
            it is read from the name of the video.
    """

    split: str | None
    class_name: str
    video: str
    group: str
    source: str
    frames: int | None = None
    modified: float | None = None
    place: str | None = None
    group_is_given: bool = False

    @property
    def key(self) -> tuple[str, str]:
        """(class, video): no two frame folders have it in common."""
        return self.class_name, self.video

    def folder(self, frames_dir: Path) -> Path:
        """Return the frame folder; the record must have frames."""
        if self.place is None:
            raise ValueError(f"{self.source} has no frames")
        return frames_dir / self.place / self.class_name / self.video


def frame_name(number: int) -> str:
    """Return the file name of a frame in its folder; the first has the number 1."""
    return f"{number:05d}.jpg"


def spread_numbers(num_frames: int, count: int) -> list[int]:
    """Return the numbers, from 1, of evenly spaced frames.

    Args:
        num_frames: How many frames there are.
        count: How many numbers to return; more than `num_frames` repeat some.
    """
    return [(2 * i + 1) * num_frames // (2 * count) + 1 for i in range(count)]


def read_index(path: Path, *, is_growing: bool = False) -> list[VideoRecord]:
    """Read an index of frame folders.

    Args:
        path: The file.
        is_growing: Whether rows are being added, so that the last one may be incomplete.

    Raises:
        FileError: The file cannot be read.
        DataError: It is damaged, or leads out of the folder of frames.
    """
    return list(read_table(path, INDEX_COLUMNS, _parse_index_row, is_growing=is_growing))


def _parse_index_row(row: Mapping[str, str]) -> VideoRecord:
    record = VideoRecord(
        split=intern(row["split"]),
        class_name=intern(row["class"]),
        video=row["video"],
        group=intern(row["group"]),
        source=row["source"],
        frames=int(row["frames"]),
        modified=float(row["modified"]),
        place=intern(row["split"]),
        group_is_given=row["group from"] == USER,
    )
    is_inside = is_folder_name(record.class_name) and is_folder_name(record.video)
    if record.place not in (*SPLITS, UNUSED) or not is_inside:
        name = f"{record.place}/{record.class_name}/{record.video}"
        raise ValueError(f"{name} is not a frame folder")
    return record


def write_index(path: Path, records: Iterable[VideoRecord]) -> None:
    """Write an index atomically, by the places of the frame folders.

    Args:
        path: The file.
        records: The records, which have frames.
    """
    write_table(path, INDEX_COLUMNS, map(index_row, records))


def index_row(record: VideoRecord) -> list:
    """Return a record as a row of the index; it must have frames."""
    if record.frames is None:
        raise ValueError(f"{record.source} has no frames")
    group_from = USER if record.group_is_given else NAME
    row = [record.place, record.class_name, record.video, record.group]
    row += [record.frames, record.source, record.modified, group_from]
    return row


def write_split(path: Path, records: Iterable[VideoRecord]) -> None:
    """Write atomically which video is in which split, as a run stores it.

    Args:
        path: The file.
        records: The records with the split of the run.
    """
    rows = ((r.split, r.class_name, r.video, r.group, r.source) for r in records)
    write_table(path, SPLIT_COLUMNS, rows)


def read_split(path: Path, indexed: Iterable[VideoRecord]) -> list[VideoRecord]:
    """Read a split that `write_split` wrote.

    Args:
        path: The file.
        indexed: The records of the index, which know the frames.

    Raises:
        FileError: The file cannot be read.
        DataError: It is damaged, or names videos that are removed or changed.
    """
    known = {record.key: record for record in indexed}
    records = []
    missing = []
    for row in read_table(path, SPLIT_COLUMNS, _validate_split_row):
        record = known.get((row["class"], row["video"]))
        if record is None:
            missing.append(row["source"])
            continue
        split = intern(row["split"])
        records.append(record._replace(split=split, group=intern(row["group"])))
    if missing:
        raise _other_data(f"removed or changed {shorten(missing)}")
    return records


def _validate_split_row(row: dict[str, str]) -> dict[str, str]:
    if row["split"] not in (*SPLITS, UNUSED):
        raise ValueError(f"unknown split {row['split']!r}")
    return row


def is_folder_name(name: str) -> bool:
    """Whether a folder of such a name lies where it is made."""
    return name not in ("", ".", "..") and not SEPARATORS.search(name)


def fingerprint(videos: Sequence[VideoRecord]) -> dict[str, list]:
    """Return what tells a resumed run that its data have changed.

    Returns:
        For each split the number of its videos and a hash of their names and lengths.
    """
    names = defaultdict(list)
    for video in videos:
        names[video.split].append(f"{video.class_name}/{video.video} {video.frames}")
    result = {}
    for split in sorted(names):
        text = "\n".join(sorted(names[split]))
        result[split] = [len(names[split]), hashlib.sha256(text.encode()).hexdigest()[:16]]
    return result


def validate_same_data(checkpoint: dict, classes: list[str], videos: dict[str, list]) -> None:
    """Check that a run goes on with the data of its checkpoint.

    Args:
        checkpoint: Its dict, with the `classes` and the fingerprint `videos` of its data.
        classes: Those that the data set has now.
        videos: The fingerprint that it has now.

    Raises:
        DataError: They differ; the message names the differences.
    """
    changes = _changed_classes(checkpoint["classes"], classes)
    changes += _changed_splits(checkpoint["videos"], videos)
    if changes:
        raise _other_data(", ".join(changes))


def _changed_classes(before: list[str], now: list[str]) -> list[str]:
    changes = []
    new = [name for name in now if name not in before]
    missing = [name for name in before if name not in now]
    if new:
        changes.append(f"new classes {shorten(new)}")
    if missing:
        changes.append(f"missing classes {shorten(missing)}")
    if now != before and not changes:
        changes.append("other labels for the same classes")
    return changes


def _changed_splits(before: dict[str, list], now: dict[str, list]) -> list[str]:
    changes = []
    for split in (*SPLITS, UNUSED):
        num_before, hash_before = before.get(split, (0, ""))
        num_now, hash_now = now.get(split, (0, ""))
        if num_now != num_before:
            changes.append(f"{plural(num_now, f'{split} video')}, not {num_before}")
        elif hash_now != hash_before:
            changes.append(f"other {split} videos")
    return changes


def _other_data(changes: str) -> DataError:
    return DataError(f"not the data that the run was started with: {changes}; start a new run")
