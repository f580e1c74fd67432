"""Who is in train, val and test."""

import warnings
from collections import Counter, defaultdict
from collections.abc import Sequence
from operator import attrgetter
from pathlib import Path

from dataloaders.errors import DataError
from dataloaders.files import shorten
from dataloaders.official_lists import find_official_split
from dataloaders.records import SPLITS, VideoRecord

PROTOCOLS = ("group", "folders", "official1", "official2", "official3", "random")

# StratifiedGroupKFold visits each group in turn, which takes long for more. They are then divided
# as if each were one video of one class.
MANY_GROUPS = 10_000

Videos = Sequence[VideoRecord]
Parts = dict[str, Videos]  # the videos of each split


def assign_splits(
    videos: Videos, protocol: str = "group", fold: int = 1, split_dir: str | Path | None = None
) -> list[VideoRecord]:
    """Assign each video to a split; the same on every machine and for every order of `videos`.

    Protocols:
        group: About 64/16/20, stratified by class, whole groups kept together.
        folders: As the videos have it. Without val, about a fifth of the groups of train is val.
        official1, official2, official3: Test as in the lists of the authors of UCF101 or HMDB51.
            About a fifth of the groups of their train is val; what they leave out is "unused".
        random: 64/16/20, stratified by class. It ignores groups, so videos of one recording end up
            in both train and test; it is there to repeat old numbers.

    Args:
        videos: The records.
        protocol: One of the above.
        fold: Which fifth of the groups is tested, for the protocol group.
        split_dir: The folder of the official lists.

    Returns:
        The records sorted by class and video, with their `split`.

    Raises:
        FileError: The official lists are missing.
        DataError: No such split has every class in train, val and test; the message names classes.
    """
    videos = sorted(videos, key=attrgetter("key"))
    if protocol == "group":
        parts = _group_split(videos, fold)
    elif protocol == "random":
        parts = _random_split(videos)
    elif protocol == "folders":
        parts = _given_split(videos)
    else:
        parts = _official_split(videos, official_number(protocol), split_dir)
    records = []
    for split, part in parts.items():
        records += [video._replace(split=split) for video in part]
    return sorted(records, key=attrgetter("key"))


def official_number(protocol: str) -> int | None:
    """Return which split of official lists a protocol is; None for any other protocol."""
    if not protocol.startswith("official"):
        return None
    return int(protocol.removeprefix("official"))


def leaked_groups(videos: Videos, protocol: str) -> int:
    """Count the groups with videos in more than one of train, val and test, see `find_leaks`.

    Args:
        videos: The records with their split.
        protocol: Of that split.
    """
    return len(find_leaks(videos, protocol))


def find_leaks(videos: Videos, protocol: str) -> dict[tuple[str, str], Counter]:
    """Find the groups with videos in more than one of train, val and test.

    Under official lists a group counts per class: HMDB51's send the classes cut from one film
    different ways.

    Args:
        videos: The records with their split.
        protocol: Of that split.

    Returns:
        The number of videos in each part by group and class; any class is "".
    """
    within_class = official_number(protocol) is not None
    parts = defaultdict(Counter)
    for video in videos:
        if video.split in SPLITS:
            parts[video.group, video.class_name if within_class else ""][video.split] += 1
    return {key: counts for key, counts in parts.items() if len(counts) > 1}


def report_untrained_classes(videos: Videos) -> None:
    """Print the classes of which no video is in train."""
    missing = _classes(videos) - _classes(_part(videos, "train"))
    if missing:
        print(f"train has no videos of {shorten(sorted(missing))}, which the network cannot learn")


# The protocols


def _group_split(videos: Videos, fold: int) -> Parts:
    # Test is a fifth. Fold 1 may be larger, where a class has too few groups for fifths.
    for num_folds in (5, 4, 3) if fold == 1 else (5,):
        usable = []
        for remaining, test in _folds(videos, num_folds):
            carved = _carve_val(remaining)
            if carved is not None:
                usable.append({**carved, "test": test})
            # Fold 2 is the second one from which val can be held out, and so on.
            if len(usable) == fold:
                return usable[fold - 1]
    raise DataError(
        f"fold {fold}: every class needs groups in each of train, val and test; "
        f"{_fewest_groups(videos)}"
    )


def _given_split(videos: Videos) -> Parts:
    parts = {split: _part(videos, split) for split in SPLITS}
    train = parts["train"]
    if not train:
        raise DataError("--split folders: the data set does not say which videos are in train")
    if parts["val"]:
        return parts
    carved = _carve_val(train)
    if carved is None:
        raise DataError(f"too few groups to carve val from train; {_fewest_groups(train)}")
    return {**carved, "test": parts["test"]}


def _random_split(videos: Videos) -> Parts:
    try:
        remaining, test = _hold_out_fifth(videos)
        train, val = _hold_out_fifth(remaining)
        parts = {"train": train, "val": val, "test": test}
        is_whole = all(_classes(part) == _classes(videos) for part in parts.values())
    except ValueError:  # too few videos
        is_whole = False
    if not is_whole:
        counts = Counter(video.class_name for video in videos)
        raise DataError(
            "--split random: every class needs videos in each of train, val and test; "
            f"{_fewest(counts, 'video')}"
        )
    return parts


def _hold_out_fifth(videos: Videos) -> list[Videos]:
    from sklearn.model_selection import train_test_split

    labels = [video.class_name for video in videos]
    return train_test_split(videos, stratify=labels, test_size=0.2, random_state=42)


def _official_split(videos: Videos, number: int, split_dir: str | Path) -> Parts:
    name = f"official split {number}"
    splits = find_official_split(videos, number, split_dir).splits
    listed = [video._replace(split=split) for video, split in zip(videos, splits, strict=True)]
    parts = {split: _part(listed, split) for split in dict.fromkeys(splits)}
    for split in ("train", "test"):
        empty = sorted(_classes(videos) - _classes(parts.get(split, ())))
        if empty:
            raise DataError(f"{name} leaves no {split} videos of {shorten(empty)}")
    carved = _carve_val(parts["train"])
    if carved is None:
        raise DataError(
            f"{name} leaves too few groups to carve val from train; {_fewest_groups(videos)}"
        )
    return {**parts, **carved}


# Folds of whole groups


def _carve_val(remaining: Videos) -> Parts | None:
    """Hold out about a fifth of the groups as val; None where that is impossible."""
    for num_folds in (5, 4, 3, 2):
        folds = _folds(remaining, num_folds)
        if folds:
            train, val = folds[0]
            return {"train": train, "val": val}
    return None


def _folds(videos: Videos, num_folds: int) -> list[tuple[Videos, Videos]]:
    """Divide videos into folds of whole groups, stratified by class.

    Returns:
        (the other folds, this fold) for each fold where both have every class. The first one is
        the nearest to its share of the videos.
    """
    classes = _classes(videos)
    folds = []
    for groups in _divide_groups(videos, num_folds):
        rest = [video for video in videos if video.group not in groups]
        held_out = [video for video in videos if video.group in groups]
        if _classes(rest) == _classes(held_out) == classes:
            folds.append((rest, held_out))
    return sorted(folds, key=lambda fold: abs(num_folds * len(fold[1]) - len(videos)))


def _divide_groups(videos: Videos, num_folds: int) -> list[set[str]]:
    """Divide the groups of videos into folds; none where there are too few."""
    from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

    labels = [video.class_name for video in videos]
    groups = [video.group for video in videos]
    class_of = dict(zip(groups, labels, strict=True))
    if num_folds > min(len(class_of), max(Counter(labels).values())):
        return []
    with warnings.catch_warnings():
        # It warns of a class with fewer videos than folds, which such a fold lacks.
        warnings.simplefilter("ignore", UserWarning)
        if len(class_of) == len(videos) or len(class_of) > MANY_GROUPS:
            names = list(class_of)
            folds = list(StratifiedKFold(num_folds).split(names, list(class_of.values())))
        else:
            names = groups
            folds = list(StratifiedGroupKFold(num_folds).split(videos, labels, groups))
    held_out = []
    for _, indices in folds:
        held_out.append({names[i] for i in indices})
    return held_out


def _part(videos: Videos, split: str) -> Videos:
    return [video for video in videos if video.split == split]


def _classes(videos: Videos) -> set[str]:
    return {video.class_name for video in videos}


def _fewest_groups(videos: Videos) -> str:
    groups = {(video.class_name, video.group) for video in videos}
    return _fewest(Counter(class_name for class_name, _ in groups), "group")


def _fewest(counts: Counter, what: str) -> str:
    """Name the classes with the fewest groups or videos."""
    fewest = sorted(counts.items(), key=lambda item: (item[1], item[0]))[:5]
    names = ", ".join(f"{name} ({count})" for name, count in fewest)
    return f"the classes with the fewest {what}s: {names}"
