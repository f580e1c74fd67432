"""The entries of mypath.py, each of which says what a data set is."""

import os
from collections.abc import Mapping
from dataclasses import dataclass

from dataloaders.errors import DataError, FileError

PATH = (str, os.PathLike)
# What each field of an entry may be, in Python and in words.
FORMS = {
    "videos": (PATH, "a path"),
    "frames": (PATH, "a path"),
    "lists": ((*PATH, type(None)), "a path"),
    "group_pattern": ((str, type(None)), "a regular expression"),
    "source_fps": ((int, float), "a number"),
    "image_prefix": ((str, type(None)), "a text"),
    "finds_copies": (bool, "True or False"),
}


@dataclass(frozen=True)
class Entry:
    """A data set.

    Attributes:
        videos: A folder of class folders of videos, or a table.
        frames: The folder for the frames extracted from them.
        lists: The folder of official lists, where there are some.
        group_pattern: A regular expression that finds the group of a video in its path, in one pair
            of brackets.
        source_fps: Frames a second of a data set of images.
        image_prefix: Which images to take, where folders of images have several kinds: what stands
            before the number in their names, as "img_".
        finds_copies: Whether videos that show the same are looked for, and share a group.
    """

    videos: str
    frames: str
    lists: str | None = None
    group_pattern: str | None = None
    source_fps: float = 25.0
    image_prefix: str | None = None
    finds_copies: bool = True


def find_entry(datasets: Mapping, name: str) -> Entry:
    """Return the entry of a data set.

    Args:
        datasets: `Path.DATASETS` of mypath.py: pairs (videos, frames), or dicts with the fields of
            an `Entry`.
        name: Of the data set.

    Raises:
        FileError: There is no entry of this name.
        DataError: It has a misspelt field or a wrong value.
    """
    if name not in datasets:
        raise FileError(f"unknown data set {name!r}: mypath.py knows {', '.join(datasets)}")
    given = datasets[name]
    if isinstance(given, Mapping):
        values = dict(given)
    elif isinstance(given, (tuple, list)) and len(given) == 2:
        values = {"videos": given[0], "frames": given[1]}
    else:
        raise DataError(f"mypath.py: the entry {name!r} is not a pair of folders, but {given!r}")
    _validate(name, values)
    return Entry(**values)


def _validate(name: str, values: Mapping) -> None:
    for key in ("videos", "frames"):
        if key not in values:
            raise DataError(f"mypath.py: the entry {name!r} has no {key!r}")
    for key, value in values.items():
        if key not in FORMS:
            known = ", ".join(FORMS)
            raise DataError(
                f"mypath.py: {name!r} has an unknown field {key!r}; it may have {known}"
            )
        types, words = FORMS[key]
        if not isinstance(value, types):
            raise DataError(f"mypath.py: {key} of {name!r} is {value!r}; it must be {words}")
