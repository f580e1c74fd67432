"""Who is in train, val and test."""

import re
import warnings
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import islice
from pathlib import Path

from dataloaders.errors import DataError
from dataloaders.index import SPLITS, UNUSED, VideoRecord, shorten

PROTOCOLS = ("group", "official1", "official2", "official3", "random")

UCF101_NAME = re.compile(r"_(g\d+)_c\d+$")
HMDB51_NAME = re.compile(r"_[a-z]_[a-z]{2}_np\d+_[a-z]{2}_[a-z]{3}_\d+$")

Videos = Sequence[VideoRecord]


def group_of(class_name: str, video: str) -> str:
    """Return the group of a video, the recording that it was cut from, by its name without ending.

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


def assign_splits(
    videos: Videos, protocol: str = "group", fold: int = 1, split_dir: str | Path | None = None
) -> list[VideoRecord]:
    """Assign each video to a split; the same on every machine and for every order of `videos`.

    Args:
        videos: their `class_name`, `video` and `group` count.
        protocol: one of `PROTOCOLS`.
            group: about 64/16/20, stratified by class, whole groups kept together.
            official1, official2, official3: test as in the lists of the authors of UCF101 or HMDB51; val carved from
                their train by whole groups; what they leave out is "unused".
            random: 64/16/20, stratified by class, groups torn apart. It leaks, and is there to repeat old numbers.
        fold: 1 to 5, the fifth of the groups that the protocol "group" tests on.
        split_dir: folder of the official lists.

    Returns:
        The rows sorted by class and video, with `split` set.

    Raises:
        FileNotFoundError: the official lists are missing.
        DataError: no such split has every class in train, val and test; the message names classes.
    """
    videos = sorted(videos, key=lambda v: (v.class_name, v.video))
    if protocol == "group":
        parts = _group_split(videos, fold)
    elif protocol == "random":
        parts = _random_split(videos)
    else:
        parts = _official_split(videos, int(protocol.removeprefix("official")), split_dir)
    rows = [video._replace(split=split) for split, part in parts.items() for video in part]
    return sorted(rows, key=lambda v: (v.class_name, v.video))


def leaked_groups(videos: Videos, protocol: str) -> int:
    """Count the groups with videos in more than one of train, val and test.

    Official lists keep groups apart within each class only: HMDB51's cut several classes from one film and send them
    different ways. Under them a group counts per class.
    """
    within_class = protocol.startswith("official")
    splits = defaultdict(set)
    for video in videos:
        if video.split in SPLITS:
            splits[video.group, video.class_name if within_class else ""].add(video.split)
    return sum(len(names) > 1 for names in splits.values())


def validate_split(videos: Videos, protocol: str) -> None:
    """Raise DataError where a split leaks, unless the protocol is "random", or there is a single class."""
    if protocol != "random" and (leaked := leaked_groups(videos, protocol)):
        raise DataError(f"{leaked} groups leak between train, val and test")
    if len(names := {video.class_name for video in videos}) < 2:
        raise DataError(f"there is one class only, {names.pop()}: at least two are needed")


def _group_split(videos: Videos, fold: int) -> dict[str, Videos]:
    # Fifths of all, then fifths of the rest; larger shares only where a class has too few groups for fifths.
    for test_folds in (5, 4, 3) if fold == 1 else (5,):
        candidates = ((_carve_val(remaining), test) for remaining, test in _folds(videos, test_folds))
        usable = (carved | {"test": test} for carved, test in candidates if carved)
        if parts := next(islice(usable, fold - 1, None), None):
            return parts
    raise DataError(f"fold {fold}: every class needs groups in each of train, val and test; {_fewest_groups(videos)}")


def _random_split(videos: Videos) -> dict[str, Videos]:
    from sklearn.model_selection import train_test_split

    try:
        parts, split = {}, partial(train_test_split, test_size=0.2, random_state=42)
        remaining, parts["test"] = split(videos, stratify=[video.class_name for video in videos])
        parts["train"], parts["val"] = split(remaining, stratify=[video.class_name for video in remaining])
    except ValueError as error:
        raise DataError(f"--split random: {error}; {_fewest_groups(videos)}") from None
    return parts


def _official_split(videos: Videos, number: int, split_dir: str | Path) -> dict[str, Videos]:
    listed = _read_lists(Path(split_dir), number)
    if not listed and all(UCF101_NAME.search(v.video) for v in videos):
        # UCF101's lists are a rule: fold 1 tests on groups 1 to 7, fold 2 on 8 to 14, fold 3 on 15 to 21.
        tested = range(7 * number - 6, 7 * number + 1)
        listed = {v.video.casefold(): "test" if int(v.group[1:]) in tested else "train" for v in videos}
    if not listed:
        raise FileNotFoundError(f"{split_dir}: no lists of official split {number}; mypath.py says where they lie")

    parts = defaultdict(list)
    for video in videos:
        parts[listed.get(video.video.casefold(), UNUSED)].append(video)
    on_disk = {video.video.casefold() for video in videos}
    _print_names("in the lists but not on disk", [name for name in listed if name not in on_disk])
    _print_names("on disk but not in the lists", [v.video for v in videos if v.video.casefold() not in listed])

    classes = {video.class_name for video in videos}
    for split in ("train", "test"):
        if empty := sorted(classes - {video.class_name for video in parts[split]}):
            raise DataError(f"official split {number} leaves no {split} videos of {shorten(empty)}")
    if not (carved := _carve_val(parts.pop("train"))):
        raise DataError(
            f"official split {number} leaves too few groups to carve val from train; {_fewest_groups(videos)}"
        )
    return dict(parts) | carved


def _read_lists(split_dir: Path, number: int) -> dict[str, str]:
    """Return the split of every listed video by its name in lower case, as lists and files differ in case."""
    listed = {}
    for split in ("train", "test"):  # UCF101: Class/video.avi, in train followed by the label
        for line in _lines(split_dir / f"{split}list{number:02d}.txt"):
            listed[Path(line.split()[0]).stem.casefold()] = split
    for file in sorted(split_dir.glob(f"*_test_split{number}.txt")):  # HMDB51: video.avi and 1, 2 or 0
        for line in _lines(file):
            name, _, part = line.rpartition(" ")
            listed[Path(name).stem.casefold()] = {"1": "train", "2": "test"}.get(part, UNUSED)
    return listed


def _lines(file: Path) -> list[str]:
    return [line.strip() for line in file.read_text().splitlines() if line.strip()] if file.is_file() else []


def _print_names(what: str, names: Sequence[str]) -> None:
    if names:
        print(f"{len(names)} {what}: {shorten(names)}")


def _carve_val(remaining: Videos) -> dict[str, Videos] | None:
    """Hold out about a fifth of the groups as val; None where that is impossible."""
    for val_folds in (5, 4, 3, 2):
        for train, val in _folds(remaining, val_folds):
            return {"train": train, "val": val}
    return None


def _folds(videos: Videos, n_splits: int) -> Iterator[tuple[list[VideoRecord], list[VideoRecord]]]:
    """Yield (train, held out) for each of `n_splits` folds that leaves every class on both sides, best size first."""
    from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

    labels = [video.class_name for video in videos]
    groups = [video.group for video in videos]
    if n_splits > min(len(set(groups)), max(Counter(labels).values())):
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of a class with fewer videos than folds, handled below
        # StratifiedGroupKFold visits each group in turn, minutes for a hundred thousand of them.
        splitter = StratifiedKFold if len(set(groups)) == len(videos) else StratifiedGroupKFold
        folds = list(splitter(n_splits).split(videos, labels, groups))
    for train, held_out in sorted(folds, key=lambda fold: abs(len(fold[1]) * n_splits - len(videos))):
        parts = [videos[i] for i in train], [videos[i] for i in held_out]
        if all({video.class_name for video in part} == set(labels) for part in parts):
            yield parts


def _fewest_groups(videos: Videos) -> str:
    groups = defaultdict(set)
    for video in videos:
        groups[video.class_name].add(video.group)
    fewest = sorted(groups, key=lambda name: (len(groups[name]), name))[:5]
    return "the classes with the fewest groups: " + ", ".join(f"{name} ({len(groups[name])})" for name in fewest)
