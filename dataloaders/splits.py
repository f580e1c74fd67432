"""Who is in train, val and test, and the index that records it."""

import csv
import os
import re
import warnings
from collections import Counter
from typing import NamedTuple

from sklearn.model_selection import StratifiedGroupKFold

SPLITS = ("train", "val", "test")
INDEX = "index.csv"
COLUMNS = ("split", "class", "video", "group", "frames", "source")

UCF101_NAME = re.compile(r"_(g\d+)_c\d+$")
HMDB51_NAME = re.compile(r"_[a-z]_[a-z]{2}_np\d+_[a-z]{2}_[a-z]{3}_\d+$")


class Video(NamedTuple):
    """One row of the index."""

    split: str
    class_name: str
    video: str      # name of the frame folder
    group: str
    frames: int     # JPEG frames kept
    source: str     # path of the video file below the data set's folder

    def folder(self, output_dir):
        return output_dir / self.split / self.class_name / self.video


def group_of(class_name, video):
    """The source video that a clip was cut from, by its name without ending.

    UCF101's `v_Archery_g01_c02` is of group `g01`, whatever its class; HMDB51's `Some_film_golf_f_cm_np1_ri_goo_0` of
    group `Some_film`. A name of neither kind is a group of its own.
    """
    if match := UCF101_NAME.search(video):
        return match[1]
    if match := HMDB51_NAME.search(video):
        source, action, _ = video[: match.start() + 1].rpartition(f"_{class_name}_")
        if action:
            return source
    return f"{class_name}/{video}"


def group_split(videos):
    """Split videos about 64/16/20 into train, val and test: stratified by class, whole groups kept together.

    No chance is involved, so every machine gives the same split; the order of `videos` does not matter.

    Args:
        videos: `Video` rows; their `class_name`, `video` and `group` count.

    Returns:
        The same rows, sorted by class and video, with `split` set.

    Raises:
        ValueError: there is no split with every class in train, val and test; the message names the classes at fault.
    """
    videos = sorted(videos, key=lambda v: (v.class_name, v.video))
    classes = {v.class_name for v in videos}
    # Fifths of all, then fifths of the rest; larger shares only where a class has too few groups for fifths.
    for test_folds in (5, 4, 3):
        for rest, test in _folds(videos, classes, test_folds):
            for val_folds in (5, 4, 3, 2):
                for train, val in _folds(rest, classes, val_folds):
                    named = zip(SPLITS, (train, val, test), strict=True)
                    rows = [v._replace(split=split) for split, part in named for v in part]
                    return sorted(rows, key=lambda v: (v.class_name, v.video))
    groups = {name: {v.group for v in videos if v.class_name == name} for name in classes}
    fewest = sorted(classes, key=lambda name: (len(groups[name]), name))[:5]
    raise ValueError(
        "every class needs groups of videos for each of train, val and test, at least 3; the classes with fewest: "
        + ", ".join(f"{name} ({len(groups[name])})" for name in fewest)
    )


def _folds(videos, classes, n_splits):
    """The ways to hold out one of `n_splits` folds that leave every class on both sides, best size first.

    Yields:
        (kept, held out), two lists of videos.
    """
    labels = [v.class_name for v in videos]
    groups = [v.group for v in videos]
    if n_splits > min(len(set(groups)), max(Counter(labels).values())):
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of a class with fewer videos than folds: asked for below
        folds = list(StratifiedGroupKFold(n_splits).split(videos, labels, groups))
    for kept, held in sorted(folds, key=lambda fold: abs(len(fold[1]) * n_splits - len(videos))):
        parts = [videos[i] for i in kept], [videos[i] for i in held]
        if all({v.class_name for v in part} == classes for part in parts):
            yield parts


def read_index(path):
    """Read an index file into a list of `Video`.

    Raises:
        FileNotFoundError: there is none.
        ValueError: it is no index.
    """
    with open(path, newline="", encoding="utf-8") as file:
        rows = csv.reader(file)
        try:
            if tuple(next(rows, ())) != COLUMNS:
                raise ValueError("its first line is not " + ",".join(COLUMNS))
            return [Video(*row[:4], int(row[4]), *row[5:]) for row in rows]
        except (ValueError, TypeError, IndexError) as error:
            raise ValueError(f"{path} is damaged ({error}): delete it and preprocess again") from None


def write_index(path, videos):
    """Write an index file, whole or not at all."""
    partial = path.with_suffix(".partial")
    with open(partial, "w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(COLUMNS)
        rows.writerows(videos)
    os.replace(partial, path)
