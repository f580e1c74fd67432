"""The videos of a data set, in the forms in which people have them.

Those are folders, with or without a split, and tables.
"""

import csv
import os
import re
import statistics
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tqdm import tqdm

from dataloaders.errors import DataError, FileError
from dataloaders.files import read_lines, shorten
from dataloaders.images import ImageFolder, is_image_name
from dataloaders.records import VideoRecord, is_folder_name
from dataloaders.splits import group_of
from dataloaders.video import VideoFile, has_video_suffix
from dataloaders.video_files import is_hidden, print_ignored, reason_to_ignore

SPLIT_NAMES = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}
TABLE_COLUMNS = ("path", "label", "split", "group", "start", "end")
SOURCE = re.compile(r"(.*?)(?:#t=([\d.]+),([\d.]+))?")  # path#t=start,end
NOT_IN_TABLES = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff\\]")
DEEPER = "folders of videos, one deeper than <class>/<video>"
MAX_BYTES = 4  # of a character in UTF-8
LISTED_ROWS = 5  # of a table, or videos that cannot be read, that a message names


def list_videos(root_dir: Path, group_pattern: str | None = None) -> list[VideoRecord]:
    """List the videos of a data set, without frames; they have a split where the data set says it.

    Args:
        root_dir: A folder of class folders, of videos or of folders of images; a folder of such
            `train`, `val` and `test`; or a table.
        group_pattern: A regular expression; what it captures in the path of a video is its group.

    Returns:
        A record for each video.

    Raises:
        FileError: There is no video.
        DataError: Two videos would share a frame folder, or a row of a table is unusable.
    """
    if not root_dir.exists():
        raise FileError(f"{root_dir}: no such folder. mypath.py says where the videos lie")
    videos = _read_table(root_dir) if root_dir.is_file() else _list_folders(root_dir)
    if group_pattern:
        videos = _set_groups(videos, group_pattern)
    for video in videos:
        if NOT_IN_TABLES.search(video.source):
            raise DataError(
                f"{root_dir}/{video.source!a}: a table cannot hold this name; rename the file"
            )
    return _name_apart(root_dir, videos)


def check_name_lengths(videos: Iterable[VideoRecord], output_dir: Path) -> None:
    """Raise DataError where a class or video has a name too long for a frame folder.

    Args:
        videos: Records of videos.
        output_dir: Where the frames go, or will be made.
    """
    limit = max_name_length(output_dir)
    for video in videos:
        for name in (video.class_name, video.video):
            if len(name) <= limit // MAX_BYTES:
                continue
            length = len(os.fsencode(name))
            if length > limit:
                raise DataError(
                    f"{video.source}: its frames need a folder named {name[:40]!r}... of {length} "
                    f"bytes, and {output_dir} takes {limit} at most; use a shorter name"
                )


def max_name_length(folder: Path) -> int:
    """Return how many bytes a name may have in a folder, which need not be there yet."""
    existing = next(
        path for path in (folder.absolute(), *folder.absolute().parents) if path.exists()
    )
    try:
        return os.pathconf(existing, "PC_NAME_MAX")
    except (AttributeError, OSError, ValueError):  # Windows, or a file system that does not say
        return 255


def has_split(root_dir: Path, sources: Iterable[str] = ()) -> bool:
    """Return whether a data set says who is in train, val and test.

    Args:
        root_dir: The data set, as `list_videos` takes it.
        sources: Where it is gone, the sources in the index.
    """
    if root_dir.is_file():
        return "split" in _read_cells(root_dir).columns
    if root_dir.is_dir():
        names = {entry.name.lower() for entry in os.scandir(root_dir) if os.path.isdir(entry)}
    else:
        names = {source.partition("/")[0].lower() for source in sources}
    names.discard("__macosx")
    return "train" in names and (names == {"train"} or len(names & SPLIT_NAMES.keys()) > 1)


def split_source(root_dir: Path, source: str) -> tuple[Path, float, float]:
    """Return the path of a source, and from when to when it is a part of it, in seconds."""
    path, start, end = SOURCE.fullmatch(source).groups()
    return _folder_of_sources(root_dir) / path, float(start or 0), float(end or "inf")


def modification_times(root_dir: Path, sources: Iterable[str]) -> dict[str, float]:
    """Return when the file or folder of each source was changed last, in seconds."""
    folder = str(_folder_of_sources(root_dir))  # joining Paths would take as long as all the rest
    times = {}
    for source in sources:
        path = SOURCE.fullmatch(source)[1] if "#t=" in source else source
        times[source] = os.stat(f"{folder}/{path}").st_mtime
    return times


def _folder_of_sources(root_dir: Path) -> Path:
    return root_dir.parent if root_dir.is_file() else root_dir


# What a dry run prints


@dataclass(frozen=True)
class _Header:
    """What the header of a video says, in seconds, frames a second and pixels."""

    duration: float | None
    fps: float | None
    size: str | None  # None for a folder of images, of which none is opened


def describe_videos(
    root_dir: Path,
    videos: Sequence[VideoRecord],
    source_fps: float,
    image_prefix: str | None = None,
) -> str:
    """Return lines on classes, groups, split, lengths, rates and sizes, by the headers.

    Args:
        root_dir: The data set, as `list_videos` takes it.
        videos: Its records.
        source_fps: Rate of folders of images.
        image_prefix: Which images of these folders, as `ImageFolder` has it.
    """
    seconds, rates, sizes, unreadable = [], [], [], []
    for video in tqdm(videos, "headers", leave=False, delay=1, unit="video"):
        path, start, end = split_source(root_dir, video.source)
        try:
            header = _read_header(path, source_fps, image_prefix)
        except (OSError, DataError) as error:
            unreadable.append(f"cannot be read: {error}")
            continue
        if header.duration is not None:
            seconds.append(min(end, header.duration) - start)
        if header.fps is not None:
            rates.append(f"{header.fps:.4g} frames/s")
        sizes += [header.size] if header.size else []
    lines = [
        f"{len(videos)} videos, {len({video.group for video in videos})} groups",
        _describe_counts("classes", [video.class_name for video in videos]),
        _describe_counts("split", [video.split for video in videos]),
        _describe_counts("rates", rates),
        _describe_counts("sizes", sizes),
    ]
    if seconds:
        lines.append(
            f"lengths: {min(seconds):.1f} to {max(seconds):.1f} s, "
            f"median {statistics.median(seconds):.1f}"
        )
    return "\n".join(lines + unreadable[:LISTED_ROWS])


def _read_header(path: Path, source_fps: float, image_prefix: str | None) -> _Header:
    if path.is_dir():
        folder = ImageFolder(path, source_fps, image_prefix)
        return _Header(folder.duration, folder.fps, None)
    video = VideoFile(path, threads=1)
    first = next(iter(video.frames()))
    height, width = first.to_image().shape[:2]
    video.close()
    return _Header(video.duration, video.fps, f"{width}x{height}")


def _describe_counts(title: str, values: Sequence[str]) -> str:
    parts = [f"{value or 'none'} ({count})" for value, count in Counter(values).most_common()]
    if len(parts) > 6:
        parts = [*parts[:3], "...", *parts[-2:]]
    return f"{title}: " + ", ".join(parts)


# Records


def _set_groups(videos: list[VideoRecord], pattern: str) -> list[VideoRecord]:
    """Return the records with the groups that a pattern finds; DataError where it finds none."""
    try:
        if re.compile(pattern).groups != 1:
            raise re.error("it has not one pair of brackets")
    except re.error as error:
        raise DataError(f"mypath.py: {pattern!r} captures no group: {error}") from None
    matches = [re.search(pattern, video.source) for video in videos]
    without = [video.source for video, match in zip(videos, matches, strict=True) if not match]
    if without:
        raise DataError(
            f"mypath.py: {pattern!r} finds no group in {len(without)} videos: {shorten(without)}"
        )
    return [
        video._replace(group=match[1], group_is_given=True)
        for video, match in zip(videos, matches, strict=True)
    ]


def _name_apart(root_dir: Path, videos: list[VideoRecord]) -> list[VideoRecord]:
    """Give the videos that would share a frame folder the ending of their file as part of its name.

    `a.avi` and `a.mp4` of one class become `a.avi` and `a.mp4`, another `b.avi` stays `b`.
    DataError where two still share one.
    """
    counts = Counter(map(_folder_key, videos))
    if len(counts) == len(videos):
        return videos
    renamed = []
    for video in videos:
        if counts[_folder_key(video)] > 1:
            ending = split_source(root_dir, video.source)[0].suffix
            video = video._replace(video=video.video + ending)
        renamed.append(video)
    sources = defaultdict(list)
    for video in renamed:
        sources[video.class_name, video.video].append(video.source)
    twins = [" and ".join(names) for names in sources.values() if len(names) > 1]
    if twins:
        raise DataError(
            f"{root_dir}: {shorten(twins)} would share a frame folder; rename one of each"
        )
    return renamed


def _folder_key(video: VideoRecord) -> tuple[str, str]:
    """Return what two frame folders must not have in common, on any file system."""
    return video.class_name, video.video.casefold()


# Folders


def _list_folders(root_dir: Path) -> list[VideoRecord]:
    """List a data set of folders, and print what of it is ignored."""
    listing = _Listing(root_dir)
    folders = [f"{name}/" for name in sorted(os.listdir(root_dir)) if not is_hidden(name)]
    if not has_split(root_dir):
        listing.add_folder("", None)
        folders = []
    for folder in folders:
        split = SPLIT_NAMES.get(folder[:-1].lower())
        if split:
            listing.add_folder(folder, split)
        else:
            listing.ignored["beside train, val and test"].append(folder)
    print_ignored(root_dir, listing.ignored)
    if not listing.videos:
        raise FileError(f"{root_dir}: {_describe_layout(root_dir)}")
    return listing.videos


@dataclass
class _Listing:
    """The videos found so far, and what is none, by the reason."""

    root_dir: Path
    videos: list[VideoRecord] = field(default_factory=list)
    ignored: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    split_of: dict[tuple[str, str], str | None] = field(default_factory=dict)  # of (class, stem)

    def add_folder(self, folder: str, split: str | None) -> None:
        """Add what lies in the class folders of `root_dir/folder`."""
        for source, is_file in sorted(_scan(self.root_dir, folder)):
            class_name, _, name = source.removeprefix(folder).rpartition("/")
            is_images = bool(class_name) and not is_file and _has_images(self.root_dir / source)
            reason = self._reason_to_ignore(source, class_name, is_file, is_images=is_images)
            if reason:
                self.ignored[reason].append(source)
                continue
            self._add(split, class_name, name if is_images else os.path.splitext(name)[0], source)

    def _add(self, split: str | None, class_name: str, stem: str, source: str) -> None:
        name = stem
        if self.split_of.setdefault((class_name, stem), split) != split:
            name = f"{split}_{stem}"  # the parts may number their videos alike
        record = VideoRecord(
            split=split,
            class_name=sys.intern(class_name),
            video=name,
            group=group_of(class_name, name),
            source=source,
        )
        self.videos.append(record)

    def _reason_to_ignore(
        self, source: str, class_name: str, is_file: bool, *, is_images: bool
    ) -> str | None:
        name = source.rpartition("/")[2]
        if is_hidden(class_name) or is_hidden(name):
            return "hidden"
        if is_images:
            return None
        if not is_file and os.path.isdir(self.root_dir / source):
            is_deeper = any(map(has_video_suffix, os.listdir(self.root_dir / source)))
            return DEEPER if is_deeper else "folders without images"
        reason = reason_to_ignore(name, is_file)
        if not reason and not class_name:
            return "in no class folder"
        return reason


def _has_images(folder: Path) -> bool:
    return folder.is_dir() and any(map(is_image_name, os.listdir(folder)))


def _scan(root_dir: Path, prefix: str) -> Iterator[tuple[str, bool]]:
    """Yield what lies in a folder and in its subfolders.

    Yields:
        The path below `root_dir`, and whether it is a file.
    """
    for entry in os.scandir(root_dir / prefix):
        if not os.path.isdir(entry):
            yield prefix + entry.name, _is_file(entry)
            continue
        for file in os.scandir(entry):
            yield f"{prefix}{entry.name}/{file.name}", _is_file(file)


def _is_file(entry: os.DirEntry) -> bool:
    """Return what is known without a look at the disk, except of links, which may form a circle."""
    return os.path.isfile(entry) if entry.is_symlink() else entry.is_file()


def _describe_layout(root_dir: Path) -> str:
    """Say how a folder without class folders of videos is laid out, and what to do about it."""
    videos = [
        path
        for path in sorted(root_dir.rglob("*"))
        if not reason_to_ignore(path.name, os.path.isfile(path)) and path.parent != root_dir
    ]
    if any(has_video_suffix(name) for name in os.listdir(root_dir)):
        return "videos in no class folder; put those of each class into a folder of its name"
    parents = sorted({path.parent.parent for path in videos})
    if len(parents) == 1:
        return f"the class folders lie deeper; name {parents[0]} in mypath.py"
    if parents:
        example = videos[0].relative_to(root_dir).as_posix()
        return (
            f"the videos lie deeper than <class>/<video>, as {example}: move them there, "
            "or list them in a table with the columns path and label"
        )
    if any(is_image_name(path.name) for path in root_dir.rglob("*")):
        return "images, but no folder for those of each video, <class>/<video>/1.jpg"
    return "no class folders with videos in it. mypath.py says where the videos lie"


# Tables


@dataclass(frozen=True)
class _Cells:
    """The texts of a table, and the number of each row in the file."""

    columns: tuple[str, ...]
    rows: list[tuple[int, list[str]]]


def _read_cells(table: Path) -> _Cells:
    """Read a table, with or without a header; DataError where it is not such a text."""
    try:
        lines = table.read_text(encoding="utf-8-sig").splitlines()
        first = lines[0] if lines else ""
        delimiter = next((mark for mark in ",;\t" if mark in first), ",")
        numbered = enumerate(csv.reader(lines, delimiter=delimiter), start=1)
        rows = [(number, row) for number, row in numbered if row]
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{table}: not a table ({error})") from None
    if not rows:
        raise DataError(f"{table}: an empty table")
    columns = tuple(cell.strip().lower() for cell in rows[0][1])
    if "path" not in columns:
        plain = [(number, _split_plain_row(table, row)) for number, row in rows]
        return _Cells(TABLE_COLUMNS[:2], plain)
    _validate_columns(table, columns)
    if len(rows) == 1:
        raise DataError(f"{table}: a table without rows")
    return _Cells(columns, rows[1:])


def _validate_columns(table: Path, columns: Sequence[str]) -> None:
    """Raise DataError where a header has other names than those of the columns."""
    unknown = [name for name in columns if name not in TABLE_COLUMNS]
    if unknown:
        known = ", ".join(TABLE_COLUMNS)
        raise DataError(f"{table}: unknown column {shorten(unknown)}; it may have {known}")
    if "label" not in columns:
        raise DataError(f"{table}: it has no column label")


def _split_plain_row(table: Path, row: list[str]) -> list[str]:
    """Return the path and the label of a row without a header, as SlowFast and mmaction2 write it.

    That is `path label`, or `path frames label` for a folder of images, by spaces or commas. The
    number of frames is not needed: the folder has it.
    """
    cells = row if len(row) > 1 else row[0].rsplit(maxsplit=1)
    if len(cells) == 2 and not os.path.exists(table.parent / cells[0]):
        cells = [*cells[0].rsplit(maxsplit=1), cells[1]]
    if len(cells) == 3 and cells[1].strip().isdecimal():
        path = cells[0].strip()
        if os.path.isdir(table.parent / path):
            return [path, cells[2]]
    return row if len(row) > 1 else row[0].rsplit(maxsplit=1)


def _read_table(table: Path) -> list[VideoRecord]:
    """Read the records of a table; DataError, which names rows, where some cannot be used."""
    cells = _read_cells(table)
    reader = _RowReader(table, cells)
    videos, faults = {}, []
    for number, row in cells.rows:
        try:
            video = reader.read(row)
            if video.source in videos:
                raise ValueError(f"{video.source} stands in a row above")
            videos[video.source] = video
        except (ValueError, OSError) as error:
            faults.append(f"row {number}: {error}")
    if faults:
        raise DataError(
            f"{table}: {len(faults)} of {len(cells.rows)} rows cannot be used; "
            + "; ".join(faults[:LISTED_ROWS])
        )
    labels = [video.class_name for video in videos.values()]
    unusable = [label for label in labels if not is_folder_name(label)]
    if unusable:
        raise DataError(f"{table}: labels that cannot be names of folders: {shorten(unusable)}")
    return list(videos.values())


class _RowReader:
    """Makes records of the rows of one table."""

    def __init__(self, table: Path, cells: _Cells):
        self.folder = table.parent
        self.columns = cells.columns
        self.labels_file = table.with_name("labels.txt")
        self.names = read_lines(self.labels_file) if self.labels_file.is_file() else []
        self.durations = {}  # of recordings, several rows of which name parts
        place = self.columns.index("label")
        full_rows = [row for _, row in cells.rows if len(row) == len(self.columns)]
        self.counts = Counter(row[place].strip() for row in full_rows)

    def read(self, row: Sequence[str]) -> VideoRecord:
        """Return the record of a row; ValueError where it cannot be used."""
        values = dict(zip(self.columns, map(str.strip, row), strict=False))
        path = values.get("path", "").replace("\\", "/")  # as Windows writes it
        if len(row) != len(self.columns):
            raise ValueError(f"{len(row)} cells, not {len(self.columns)}")
        if not path or not os.path.exists(self.folder / path):
            raise ValueError(f"no such file {path!r}")
        split = self._split(values)
        class_name = self._class_name(values["label"])
        stem = re.sub(r"[/\\]+", "_", os.path.splitext(path)[0].strip("./\\"))
        span = self._span(path, values)
        return VideoRecord(
            split=split,
            class_name=class_name,
            video=f"{stem}_{'-'.join(span)}" if span else stem,
            group=values.get("group") or (path if span else group_of(class_name, stem)),
            source=f"{path}#t={','.join(span)}" if span else path,
            group_is_given=bool(values.get("group")),
        )

    def _split(self, values: Mapping[str, str]) -> str | None:
        if "split" not in self.columns:
            return None
        split = values["split"]
        if split.lower() not in SPLIT_NAMES:
            raise ValueError(f"unknown split {split!r}")
        return SPLIT_NAMES[split.lower()]

    def _class_name(self, label: str) -> str:
        if not label or self.counts[label] == 1:
            raise ValueError(f"the only video of the label {label!r}")
        if not self.names or not label.isdecimal():
            return sys.intern(label)
        if int(label) >= len(self.names):
            raise ValueError(f"{self.labels_file} has no line for the label {label}")
        return sys.intern(self.names[int(label)])

    def _span(self, path: str, values: Mapping[str, str]) -> tuple[str, ...]:
        """Return when a part of a recording starts and ends, in seconds; empty for all of it."""
        if not values.get("start") and not values.get("end"):
            return ()
        if path not in self.durations:
            self.durations[path] = VideoFile(self.folder / path).duration
        duration = self.durations[path]
        if duration is None and not values.get("end"):
            raise ValueError(f"how long {path} is stands nowhere; give the end of the part")
        start = float(values.get("start") or 0)
        end = float(values.get("end") or duration)
        if not 0 <= start < end:
            raise ValueError(f"{start:g} to {end:g} is no part of a recording")
        if duration is not None and end > duration + 0.5:
            raise ValueError(f"{start:g} to {end:g} is no part of its {duration:.1f} seconds")
        return f"{round(start, 3):.10g}", f"{round(end, 3):.10g}"
