"""Data sets of folders: <class>/<video>, with or without train, val and test above them."""

import os
import sys
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from dataloaders.errors import FileError
from dataloaders.groups import group_of
from dataloaders.images import is_image_name
from dataloaders.records import SPLIT_NAMES, VideoRecord
from dataloaders.video import has_video_suffix
from dataloaders.video_files import is_hidden, print_ignored, reason_to_ignore

DEEPER = "folders of videos, one deeper than <class>/<video>"


def has_split_folders(names: set[str]) -> bool:
    """Whether the folders of a data set, in small letters, are its splits and no classes."""
    return "train" in names and (names == {"train"} or len(names & SPLIT_NAMES.keys()) > 1)


def list_class_folders(root_dir: Path, *, is_split: bool) -> list[VideoRecord]:
    """List a data set of folders, and print what of it is ignored.

    Args:
        root_dir: The data set.
        is_split: Whether its folders are train, val and test, and those in them the classes.

    Raises:
        FileError: There is no video.
    """
    listing = _Listing(root_dir)
    if is_split:
        _add_split_folders(listing)
    else:
        listing.add_folder("", None)
    print_ignored(root_dir, listing.ignored)
    if not listing.videos:
        raise FileError(f"{root_dir}: {_describe_layout(root_dir)}")
    return listing.videos


def _add_split_folders(listing: "_Listing") -> None:
    for name in sorted(os.listdir(listing.root_dir)):
        if is_hidden(name):
            continue
        split = SPLIT_NAMES.get(name.lower())
        if split:
            listing.add_folder(f"{name}/", split)
        else:
            listing.ignored["beside train, val and test"].append(f"{name}/")


@dataclass
class _Listing:
    """The videos found so far, and what is none, by the reason."""

    root_dir: Path
    videos: list[VideoRecord] = field(default_factory=list)
    ignored: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    split_of: dict[tuple[str, str], str | None] = field(default_factory=dict)  # of (class, stem)

    def add_folder(self, folder: str, split: str | None) -> None:
        """Add what lies in the class folders of a folder.

        Args:
            folder: Its path below `root_dir`, with a slash at the end.
            split: Of the videos in it.
        """
        for source, is_file in sorted(_scan(self.root_dir, folder)):
            class_name, _, name = source.removeprefix(folder).rpartition("/")
            reason = self._reason_to_ignore(source, class_name, is_file)
            if reason:
                self.ignored[reason].append(source)
                continue
            stem = os.path.splitext(name)[0] if is_file else name  # a folder of images
            self._add(split, class_name, stem, source)

    def _add(self, split: str | None, class_name: str, stem: str, source: str) -> None:
        name = stem
        if self.split_of.setdefault((class_name, stem), split) != split:
            name = f"{split}_{stem}"  # the parts may number their videos alike
        record = VideoRecord(
            split=split,
            class_name=sys.intern(class_name),
            video=name,
            group=group_of(class_name, name),
            source=source,
        )
        self.videos.append(record)

    def _reason_to_ignore(self, source: str, class_name: str, is_file: bool) -> str | None:
        name = source.rpartition("/")[2]
        path = self.root_dir / source
        if is_hidden(class_name) or is_hidden(name):
            return "hidden"
        if not is_file and os.path.isdir(path):
            names = os.listdir(path)
            if any(map(is_image_name, names)):
                return None
            return DEEPER if any(map(has_video_suffix, names)) else "folders without images"
        reason = reason_to_ignore(name, is_file)
        if reason is None and not class_name:
            return "in no class folder"
        return reason


def _scan(root_dir: Path, prefix: str) -> Iterator[tuple[str, bool]]:
    """Yield what lies in a folder and in its subfolders.

    Yields:
        The path below `root_dir`, and whether it is a file.
    """
    for entry in os.scandir(root_dir / prefix):
        if not os.path.isdir(entry):
            yield prefix + entry.name, _is_file(entry)
            continue
        for file in os.scandir(entry):
            yield f"{prefix}{entry.name}/{file.name}", _is_file(file)


def _is_file(entry: os.DirEntry) -> bool:
    """Return what is known without a look at the disk, except of links, which may form a circle."""
    return os.path.isfile(entry) if entry.is_symlink() else entry.is_file()


def _describe_layout(root_dir: Path) -> str:
    """Say how a folder without class folders of videos is laid out, and what to do about it."""
    if any(map(has_video_suffix, os.listdir(root_dir))):
        return "videos in no class folder; put those of each class into a folder of its name"
    paths = sorted(root_dir.rglob("*"))
    videos = [path for path in paths if not reason_to_ignore(path.name, os.path.isfile(path))]
    parents = sorted({path.parent.parent for path in videos})
    if len(parents) == 1:
        return f"the class folders lie deeper; name {parents[0]} in mypath.py"
    if parents:
        example = videos[0].relative_to(root_dir).as_posix()
        return (
            f"the videos lie deeper than <class>/<video>, as {example}: move them there, "
            "or list them in a table with the columns path and label"
        )
    if any(is_image_name(path.name) for path in paths):
        return "images, but no folder for those of each video, <class>/<video>/1.jpg"
    return "no class folders with videos in it. mypath.py says where the videos lie"
