"""Videos -> train/val/test folders of JPEG frames, and their index.

    python -m dataloaders.preprocess DATASET

does ahead of time what the first training run does by itself.
"""

import argparse
import contextlib
import csv
import os
import re
import shutil
import sys
from collections import Counter
from pathlib import Path

from filelock import FileLock, Timeout
from tqdm import tqdm

from dataloaders import demo
from dataloaders.extract import extract_all
from dataloaders.splits import (
    INDEX,
    PROTOCOLS,
    SPLITS,
    UNUSED,
    Video,
    assign,
    group_of,
    read_index,
    some,
    write_index,
    write_table,
)
from dataloaders.videos import VIDEO_SUFFIXES


def prepare(dataset, root_dir, output_dir, processes=None, check=lambda videos: None, **split):
    """Bring the frame folders and their index up to date with the videos and the split.

    What is decoded already is not decoded again, unless the video has changed since; another split moves its folder.
    The frames of a video that has gone are removed. A video that cannot be decoded, or hangs or crashes the decoder,
    is named in `skipped.csv` with the reason, and left out until it changes.

    Args:
        dataset: name of the data set; `demo` writes its own videos first.
        root_dir: folder of class folders of videos. Where it is missing, an index in `output_dir` stands for it.
        output_dir: folder that gets `{train,val,test}/<Class>/<video>/00001.jpg`, ... and `index.csv`.
        processes: how many videos are decoded at a time; one more than there are cores where it is not given, as some
            wait for the disk.
        check: called with the split before any video is decoded, and again where some could not be, to raise what
            speaks against it.
        split: `protocol`, `fold` and `split_dir` of `splits.assign`.

    Returns:
        The rows of the index, a list of `Video`.

    Raises:
        OSError: there are no videos, or the frames cannot be written.
        ValueError: the videos cannot be split, or the index is damaged.
    """
    root_dir, output_dir = Path(root_dir), Path(output_dir)
    if dataset != "demo" and not root_dir.exists() and not output_dir.exists():
        scan(root_dir)  # which says so, before a folder is made for the lock
    with _alone(output_dir):
        return _prepare(dataset, root_dir, output_dir, processes, check, split)


@contextlib.contextmanager
def _alone(output_dir):
    """Wait until no other process prepares these frames."""
    lock = FileLock(output_dir.with_name(f".{output_dir.name}.lock"))
    with contextlib.suppress(OSError):  # in a place that cannot be written nobody can prepare anything
        output_dir.parent.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            print(f"another process is preparing {output_dir}: waiting for it", flush=True)
            lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _prepare(dataset, root_dir, output_dir, processes, check, split):
    index, journal, partial = output_dir / INDEX, output_dir / "index.journal", output_dir / ".partial"
    skipped = output_dir / "skipped.csv"
    if dataset == "demo":
        demo.write(root_dir)
    indexed = read_index(index) if index.is_file() else []
    if indexed and not root_dir.exists():
        sources, modified = indexed, {}
    else:
        sources = scan(root_dir)
        modified = {v.source: os.stat(f"{root_dir}/{v.source}").st_mtime for v in sources}
    known = _read_skipped(skipped)
    broken = {row[0]: row for row in known if row[0] in modified and _same_time(modified[row[0]], row[1])}
    if modified and len(broken) < len(known):
        _write_skipped(skipped, broken.values())

    def split_the_rest():
        rest = [v for v in sources if v.source not in broken]
        if not rest:
            raise ValueError(f"{root_dir}: not one video in it can be decoded; {skipped} says why")
        videos = assign(rest, **split)
        check(videos)
        return videos

    # A start that was interrupted left a journal, which stands for the index: it names the frame folders that are
    # whole. A folder that it does not name is not trusted.
    videos = split_the_rest()
    earlier = read_index(journal, growing=True) if journal.is_file() else indexed
    finished = {v.source: v for v in earlier}
    missing = [v for v in videos if v.source not in finished or not _is_fresh(v, output_dir, modified)]
    if missing:
        output_dir.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        for video in missing:
            finished.pop(video.source, None)
        write_index(journal, finished.values())
        jobs = (((root_dir / v.source).absolute(), (partial / str(i)).absolute()) for i, v in enumerate(missing))
        with contextlib.closing(extract_all(jobs, min(processes or os.cpu_count() + 1, len(missing)))) as done:
            for i, frames, reason in tqdm(done, f"{dataset}: videos to frames", len(missing), unit="video"):
                video = missing[i]
                _remove_frames(video, output_dir)
                if reason:
                    tqdm.write(f"left out: {reason}", file=sys.stderr)
                    broken[video.source] = video.source, modified[video.source], reason
                    _write_skipped(skipped, broken.values())
                    continue
                os.utime(partial / str(i), (modified[video.source],) * 2)  # by which a change of the video is seen
                _move(partial / str(i), video.folder(output_dir))
                finished[video.source] = video._replace(frames=frames)
                with open(journal, "a", newline="", encoding="utf-8") as file:
                    csv.writer(file).writerow(finished[video.source])
        if any(v.source in broken for v in missing):
            videos = split_the_rest()

    for video in videos:
        if (folder := locate(video, output_dir)) != video.folder(output_dir):
            _move(folder, video.folder(output_dir))
            _remove_emptied(folder)
    there = {v[1:3] for v in videos}
    if gone := [v for v in indexed + earlier if v[1:3] not in there and v.source not in broken]:
        print(f"gone from {root_dir}, and so are their frames: {some(sorted({v.source for v in gone}))}")
        for video in gone:
            _remove_frames(video, output_dir)
    videos = [v._replace(frames=finished[v.source].frames) for v in videos]
    if journal.is_file() or videos != indexed:
        write_index(index, videos)
        journal.unlink(missing_ok=True)
    shutil.rmtree(partial, ignore_errors=True)
    print(f"{output_dir}: {_summary(videos)}" + (f"; {len(broken)} left out, see {skipped}" if broken else ""))
    return videos


def scan(root_dir):
    """List the videos of a folder of class folders, as `Video` rows without split and frames.

    Files and folders that are neither are passed over, by name unless they are hidden.

    Raises:
        FileNotFoundError: there is no such folder, or no video in it.
        ValueError: two videos would share a frame folder, or a name is no text that a table can hold.
    """
    if not root_dir.is_dir():
        raise FileNotFoundError(f"{root_dir}: no such folder. mypath.py says where the videos lie")
    videos, others = {}, []
    for source, is_file in sorted(_listing(root_dir)):
        class_name, _, name = source.rpartition("/")
        stem, suffix = os.path.splitext(name)
        if name.startswith(".") or class_name.startswith("."):
            continue
        if not class_name or suffix.lower() not in VIDEO_SUFFIXES or not is_file:
            others.append(source)
            continue
        if re.search(r"[\x00-\x1f\x7f\ud800-\udfff]", source):
            raise ValueError(f"{root_dir}/{source!a}: a name that no table can hold; rename it")
        video = Video("", sys.intern(class_name), stem, group_of(class_name, stem), 0, source)
        twin = videos.setdefault((class_name, stem), video)
        if twin is not video:
            raise ValueError(f"{root_dir}: {twin.source} and {source} differ in their ending only; rename one")
    if others:
        print(f"passed over in {root_dir}, {len(others)} that are no <class>/<video>: {some(others)}")
    if not videos:
        raise FileNotFoundError(f"{root_dir}: no class folders with videos in it. mypath.py says where the videos lie")
    return list(videos.values())


def _listing(root_dir):
    """What lies in a folder and in the folders in it, as (path below it, whether it is a file)."""
    for entry in os.scandir(root_dir):
        if entry.is_dir():
            yield from ((f"{entry.name}/{video.name}", video.is_file()) for video in os.scandir(entry))
        else:
            yield entry.name, entry.is_file()


def folders(video, output_dir):
    """Where the frame folder of a video may lie, first where its split would have it."""
    for split in dict.fromkeys((video.split, *SPLITS, UNUSED)):
        yield video._replace(split=split).folder(output_dir)


def locate(video, output_dir):
    """The frame folder of a video, in whichever split it lies, or None."""
    return next(filter(Path.is_dir, folders(video, output_dir)), None)


def _is_fresh(video, output_dir, modified):
    folder = locate(video, output_dir)
    return folder and (not modified or _same_time(folder.stat().st_mtime, modified[video.source]))


def _same_time(one, other):
    return abs(one - other) < 2  # seconds, as fine as every file system keeps them


def _read_skipped(file):
    """The rows (source, modified, reason) of a file of skipped videos; none where there is no such file."""
    if not file.is_file():
        return []
    with open(file, newline="", encoding="utf-8") as lines:
        try:
            return [(source, float(modified), reason) for source, modified, reason in list(csv.reader(lines))[1:]]
        except (ValueError, csv.Error):
            raise ValueError(f"{file} is damaged: delete it and preprocess again") from None


def _write_skipped(file, rows):
    if rows:
        write_table(file, ("source", "modified", "reason"), rows)
    else:
        file.unlink(missing_ok=True)


def _remove_frames(video, output_dir):
    for folder in filter(Path.is_dir, folders(video, output_dir)):
        shutil.rmtree(folder)
        _remove_emptied(folder)


def _remove_emptied(folder):
    for emptied in (folder.parent, folder.parent.parent):
        with contextlib.suppress(OSError):  # others are still in it
            emptied.rmdir()


def _move(folder, target):
    target.parent.mkdir(parents=True, exist_ok=True)
    os.replace(folder, target)


def _summary(videos):
    counts = Counter(v.split for v in videos)
    sizes = ", ".join(f"{split} {counts[split]}" for split in SPLITS)
    return f"{len(videos)} videos of {len({v.class_name for v in videos})} classes ({sizes})"


def main(argv=None):
    from mypath import Path as MyPath

    parser = argparse.ArgumentParser(prog="python -m dataloaders.preprocess", description=__doc__.split("\n")[0])
    flag = parser.add_argument
    flag("dataset", help="a data set named in mypath.py")
    flag("--split", choices=PROTOCOLS, default="group", help="who is in train, val and test (%(default)s)")
    flag("--fold", type=int, choices=range(1, 6), default=1, help="the fifth that --split group tests on (%(default)s)")
    args = parser.parse_args(argv)
    try:
        split_dir = MyPath.split_dir(args.dataset) if args.split.startswith("official") else None
        prepare(args.dataset, *MyPath.db_dir(args.dataset), protocol=args.split, fold=args.fold, split_dir=split_dir)
    except (OSError, ValueError) as error:
        parser.exit(2, f"{error}\n")
    except KeyboardInterrupt:
        parser.exit(130, "interrupted; the next start goes on from here\n")


if __name__ == "__main__":
    main()
