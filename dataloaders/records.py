"""The records of videos, the tables that store them, and how a change of the data is noticed."""

import csv
import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from sys import intern
from typing import NamedTuple

from dataloaders.errors import DataError
from dataloaders.files import shorten, write_table

SPLITS = ("train", "val", "test")
UNUSED = "unused"  # the split of videos that are in none of the three
REMOVED = "removed"  # the folder of frames whose videos are gone or replaced
PLACES = (*SPLITS, UNUSED, REMOVED)  # the folders that frame folders lie in
INDEX = "index.csv"
INDEX_COLUMNS = (
    *("split", "class", "video", "group", "frames", "source", "modified"),
    "group from",
)
USER, NAME = "user", "name"  # what a group can be from
SEPARATORS = re.compile(r"[/\\\0]")
SPLIT_FILE = "split.csv"
SPLIT_COLUMNS = ("split", "class", "video", "group", "source")


class VideoRecord(NamedTuple):
    """A video of a data set, or a part of a recording.

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


def read_index(path: Path, is_growing: bool = False) -> list[VideoRecord]:
    """Read an index of frame folders.

    Args:
        path: The file.
        is_growing: Whether rows are being added, so that the last one may be incomplete.

    Raises:
        DataError: The file is damaged, or leads out of the folder of frames.
    """
    records = []
    with open(path, newline="", encoding="utf-8") as file:
        lines = (line for line in file if line.endswith("\n") or not is_growing)
        try:
            for row in _read_rows(lines, INDEX_COLUMNS):
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
                _validate_record(record)
                records.append(record)
        except (ValueError, TypeError, csv.Error) as error:
            message = f"{path} is damaged ({error}): delete it and preprocess again"
            raise DataError(message) from None
    return records


def write_index(path: Path, records: Iterable[VideoRecord]) -> None:
    """Write an index atomically, by the places of the frame folders."""
    write_table(path, INDEX_COLUMNS, map(index_row, records))


def index_row(record: VideoRecord) -> tuple:
    """Return a record as a row of the index; it must have frames."""
    if record.frames is None:
        raise ValueError(f"{record.source} has no frames")
    return (
        record.place,
        record.class_name,
        record.video,
        record.group,
        record.frames,
        record.source,
        record.modified,
        USER if record.group_is_given else NAME,
    )


def write_split(path: Path, records: Iterable[VideoRecord]) -> None:
    """Write atomically which video is in which split, as a run stores it."""
    rows = ((r.split, r.class_name, r.video, r.group, r.source) for r in records)
    write_table(path, SPLIT_COLUMNS, rows)


def read_split(path: Path, indexed: Iterable[VideoRecord]) -> list[VideoRecord]:
    """Read a split that `write_split` wrote.

    Args:
        path: The file.
        indexed: The records of the index, which know the frames.

    Raises:
        FileError: There is no such file.
        DataError: It is damaged, or names videos that are removed or changed.
    """
    known = {record.key: record for record in indexed}
    records = []
    missing = []
    with open(path, newline="", encoding="utf-8") as file:
        try:
            for row in _read_rows(file, SPLIT_COLUMNS):
                record = known.get((row["class"], row["video"]))
                if record is None:
                    missing.append(row["source"])
                    continue
                if row["split"] not in (*SPLITS, UNUSED):
                    raise ValueError(f"unknown split {row['split']!r}")
                split = intern(row["split"])
                records.append(record._replace(split=split, group=intern(row["group"])))
        except (ValueError, TypeError, csv.Error) as error:
            raise DataError(f"{path} is damaged ({error})") from None
    if missing:
        raise DataError(
            "not the data that the run was started with: "
            f"removed or changed {shorten(missing)}; start a new run"
        )
    return records


def _read_rows(lines: Iterable[str], columns: Sequence[str]) -> Iterator[Mapping[str, str]]:
    reader = csv.reader(lines)  # DictReader takes as long as all the rest
    if next(reader, []) != list(columns):
        raise ValueError("its first line is not " + ",".join(columns))
    for row in reader:
        if len(row) != len(columns):
            raise ValueError(f"line {reader.line_num} has not {len(columns)} cells")
        yield dict(zip(columns, row, strict=True))


def _validate_record(record: VideoRecord) -> None:
    is_inside = is_folder_name(record.class_name) and is_folder_name(record.video)
    if record.place not in (*SPLITS, UNUSED) or not is_inside:
        name = f"{record.place}/{record.class_name}/{record.video}"
        raise ValueError(f"{name} is not a frame folder")


def is_folder_name(name: str) -> bool:
    """Whether a folder of such a name lies where it is made."""
    return name not in ("", ".", "..") and not SEPARATORS.search(name)


def fingerprint(videos: Sequence[VideoRecord]) -> dict[str, list]:
    """Return {split: [number of videos, hash of names and lengths]}, by which a resumed run notices other data."""
    pairs = {}
    for split in sorted({video.split for video in videos}):
        names = sorted(f"{v.class_name}/{v.video} {v.frames}" for v in videos if v.split == split)
        pairs[split] = [len(names), hashlib.sha256("\n".join(names).encode()).hexdigest()[:16]]
    return pairs


def validate_same_data(checkpoint: dict, classes: list[str], videos: dict[str, list]) -> None:
    """Raise DataError, naming the differences, where a checkpoint was trained on other classes or other `videos`."""
    previous = checkpoint["classes"]
    known = {
        split: pair
        for split, pair in checkpoint["videos"].items()
        if isinstance(pair, list) and len(pair) == 2
    }
    new, missing = (
        [c for c in classes if c not in previous],
        [c for c in previous if c not in classes],
    )
    changes = [
        f"{change} classes {shorten(names)}"
        for change, names in (("new", new), ("missing", missing))
        if names
    ]
    if classes != previous and not changes:
        changes.append("other labels for the same classes")
    for split in (*SPLITS, UNUSED):
        now, before = videos.get(split, [0, ""]), known.get(split, [0, ""])
        if now != before:
            numbers = f"{now[0]} {split} videos, not {before[0]}"
            changes.append(numbers if now[0] != before[0] else f"other {split} videos")
    if changes:
        raise DataError(
            f"not the data that the run was started with: {', '.join(changes)}; start a new run"
        )
