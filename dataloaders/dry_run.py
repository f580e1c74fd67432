"""What `--dry-run` prints: a data set by the headers of its videos."""

import statistics
from collections import Counter
from collections.abc import Sequence

from tqdm import tqdm

from dataloaders.arguments import choose_protocol, find_split_dir
from dataloaders.errors import DataError, UserError
from dataloaders.extract import open_source
from dataloaders.files import plural, shorten
from dataloaders.frames import DataSettings
from dataloaders.images import ImageFolder
from dataloaders.records import VideoRecord
from dataloaders.sources import Source, list_videos, split_source
from dataloaders.splits import assign_splits
from dataloaders.video import VideoFile

LISTED_VIDEOS = 5  # that cannot be read


def print_dry_run(paths, settings: DataSettings, split: str | None, fold: int) -> None:
    """Describe a data set by the headers of its videos, with the split of the flags.

    Args:
        paths: `mypath.Path`.
        settings: The data set.
        split: The flag `--split`.
        fold: The flag `--fold`.
    """
    videos = list_videos(settings.root_dir, settings.group_pattern)
    protocol = choose_protocol(settings, split, fold, videos)
    split_dir = find_split_dir(paths, settings.name, protocol)
    try:
        videos = assign_splits(videos, protocol, fold, split_dir)
    except DataError as error:
        print(f"no split: {error}")
    print(describe_videos(settings, videos))


def describe_videos(settings: DataSettings, videos: Sequence[VideoRecord]) -> str:
    """Return lines on classes, groups, split, lengths, rates and sizes.

    Args:
        settings: The data set.
        videos: Its records.
    """
    seconds = []
    rates = []
    sizes = []
    unreadable = []
    for video in tqdm(videos, "headers", leave=False, delay=1, unit="video"):
        source = split_source(settings.root_dir, video.source)
        try:
            header = open_source(source.path, settings.source_fps, settings.image_prefix)
            sizes.append(_describe_size(header))
            header.close()
            duration = header.duration
        except UserError as error:
            unreadable.append(f"cannot be read: {error}")
            continue
        if duration is not None:
            seconds.append(_length(source, duration))
        if header.fps is not None:
            rates.append(f"{header.fps:.4g} frames/s")
    num_groups = len({video.group for video in videos})
    lines = [
        f"{plural(len(videos), 'video')}, {plural(num_groups, 'group')}",
        _count("classes", [video.class_name for video in videos]),
        _count("split", [video.split or "none" for video in videos]),
        _count("rates", rates),
        _count("sizes", sizes),
    ]
    if seconds:
        median = statistics.median(seconds)
        lines.append(f"lengths: {min(seconds):.1f} to {max(seconds):.1f} s, median {median:.1f}")
    return "\n".join(lines + unreadable[:LISTED_VIDEOS])


def _length(source: Source, duration: float) -> float:
    end = duration if source.end is None else min(source.end, duration)
    return end - source.start


def _describe_size(header: ImageFolder | VideoFile) -> str:
    if isinstance(header, ImageFolder):
        return "images"
    height, width = next(iter(header.frames())).to_image().shape[:2]
    return f"{width}x{height}"


def _count(title: str, values: Sequence[str]) -> str:
    counts = Counter(values).most_common()
    return f"{title}: " + shorten([f"{value} ({count})" for value, count in counts])
