"""Videos -> train/val/test folders of JPEG frames, and their index.

    python -m dataloaders.preprocess DATASET

does ahead of time what the first training run does by itself.
"""

import argparse
import contextlib
import csv
import os
import shutil
import sys
from collections import Counter
from pathlib import Path

from tqdm import tqdm

from dataloaders import demo
from dataloaders.extract import extract_all
from dataloaders.splits import INDEX, PROTOCOLS, SPLITS, UNUSED, Video, assign, group_of, read_index, some, write_index

VIDEO_SUFFIXES = {".avi", ".mp4", ".mkv", ".mov", ".webm", ".mpg", ".mpeg", ".m4v", ".wmv", ".flv", ".3gp", ".ts"}


def prepare(dataset, root_dir, output_dir, processes=None, **split):
    """Bring the frame folders and their index up to date with the videos and the split.

    What is decoded already is not decoded again; another split moves its folder. A video that cannot be decoded, or
    hangs or crashes the decoder, is named and left out.

    Args:
        dataset: name of the data set; `demo` writes its own videos first.
        root_dir: folder of class folders of videos. Where it is missing, an index in `output_dir` stands for it.
        output_dir: folder that gets `{train,val,test}/<Class>/<video>/00001.jpg`, ... and `index.csv`.
        processes: how many videos are decoded at a time; one more than there are cores where it is not given, as some
            wait for the disk.
        split: `protocol`, `fold` and `split_dir` of `splits.assign`.

    Returns:
        The rows of the index, a list of `Video`.

    Raises:
        OSError: there are no videos, or the frames cannot be written.
        ValueError: the videos cannot be split, or the index is damaged.
    """
    root_dir, output_dir = Path(root_dir), Path(output_dir)
    index, journal, partial = output_dir / INDEX, output_dir / "index.journal", output_dir / ".partial"
    if dataset == "demo":
        demo.write(root_dir)
    indexed = read_index(index) if index.is_file() else []
    sources = indexed if indexed and not root_dir.exists() else scan(root_dir)

    # The journal names the frame folders finished since the last index; a folder that neither names is not trusted.
    videos = assign(sources, **split)
    finished = {v.source: v for v in indexed + (read_index(journal) if journal.is_file() else [])}
    missing = [v for v in videos if v.source not in finished or not locate(v, output_dir)]
    if missing:
        output_dir.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        write_index(journal, finished.values())
        jobs = (((root_dir / v.source).absolute(), (partial / str(i)).absolute()) for i, v in enumerate(missing))
        broken = set()
        with contextlib.closing(extract_all(jobs, min(processes or os.cpu_count() + 1, len(missing)))) as done:
            for i, frames, reason in tqdm(done, f"{dataset}: videos to frames", len(missing), unit="video"):
                video = missing[i]
                if reason:
                    tqdm.write(f"left out: {reason}", file=sys.stderr)
                    broken.add(video)
                    continue
                for folder in folders(video, output_dir):
                    shutil.rmtree(folder, ignore_errors=True)
                _move(partial / str(i), video.folder(output_dir))
                finished[video.source] = video._replace(frames=frames)
                with open(journal, "a", newline="", encoding="utf-8") as file:
                    csv.writer(file).writerow(finished[video.source])
        shutil.rmtree(partial, ignore_errors=True)
        if len(broken) == len(videos):
            raise ValueError(f"{root_dir}: not one video in it can be decoded")
        if broken:
            videos = assign([v for v in videos if v not in broken], **split)

    for video in videos:
        if (folder := locate(video, output_dir)) != video.folder(output_dir):
            _move(folder, video.folder(output_dir))
            for emptied in (folder.parent, folder.parent.parent):
                with contextlib.suppress(OSError):  # others are still in it
                    emptied.rmdir()
    videos = [v._replace(frames=finished[v.source].frames) for v in videos]
    if journal.is_file() or videos != indexed:
        write_index(index, videos)
        journal.unlink(missing_ok=True)
    print(f"{output_dir}: {_summary(videos)}")
    return videos


def scan(root_dir):
    """List the videos of a folder of class folders, as `Video` rows without split and frames.

    Files and folders that are neither are passed over, by name unless they are hidden.

    Raises:
        FileNotFoundError: there is no such folder, or no video in it.
        ValueError: two videos would share a frame folder.
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


def _move(folder, target):
    target.parent.mkdir(parents=True, exist_ok=True)
    os.replace(folder, target)


def _summary(videos):
    counts = Counter(v.split for v in videos)
    sizes = ", ".join(f"{split} {counts[split]}" for split in SPLITS)
    return f"{len(videos)} videos of {len({v.class_name for v in videos})} classes ({sizes})"


if __name__ == "__main__":
    from mypath import Path as MyPath

    parser = argparse.ArgumentParser(prog="python -m dataloaders.preprocess", description=__doc__.split("\n")[0])
    flag = parser.add_argument
    flag("dataset", help="a data set named in mypath.py")
    flag("--split", choices=PROTOCOLS, default="group", help="who is in train, val and test (%(default)s)")
    flag("--fold", type=int, choices=range(1, 6), default=1, help="the fifth that --split group tests on (%(default)s)")
    args = parser.parse_args()
    try:
        split_dir = MyPath.split_dir(args.dataset) if args.split.startswith("official") else None
        prepare(args.dataset, *MyPath.db_dir(args.dataset), protocol=args.split, fold=args.fold, split_dir=split_dir)
    except (OSError, ValueError) as error:
        parser.exit(2, f"{error}\n")
    except KeyboardInterrupt:
        parser.exit(130, "interrupted; the next start goes on from here\n")
