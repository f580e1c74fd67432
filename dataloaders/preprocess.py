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

import cv2
from tqdm import tqdm

from dataloaders import clips, demo
from dataloaders.splits import INDEX, PROTOCOLS, SPLITS, UNUSED, Video, assign, group_of, read_index, some, write_index

VIDEO_SUFFIXES = {".avi", ".mp4", ".mkv", ".mov", ".webm", ".mpg", ".mpeg", ".m4v", ".wmv", ".flv", ".3gp", ".ts"}


def prepare(dataset, root_dir, output_dir, **split):
    """Bring the frame folders and their index up to date with the videos and the split.

    What is decoded already is not decoded again; another split moves its folder. A video that cannot be decoded is
    named and left out.

    Args:
        dataset: name of the data set; `demo` writes its own videos first.
        root_dir: folder of class folders of videos. Where it is missing, an index in `output_dir` stands for it.
        output_dir: folder that gets `{train,val,test}/<Class>/<video>/00001.jpg`, ... and `index.csv`.
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
        write_index(journal, finished.values())
        broken = set()
        for video in tqdm(missing, desc=f"{dataset}: videos to frames", unit="video"):
            try:
                frames = extract(root_dir / video.source, partial)
            except ValueError as error:
                tqdm.write(f"left out: {error}", file=sys.stderr)
                broken.add(video)
                continue
            for folder in folders(video, output_dir):
                shutil.rmtree(folder, ignore_errors=True)
            _move(partial, video.folder(output_dir))
            finished[video.source] = video._replace(frames=frames)
            with open(journal, "a", newline="", encoding="utf-8") as file:
                csv.writer(file).writerow(finished[video.source])
        if broken:
            shutil.rmtree(partial, ignore_errors=True)
            videos = assign([v for v in videos if v not in broken], **split)

    for video in videos:
        if (folder := locate(video, output_dir)) != video.folder(output_dir):
            _move(folder, video.folder(output_dir))
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
    for path in sorted(p for entry in root_dir.iterdir() for p in (entry.iterdir() if entry.is_dir() else [entry])):
        class_name, source = path.parent.name, path.relative_to(root_dir).as_posix()
        if path.name.startswith(".") or class_name.startswith("."):
            continue
        if path.parent == root_dir or path.suffix.lower() not in VIDEO_SUFFIXES or not path.is_file():
            others.append(source)
            continue
        video = Video("", class_name, path.stem, group_of(class_name, path.stem), 0, source)
        twin = videos.setdefault((class_name, path.stem), video)
        if twin is not video:
            raise ValueError(f"{root_dir}: {twin.source} and {source} differ in their ending only; rename one")
    if others:
        print(f"passed over in {root_dir}, {len(others)} that are no <class>/<video>: {some(others)}")
    if not videos:
        raise FileNotFoundError(f"{root_dir}: no class folders with videos in it. mypath.py says where the videos lie")
    return list(videos.values())


def extract(source, folder):
    """Write the frames of one video that training uses as `folder/00001.jpg`, ..., 171 wide and 128 high.

    Returns:
        The number of frames written.

    Raises:
        ValueError: no frame can be decoded.
        OSError: a frame cannot be written.
    """
    video = clips.open_video(source)
    total = int(video.get(cv2.CAP_PROP_FRAME_COUNT))
    while True:
        interval = clips.frame_interval(total)
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        total = kept = 0
        while video.grab():
            if total % interval == 0:
                read, frame = video.retrieve()
                if not read:
                    raise ValueError(f"{source}: frame {total} cannot be decoded")
                kept += 1
                file = folder / f"{kept:05d}.jpg"
                if not cv2.imwrite(str(file), clips.resize(frame)):
                    raise OSError(f"{file}: cannot be written; is the disk full?")
            total += 1
        if total == 0:
            raise ValueError(f"{source}: no frame can be decoded")
        if clips.frame_interval(total) == interval:
            return kept
        video = clips.open_video(source)  # the file's header had told the wrong length


def folders(video, output_dir):
    """Where the frame folder of a video may lie."""
    return [video._replace(split=split).folder(output_dir) for split in (*SPLITS, UNUSED)]


def locate(video, output_dir):
    """The frame folder of a video, in whichever split it lies, or None."""
    return next((folder for folder in folders(video, output_dir) if folder.is_dir()), None)


def _move(folder, target):
    target.parent.mkdir(parents=True, exist_ok=True)
    os.replace(folder, target)
    for emptied in (folder.parent, folder.parent.parent):
        with contextlib.suppress(OSError):  # others are still in it
            emptied.rmdir()


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
