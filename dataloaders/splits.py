"""Who is in train, val and test."""

import contextlib
import os
import re
import warnings
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from itertools import islice
from operator import attrgetter
from pathlib import Path

from dataloaders.errors import DataError, FileError
from dataloaders.files import read_lines, shorten
from dataloaders.records import SPLITS, UNUSED, VideoRecord
from dataloaders.video import has_video_suffix

PROTOCOLS = ("group", "folders", "official1", "official2", "official3", "random")
UCF101_NAME = re.compile(r"_(g\d+)_c\d+$")
HMDB51_NAME = re.compile(r"_[a-z]_[a-z]{2}_np\d+_[a-z]{2}_[a-z]{3}_\d+$")

MANY_GROUPS = 10_000  # StratifiedGroupKFold visits each in turn; of more, each counts as one video of one class

Videos = Sequence[VideoRecord]


def group_of(class_name: str, video: str) -> str:
    """Return the group of a video, the recording that it was cut from, by its name without ending.
    `g01` for UCF101's `v_Archery_g01_c02`, `Film` for HMDB51's `Film_golf_f_cm_np1_ri_goo_0`, else one of its own."""
    if match := UCF101_NAME.search(video):
        return match[1]
    if match := HMDB51_NAME.search(video):
        source, action, _ = video[: match.start() + 1].rpartition(f"_{class_name}_")
        if action:
            return source
    return f"{class_name}/{video}"


def assign_splits(
    videos: Videos, protocol="group", fold=1, split_dir: str | Path | None = None
) -> list[VideoRecord]:
    """Assign each video to a split; the same on every machine and for every order of `videos`.
    Protocols:
        group: about 64/16/20, stratified by class, whole groups kept together; `fold` is the fifth that is tested.
        folders: as the videos have it; val carved from train by whole groups where there is none.
        official1, official2, official3: test as in the lists of the authors of UCF101 or HMDB51, in `split_dir`; val
            carved from their train by whole groups; what they leave out is "unused".
        random: 64/16/20, stratified by class, groups torn apart. It leaks, and is there to repeat old numbers.
    Returns the rows sorted by class and video, with `split` set. FileError where the lists are missing;
    DataError, which names classes, where no such split has every class in train, val and test."""
    videos = sorted(videos, key=attrgetter("class_name", "video"))
    if protocol == "group":
        parts = _group_split(videos, fold)
    elif protocol == "random":
        parts = _random_split(videos)
    elif protocol == "folders":
        parts = _given_split(videos)
    else:
        parts = _official_split(videos, int(protocol.removeprefix("official")), split_dir)
    rows = [video._replace(split=split) for split, part in parts.items() for video in part]
    return sorted(rows, key=attrgetter("class_name", "video"))


def leaked_groups(videos: Videos, protocol: str) -> int:
    """Count the groups with videos in more than one of train, val and test.
    Under official lists a group counts per class: HMDB51's send the classes cut from one film different ways."""
    within_class = protocol.startswith("official")
    splits = {
        (v.group, v.class_name if within_class else "", v.split)
        for v in videos
        if v.split in SPLITS
    }
    return sum(count > 1 for count in Counter(key[:2] for key in splits).values())


def report_untrained_classes(videos: Videos) -> None:
    """Print the classes of which no video is in train."""
    missing = _classes(videos) - {video.class_name for video in videos if video.split == "train"}
    if missing:
        print(f"train has no videos of {shorten(sorted(missing))}, which the network cannot learn")


def _group_split(videos: Videos, fold: int) -> dict[str, Videos]:
    # Fifths of all, then fifths of the rest; larger shares only where a class has too few groups for fifths.
    for test_folds in (5, 4, 3) if fold == 1 else (5,):
        candidates = (
            (_carve_val(remaining), test) for remaining, test in _folds(videos, test_folds)
        )
        usable = (carved | {"test": test} for carved, test in candidates if carved)
        if parts := next(islice(usable, fold - 1, None), None):
            return parts
    raise DataError(
        f"fold {fold}: every class needs groups in each of train, val and test; {_fewest('group', videos)}"
    )


def _given_split(videos: Videos) -> dict[str, Videos]:
    parts = {split: [video for video in videos if video.split == split] for split in SPLITS}
    if not parts["train"]:
        raise DataError("--split folders: the data set does not say which videos are in train")
    carved = {} if parts["val"] else _carve_val(parts["train"])
    if carved is None:
        raise DataError(
            f"too few groups to carve val from train; {_fewest('group', parts['train'])}"
        )
    return parts | carved


def _random_split(videos: Videos) -> dict[str, Videos]:
    from sklearn.model_selection import train_test_split

    parts, fifth = {}, {"test_size": 0.2, "random_state": 42}
    with contextlib.suppress(ValueError):  # too few videos
        remaining, parts["test"] = train_test_split(
            videos, stratify=[v.class_name for v in videos], **fifth
        )
        parts["train"], parts["val"] = train_test_split(
            remaining, stratify=[v.class_name for v in remaining], **fifth
        )
    if len(parts) < 3 or any(_classes(part) != _classes(videos) for part in parts.values()):
        fewest = _fewest("video", videos)
        raise DataError(
            f"--split random: every class needs videos in each of train, val and test; {fewest}"
        )
    return parts


def _official_split(videos: Videos, number: int, split_dir: str | Path) -> dict[str, Videos]:
    listed, name = {}, f"official split {number}"
    for path, split in _read_lists(Path(split_dir), number):
        if listed.setdefault(key := os.path.splitext(path)[0].casefold(), split) != split:
            raise DataError(f"{split_dir}: {path} is listed in {listed[key]} and in {split}")
    if not listed and all(UCF101_NAME.search(_file_stem(v)) for v in videos):
        # UCF101's lists are a rule: fold 1 tests on groups 1 to 7, fold 2 on 8 to 14, fold 3 on 15 to 21.
        print(f"{split_dir}: no lists of {name}; the groups are divided by UCF101's rule")
        tested = range(7 * number - 6, 7 * number + 1)
        numbers = {
            f"{v.class_name}/{_file_stem(v)}".casefold(): int(
                UCF101_NAME.search(_file_stem(v))[1][1:]
            )
            for v in videos
        }
        listed = {key: "test" if number in tested else "train" for key, number in numbers.items()}
    if not listed:
        raise FileError(f"{split_dir}: no lists of {name}; mypath.py says where they lie")

    parts, matched, unlisted = defaultdict(list), set(), []
    names = {(video.class_name, _file_stem(video).casefold()) for video in videos}
    same_name = Counter(stem for _, stem in names)  # of how many classes
    for video in videos:
        # Lists may differ from the files in case, and leave the class out; a name that is the only one then serves.
        bare_key = _file_stem(video).casefold()
        key = f"{video.class_name}/{bare_key}".casefold()
        if key not in listed and bare_key in listed and same_name[bare_key] > 1:
            raise DataError(
                f"{split_dir}: {video.video} is listed without its class and is a video of several classes"
            )
        key = key if key in listed else bare_key
        if key not in listed:
            unlisted.append(f"{video.class_name}/{video.video}")
        parts[listed.get(key, UNUSED)].append(video)
        matched.add(key)
    missing = [key for key in listed if key not in matched]
    for names, place in (
        (missing, "in the lists but not on disk"),
        (unlisted, "on disk but not in the lists"),
    ):
        if names:
            print(f"{len(names)} {place}: {shorten(names)}")

    for split in ("train", "test"):
        if empty := sorted(_classes(videos) - _classes(parts[split])):
            raise DataError(f"{name} leaves no {split} videos of {shorten(empty)}")
    if not (carved := _carve_val(parts.pop("train"))):
        raise DataError(
            f"{name} leaves too few groups to carve val from train; {_fewest('group', videos)}"
        )
    return dict(parts) | carved


def _file_stem(video: VideoRecord) -> str:
    """Return the name of a video as lists have it: that of its file, without the ending.

    The name of its frame folder may have the ending, where two files differ in nothing else, or a
    number, where a changed video has new frames beside the old ones.
    """
    name = video.source.rpartition("/")[2]
    return os.path.splitext(name)[0] if has_video_suffix(name) else name


def _read_lists(split_dir: Path, number: int) -> Iterator[tuple[str, str]]:
    """Yield (path, split) of every listed video; the path is Class/video.avi, or video.avi in a list of no classes."""
    for split in ("train", "test"):  # UCF101: Class/video.avi, in train followed by the label
        path = split_dir / f"{split}list{number:02d}.txt"
        for line in read_lines(path) if path.is_file() else ():
            if not has_video_suffix(line):
                line = re.sub(r"\s+\d+$", "", line)
            yield "/".join(re.findall(r"[^/\\]+", line)[-2:]), split
    for path in sorted(
        split_dir.glob(f"*_test_split{number}.txt")
    ):  # HMDB51: video.avi and 1, 2 or 0
        for line in read_lines(path):
            file, part = (line.rsplit(maxsplit=1) + [""])[:2]
            class_name, name = (
                path.name.removesuffix(f"_test_split{number}.txt"),
                file.rpartition("/")[2],
            )
            yield f"{class_name}/{name}", {"1": "train", "2": "test"}.get(part, UNUSED)


def _carve_val(remaining: Videos) -> dict[str, Videos] | None:
    """Hold out about a fifth of the groups as val; None where that is impossible."""
    folds = (fold for val_folds in (5, 4, 3, 2) for fold in _folds(remaining, val_folds))
    return next(({"train": train, "val": val} for train, val in folds), None)


def _folds(videos: Videos, n_splits: int) -> Iterator[tuple[list[VideoRecord], list[VideoRecord]]]:
    """Yield (train, held out) for each of `n_splits` folds that leaves every class on both sides, best size first."""
    from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

    labels, groups = [video.class_name for video in videos], [video.group for video in videos]
    class_of = dict(zip(groups, labels, strict=True))
    if n_splits > min(len(class_of), max(Counter(labels).values())):
        return
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore", UserWarning
        )  # of a class with fewer videos than folds, handled below
        if len(class_of) == len(videos) or len(class_of) > MANY_GROUPS:
            names = list(class_of)
            folds = StratifiedKFold(n_splits).split(names, list(class_of.values()))
        else:
            names = groups
            folds = StratifiedGroupKFold(n_splits).split(videos, labels, groups)
        held_out = [{names[i] for i in indices} for _, indices in folds]
    parts = [
        ([v for v in videos if v.group not in fold], [v for v in videos if v.group in fold])
        for fold in held_out
    ]
    for part in sorted(parts, key=lambda part: abs(len(part[1]) * n_splits - len(videos))):
        if all(_classes(side) == set(labels) for side in part):
            yield part


def _classes(videos: Videos) -> set[str]:
    return {video.class_name for video in videos}


def _fewest(what: str, videos: Videos) -> str:
    """List the classes that have the fewest values of `what`, "group" or "video"."""
    counts = Counter(
        class_name
        for class_name, _ in {(video.class_name, getattr(video, what)) for video in videos}
    )
    fewest = sorted(counts.items(), key=lambda item: (item[1], item[0]))[:5]
    return f"the classes with the fewest {what}s: " + ", ".join(
        f"{name} ({count})" for name, count in fewest
    )
