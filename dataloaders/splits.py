"""Who is in train, val and test, and the index that records it."""

import csv
import hashlib
import os
import re
import sys
import warnings
from collections import Counter, defaultdict
from itertools import islice
from pathlib import Path
from typing import NamedTuple

SPLITS = ("train", "val", "test")
UNUSED = "unused"  # the split of videos that the official lists leave out
PROTOCOLS = ("group", "official1", "official2", "official3", "random")
INDEX = "index.csv"
COLUMNS = ("split", "class", "video", "group", "frames", "source")

UCF101_NAME = re.compile(r"_(g\d+)_c\d+$")
HMDB51_NAME = re.compile(r"_[a-z]_[a-z]{2}_np\d+_[a-z]{2}_[a-z]{3}_\d+$")


class Video(NamedTuple):
    """One row of the index."""

    split: str
    class_name: str
    video: str  # name of the frame folder
    group: str
    frames: int  # JPEG frames kept
    source: str  # path of the video file below the data set's folder

    def folder(self, output_dir):
        return output_dir / f"{self.split}/{self.class_name}/{self.video}"


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


def assign(videos, protocol="group", fold=1, split_dir=None):
    """Say who is in train, val and test: the same on every machine and for every order of `videos`.

    Args:
        videos: `Video` rows; their `class_name`, `video` and `group` count.
        protocol: one of `PROTOCOLS`.
            group: about 64/16/20, stratified by class, whole groups kept together.
            official1, official2, official3: test as in the lists of the authors of UCF101 or HMDB51; val carved from
                their train by whole groups; what they leave out is "unused".
            random: 64/16/20, stratified by class, groups torn apart. It leaks, and is there to repeat old numbers.
        fold: 1 to 5, which fifth of the groups the protocol "group" tests on.
        split_dir: folder of the official lists.

    Returns:
        The rows sorted by class and video, with `split` set.

    Raises:
        FileNotFoundError: the official lists are missing.
        ValueError: no such split has every class in train, val and test; the message names classes.
    """
    videos = sorted(videos, key=lambda v: (v.class_name, v.video))
    if protocol == "group":
        parts = _group_split(videos, fold)
    elif protocol == "random":
        parts = _random_split(videos)
    else:
        parts = _official_split(videos, int(protocol.removeprefix("official")), split_dir)
    rows = [v._replace(split=split) for split, part in parts.items() for v in part]
    return sorted(rows, key=lambda v: (v.class_name, v.video))


def leaked_groups(videos, protocol):
    """How many groups stand in more than one of train, val and test.

    Official lists keep groups apart within each class only: HMDB51's cut several classes from one film and send them
    different ways. Under them a group counts per class.
    """
    within_class = protocol.startswith("official")
    splits = defaultdict(set)
    for v in videos:
        if v.split in SPLITS:
            splits[v.group, v.class_name if within_class else ""].add(v.split)
    return sum(len(found) > 1 for found in splits.values())


def audit(videos, protocol):
    """ValueError where a split leaks, unless the protocol is "random", or there is one class only."""
    if protocol != "random" and (leaked := leaked_groups(videos, protocol)):
        raise ValueError(f"{leaked} groups leak between train, val and test")
    if len(found := {v.class_name for v in videos}) < 2:
        raise ValueError(f"one class, {found.pop()}, leaves nothing to tell apart")


def digest(videos):
    """Count and hash of the videos of each split, {split: [count, hash]}, by which a change is seen."""
    rows = defaultdict(list)
    for v in videos:
        rows[v.split].append(f"{v.class_name}/{v.video}")
    hashes = {split: hashlib.sha256("\n".join(sorted(names)).encode()).hexdigest() for split, names in rows.items()}
    return {split: [len(rows[split]), hashes[split][:16]] for split in sorted(rows)}


def same_data(checkpoint, classes, videos):
    """ValueError, which says what differs, where a checkpoint's classes or videos, a `digest`, are not these."""
    was, changes = checkpoint["classes"], []
    known = checkpoint["videos"] if isinstance(checkpoint.get("videos"), dict) else {}
    known = {split: pair for split, pair in known.items() if isinstance(pair, list) and len(pair) == 2}
    if added := [name for name in classes if name not in was]:
        changes.append(f"new classes {some(added)}")
    if gone := [name for name in was if name not in classes]:
        changes.append(f"no more classes {some(gone)}")
    if classes != was and not changes:
        changes.append("other labels for the same classes")
    for split in (*SPLITS, UNUSED):
        now, before = videos.get(split, [0, ""]), known.get(split, [0, ""])
        if now[0] != before[0]:
            changes.append(f"{now[0]} {split} videos, not {before[0]}")
        elif now != before:
            changes.append(f"other {split} videos")
    if changes:
        raise ValueError(f"not the data that the run was started with: {', '.join(changes)}; start anew")


def _group_split(videos, fold):
    # Fifths of all, then fifths of the rest; larger shares only where a class has too few groups for fifths.
    for test_folds in (5, 4, 3) if fold == 1 else (5,):
        for rest, test in islice(_folds(videos, test_folds), fold - 1, None):
            if carved := _carve_val(rest):
                return carved | {"test": test}
    raise ValueError(f"fold {fold}: every class needs groups in each of train, val and test; {_poorest(videos)}")


def _random_split(videos):
    from sklearn.model_selection import train_test_split

    rest, test = train_test_split(videos, test_size=0.2, random_state=42, stratify=[v.class_name for v in videos])
    train, val = train_test_split(rest, test_size=0.2, random_state=42, stratify=[v.class_name for v in rest])
    return {"train": train, "val": val, "test": test}


def _official_split(videos, number, split_dir):
    listed = _read_lists(Path(split_dir), number)
    if not listed and all(UCF101_NAME.search(v.video) for v in videos):
        # UCF101's lists are a rule: fold 1 tests on groups 1 to 7, fold 2 on 8 to 14, fold 3 on 15 to 21.
        tested = range(7 * number - 6, 7 * number + 1)
        listed = {v.video.casefold(): "test" if int(v.group[1:]) in tested else "train" for v in videos}
    if not listed:
        raise FileNotFoundError(f"{split_dir}: no lists of official split {number}; mypath.py says where they lie")

    parts = defaultdict(list)
    for v in videos:
        parts[listed.get(v.video.casefold(), UNUSED)].append(v)
    on_disk = {v.video.casefold() for v in videos}
    _report("in the lists but not on disk", [name for name in listed if name not in on_disk])
    _report("on disk but not in the lists", [v.video for v in videos if v.video.casefold() not in listed])

    classes = {v.class_name for v in videos}
    for split in ("train", "test"):
        if empty := sorted(classes - {v.class_name for v in parts[split]}):
            raise ValueError(f"official split {number} leaves no {split} videos of {', '.join(empty[:5])}")
    if not (carved := _carve_val(parts.pop("train"))):
        raise ValueError(f"official split {number} leaves too few groups to carve val from train; {_poorest(videos)}")
    return dict(parts) | carved


def _read_lists(split_dir, number):
    """The split of every listed video, by its name in lower case: the lists and the files differ in it."""
    listed = {}
    for split in ("train", "test"):  # UCF101: Class/video.avi, in train with the label behind it
        for line in _lines(split_dir / f"{split}list{number:02d}.txt"):
            listed[Path(line.split()[0]).stem.casefold()] = split
    for file in sorted(split_dir.glob(f"*_test_split{number}.txt")):  # HMDB51: video.avi and 1, 2 or 0
        for line in _lines(file):
            name, _, part = line.rpartition(" ")
            listed[Path(name).stem.casefold()] = {"1": "train", "2": "test"}.get(part, UNUSED)
    return listed


def _lines(file):
    return [line.strip() for line in file.read_text().splitlines() if line.strip()] if file.is_file() else []


def _report(what, names):
    if names:
        print(f"{len(names)} {what}: {some(names)}")


def some(names):
    """The first five of a list of names, for a message."""
    return ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")


def _carve_val(rest):
    """Hold out about a fifth of the groups: {"train": videos, "val": videos}, or None where there is no way."""
    for val_folds in (5, 4, 3, 2):
        for train, val in _folds(rest, val_folds):
            return {"train": train, "val": val}


def _folds(videos, n_splits):
    """The ways to hold out one of `n_splits` folds that leave every class on both sides, best size first.

    Yields:
        (kept, held out), two lists of videos.
    """
    from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

    labels = [v.class_name for v in videos]
    groups = [v.group for v in videos]
    if n_splits > min(len(set(groups)), max(Counter(labels).values())):
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of a class with fewer videos than folds: asked for below
        # The one for groups looks at each group in turn, minutes for a hundred thousand; without groups it need not.
        kind = StratifiedKFold if len(set(groups)) == len(videos) else StratifiedGroupKFold
        folds = list(kind(n_splits).split(videos, labels, groups))
    for kept, held in sorted(folds, key=lambda fold: abs(len(fold[1]) * n_splits - len(videos))):
        parts = [videos[i] for i in kept], [videos[i] for i in held]
        if all({v.class_name for v in part} == set(labels) for part in parts):
            yield parts


def _poorest(videos):
    groups = defaultdict(set)
    for v in videos:
        groups[v.class_name].add(v.group)
    fewest = sorted(groups, key=lambda name: (len(groups[name]), name))[:5]
    return "the classes with fewest groups: " + ", ".join(f"{name} ({len(groups[name])})" for name in fewest)


def read_index(path, growing=False):
    """Read an index file into a list of `Video`.

    Args:
        growing: rows are still being added, so the last one may be torn, and is then left out.

    Raises:
        FileNotFoundError: there is none.
        ValueError: it is no index, or a row of it would lie outside the folder of the frames.
    """
    with open(path, newline="", encoding="utf-8") as file:
        rows = csv.reader(line for line in file if line.endswith("\n") or not growing)
        try:
            if tuple(next(rows, ())) != COLUMNS:
                raise ValueError("its first line is not " + ",".join(COLUMNS))
            # A hundred thousand rows share few splits, classes and groups.
            videos = [Video(*map(sys.intern, r[:2]), r[2], sys.intern(r[3]), int(r[4]), *r[5:]) for r in rows]
        except (ValueError, TypeError, IndexError, csv.Error) as error:
            raise ValueError(f"{path} is damaged ({error}): delete it and preprocess again") from None
    for video in videos:
        if not (video.split in (*SPLITS, UNUSED) and _is_name(video.class_name) and _is_name(video.video)):
            folder = "/".join(video[:3])
            raise ValueError(f"{path} is damaged ({folder} is no frame folder): delete it and preprocess again")
    return videos


def _is_name(text):
    return text not in ("", ".", "..") and "/" not in text and "\\" not in text


def write_index(path, videos):
    """Write an index file, whole or not at all."""
    write_table(path, COLUMNS, videos)


def write_table(path, columns, rows):
    """Write a CSV file, whole or not at all."""
    partial = path.with_suffix(".partial")
    with open(partial, "w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(columns)
        table.writerows(rows)
    os.replace(partial, path)
