"""The entries of mypath.py, each of which says what a data set is."""

import os
from collections.abc import Mapping
from typing import Any

from dataloaders.errors import DataError, FileError

PATH = (str, os.PathLike)
# What each field of an entry may be, in Python and in words; None stands for the default.
FIELDS = {
    "videos": (PATH, "a path"),
    "frames": (PATH, "a path"),
    "lists": (PATH, "a path"),
    "group_pattern": (str, "a regular expression"),
    "source_fps": ((int, float), "a number"),
    "image_prefix": (str, "a text"),
    "finds_copies": (bool, "True or False"),
}


def find_entry(datasets: Mapping, name: str) -> dict[str, Any]:
    """Return the fields that mypath.py gives for a data set, "videos" and "frames" among them.

    Args:
        datasets: `Path.DATASETS`: pairs (videos, frames), or dicts.
        name: Of the data set.

    Raises:
        FileError: There is no entry of this name.
        DataError: It has a misspelt field or a wrong value.
    """
    if name not in datasets:
        raise FileError(f"unknown data set {name!r}: mypath.py knows {', '.join(datasets)}")
    given = datasets[name]
    if isinstance(given, (tuple, list)) and len(given) == 2:
        given = {"videos": given[0], "frames": given[1]}
    if not isinstance(given, Mapping):
        raise DataError(f"mypath.py: the entry {name!r} is not a pair of folders, but {given!r}")
    entry = {key: value for key, value in given.items() if value is not None}
    for key in ("videos", "frames"):
        if key not in entry:
            raise DataError(f"mypath.py: the entry {name!r} has no {key!r}")
    for key, value in entry.items():
        _validate_field(name, key, value)
    return entry


def _validate_field(name: str, key: str, value: Any) -> None:
    if key not in FIELDS:
        known = ", ".join(FIELDS)
        raise DataError(f"mypath.py: {name!r} has an unknown field {key!r}; it may have {known}")
    types, words = FIELDS[key]
    if not isinstance(value, types):
        raise DataError(f"mypath.py: {key} of {name!r} is {value!r}; it must be {words}")
