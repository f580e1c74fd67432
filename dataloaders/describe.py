"""What a data set holds, told by the headers of its videos."""

import statistics
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import cv2
from tqdm import tqdm

from dataloaders.errors import DataError
from dataloaders.images import ImageFolder
from dataloaders.index import VideoRecord
from dataloaders.layouts import split_source
from dataloaders.video import VideoReader


def describe_videos(folder: Path, videos: Sequence[VideoRecord], source_fps: float) -> str:
    """Return lines on the classes, groups, split, lengths, rates and sizes of videos; nothing is decoded."""
    counts = {"classes": Counter(video.class_name for video in videos), "split": Counter(v.split for v in videos)}
    counts |= {"rates": Counter(), "sizes": Counter()}
    seconds, unreadable = [], []
    for video in tqdm(videos, "headers", leave=False, delay=1, unit="video"):
        path, start, end = split_source(video.source)
        try:
            is_images = (folder / path).is_dir()
            reader = ImageFolder(folder / path, source_fps) if is_images else VideoReader(folder / path)
        except (OSError, DataError) as error:
            unreadable.append(f"cannot be read: {error}")
            continue
        seconds.append(min(end, reader.num_frames / reader.fps) - start)
        counts["rates"][f"{reader.fps:.4g} frames/s"] += 1
        if not is_images:
            size = (reader.capture.get(prop) for prop in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT))
            counts["sizes"]["{:.0f}x{:.0f}".format(*size)] += 1
    lines = [f"{len(videos)} videos, {len({video.group for video in videos})} groups"]
    for name, count in counts.items():
        parts = [f"{key or 'none'} ({number})" for key, number in count.most_common()]
        lines.append(f"{name}: " + ", ".join(parts if len(parts) <= 6 else [*parts[:3], "...", *parts[-2:]]))
    if seconds:
        lines.append(f"lengths: {min(seconds):.1f} to {max(seconds):.1f} s, median {statistics.median(seconds):.1f}")
    return "\n".join(lines + unreadable[:5])
