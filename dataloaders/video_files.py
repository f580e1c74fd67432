"""Which videos the names of files, folders and patterns stand for, and what is ignored."""

import glob
import os
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from dataloaders.errors import FileError
from dataloaders.files import shorten
from dataloaders.frame_source import display_name
from dataloaders.images import has_image_suffix
from dataloaders.video import has_video_suffix


def find_videos(names: Sequence[str], output_dir: Path) -> list[tuple[Path, Path]]:
    """Find the videos that names of files, names of folders and glob patterns stand for.

    Args:
        names: The names.
        output_dir: What lies in this folder is not found from outside it.

    Returns:
        A list of (path, folder), each path once; `folder` is the place of the video below the
        folder or pattern that was named.

    Raises:
        FileError: A name stands for no video, or a folder cannot be read.
    """
    output_dir = Path(os.path.realpath(output_dir))
    videos = {}
    for name in names:
        if re.match(r"\w{2,}:/", name):
            raise FileError(f"{display_name(name)}: an address of a stream goes behind --source")
        root, files = _expand(name)
        starts_inside = _is_inside(root, output_dir)
        found = []
        for file in files:
            is_output = not starts_inside and _is_inside(file, output_dir)
            if not is_output and not has_image_suffix(file.name):
                found.append(file)
        if not found:
            raise FileError(
                f"{display_name(Path(name))}: no such file, nor a folder or pattern with videos"
            )
        for file in sorted(found):
            videos[file] = file.parent.relative_to(root)
    return list(videos.items())


def _expand(name: str) -> tuple[Path, Iterator[Path]]:
    """Return the folder below which the files of a name lie, and these files."""
    root = Path(name)
    if os.path.isdir(name):
        return root, walk_videos(root)
    if os.path.isfile(name):
        return root.parent, iter([root])
    while glob.has_magic(str(root)):
        root = root.parent
    return root, map(Path, filter(os.path.isfile, glob.glob(name, recursive=True)))


def _is_inside(path: Path, folder: Path) -> bool:
    return Path(os.path.realpath(path)).is_relative_to(folder)


def walk_videos(folder: Path) -> Iterator[Path]:
    """Yield the videos in a folder and below, through links, and print what is ignored.

    Raises:
        FileError: The folder cannot be read.
    """
    visited = set()
    errors = []
    ignored = defaultdict(list)
    for parent, folders, files in os.walk(folder, onerror=errors.append, followlinks=True):
        place = os.path.realpath(parent)
        if place in visited:  # a link to a folder above
            folders.clear()
            continue
        visited.add(place)
        folders[:] = [name for name in folders if not is_hidden(name)]
        for name in files:
            path = os.path.join(parent, name)
            reason = reason_to_ignore(name, os.path.isfile(path))
            if reason is None:
                yield Path(path)
            else:
                ignored[reason].append(os.path.relpath(path, folder))
    for error in errors:
        if error.filename == str(folder):
            raise FileError(f"{folder}: cannot be read: {error.strerror}")
        ignored["that cannot be read"].append(os.path.relpath(error.filename, folder))
    print_ignored(folder, ignored)


def reason_to_ignore(name: str, is_file: bool) -> str | None:
    """Say why a file is not read as a video.

    Args:
        name: Its name.
        is_file: Whether it is a file.

    Returns:
        The reason; None where it is read.
    """
    if is_hidden(name):
        return "hidden"
    if not is_file:
        return "that are no files"
    return None if has_video_suffix(name) else "without the ending of a video"


def print_ignored(folder: Path, names: Mapping[str, list[str]]) -> None:
    """Print what is ignored in a folder, except hidden files that are no videos.

    Args:
        folder: The folder.
        names: The paths, by the reason.
    """
    parts = []
    for reason in sorted(names):
        paths = sorted(names[reason])
        if reason == "hidden":
            paths = list(filter(has_video_suffix, paths))
        if paths:
            parts.append(f"{len(paths)} {reason} ({shorten(paths)})")
    if parts:
        print(f"ignored in {folder}: {'; '.join(parts)}")


def is_hidden(name: str) -> bool:
    """Whether a file or folder is hidden, or is what macOS packs beside the files of an archive."""
    return name.startswith(".") or name == "__MACOSX"
