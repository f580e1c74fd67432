"""The classes of a data set, in the order of their labels."""

from collections.abc import Sequence
from pathlib import Path

from dataloaders.files import read_lines
from dataloaders.records import VideoRecord

LABELS = {
    "ucf101": Path(__file__).with_name("ucf_labels.txt"),
    "hmdb51": Path(__file__).with_name("hmdb_labels.txt"),
}
KINETICS_LABELS = Path(__file__).with_name(
    "kinetics_labels.txt"
)  # of Kinetics-400, in the order of the public weights


def class_names(dataset: str, videos: Sequence[VideoRecord]) -> list[str]:
    """Return the classes of a data set, whose index has the rows `videos`; a label is an index into this list.
    UCF101 and HMDB51 have their full lists, so a label means the same however few classes are on disk. Any other data
    set, and one under those names with classes of its own, has its class folders in alphabetical order."""
    folders = sorted({video.class_name for video in videos})
    official = read_labels(LABELS[dataset]) if dataset in LABELS else []
    foreign = [name for name in folders if name not in official]
    if official and foreign:
        print(
            f"{foreign[0]} is not a class of {dataset}: the labels are the {len(folders)} class folders instead"
        )
    return folders if foreign else official


def read_labels(path: str | Path) -> list[str]:
    """Read class names, one a line, without a number before each; OSError where there is no file, DataError no text."""
    lines = read_lines(path)
    parts = [line.split(maxsplit=1) for line in lines]
    is_numbered = all(len(part) == 2 and part[0].isdecimal() for part in parts)
    return [part[1] for part in parts] if is_numbered else lines
