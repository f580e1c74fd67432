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
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

from filelock import FileLock, Timeout
from tqdm import tqdm

from dataloaders import demo
from dataloaders.clips import CROP_SIZE, ClipConfig
from dataloaders.errors import DataError
from dataloaders.extract import extract_all
from dataloaders.files import list_videos
from dataloaders.index import COLUMNS, INDEX, SPLITS, UNUSED, VideoRecord, read_index, shorten, write_table
from dataloaders.splits import PROTOCOLS, assign_splits

Skipped = dict[str, tuple[str, float, str]]  # source: (source, modification time, reason)


def preprocess(
    dataset: str,
    root_dir: str | Path,
    output_dir: str | Path,
    processes: int | None = None,
    validate: Callable[[list[VideoRecord]], object] = lambda videos: None,
    config: ClipConfig = ClipConfig(),  # noqa: B008
    **split,
) -> list[VideoRecord]:
    """Bring the frame folders and their index up to date with the videos and the split.

    Videos whose frames are there are not decoded again unless they have changed, or their frames were sampled in
    another way; another split moves folders. The frames of a removed video are removed. A video that cannot be decoded,
    or hangs or crashes the decoder, is listed in `skipped.csv` with the reason, and skipped until it changes.

    Args:
        dataset: name of the data set; `demo` writes its own videos first.
        root_dir: folder of class folders of videos. Where it is missing, an index in `output_dir` serves instead.
        output_dir: folder that gets `{train,val,test}/<Class>/<video>/00001.jpg`, ... and `index.csv`.
        processes: videos decoded at a time; by default one more than there are cores, as some wait for the disk.
        validate: called with the split before any video is decoded, and again where some could not be; it raises what
            speaks against training on it.
        config: how clips are cut, on which the frames that are kept depend.
        split: `protocol`, `fold` and `split_dir` of `splits.assign_splits`.

    Returns:
        The rows of the index. OSError where there are no videos, or the frames cannot be written; DataError where the
        videos cannot be split, or the index is damaged.
    """
    root_dir, output_dir = Path(root_dir), Path(output_dir)
    if dataset != "demo" and not root_dir.exists() and not output_dir.exists():
        list_videos(root_dir)  # raises, before a folder is made for the lock
    with preprocessing_lock(output_dir):
        return _preprocess(dataset, root_dir, output_dir, processes, validate, config, split)


@contextlib.contextmanager
def preprocessing_lock(output_dir: Path) -> Iterator[None]:
    """Wait until no other process writes these frames."""
    lock = FileLock(output_dir.with_name(f".{output_dir.name}.lock"))
    with contextlib.suppress(OSError):  # where nothing can be written nobody can preprocess
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


def _preprocess(dataset, root_dir, output_dir, processes, validate, config, split):
    index, journal, partial = output_dir / INDEX, output_dir / "index.journal", output_dir / ".partial"
    skipped_file = output_dir / "skipped.csv"
    if dataset == "demo":
        demo.write_videos(root_dir)
    indexed = read_index(index) if index.is_file() else []
    if indexed and not root_dir.exists():
        sources, modified = indexed, {}
    else:
        sources = list_videos(root_dir)
        modified = {video.source: os.stat(f"{root_dir}/{video.source}").st_mtime for video in sources}
    known = _read_skipped(skipped_file)
    skipped = {row[0]: row for row in known if row[0] in modified and _is_same_time(modified[row[0]], row[1])}
    if modified and len(skipped) < len(known):
        _write_skipped(skipped_file, skipped.values())
    videos, passing = _split_usable(root_dir, sources, skipped, skipped_file, validate, split), {}
    num_held = 0

    # An interrupted start left a journal, which stands for the index: it lists the frame folders that are complete. A
    # folder that it does not list is not trusted.
    journaled = read_index(journal, growing=True) if journal.is_file() else indexed
    others = Counter(video.sampling for video in journaled if video.sampling != config.sampling)
    if others:
        difference = f"{output_dir}: the frames are {others.most_common(1)[0][0]}, this run needs {config.sampling}"
        if not modified:
            raise DataError(f"{difference}, and {root_dir} with the videos is not there")
        print(f"{difference} (clip length x interval, size): they are extracted anew")
    extracted = {video.source: video for video in journaled if video.sampling == config.sampling}
    missing = [v for v in videos if v.source not in extracted or not _is_up_to_date(v, output_dir, modified)]
    if missing:
        output_dir.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        for video in missing:
            extracted.pop(video.source, None)
        write_table(journal, COLUMNS, extracted.values())
        folders, settings = (root_dir.absolute(), partial.absolute()), asdict(config)
        jobs = ((folders[0] / v.source, folders[1] / str(i), settings) for i, v in enumerate(missing))
        with contextlib.closing(extract_all(jobs, min(processes or os.cpu_count() + 1, len(missing)))) as results:
            progress = tqdm(results, f"{dataset}: videos to frames", len(missing), unit="video")
            for i, answer in progress:
                video = missing[i]
                _remove_frames(video, output_dir)
                if reason := answer.get("skip"):
                    tqdm.write(f"skipped: {reason}", file=sys.stderr)
                    row = video.source, modified[video.source], reason
                    (passing if answer["passing"] else skipped)[video.source] = row
                    _write_skipped(skipped_file, skipped.values())
                    continue
                os.utime(partial / str(i), (modified[video.source],) * 2)  # shows later whether the video has changed
                _move(partial / str(i), video.folder(output_dir))
                extracted[video.source] = video._replace(frames=answer["frames"], sampling=config.sampling)
                num_held += answer["held"]
                with open(journal, "a", newline="", encoding="utf-8") as file:
                    csv.writer(file).writerow(extracted[video.source])
    unusable = skipped | passing
    if any(video.source in unusable for video in missing):
        videos = _split_usable(root_dir, sources, unusable, skipped_file, validate, split)

    for video in videos:
        if (folder := find_folder(video, output_dir)) != video.folder(output_dir):
            _move(folder, video.folder(output_dir))
            _remove_empty_parents(folder)
    present = {video[1:3] for video in videos}
    if removed := [v for v in indexed + journaled if v[1:3] not in present and v.source not in unusable]:
        print(f"no longer in {root_dir}, their frames are removed: {shorten(sorted({v.source for v in removed}))}")
        for video in removed:
            _remove_frames(video, output_dir)
    videos = [video._replace(frames=extracted[video.source].frames, sampling=config.sampling) for video in videos]
    if journal.is_file() or videos != indexed:
        write_table(index, COLUMNS, videos)
        journal.unlink(missing_ok=True)
    shutil.rmtree(partial, ignore_errors=True)
    notes = [f"{len(skipped)} skipped, see {skipped_file}; without it they are tried again"] if skipped else []
    notes += [f"{len(passing)} cannot be read now, the next start tries them again"] if passing else []
    notes += [f"{num_held} have fewer than {config.frame_rate:g} frames a second: they are held"] if num_held else []
    print("; ".join((f"{output_dir}: {_summarize(videos)}", *notes)))
    return videos


def _split_usable(root_dir, sources, skipped: Skipped, skipped_file, validate, split) -> list[VideoRecord]:
    """Assign the videos that are not skipped to splits, and validate the result."""
    usable = [video for video in sources if video.source not in skipped]
    if not usable:
        reason = next(iter(skipped.values()))[2]
        raise DataError(f"{root_dir}: none of its videos can be read, see {skipped_file}; the first: {reason}")
    videos = assign_splits(usable, **split)
    validate(videos)
    return videos


def possible_folders(video: VideoRecord, output_dir: Path) -> Iterator[Path]:
    """Yield where the frame folder of a video can lie, that of its split first."""
    for split in dict.fromkeys((video.split, *SPLITS, UNUSED)):
        yield video._replace(split=split).folder(output_dir)


def find_folder(video: VideoRecord, output_dir: Path) -> Path | None:
    """Return the frame folder of a video in whichever split it lies, or None."""
    return next(filter(Path.is_dir, possible_folders(video, output_dir)), None)


def _is_up_to_date(video, output_dir, modified) -> bool:
    folder = find_folder(video, output_dir)
    return bool(folder) and (not modified or _is_same_time(folder.stat().st_mtime, modified[video.source]))


def _is_same_time(one: float, other: float) -> bool:
    return abs(one - other) < 2  # seconds, the resolution of the coarsest file system


def _read_skipped(file: Path) -> list[tuple[str, float, str]]:
    """Read the rows (source, modified, reason) of a file of skipped videos; none where there is no such file."""
    if not file.is_file():
        return []
    with open(file, newline="", encoding="utf-8") as lines:
        try:
            return [(source, float(modified), reason) for source, modified, reason in list(csv.reader(lines))[1:]]
        except (ValueError, csv.Error):
            raise DataError(f"{file} is damaged: delete it and preprocess again") from None


def _write_skipped(file: Path, rows: Iterable[tuple[str, float, str]]) -> None:
    if rows:
        write_table(file, ("source", "modified", "reason"), rows)
    else:
        file.unlink(missing_ok=True)


def _remove_frames(video: VideoRecord, output_dir: Path) -> None:
    for folder in filter(Path.is_dir, possible_folders(video, output_dir)):
        shutil.rmtree(folder)
        _remove_empty_parents(folder)


def _remove_empty_parents(folder: Path) -> None:
    for parent in (folder.parent, folder.parent.parent):
        with contextlib.suppress(OSError):  # it holds other folders
            parent.rmdir()


def _move(folder: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    os.replace(folder, target)


def _summarize(videos: Sequence[VideoRecord]) -> str:
    counts = Counter(video.split for video in videos)
    sizes = ", ".join(f"{split} {counts[split]}" for split in SPLITS)
    return f"{len(videos)} videos of {len({video.class_name for video in videos})} classes ({sizes})"


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line."""
    import mypath

    with contextlib.suppress(AttributeError):
        sys.stdout.reconfigure(errors="backslashreplace")  # names of files may be anything
    parser = argparse.ArgumentParser(prog="python -m dataloaders.preprocess", description=__doc__.split("\n")[0])
    parser.add_argument("dataset", help="a data set named in mypath.py")
    add_data_arguments(parser)
    args = parser.parse_args(argv)
    try:
        config = ClipConfig.from_flags(args.crop_size, args.clip_len, args.frame_interval, args.frame_rate)
        root_dir, output_dir = mypath.Path.db_dir(args.dataset)
        split_dir = mypath.Path.split_dir(args.dataset) if args.split.startswith("official") else None
        split = {"protocol": args.split, "fold": args.fold, "split_dir": split_dir}
        preprocess(args.dataset, root_dir, output_dir, config=config, **split)
    except (OSError, DataError) as error:
        parser.exit(2, f"{error}\n")
    except KeyboardInterrupt:
        parser.exit(130, "interrupted; the next start continues from here\n")


def add_data_arguments(parser) -> None:
    """Add the flags that choose a split and the clips to a parser or group of arguments."""
    add = parser.add_argument
    add("--split", choices=PROTOCOLS, default="group", help="which videos are in train, val and test (%(default)s)")
    add("--fold", type=int, choices=range(1, 6), default=1, help="the fifth that --split group tests on (%(default)s)")
    add("--clip-len", type=int, metavar="N", help=f"frames of a clip ({ClipConfig.clip_len})")
    add("--frame-interval", type=int, metavar="N", help=f"keep every Nth frame ({ClipConfig.frame_interval})")
    add("--frame-rate", type=float, metavar="F", help="or F frames a second, whatever the rate of the video")
    add("--crop-size", type=int, default=CROP_SIZE, help="side of the square crop, pixels (%(default)s)")


if __name__ == "__main__":
    main()
