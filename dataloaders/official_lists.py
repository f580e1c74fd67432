"""The lists of the authors of UCF101 and HMDB51, and of others in their forms."""

import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from dataloaders.errors import DataError, FileError
from dataloaders.files import read_lines, shorten
from dataloaders.groups import UCF101_NAME
from dataloaders.records import UNUSED, VideoRecord
from dataloaders.video import has_video_suffix

HMDB51_PARTS = {"1": "train", "2": "test"}  # any other number: not used
GROUPS_TESTED = 7  # by UCF101's rule, in each of its three splits


@dataclass(frozen=True)
class OfficialSplit:
    """What official lists say about the videos of a data set.

    Attributes:
        splits: "train", "test" or "unused", for each video.
        missing: The listed names of which there is no video.
        unlisted: The videos that no list has.
        rule: What to print where there are no lists, and a rule stands in for them.
    """

    splits: list[str]
    missing: list[str]
    unlisted: list[str]
    rule: str | None = None

    def report(self) -> None:
        """Print in what the lists and the videos differ."""
        if self.rule:
            print(self.rule)
        if self.missing:
            print(f"{len(self.missing)} in the lists but not on disk: {shorten(self.missing)}")
        if self.unlisted:
            print(f"{len(self.unlisted)} on disk but not in the lists: {shorten(self.unlisted)}")


def find_official_split(
    videos: Sequence[VideoRecord], number: int, split_dir: str | Path
) -> OfficialSplit:
    """Find the videos in official lists, or divide UCF101 by its rule where there are none.

    Args:
        videos: The records of a data set.
        number: 1, 2 or 3.
        split_dir: The folder of the lists.

    Raises:
        FileError: There are no lists.
        DataError: They contradict themselves, or leave open which video they mean.
    """
    split_dir = Path(split_dir)
    listed = _read_lists(split_dir, number)
    rule = None
    if not listed and all(UCF101_NAME.search(_file_stem(video)) for video in videos):
        rule = f"{split_dir}: no lists of official split {number}; "
        rule += "the groups are divided by UCF101's rule"
        listed = _by_rule(videos, number)
    if not listed:
        raise FileError(
            f"{split_dir}: no lists of official split {number}; mypath.py says where they lie"
        )
    keys = _listed_keys(videos, listed, split_dir)
    found = set(keys)
    return OfficialSplit(
        splits=[UNUSED if key is None else listed[key] for key in keys],
        missing=[key for key in listed if key not in found],
        unlisted=[
            f"{video.class_name}/{video.video}"
            for video, key in zip(videos, keys, strict=True)
            if key is None
        ],
        rule=rule,
    )


def _by_rule(videos: Sequence[VideoRecord], number: int) -> dict[str, str]:
    """UCF101's rule: split 1 tests on groups 1 to 7, split 2 on 8 to 14, split 3 on 15 to 21."""
    first = GROUPS_TESTED * (number - 1) + 1
    tested = range(first, first + GROUPS_TESTED)
    splits = {}
    for video in videos:
        stem = _file_stem(video)
        group = int(UCF101_NAME.search(stem)[1][1:])
        splits[_key(video.class_name, stem)] = "test" if group in tested else "train"
    return splits


def _listed_keys(
    videos: Sequence[VideoRecord], listed: Mapping[str, str], split_dir: Path
) -> list[str | None]:
    """Return under which name each video is listed; None where it is not.

    Lists may leave the class out; a name that only one class has then serves.
    """
    names = {(video.class_name, _file_stem(video).casefold()) for video in videos}
    num_classes = Counter(stem for _, stem in names)
    keys = []
    for video in videos:
        stem = _file_stem(video).casefold()
        key = _key(video.class_name, stem)
        if key not in listed:
            key = stem if stem in listed else None
            if key is not None and num_classes[stem] > 1:
                raise DataError(
                    f"{split_dir}: {video.video} is listed without its class and is a video of "
                    "several classes"
                )
        keys.append(key)
    return keys


def _key(class_name: str, stem: str) -> str:
    """Return the name of a video in lists, which may differ from the files in case."""
    return f"{class_name}/{stem}".casefold()


def _file_stem(video: VideoRecord) -> str:
    """Return the name of a video as lists have it: that of its file, without the ending.

    The name of its frame folder may have the ending, where two files differ in nothing else, or a
    number, where a changed video has new frames beside the old ones.
    """
    name = video.source.rpartition("/")[2]
    return os.path.splitext(name)[0] if has_video_suffix(name) else name


def _read_lists(split_dir: Path, number: int) -> dict[str, str]:
    """Return the split of each listed video, by its name in small letters."""
    listed = {}
    for lines in (_read_ucf101(split_dir, number), _read_hmdb51(split_dir, number)):
        for path, split in lines:
            key = os.path.splitext(path)[0].casefold()
            before = listed.setdefault(key, split)
            if before != split:
                raise DataError(f"{split_dir}: {path} is listed in {before} and in {split}")
    return listed


def _read_ucf101(split_dir: Path, number: int) -> Iterator[tuple[str, str]]:
    """Yield (path, split) of lists with a line `Class/video.avi`, in train followed by a label."""
    for split in ("train", "test"):
        path = split_dir / f"{split}list{number:02d}.txt"
        if not os.path.isfile(path):
            continue
        for line in read_lines(path):
            if not has_video_suffix(line):
                line = re.sub(r"\s+\d+$", "", line)
            parts = re.findall(r"[^/\\]+", line)
            yield "/".join(parts[-2:]), split


def _read_hmdb51(split_dir: Path, number: int) -> Iterator[tuple[str, str]]:
    """Yield (path, split) of lists of a class each, with a line `video.avi 1`."""
    ending = f"_test_split{number}.txt"
    for path in sorted(split_dir.glob(f"*{ending}")):
        class_name = path.name.removesuffix(ending)
        for line in read_lines(path):
            words = line.rsplit(maxsplit=1)
            name = words[0].rpartition("/")[2]
            yield f"{class_name}/{name}", HMDB51_PARTS.get(words[-1], UNUSED)
