"""Finds video files: those of a data set, and those that a user names."""

import glob
import os
import re
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from itertools import takewhile
from pathlib import Path

from dataloaders.errors import DataError
from dataloaders.index import VideoRecord, shorten
from dataloaders.splits import group_of
from dataloaders.video import VIDEO_SUFFIXES, hide_password


def find_videos(names: Sequence[str], output_dir: Path) -> list[tuple[Path, Path]]:
    """Find the videos that names of files, names of folders and glob patterns stand for.

    What lies in `output_dir` is not found from outside it. FileNotFoundError where a name stands for no video.

    Returns:
        A list of (path, folder), each path once; `folder` is its place below the folder or pattern that was named.
    """
    videos, output_dir = {}, output_dir.resolve()
    for name in names:
        if "://" in name:
            raise FileNotFoundError(f"{hide_password(name)}: an address of a stream goes behind --source")
        if os.path.isdir(name):
            root, files = name, list(walk_videos(Path(name)))
        elif os.path.isfile(name):
            root, files = os.path.dirname(name), [Path(name)]
        else:
            root = Path(*takewhile(lambda part: not glob.has_magic(part), Path(name).parts))
            files = map(Path, glob.glob(name, recursive=True))
        is_inside = output_dir in (Path(root).resolve() / "file").parents
        files = (f for f in sorted(files) if f.is_file() and (is_inside or output_dir not in f.resolve().parents))
        here = {file: file.parent.relative_to(root) for file in files}
        if not here:
            raise FileNotFoundError(f"{name}: no such file, nor a folder or pattern with videos")
        videos |= here
    return list(videos.items())


def walk_videos(folder: Path) -> Iterator[Path]:
    """Yield the videos in a folder and below, through links, and say what is passed over."""
    visited, passed_over = set(), defaultdict(list)
    for parent, folders, files in os.walk(folder, followlinks=True):
        if (place := os.path.realpath(parent)) in visited:  # a link to a folder above
            folders.clear()
            continue
        visited.add(place)
        folders[:] = [name for name in folders if not is_hidden(name)]
        for name in files:
            if reason := reason_to_pass_over(name):
                passed_over[reason].append(os.path.relpath(os.path.join(parent, name), folder))
            else:
                yield Path(parent) / name
    print_passed_over(folder, passed_over)


def reason_to_pass_over(name: str) -> str | None:
    """Say why a file is not read as a video, by its name; None where it is."""
    if is_hidden(name):
        return "hidden"
    return None if os.path.splitext(name)[1].lower() in VIDEO_SUFFIXES else "without the ending of a video"


def print_passed_over(folder: Path, names: Mapping[str, list[str]]) -> None:
    """Print what was passed over in a folder, by the reason; a hidden file that is no video is not worth a word."""
    hidden = [name for name in names.get("hidden", ()) if os.path.splitext(name)[1].lower() in VIDEO_SUFFIXES]
    named = {reason: sorted(paths) for reason, paths in (names | {"hidden": hidden}).items() if paths}
    if named:
        parts = [f"{len(paths)} {reason} ({shorten(paths)})" for reason, paths in named.items()]
        print(f"passed over in {folder}: {'; '.join(parts)}")


def is_hidden(name: str) -> bool:
    """Whether a file or folder is hidden, or holds what macOS packs beside the files of an archive."""
    return name.startswith(".") or name == "__MACOSX"


def list_videos(root_dir: Path) -> list[VideoRecord]:
    """List the videos of a folder of class folders, without split and frames; say what is passed over.

    FileNotFoundError, which names the layout, where there is no video; DataError where two videos would share a frame
    folder, or a table cannot hold a name.
    """
    if not root_dir.is_dir():
        raise FileNotFoundError(f"{root_dir}: no such folder. mypath.py says where the videos lie")
    videos, passed_over = {}, defaultdict(list)
    for source, is_file in sorted(_scan(root_dir)):
        class_name, _, name = source.rpartition("/")
        stem = os.path.splitext(name)[0]
        reason = "hidden" if is_hidden(class_name) else reason_to_pass_over(name)
        if not is_file and reason != "hidden":
            reason = "that are no files"
        elif not class_name:
            reason = reason or "in no class folder"
        if reason:
            passed_over[reason].append(source)
            continue
        if re.search(r"[\x00-\x1f\x7f\ud800-\udfff]", source):
            raise DataError(f"{root_dir}/{source!a}: a table cannot hold this name; rename the file")
        video = VideoRecord("", sys.intern(class_name), stem, group_of(class_name, stem), 0, source)
        twin = videos.setdefault((class_name, stem), video)
        if twin is not video:
            raise DataError(f"{root_dir}: {twin.source} and {source} differ in their ending only; rename one")
    print_passed_over(root_dir, passed_over)
    if not videos:
        raise FileNotFoundError(f"{root_dir}: {_describe_layout(root_dir)}")
    return list(videos.values())


def _scan(root_dir: Path) -> Iterator[tuple[str, bool]]:
    """Yield what lies in a folder and in its subfolders, as (path below it, whether it is a file)."""
    for entry in os.scandir(root_dir):
        if entry.is_dir():
            yield from ((f"{entry.name}/{video.name}", video.is_file()) for video in os.scandir(entry))
        else:
            yield entry.name, entry.is_file()


def _describe_layout(root_dir: Path) -> str:
    """Say how a folder without class folders of videos is laid out, and what to do about it."""

    def has_videos(folder):
        return any(not reason_to_pass_over(file.name) for file in folder.iterdir() if file.is_file())

    if has_videos(root_dir):
        return "videos in no class folder; put those of each class into a folder of its name"
    below = [folder for folder in sorted(root_dir.glob("*/*")) if folder.is_dir() and not is_hidden(folder.name)]
    parents = list(dict.fromkeys(folder.parent.name for folder in below if has_videos(folder)))
    if {name.lower() for name in parents} & {"train", "val", "valid", "validation", "test"}:
        return f"{', '.join(parents)} of class folders; put all videos of a class into one folder, --split divides them"
    if parents:
        return f"the class folders lie one folder deeper; name {root_dir / parents[0]} in mypath.py"
    if any(next(folder.glob("*.[jp][pn]g"), None) for folder in below):
        return "folders of images, such as frames; name the folder of the videos in mypath.py"
    return "no class folders with videos in it. mypath.py says where the videos lie"
