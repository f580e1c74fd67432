"""The classes of a data set, in the order of their labels."""

from collections.abc import Sequence
from pathlib import Path

from dataloaders.files import read_lines
from dataloaders.records import VideoRecord

LABELS = {
    "ucf101": Path(__file__).with_name("ucf_labels.txt"),
    "hmdb51": Path(__file__).with_name("hmdb_labels.txt"),
}
# The classes of Kinetics-400, in the order of the public weights.
KINETICS_LABELS = Path(__file__).with_name("kinetics_labels.txt")


def class_names(dataset: str, videos: Sequence[VideoRecord]) -> list[str]:
    """Return the classes of a data set; a label is an index into this list.

    UCF101 and HMDB51 have their full lists, so a label means the same however few classes are on
    disk. Any other data set, and one under those names with classes of its own, has its class
    folders in alphabetical order.

    Args:
        dataset: Its name.
        videos: Its records.
    """
    folders = sorted({video.class_name for video in videos})
    if dataset not in LABELS:
        return folders
    official = read_labels(LABELS[dataset])
    foreign = [name for name in folders if name not in official]
    if not foreign:
        return official
    print(
        f"{foreign[0]} is not a class of {dataset}: "
        f"the labels are the {len(folders)} class folders instead"
    )
    return folders


def read_labels(path: str | Path) -> list[str]:
    """Read class names, one a line, with or without a number before each.

    Raises:
        FileError: The file is missing or cannot be read.
        DataError: It is no text.
    """
    lines = read_lines(path)
    parts = [line.split(maxsplit=1) for line in lines]
    is_numbered = all(len(part) == 2 and part[0].isdecimal() for part in parts)
    return [part[1] for part in parts] if is_numbered else lines
