"""The page of a data set, `data.html` beside its index: look at your data before you train on it.

It is made from the stored frames, the tables beside them and, where the videos are there, their
headers. No video is decoded.
"""

import statistics
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

from dataloaders.appearance import read_appearances
from dataloaders.frames import DataSettings, PreparedFrames, read_damaged, read_skipped
from dataloaders.headers import read_headers
from dataloaders.html import TEMPLATES, write_page
from dataloaders.oddities import Facts, Oddity, Suspect, find_oddities
from dataloaders.overview import (
    Pair,
    list_groups,
    list_leaks,
    list_pairs,
    list_parts,
    make_charts,
)
from dataloaders.records import VideoRecord, spread_numbers
from dataloaders.thumbnails import Strip, make_strips

PAGE = "data.html"
# The pictures of a page: of 3 to 4 kB each, so that the file stays well below 20 MB.
MAX_PICTURES = 2400  # of all classes together
MAX_STRIPS = 6  # videos of a class that are shown
STRIP_FRAMES = 3  # frames of each, where there is room for several videos
MIN_STRIPS = 4
MAX_PAIRS = 100  # copies that are shown beside their originals
MAX_SUSPECTS = 24  # videos that are shown of each kind of oddity
MAX_ROWS = 500  # of a table; the whole lists are in the CSV files


@dataclass(frozen=True)
class ClassRow:
    """A class of a data set.

    Attributes:
        name: Its name.
        counts: The number of videos in each part of the split.
        num_videos: Of all parts.
        num_groups: Recordings that they are from.
        median_seconds: Median length of its videos; None where none is known.
        strips: Videos of several recordings.
    """

    name: str
    counts: Counter
    num_videos: int
    num_groups: int
    median_seconds: float | None
    strips: list[Strip]


@dataclass(frozen=True)
class ShownOddity:
    """An oddity with pictures.

    Attributes:
        oddity: What is odd.
        shown: The first of its suspects, each with pictures where it is a video.
        others: The other suspects.
    """

    oddity: Oddity
    shown: list[tuple[Suspect, Strip | None]]
    others: list[Suspect]


def write_data_page(
    settings: DataSettings,
    frames: PreparedFrames,
    records: Sequence[VideoRecord],
    *,
    protocol: str,
    fold: int = 1,
) -> Path:
    """Write the page of a data set.

    Args:
        settings: The data set.
        frames: Its frames, up to date.
        records: Its videos with their `split`; copies share a group as in training.
        protocol: Of that split.
        fold: Likewise.

    Returns:
        The HTML file.

    Raises:
        FileError: It cannot be written.
    """
    frames_dir = frames.frames_dir
    headers = read_headers(settings, records)
    folders = [record.folder(frames_dir) for record in records]
    appearances = read_appearances(folders, [record.frames for record in records])
    videos = list(map(Facts, records, headers, appearances))
    oddities = find_oddities(videos, settings.config)
    pairs = list_pairs(records, frames.copies)
    groups = list_groups(records)
    skipped = read_skipped(frames_dir)
    damaged = read_damaged(frames_dir)
    path = frames_dir / PAGE
    write_page(
        path,
        TEMPLATES / "data.html",
        title=f"Data set {settings.name}",
        settings=settings,
        frames_dir=frames_dir,
        protocol=protocol,
        fold=fold,
        parts=list_parts(records),
        counts=Counter(record.split for record in records),
        num_videos=len(records),
        classes=list_classes(videos, frames_dir),
        oddities=[_show_suspects(oddity, frames_dir) for oddity in oddities],
        charts=make_charts(headers, records, groups),
        groups=groups,
        leaks=list_leaks(records, protocol),
        shown_pairs=_show_pairs(pairs, frames_dir),
        pairs=pairs,
        num_leaked_copies=sum(pair.is_leak for pair in pairs),
        kinds=Counter(pair.kind for pair in pairs),
        skipped=skipped,
        damaged=damaged,
        max_rows=MAX_ROWS,
    )
    return path


def list_classes(videos: Sequence[Facts], frames_dir: Path) -> list[ClassRow]:
    """Describe the classes, in the order of their names, each with pictures of several recordings.

    Args:
        videos: What is known of the videos.
        frames_dir: The folder that the places of their records lie in.
    """
    by_class = defaultdict(list)
    for video in videos:
        by_class[video.record.class_name].append(video)
    num_strips, num_frames = divide_pictures(len(by_class))
    classes = []
    for number, (name, members) in enumerate(sorted(by_class.items())):
        records = [video.record for video in members]
        seconds = [v.header.seconds for v in members if v.header.seconds is not None]
        chosen = choose_recordings(records, num_strips) if number < MAX_PICTURES else []
        row = ClassRow(
            name=name,
            counts=Counter(record.split for record in records),
            num_videos=len(records),
            num_groups=len({record.group for record in records}),
            median_seconds=statistics.median(seconds) if seconds else None,
            strips=make_strips(frames_dir, chosen, num_frames),
        )
        classes.append(row)
    return classes


def divide_pictures(num_classes: int) -> tuple[int, int]:
    """Return how many videos of each class are shown, and how many frames of each video."""
    pictures = MAX_PICTURES // max(num_classes, 1)
    if pictures >= MIN_STRIPS * STRIP_FRAMES:
        return min(pictures // STRIP_FRAMES, MAX_STRIPS), STRIP_FRAMES
    return min(max(pictures, 1), MAX_STRIPS), 1


def choose_recordings(records: Sequence[VideoRecord], count: int) -> list[VideoRecord]:
    """Choose videos of a class from as many groups as possible, evenly spaced over these.

    Args:
        records: The videos of the class.
        count: How many to choose.
    """
    groups = defaultdict(list)
    for record in records:
        groups[record.group].append(record)
    names = sorted(groups)
    if len(names) > count:
        names = [names[number - 1] for number in spread_numbers(len(names), count)]
    chosen = []
    for videos in zip_longest(*(groups[name] for name in names)):
        chosen += [video for video in videos if video is not None]
    return chosen[:count]


def _show_pairs(pairs: Sequence[Pair], frames_dir: Path) -> list[tuple[Pair, list[Strip]]]:
    """Return the first pairs with pictures of the original and of the copy."""
    shown = []
    for pair in pairs[:MAX_PAIRS]:
        strips = make_strips(frames_dir, [pair.original, pair.copy], STRIP_FRAMES)
        shown.append((pair, strips))
    return shown


def _show_suspects(oddity: Oddity, frames_dir: Path) -> ShownOddity:
    """Return an oddity with pictures of the first of its videos."""
    first = oddity.suspects[:MAX_SUSPECTS]
    videos = [suspect for suspect in first if suspect.record is not None]
    strips = make_strips(frames_dir, [video.record for video in videos], STRIP_FRAMES)
    strip_of = dict(zip(videos, strips, strict=True))
    shown = [(suspect, strip_of.get(suspect)) for suspect in first]
    return ShownOddity(oddity, shown, oddity.suspects[MAX_SUSPECTS:])
