"""Finds video files: those of a data set, and those that a user names."""

import glob
import os
import re
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from itertools import filterfalse, takewhile
from pathlib import Path

from dataloaders.errors import DataError
from dataloaders.index import VideoRecord, shorten
from dataloaders.splits import group_of
from dataloaders.video import display_name, has_video_suffix


def find_videos(names: Sequence[str], output_dir: Path) -> list[tuple[Path, Path]]:
    """Find the videos that names of files, names of folders and glob patterns stand for.

    Returns a list of (path, folder), each path once; `folder` is its place below the folder or pattern that was named.
    What lies in `output_dir` is not found from outside it. FileNotFoundError where a name stands for no video.
    """
    videos, output_dir = {}, os.path.realpath(output_dir)

    def is_inside(path):
        return Path(os.path.realpath(path)).is_relative_to(output_dir)

    for name in names:
        if re.match(r"\w{2,}:/", name):
            raise FileNotFoundError(f"{display_name(name)}: an address of a stream goes behind --source")
        if os.path.isdir(name):
            root, files = name, walk_videos(Path(name))
        elif os.path.isfile(name):
            root, files = os.path.dirname(name), [Path(name)]
        else:
            root = Path(*takewhile(lambda part: not glob.has_magic(part), Path(name).parts))
            files = map(Path, filter(os.path.isfile, glob.glob(name, recursive=True)))
        if not is_inside(root):
            files = filterfalse(is_inside, files)
        if not (found := {file: file.parent.relative_to(root) for file in sorted(files)}):
            raise FileNotFoundError(f"{display_name(Path(name))}: no such file, nor a folder or pattern with videos")
        videos |= found
    return list(videos.items())


def walk_videos(folder: Path) -> Iterator[Path]:
    """Yield the videos in a folder and below, through links, and say what is passed over."""
    visited, passed_over = set(), defaultdict(list)

    def pass_over(error):
        if error.filename == str(folder):
            raise error
        passed_over["that cannot be read"].append(os.path.relpath(error.filename, folder))

    for parent, folders, files in os.walk(folder, onerror=pass_over, followlinks=True):
        if (place := os.path.realpath(parent)) in visited:  # a link to a folder above
            folders.clear()
            continue
        visited.add(place)
        folders[:] = filterfalse(is_hidden, folders)
        for path in (os.path.join(parent, name) for name in files):
            if reason := reason_to_pass_over(os.path.basename(path), os.path.isfile(path)):
                passed_over[reason].append(os.path.relpath(path, folder))
            else:
                yield Path(path)
    print_passed_over(folder, passed_over)


def reason_to_pass_over(name: str, is_file: bool) -> str | None:
    """Say why what has such a name is not read as a video; None where it is."""
    if is_hidden(name):
        return "hidden"
    if not is_file:
        return "that are no files"
    return None if has_video_suffix(name) else "without the ending of a video"


def print_passed_over(folder: Path, names: Mapping[str, list[str]]) -> None:
    """Print what was passed over in a folder, by the reason; a hidden file that is no video is not worth a word."""
    names = names | {"hidden": list(filter(has_video_suffix, names.get("hidden", ())))}
    parts = [f"{len(paths)} {reason} ({shorten(sorted(paths))})" for reason, paths in sorted(names.items()) if paths]
    if parts:
        print(f"passed over in {folder}: {'; '.join(parts)}")


def is_hidden(name: str) -> bool:
    """Whether a file or folder is hidden, or holds what macOS packs beside the files of an archive."""
    return name.startswith(".") or name == "__MACOSX"


def list_videos(root_dir: Path) -> list[VideoRecord]:
    """List the videos of a folder of class folders, without split and frames; say what is passed over.

    FileNotFoundError where there is no video; DataError where two would share a frame folder, or a name is unusable.
    """
    if not root_dir.is_dir():
        raise FileNotFoundError(f"{root_dir}: no such folder. mypath.py says where the videos lie")
    videos, passed_over = {}, defaultdict(list)
    for source, is_file in sorted(_scan(root_dir)):
        class_name, _, name = source.rpartition("/")
        stem = os.path.splitext(name)[0]
        reason = "hidden" if is_hidden(class_name) else reason_to_pass_over(name, is_file)
        reason = reason or (None if class_name else "in no class folder")
        if reason:
            passed_over[reason].append(source)
            continue
        if re.search(r"[\x00-\x1f\x7f\ud800-\udfff]", source):
            raise DataError(f"{root_dir}/{source!a}: a table cannot hold this name; rename the file")
        video = VideoRecord("", sys.intern(class_name), stem, group_of(class_name, stem), 0, source)
        if (twin := videos.setdefault((class_name, stem), video)) is not video:
            raise DataError(f"{root_dir}: {twin.source} and {source} differ in their ending only; rename one")
    print_passed_over(root_dir, passed_over)
    if not videos:
        raise FileNotFoundError(f"{root_dir}: {_describe_layout(root_dir)}")
    return list(videos.values())


def _scan(root_dir: Path) -> Iterator[tuple[str, bool]]:
    """Yield what lies in a folder and in its subfolders, as (path below it, whether it is a file)."""
    for entry in os.scandir(root_dir):
        is_folder = os.path.isdir(entry)
        for file in os.scandir(entry) if is_folder else [entry]:
            # Known without a look at the disk, except of links, which may lead in a circle.
            is_file = os.path.isfile(file) if file.is_symlink() else file.is_file()
            yield f"{entry.name}/{file.name}" if is_folder else file.name, is_file


def _describe_layout(root_dir: Path) -> str:
    """Say how a folder without class folders of videos is laid out, and what to do about it."""
    walk = ((parent, name) for parent, _, files in os.walk(root_dir) for name in files)
    folders = {Path(p) for p, name in walk if not reason_to_pass_over(name, os.path.isfile(os.path.join(p, name)))}
    if root_dir in folders:
        return "videos in no class folder; put those of each class into a folder of its name"
    if parents := sorted({folder.parent for folder in folders if not is_hidden(folder.name)}):
        if {parent.name.lower() for parent in parents} & {"train", "val", "valid", "validation", "test"}:
            names = ", ".join(parent.name for parent in parents)
            return f"{names} of class folders; put all videos of a class into one folder, --split divides them"
        return f"the class folders lie deeper; name {parents[0]} in mypath.py"
    if next(root_dir.rglob("*.[jp][pn]g"), None):
        return "folders of images, such as frames; name the folder of the videos in mypath.py"
    return "no class folders with videos in it. mypath.py says where the videos lie"
