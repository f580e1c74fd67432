"""Which videos of two tables are the same, though their paths are written differently."""

import os
from collections import defaultdict
from collections.abc import Iterable
from itertools import takewhile
from pathlib import Path, PurePosixPath

from dataloaders.errors import DataError


def match_videos(names: Iterable[str], others: Iterable[str], folder: Path) -> dict[str, str]:
    """Find the videos of one table in another one.

    Two names mean the same video if they lead to the same path, or are written alike. Of the
    names that are left, those mean the same that end in the same file name, with or without its
    ending, and agree in the most folders above it.

    Args:
        names: As one table writes them, relative to its folder.
        others: As the other table writes them, relative to the working directory.
        folder: That of the first table.

    Returns:
        For each of `names` that is found the one of `others`.

    Raises:
        DataError: A name may mean several of the others, or several names may mean one of them.
    """
    others = list(dict.fromkeys(others))
    names = list(dict.fromkeys(names))
    by_path = {os.path.abspath(other): other for other in others}
    by_text = {_text_of(other): other for other in others}
    found = {}
    for name in names:
        text = _text_of(name)
        other = by_path.get(os.path.abspath(folder / text)) or by_text.get(text)
        if other is not None:
            found[name] = other
    taken = set(found.values())
    rest = [name for name in names if name not in found]
    return found | _match_by_likeness(rest, [other for other in others if other not in taken])


def _text_of(name: str) -> str:
    return os.path.normpath(name.replace("\\", "/"))


def _match_by_likeness(names: list[str], others: list[str]) -> dict[str, str]:
    by_stem = defaultdict(list)
    for other in others:
        by_stem[PurePosixPath(_text_of(other)).stem].append(other)
    likenesses = defaultdict(dict)
    for name in names:
        for other in by_stem[PurePosixPath(_text_of(name)).stem]:
            likenesses[name][other] = _likeness(name, other)
    found = {}
    for name, of_name in likenesses.items():
        best = _most_alike(name, of_name)
        rivals = {
            rival: of_rival[best] for rival, of_rival in likenesses.items() if best in of_rival
        }
        if _most_alike(best, rivals) == name:
            found[name] = best
    return found


def _likeness(one: str, other: str) -> tuple[bool, int]:
    """Return whether two paths have the same file name, and how many folders above it agree."""
    path = PurePosixPath(_text_of(one))
    other_path = PurePosixPath(_text_of(other))
    pairs = zip(reversed(path.parent.parts), reversed(other_path.parent.parts), strict=False)
    agreeing = list(takewhile(lambda pair: pair[0] == pair[1], pairs))
    return path.name == other_path.name, len(agreeing)


def _most_alike(name: str, likenesses: dict[str, tuple[bool, int]]) -> str:
    """Return the one name that is most like another; DataError where there are several."""
    largest = max(likenesses.values())
    alike = [other for other, likeness in likenesses.items() if likeness == largest]
    if len(alike) > 1:
        raise DataError(
            f"{name} may be the video {alike[0]} or {alike[1]}: write more of its path in the table"
        )
    return alike[0]
