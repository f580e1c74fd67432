"""Files that a user names: videos and lists."""

import glob
import os
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from itertools import filterfalse, takewhile
from pathlib import Path

from dataloaders.errors import FileError
from dataloaders.files import shorten
from dataloaders.frame_source import display_name
from dataloaders.images import has_image_suffix
from dataloaders.video import has_video_suffix


def find_videos(names: Sequence[str], output_dir: Path) -> list[tuple[Path, Path]]:
    """Find the videos that names of files, names of folders and glob patterns stand for.
    Returns a list of (path, folder), each path once; `folder` is its place below the folder or pattern that was named.
    What lies in `output_dir` is not found from outside it. FileError where a name stands for no video."""
    videos, output_dir = {}, os.path.realpath(output_dir)

    def is_inside(path):
        return Path(os.path.realpath(path)).is_relative_to(output_dir)

    for name in names:
        if re.match(r"\w{2,}:/", name):
            raise FileError(f"{display_name(name)}: an address of a stream goes behind --source")
        if os.path.isdir(name):
            root, files = name, walk_videos(Path(name))
        elif os.path.isfile(name):
            root, files = os.path.dirname(name), [Path(name)]
        else:
            root = Path(*takewhile(lambda part: not glob.has_magic(part), Path(name).parts))
            files = map(Path, filter(os.path.isfile, glob.glob(name, recursive=True)))
        files = (file for file in files if not has_image_suffix(file.name))
        if not is_inside(root):
            files = filterfalse(is_inside, files)
        if not (folders := {file: file.parent.relative_to(root) for file in sorted(files)}):
            raise FileError(
                f"{display_name(Path(name))}: no such file, nor a folder or pattern with videos"
            )
        videos |= folders
    return list(videos.items())


def walk_videos(folder: Path) -> Iterator[Path]:
    """Yield the videos in a folder and below, through links, and say what is ignored."""
    visited, errors, ignored = set(), [], defaultdict(list)
    for parent, folders, files in os.walk(folder, onerror=errors.append, followlinks=True):
        if (place := os.path.realpath(parent)) in visited:  # a link to a folder above
            folders.clear()
            continue
        visited.add(place)
        folders[:] = filterfalse(is_hidden, folders)
        for path in (os.path.join(parent, name) for name in files):
            if reason := reason_to_ignore(os.path.basename(path), os.path.isfile(path)):
                ignored[reason].append(os.path.relpath(path, folder))
            else:
                yield Path(path)
    if errors and errors[0].filename == str(folder):
        raise errors[0]
    ignored["that cannot be read"] = [os.path.relpath(error.filename, folder) for error in errors]
    print_ignored(folder, ignored)


def reason_to_ignore(name: str, is_file: bool) -> str | None:
    """Say why what has such a name is not read as a video; None where it is."""
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
    """Whether a file or folder is hidden, or holds what macOS packs beside the files of an archive."""
    return name.startswith(".") or name == "__MACOSX"
