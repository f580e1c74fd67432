"""The numbers of a data set: its groups, leaks, copies, lengths, rates and sizes."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from dataloaders.charts import Bar, Histogram, count_names, make_histogram
from dataloaders.copies import Copy
from dataloaders.headers import Header
from dataloaders.oddities import describe_rate
from dataloaders.records import SPLITS, UNUSED, VideoRecord
from dataloaders.splits import find_leaks


@dataclass(frozen=True)
class GroupRow:
    """A group of a data set.

    Attributes:
        name: Its name.
        counts: The number of videos in each part of the split.
        num_videos: Of all parts.
        classes: The classes of its videos, sorted.
    """

    name: str
    counts: Counter
    num_videos: int
    classes: list[str]


@dataclass(frozen=True)
class Pair:
    """A copy beside its original.

    Attributes:
        kind: In what the copy differs.
        copy: The copy.
        original: The video that shows the same.
        is_leak: Whether the two are in different parts of the split.
    """

    kind: str
    copy: VideoRecord
    original: VideoRecord
    is_leak: bool


@dataclass(frozen=True)
class Charts:
    """The charts of a data set; None where nothing is known.

    Attributes:
        seconds: Lengths by the headers.
        frames: Stored frames of each video.
        rates: Frames a second.
        sizes: Width and height.
        groups: Videos of each group.
        num_without_header: Videos whose header cannot be read.
    """

    seconds: Histogram | None
    frames: Histogram | None
    rates: list[Bar]
    sizes: list[Bar]
    groups: Histogram | None
    num_without_header: int


def list_parts(records: Iterable[VideoRecord]) -> list[str]:
    """Return the parts of a split, with "unused" where videos are in none of the three."""
    splits = {record.split for record in records}
    return [name for name in (*SPLITS, UNUSED) if name in SPLITS or name in splits]


def list_groups(records: Iterable[VideoRecord]) -> list[GroupRow]:
    """Describe the groups, the largest first."""
    by_group = defaultdict(list)
    for record in records:
        by_group[record.group].append(record)
    groups = []
    for name, members in by_group.items():
        counts = Counter(record.split for record in members)
        classes = sorted({record.class_name for record in members})
        groups.append(GroupRow(name, counts, len(members), classes))
    return sorted(groups, key=lambda group: (-group.num_videos, group.name))


def list_leaks(records: Sequence[VideoRecord], protocol: str) -> list[GroupRow]:
    """Describe the groups that are in more than one part of a split.

    Args:
        records: The videos with their split.
        protocol: Of that split; under official lists a group counts per class.
    """
    leaks = []
    for (name, class_name), counts in sorted(find_leaks(records, protocol).items()):
        classes = [class_name] if class_name else []
        leaks.append(GroupRow(name, counts, counts.total(), classes))
    return leaks


def list_pairs(records: Iterable[VideoRecord], copies: Iterable[Copy]) -> list[Pair]:
    """Pair copies with their originals, first those in different parts of the split.

    Args:
        records: The videos with their split.
        copies: Which of them show the same; copies of other videos are left out.
    """
    by_source = {record.source: record for record in records}
    pairs = []
    for copy in copies:
        video = by_source.get(copy.source)
        original = by_source.get(copy.original)
        if video is not None and original is not None:
            is_leak = video.split != original.split and UNUSED not in (video.split, original.split)
            pairs.append(Pair(copy.kind, video, original, is_leak))
    return sorted(pairs, key=lambda pair: not pair.is_leak)


def make_charts(
    headers: Sequence[Header], records: Sequence[VideoRecord], groups: Sequence[GroupRow]
) -> Charts:
    """Count lengths, rates, sizes and groups.

    Args:
        headers: What the header of each video says.
        records: The videos.
        groups: Their groups.
    """
    seconds = [header.seconds for header in headers if header.seconds is not None]
    rates = [describe_rate(header.fps) for header in headers if header.fps is not None]
    sizes = [f"{header.size[0]}x{header.size[1]}" for header in headers if header.size is not None]
    return Charts(
        seconds=make_histogram(seconds),
        frames=make_histogram([record.frames for record in records], is_whole=True),
        rates=count_names(rates),
        sizes=count_names(sizes),
        groups=make_histogram([group.num_videos for group in groups], is_whole=True),
        num_without_header=headers.count(Header()),
    )
