"""The videos of a data set, in the forms in which people have them: folders, with or without a split, and tables."""

import csv
import math
import os
import re
import statistics
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import cv2
from tqdm import tqdm

from dataloaders.errors import DataError
from dataloaders.files import is_hidden, print_passed_over, read_lines, reason_to_pass_over
from dataloaders.index import VideoRecord, is_folder_name, shorten
from dataloaders.splits import group_of
from dataloaders.video import ImageFolder, VideoReader, has_image_suffix

SPLIT_NAMES = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}
TABLE_COLUMNS = ("path", "label", "split", "group", "start", "end")


def list_videos(root_dir: Path, group_pattern: str | None = None) -> list[VideoRecord]:
    """List the videos of a data set, without frames; they have a split where the data set says it.
    It is a folder of class folders, of videos or of folders of images; a folder of such `train`, `val` and `test`; or a
    table. Where there is a `group_pattern`, what it captures in the path of a video is the group.
    FileNotFoundError where there is no video; DataError where two would share a frame folder, or a row is unusable."""
    if not root_dir.exists():
        raise FileNotFoundError(f"{root_dir}: no such folder. mypath.py says where the videos lie")
    videos = _read_table(root_dir) if root_dir.is_file() else _list_folders(root_dir)
    if group_pattern:
        try:
            if re.compile(group_pattern).groups != 1:
                raise re.error("it has not one pair of brackets")
        except re.error as error:
            raise DataError(f"mypath.py: {group_pattern!r} captures no group: {error}") from None
        matches = {video.source: re.search(group_pattern, video.source) for video in videos}
        if without := [source for source, match in matches.items() if not match]:
            raise DataError(
                f"mypath.py: {group_pattern!r} finds no group in {len(without)} videos: {shorten(without)}"
            )
        videos = [video._replace(group=matches[video.source][1]) for video in videos]
    twins = {}
    for video in videos:
        if re.search(r"[\x00-\x1f\x7f\ud800-\udfff\\]", video.source):
            raise DataError(
                f"{root_dir}/{video.source!a}: a table cannot hold this name; rename the file"
            )
        if (twin := twins.setdefault((video.class_name, video.video), video)) is not video:
            raise DataError(
                f"{root_dir}: {twin.source} and {video.source} would share a frame folder; rename one"
            )
    return videos


def has_split(root_dir: Path, sources: Iterable[str] = ()) -> bool:
    """Whether a data set says who is in train, val and test; where it is gone, by the `sources` in the index."""
    if root_dir.is_file():
        return "split" in _read_rows(root_dir)[0]
    here = (
        (entry.name for entry in os.scandir(root_dir) if os.path.isdir(entry))
        if root_dir.is_dir()
        else ()
    )
    folders = {
        name.lower() for name in here or (source.partition("/")[0] for source in sources)
    } - {"__macosx"}
    return "train" in folders and (folders == {"train"} or len(folders & SPLIT_NAMES.keys()) > 1)


def split_source(root_dir: Path, source: str) -> tuple[Path, float, float]:
    """Return the path of a source, and the seconds from which to which it is part of that recording."""
    folder = root_dir.parent if root_dir.is_file() else root_dir
    path, start, end = re.fullmatch(r"(.*?)(?:#t=([\d.]+),([\d.]+))?", source).groups()
    return folder / path, float(start or 0), float(end or "inf")


def describe_videos(root_dir: Path, videos: Sequence[VideoRecord], source_fps: float) -> str:
    """Return lines on classes, groups, split, lengths, rates and sizes, by the headers: nothing is decoded."""
    values = {
        "classes": [v.class_name for v in videos],
        "split": [v.split for v in videos],
        "rates": [],
        "sizes": [],
    }
    seconds, unreadable = [], []
    for video in tqdm(videos, "headers", leave=False, delay=1, unit="video"):
        path, start, end = split_source(root_dir, video.source)
        try:
            reader = ImageFolder(path, source_fps) if path.is_dir() else VideoReader(path)
        except (OSError, DataError) as error:
            unreadable.append(f"cannot be read: {error}")
            continue
        seconds.append(min(end, reader.num_frames / reader.fps) - start)
        values["rates"].append(f"{reader.fps:.4g} frames/s")
        if isinstance(reader, VideoReader):
            size = (
                reader.capture.get(prop)
                for prop in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT)
            )
            values["sizes"].append("{:.0f}x{:.0f}".format(*size))
    lines = [f"{len(videos)} videos, {len({video.group for video in videos})} groups"]
    for name, column in values.items():
        parts = [f"{value or 'none'} ({count})" for value, count in Counter(column).most_common()]
        lines.append(
            f"{name}: " + ", ".join(parts if len(parts) <= 6 else [*parts[:3], "...", *parts[-2:]])
        )
    if seconds:
        lines.append(
            f"lengths: {min(seconds):.1f} to {max(seconds):.1f} s, median {statistics.median(seconds):.1f}"
        )
    return "\n".join(lines + unreadable[:5])


def _list_folders(root_dir: Path) -> list[VideoRecord]:
    videos, names, passed_over = [], {}, defaultdict(list)
    folders = [f"{name}/" for name in sorted(os.listdir(root_dir)) if not is_hidden(name)]
    for folder in folders if has_split(root_dir) else [""]:
        split = SPLIT_NAMES.get(folder[:-1].lower(), "")
        if folder and not split:
            passed_over["beside train, val and test"].append(folder)
            continue
        for source, is_file in sorted(_scan(root_dir, folder)):
            class_name, _, name = source.removeprefix(folder).rpartition("/")
            is_folder = (
                class_name
                and not is_file
                and not is_hidden(name)
                and os.path.isdir(root_dir / source)
            )
            is_images = is_folder and any(map(has_image_suffix, os.listdir(root_dir / source)))
            reason = None if is_images else reason_to_pass_over(name, is_file)
            if is_hidden(class_name):
                reason = "hidden"
            elif not class_name and not reason:
                reason = "in no class folder"
            if reason:
                passed_over[reason].append(source)
                continue
            stem = name if is_images else os.path.splitext(name)[0]
            if names.setdefault((class_name, stem), split) != split:
                stem = f"{split}_{stem}"  # the parts may number their videos alike
            videos.append(
                VideoRecord(
                    split, sys.intern(class_name), stem, group_of(class_name, stem), 0, source
                )
            )
    print_passed_over(root_dir, passed_over)
    if not videos:
        raise FileNotFoundError(f"{root_dir}: {_describe_layout(root_dir)}")
    return videos


def _scan(root_dir: Path, prefix: str) -> Iterator[tuple[str, bool]]:
    """Yield what lies in a folder and in its subfolders, as (path below `root_dir`, whether it is a file)."""
    for entry in os.scandir(root_dir / prefix):
        is_folder = os.path.isdir(entry)
        for file in os.scandir(entry) if is_folder else [entry]:
            # Known without a look at the disk, except of links, which may lead in a circle.
            is_file = os.path.isfile(file) if file.is_symlink() else file.is_file()
            yield prefix + (f"{entry.name}/{file.name}" if is_folder else file.name), is_file


def _describe_layout(root_dir: Path) -> str:
    """Say how a folder without class folders of videos is laid out, and what to do about it."""
    folders = {
        p.parent for p in root_dir.rglob("*") if not reason_to_pass_over(p.name, os.path.isfile(p))
    }
    if root_dir in folders:
        return "videos in no class folder; put those of each class into a folder of its name"
    if parents := sorted({folder.parent for folder in folders if not is_hidden(folder.name)}):
        advice = (
            f"name {parents[0]} in mypath.py"
            if len(parents) == 1
            else "put the videos into <class>/<video>"
        )
        return f"the class folders lie deeper; {advice}"
    if next(root_dir.rglob("*.[jp][pn]g"), None):
        return "images, but no folder for those of each video, <class>/<video>/1.jpg"
    return "no class folders with videos in it. mypath.py says where the videos lie"


def _read_rows(table: Path) -> tuple[tuple[str, ...], list[tuple[int, list[str]]]]:
    """Return the columns of a table, and its rows, each with its number; DataError where it is not such a text."""
    try:
        lines = table.read_text(encoding="utf-8-sig").splitlines()
        delimiter = next((mark for mark in ",;\t" if mark in "".join(lines[:1])), ",")
        rows = [
            (number, row)
            for number, row in enumerate(csv.reader(lines, delimiter=delimiter), start=1)
            if row
        ]
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{table}: not a table ({error})") from None
    if not rows:
        raise DataError(f"{table}: an empty table")
    columns = tuple(cell.strip().lower() for cell in rows[0][1])
    if "path" in columns:
        if unknown := [name for name in columns if name not in TABLE_COLUMNS]:
            raise DataError(
                f"{table}: unknown column {shorten(unknown)}; it may have {', '.join(TABLE_COLUMNS)}"
            )
        if "label" not in columns:
            raise DataError(f"{table}: it has no column label")
        return columns, rows[1:]
    # Without a header, as SlowFast and mmaction2 write it: path label, by a space or comma.
    return TABLE_COLUMNS[:2], [
        (number, row if len(row) > 1 else row[0].rsplit(maxsplit=1)) for number, row in rows
    ]


def _read_table(table: Path) -> list[VideoRecord]:
    columns, rows = _read_rows(table)
    names = read_lines(labels) if (labels := table.with_name("labels.txt")).is_file() else []
    if not rows:
        raise DataError(f"{table}: a table without rows")
    videos, faults, durations = {}, [], {}
    counts = Counter(
        row[columns.index("label")].strip() for _, row in rows if len(row) == len(columns)
    )
    for number, row in rows:
        values = dict(zip(columns, map(str.strip, row), strict=False))
        path, label, split = (values.get(name, "") for name in TABLE_COLUMNS[:3])
        path = path.replace("\\", "/")  # as Windows writes it
        try:
            if len(row) != len(columns):
                raise ValueError(f"{len(row)} cells, not {len(columns)}")
            if not path or not os.path.exists(file := table.parent / path):
                raise ValueError(f"no such file {path!r}")
            if not label or counts[label] == 1:
                raise ValueError(f"the only video of the label {label!r}")
            if "split" in columns and split.lower() not in SPLIT_NAMES:
                raise ValueError(f"unknown split {split!r}")
            if span := [values[name] for name in ("start", "end") if values.get(name)]:
                if file not in durations:
                    durations[file] = VideoReader(file).duration
                start, end = (
                    float(values.get("start") or 0),
                    float(values.get("end") or durations[file]),
                )
                if not 0 <= start < end <= (durations[file] or math.inf) + 0.5:
                    raise ValueError(
                        f"{start:g} to {end:g} is no part of its {durations[file]:.1f} seconds"
                    )
                span = f"{round(start, 3):.10g}", f"{round(end, 3):.10g}"
            if names and label.isdecimal() and int(label) >= len(names):
                raise ValueError(f"{labels} has no line for the label {label}")
            class_name = sys.intern(
                names[int(label)] if label.isdecimal() and int(label) < len(names) else label
            )
            video = re.sub(r"[/\\]+", "_", os.path.splitext(path)[0].strip("./\\"))
            group = values.get("group") or (path if span else group_of(class_name, video))
            source, video = (
                (f"{path}#t={','.join(span)}", f"{video}_{'-'.join(span)}")
                if span
                else (path, video)
            )
            if source in videos:
                raise ValueError(f"{source} stands in a row above")
            videos[source] = VideoRecord(
                SPLIT_NAMES.get(split.lower(), ""), class_name, video, group, 0, source
            )
        except (ValueError, OSError) as error:
            faults.append(f"row {number}: {error}")
    if faults:
        raise DataError(
            f"{table}: {len(faults)} of {len(rows)} rows cannot be used; {'; '.join(faults[:5])}"
        )
    if unusable := [
        video.class_name for video in videos.values() if not is_folder_name(video.class_name)
    ]:
        raise DataError(f"{table}: labels that cannot be names of folders: {shorten(unusable)}")
    return list(videos.values())
