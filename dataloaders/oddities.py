"""What of a data set is odd and worth a look before a network is trained on it."""

import statistics
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from dataloaders.appearance import Appearance, find_upside_down
from dataloaders.headers import Header
from dataloaders.records import SPLITS, VideoRecord
from dataloaders.sampling import ClipConfig

LONG = 5  # times the median length
SAME_RATE = 0.02  # by which rates may differ and count as one, as 29.97 and 30 frames a second


@dataclass(frozen=True)
class Facts:
    """What is known of a video.

    Attributes:
        record: Its record, with the split.
        header: What its header says.
        appearance: How it looks; None where its stored frames cannot be read.
    """

    record: VideoRecord
    header: Header
    appearance: Appearance | None


@dataclass(frozen=True)
class Suspect:
    """A video or a class that is worth a look.

    Attributes:
        name: The source of the video, or the class.
        note: What is odd about it.
        record: Of the video; None for a class.
    """

    name: str
    note: str
    record: VideoRecord | None = None


@dataclass(frozen=True)
class Oddity:
    """What several videos or classes have in common.

    Attributes:
        title: What is odd.
        advice: Why it matters, and what can be done.
        suspects: Those concerned.
    """

    title: str
    advice: str
    suspects: list[Suspect]


def find_oddities(videos: Sequence[Facts], config: ClipConfig) -> list[Oddity]:
    """Find all that is odd about a data set.

    Args:
        videos: What is known of its videos.
        config: The clips that its frames are for.
    """
    found = [
        _unreadable(videos),
        _black(videos),
        _motionless(videos),
        _upside_down(videos),
        _letterboxed(videos),
        _long(videos),
        _short(videos, config.clip_len),
        _rates(videos, config),
        _single_recordings(videos),
        _missing_parts(videos),
    ]
    return [oddity for oddity in found if oddity.suspects]


def _unreadable(videos: Sequence[Facts]) -> Oddity:
    suspects = []
    for video in videos:
        if video.appearance is None:
            suspects.append(_suspect(video, "a stored frame is missing or damaged"))
    advice = "Training stops at such a frame. --force extracts all frames again."
    return Oddity("Stored frames that cannot be read", advice, suspects)


def _black(videos: Sequence[Facts]) -> Oddity:
    suspects = []
    for video in videos:
        look = video.appearance
        if look is not None and look.is_black:
            note = f"black: 98 % of its pixels are at most {look.brightest:.0f} of 255 bright"
            suspects.append(_suspect(video, note))
        elif look is not None and look.is_flat:
            suspects.append(_suspect(video, "each frame has a single colour"))
    advice = "Nothing can be seen in four frames of each, so their labels teach nothing."
    return Oddity("Black or blank videos", advice, suspects)


def _motionless(videos: Sequence[Facts]) -> Oddity:
    suspects = []
    for video in videos:
        if video.record.frames == 1:
            suspects.append(_suspect(video, "a single frame"))
        elif video.appearance is not None and video.appearance.is_still:
            suspects.append(_suspect(video, "four frames of it show the same"))
    advice = "Nothing moves in them; a network for actions has only the picture to go by."
    return Oddity("Motionless videos", advice, suspects)


def _upside_down(videos: Sequence[Facts]) -> Oddity:
    records = [video.record for video in videos]
    found = find_upside_down(records, [video.appearance for video in videos])
    suspects = []
    for record in found:
        note = "turned over, it looks like others of its recording"
        suspects.append(Suspect(record.source, note, record))
    advice = (
        "Only videos with two others of the same class and group are compared. Where two are "
        "named, one of them may be upright."
    )
    return Oddity("Perhaps upside-down", advice, suspects)


def _letterboxed(videos: Sequence[Facts]) -> Oddity:
    suspects = []
    for video in videos:
        look = video.appearance
        if look is not None and look.bars is not None and not look.is_black:
            suspects.append(_suspect(video, f"black bars {look.bars}"))
    advice = (
        "Black bars take a part of the pixels, and a network can tell videos apart by them. "
        "ffmpeg -vf cropdetect finds the part to keep."
    )
    return Oddity("Letterboxed videos", advice, suspects)


def _long(videos: Sequence[Facts]) -> Oddity:
    known = [video for video in videos if video.header.seconds is not None]
    others = [video for video in videos if video.header.seconds is None]
    lengths = [(video.header.seconds, video) for video in known]
    suspects = _longer_than_usual(lengths, "s")
    lengths = [(video.record.frames, video) for video in others]
    suspects += _longer_than_usual(lengths, "stored frames")
    advice = (
        "An epoch draws as many clips from a long video as from a short one, so most of it is "
        "seen rarely. A table with start and end can cut it into parts."
    )
    return Oddity(f"More than {LONG} times as long as usual", advice, suspects)


def _longer_than_usual(lengths: Sequence[tuple[float, Facts]], unit: str) -> list[Suspect]:
    """Return the videos that are much longer than the median, the longest first."""
    if not lengths:
        return []
    median = statistics.median(length for length, _ in lengths)
    suspects = []
    for length, video in sorted(lengths, key=lambda item: -item[0]):
        if median and length > LONG * median:
            note = f"{length:,.4g} {unit}, {length / median:.3g} times the median of {median:.3g}"
            suspects.append(_suspect(video, note))
    return suspects


def _short(videos: Sequence[Facts], clip_len: int) -> Oddity:
    suspects = []
    for video in videos:
        if video.record.frames < clip_len:
            suspects.append(_suspect(video, f"{video.record.frames} of {clip_len} frames"))
    return Oddity(
        "Shorter than a clip",
        f"A clip has {clip_len} frames; in these videos some of them repeat.",
        suspects,
    )


def _rates(videos: Sequence[Facts], config: ClipConfig) -> Oddity:
    known = [video for video in videos if video.header.fps is not None]
    counts = Counter(describe_rate(video.header.fps) for video in known)
    suspects = []
    if counts:
        usual = float(counts.most_common(1)[0][0])
        for video in known:
            if abs(video.header.fps / usual - 1) > SAME_RATE:
                note = f"{describe_rate(video.header.fps)} frames/s; most have {usual:g}"
                suspects.append(_suspect(video, note))
    if config.frame_rate is None:
        advice = (
            "By a frame interval, clips of these videos span another time than those of the "
            "others. --frame-rate gives all clips one pace."
        )
    else:
        advice = (
            f"Clips have {config.frame_rate:g} frames a second all the same; where a video has "
            "fewer, frames repeat."
        )
    return Oddity("Other frame rates", advice, suspects)


def describe_rate(fps: float) -> str:
    """Return a rate in frames a second, such as "29.97"."""
    return f"{fps:.4g}"


def _single_recordings(videos: Sequence[Facts]) -> Oddity:
    groups = defaultdict(Counter)
    for video in videos:
        groups[video.record.class_name][video.record.group] += 1
    suspects = []
    for class_name, counts in sorted(groups.items()):
        if len(counts) == 1:
            (group,) = counts
            suspects.append(Suspect(class_name, f"{counts[group]} of group {group}"))
    advice = (
        "All videos of such a class come from one recording. A split by groups has them in one "
        "part, and a network may learn the scene instead of the action."
    )
    return Oddity("Classes in one recording only", advice, suspects)


def _missing_parts(videos: Sequence[Facts]) -> Oddity:
    parts = defaultdict(set)
    for video in videos:
        parts[video.record.class_name].add(video.record.split)
    there = set().union(*parts.values())
    suspects = []
    for class_name, splits in sorted(parts.items()):
        missing = [split for split in SPLITS if split in there and split not in splits]
        if missing:
            suspects.append(Suspect(class_name, f"no video in {' and '.join(missing)}"))
    advice = "A class without videos in train is not learned; without videos in test, not tested."
    return Oddity("Classes that are not in every part", advice, suspects)


def _suspect(video: Facts, note: str) -> Suspect:
    return Suspect(video.record.source, note, video.record)
