"""The index of a frame folder: one row a video, who is in which split, and how a change of the data is noticed."""

import contextlib
import csv
import hashlib
import os
import re
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from sys import intern
from typing import Any, NamedTuple

from dataloaders.clips import ClipConfig
from dataloaders.errors import DataError

SPLITS = ("train", "val", "test")
UNUSED = "unused"  # the split of videos that the official lists leave out
INDEX = "index.csv"
COLUMNS = ("split", "class", "video", "group", "frames", "source", "sampling")


class VideoRecord(NamedTuple):
    """One row of the index."""

    split: str
    class_name: str
    video: str  # name of the frame folder
    group: str  # the recording that it was cut from
    frames: int  # JPEG frames on disk
    source: str  # path of the video file below the data set's folder
    sampling: str = ClipConfig().sampling()  # of its frames

    def folder(self, output_dir: Path) -> Path:
        return output_dir / f"{self.split}/{self.class_name}/{self.video}"


def read_index(path: Path, growing: bool = False) -> list[VideoRecord]:
    """Read an index file, where it is growing without an incomplete last row; DataError where it is damaged."""
    with open(path, newline="", encoding="utf-8") as file:
        rows = csv.reader(line for line in file if line.endswith("\n") or not growing)
        try:
            if tuple(next(rows, ())) not in (COLUMNS, COLUMNS[:-1]):
                raise ValueError("its first line is not " + ",".join(COLUMNS))
            videos = [
                VideoRecord(intern(s), intern(c), v, intern(g), int(n), *end)
                for s, c, v, g, n, *end in rows
            ]
            for split, *names in (video[:3] for video in videos):
                if split not in (*SPLITS, UNUSED) or not all(map(is_folder_name, names)):
                    raise ValueError(f"{'/'.join((split, *names))} is not a frame folder")
        except (ValueError, TypeError, IndexError, csv.Error) as error:
            raise DataError(
                f"{path} is damaged ({error}): delete it and preprocess again"
            ) from None
    return videos


def is_folder_name(name: str) -> bool:
    """Whether a folder of such a name lies where it is made."""
    return name not in ("", ".", "..") and not re.search(r"[/\\\0]", name)


def write_table(path: Path, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Write a CSV file atomically."""
    with atomic_write(path) as partial, open(partial, "w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(columns)
        table.writerows(rows)


@contextlib.contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Yield a path beside `path`, of the same ending, which replaces it, or is removed where the block fails."""
    partial = path.with_name(f"{path.stem}.partial{path.suffix}")
    partial.unlink(
        missing_ok=True
    )  # left by a killed start, it may be another name (hard link) of a good file
    try:
        yield partial
        with open(partial, "rb+") as file:
            os.fsync(file.fileno())  # or a power failure may leave an empty file of this name
        for seconds in (0.1, 0.4, 1.5):
            with contextlib.suppress(
                PermissionError
            ):  # of Windows, while another program reads the file
                return os.replace(partial, path)
            time.sleep(seconds)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


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


def shorten(names: Sequence[str]) -> str:
    """Return the first five of `names` for a message."""
    return ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
