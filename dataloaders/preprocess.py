"""Videos -> train/val/test folders of JPEG frames, and their index.
`python -m dataloaders.preprocess DATASET` does ahead of time what the first training run does by itself."""

import argparse
import contextlib
import csv
import os
import shutil
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

from filelock import FileLock, Timeout
from tqdm import tqdm

from dataloaders import demo
from dataloaders.clips import CROP_SIZE, ClipConfig
from dataloaders.copies import find_copies, join_groups
from dataloaders.errors import DataError
from dataloaders.extract import extract_all
from dataloaders.index import (
    COLUMNS,
    INDEX,
    SPLITS,
    UNUSED,
    VideoRecord,
    read_index,
    shorten,
    write_table,
)
from dataloaders.layouts import (
    check_name_lengths,
    describe_videos,
    has_split,
    list_videos,
    split_source,
)
from dataloaders.opencv import check_opencv
from dataloaders.splits import PROTOCOLS, assign_splits

DESCRIPTION = "Videos -> train/val/test folders of JPEG frames, and their index."
SKIPPED_COLUMNS = "source", "modified", "reason"
TIME_RESOLUTION = 2  # seconds, of the coarsest file system


def preprocess(
    dataset, root_dir, output_dir, processes=None, validate=None, config=None, **options
) -> list:
    """Bring the frame folders and their index, whose rows are returned, up to date with the videos and the split.
    Decoded are videos that are new, have changed, or are to be sampled in another way; another split moves folders.
    `skipped.csv` lists those that cannot be decoded, `copies.csv` those that show the same, which share a group.
    Where `root_dir`, see `layouts.list_videos`, is missing, an index in `output_dir` serves instead. `validate` is
    called with the rows before any video is decoded, and again where some could not be; it raises what speaks against
    training on them. `config` is the ClipConfig whose clips the frames are for. The options are `group_pattern` of
    `layouts.list_videos`; `source_fps` of folders of images (25), and `image_prefix`, which
    of them to take; `force` to decode all; those of `assign_splits`.
    OSError for missing videos or unwritable frames; DataError where videos cannot be split, or the index is damaged."""
    root_dir, output_dir, config = Path(root_dir), Path(output_dir), config or ClipConfig()
    root, output = (Path(os.path.realpath(path)) for path in (root_dir, output_dir))
    if output in (root, *root.parents) or root in output.parents:
        raise DataError(
            f"{output_dir}: the folder for the frames must lie outside {root_dir}; mypath.py names both"
        )
    if not 0.01 <= options.get("source_fps", 25) <= 1000:
        raise DataError(
            f"--source-fps {options['source_fps']}: must be 0.01 to 1000; mypath.py has it too"
        )
    if dataset != "demo" and not root_dir.exists() and not output_dir.exists():
        list_videos(root_dir)  # raises, before a folder is made for the lock
    with preprocessing_lock(output_dir):
        return _preprocess(dataset, root_dir, output_dir, processes, validate, config, **options)


def preprocessing_lock(output_dir: Path) -> contextlib.AbstractContextManager:
    """Wait until no other process writes these frames, and keep others waiting until the context is left."""
    lock = FileLock(output_dir.absolute().with_name(f".{output_dir.absolute().name}.lock"))
    with contextlib.suppress(
        OSError, NotImplementedError
    ):  # nothing can be written, or locked, there
        output_dir.parent.mkdir(parents=True, exist_ok=True)
        try:
            return lock.acquire(timeout=0)
        except Timeout:
            print(f"another process is preparing {output_dir}: waiting for it", flush=True)
            return lock.acquire()
    return contextlib.nullcontext()


def _preprocess(
    dataset,
    root_dir,
    output_dir,
    processes,
    validate,
    config,
    group_pattern=None,
    source_fps=25,
    image_prefix=None,
    force=False,
    **split,
):
    names = INDEX, "index.journal", "skipped.csv", "copies.csv", ".partial"
    index, journal, skipped_file, copies_file, partial = (output_dir / name for name in names)
    if dataset == "demo":
        demo.write_videos(root_dir)
    indexed = read_index(index) if index.is_file() else []
    sources, modified = indexed, {}
    if root_dir.exists() or not indexed or force:
        sources = list_videos(root_dir, group_pattern)
        check_name_lengths(sources, output_dir)
        modified = {
            video.source: os.stat(split_source(root_dir, video.source)[0]).st_mtime
            for video in sources
        }
    known = (
        [] if force else _read_rows(skipped_file, float)
    )  # of (source, modification time, reason)
    skipped = {
        row[0]: row
        for row in known
        if row[0] in modified and abs(row[1] - modified[row[0]]) < TIME_RESOLUTION
    }
    if modified and len(skipped) < len(known):
        write_table(skipped_file, SKIPPED_COLUMNS, skipped.values())

    def is_up_to_date(video):
        folder = next(frame_folders(video, output_dir), None)
        return folder and (
            not modified or abs(folder.stat().st_mtime - modified[video.source]) < TIME_RESOLUTION
        )

    def split_videos(unusable):
        if not (usable := [video for video in sources if video.source not in unusable]):
            reason = next(iter(unusable.values()))[2]
            raise DataError(
                f"{root_dir}: none of its videos can be read, see {skipped_file}; the first: {reason}"
            )
        usable = join_groups(usable, copies, split.get("protocol", "group").startswith("official"))
        try:
            videos = assign_splits(usable, **split)
        except DataError as error:
            joined = (
                f"; {len(copies)} videos stay with those that show the same, see {copies_file}"
                if copies
                else ""
            )
            raise DataError(f"{error}{joined}") from None
        if validate:
            validate(videos)
        return videos

    copies = [] if force else _read_rows(copies_file, str)
    unchanged = {video.source for video in sources if is_up_to_date(video)}
    copies = [copy for copy in copies if unchanged >= {*copy[:2]}]
    videos, passing, num_slow = split_videos(skipped), {}, 0
    # The journal of an interrupted start stands for the index: a frame folder that it does not list is not trusted.
    journaled = read_index(journal, growing=True) if journal.is_file() else indexed
    sampling = config.sampling(source_fps, image_prefix)
    if others := Counter(video.sampling for video in journaled if video.sampling != sampling):
        difference = (
            f"{output_dir}: the frames are {others.most_common(1)[0][0]}, this run needs {sampling}"
        )
        if not modified:
            raise DataError(f"{difference}, and {root_dir} with the videos is not there")
        print(f"{difference} (clip length x interval, size): they are extracted anew")
    extracted = {
        video.source: video for video in journaled if video.sampling == sampling and not force
    }
    missing = [v for v in videos if v.source not in extracted or v.source not in unchanged]
    if missing:
        shutil.rmtree(partial, ignore_errors=True)
        (partial / "placeholder").mkdir(
            parents=True
        )  # os.renames removes a folder that it leaves empty
        for video in missing:
            extracted.pop(video.source, None)
        write_table(journal, COLUMNS, extracted.values())
        num_workers = min(
            processes or os.cpu_count() + 1, len(missing)
        )  # one more than cores: some wait for the disk
        inputs, outputs, settings = root_dir.absolute(), partial.absolute(), asdict(config)
        parts = (split_source(inputs, video.source) for video in missing)
        jobs = (
            (path, outputs / str(i), settings, *span, source_fps, image_prefix)
            for i, (path, *span) in enumerate(parts)
        )
        with contextlib.closing(extract_all(jobs, num_workers)) as results:
            for i, answer in tqdm(
                results, f"{dataset}: videos to frames", len(missing), unit="video"
            ):
                video, time = missing[i], modified[missing[i].source]
                _remove_frames(video, output_dir)
                if reason := answer.get("skip"):
                    tqdm.write(f"skipped: {reason}", file=sys.stderr)
                    (passing if answer["passing"] else skipped)[video.source] = (
                        video.source,
                        time,
                        reason,
                    )
                    write_table(skipped_file, SKIPPED_COLUMNS, skipped.values())
                    continue
                os.utime(
                    partial / str(i), (time, time)
                )  # shows later whether the video has changed
                os.renames(partial / str(i), video.folder(output_dir))
                extracted[video.source] = video._replace(frames=answer["frames"], sampling=sampling)
                num_slow += answer["repeated"]
                with open(journal, "a", newline="", encoding="utf-8") as file:
                    csv.writer(file).writerow(extracted[video.source])
    unusable = skipped | passing
    if any(video.source in unusable for video in missing):
        videos = split_videos(unusable)
    present = {video[1:3] for video in videos}
    removed = [v for v in indexed + journaled if v[1:3] not in present and v.source not in unusable]
    if removed or journal.is_file() or not copies_file.is_file():
        copies[:] = find_copies(
            videos, (next(frame_folders(video, output_dir)) for video in videos)
        )
        write_table(copies_file, ("source", "shows the same as", "kind"), copies)
        videos = split_videos(unusable) if copies else videos
    for video in videos:
        if (folder := next(frame_folders(video, output_dir))) != video.folder(output_dir):
            os.renames(folder, video.folder(output_dir))
    if removed:
        print(
            f"no longer in {root_dir}, their frames are removed: {shorten(sorted({v.source for v in removed}))}"
        )
        for video in removed:
            _remove_frames(video, output_dir)
    videos = [
        video._replace(frames=extracted[video.source].frames, sampling=sampling) for video in videos
    ]
    if journal.is_file() or videos != indexed:
        write_table(index, COLUMNS, videos)
        journal.unlink(missing_ok=True)
    shutil.rmtree(partial, ignore_errors=True)
    if modified and not skipped:
        skipped_file.unlink(missing_ok=True)
    sizes = ", ".join(f"{name} {sum(video.split == name for video in videos)}" for name in SPLITS)
    notes = [
        f"{output_dir}: {len(videos)} videos of {len({v.class_name for v in videos})} classes ({sizes})"
    ]
    notes += (
        [f"{len(skipped)} skipped, see {skipped_file}; without it they are tried again"]
        if skipped
        else []
    )
    notes += (
        [f"{len(passing)} cannot be read now, the next start tries them again"] if passing else []
    )
    notes += (
        [f"{num_slow} have fewer than {config.frame_rate:g} frames a second: frames repeat"]
        if num_slow
        else []
    )
    print("; ".join(notes))
    group_of = {video.source: video.group for video in sources}
    if joined := [copy for copy in copies if group_of[copy[0]] != group_of[copy[1]]]:
        kinds = ", ".join(
            f"{count} {kind}" for kind, count in Counter(kind for *_, kind in joined).most_common()
        )
        print(
            f"{len(joined)} videos show the same as others, whose group they share ({kinds}), see {copies_file}:"
        )
        print("  " + shorten([f"{source} = {first}" for source, first, _ in joined]))
    if len({video.group for video in videos}) == len(videos):
        print(
            "each video is a group of its own: where some are cut from one recording, the test is too easy"
        )
    return videos


def frame_folders(video: VideoRecord, output_dir: Path) -> Iterator[Path]:
    """Yield the frame folders of a video, in whichever splits they lie, that of its own split first."""
    for split in dict.fromkeys((video.split or "train", *SPLITS, UNUSED)):
        if (folder := video._replace(split=split).folder(output_dir)).is_dir():
            yield folder


def _read_rows(file: Path, kind: type) -> list[tuple]:
    if not file.is_file():
        return []
    with open(file, newline="", encoding="utf-8") as lines:
        try:
            _, *rows = csv.reader(lines)
            return [(source, kind(value), text) for source, value, text in rows]
        except (ValueError, csv.Error):
            raise DataError(f"{file} is damaged: delete it and preprocess again") from None


def _remove_frames(video: VideoRecord, output_dir: Path) -> None:
    for folder in frame_folders(video, output_dir):
        shutil.rmtree(folder)
        with contextlib.suppress(OSError):  # its class has other videos there
            os.removedirs(folder.parent)


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line."""
    import mypath

    with contextlib.suppress(AttributeError):
        sys.stdout.reconfigure(errors="backslashreplace")  # names of files may be anything
    parser = argparse.ArgumentParser(
        prog="python -m dataloaders.preprocess", description=DESCRIPTION
    )
    parser.add_argument("dataset", help="a data set named in mypath.py")
    parser.add_argument("--force", action="store_true", help="extract all frames anew")
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="say what there is, by the headers, and write nothing",
    )
    add_data_arguments(parser)
    args = parser.parse_args(argv)
    try:
        check_opencv()
        config = ClipConfig.from_flags(
            args.crop_size, args.clip_len, args.frame_interval, args.frame_rate
        )
        root_dir, output_dir = mypath.Path.db_dir(args.dataset)
        split = {
            "protocol": choose_split(root_dir, output_dir, args.split, args.fold),
            "fold": args.fold,
        }
        split |= (
            {"split_dir": mypath.Path.split_dir(args.dataset)}
            if split["protocol"].startswith("official")
            else {}
        )
        layout = mypath.Path.options(args.dataset, args.source_fps)
        if args.dry_run:
            videos = list_videos(Path(root_dir), layout["group_pattern"])
            try:
                videos = assign_splits(videos, **split)
            except DataError as error:
                print(f"no split: {error}")
            return print(
                describe_videos(
                    Path(root_dir), videos, layout["source_fps"], layout["image_prefix"]
                )
            )
        preprocess(
            args.dataset, root_dir, output_dir, config=config, force=args.force, **layout, **split
        )
    except (OSError, DataError) as error:
        parser.exit(2, f"{error}\n")
    except KeyboardInterrupt:
        parser.exit(130, "interrupted; the next start continues from here\n")


def choose_split(root_dir: str, output_dir: str, split: str | None = None, fold: int = 1) -> str:
    """Return `split`, by default that of the data set, if it has one; DataError for a fold of another than "group"."""
    index = Path(output_dir, INDEX)
    videos = read_index(index) if index.is_file() and not os.path.exists(root_dir) else []
    if not split and has_split(Path(root_dir), [video.source for video in videos]):
        print(f"--split folders: {root_dir} says which videos are in train, val and test")
        split = "folders"
    if fold != 1 and split not in (None, "group"):
        raise DataError(f"--fold {fold}: only --split group has folds, not {split}")
    return split or "group"


def add_data_arguments(parser) -> None:
    """Add the flags that choose a split and the clips to a parser or group of arguments."""
    add = parser.add_argument
    add(
        "--split",
        choices=PROTOCOLS,
        help="which videos are in train, val and test (group, or as the data set says)",
    )
    add(
        "--fold",
        type=int,
        choices=range(1, 6),
        default=1,
        help="the fifth that --split group tests on (%(default)s)",
    )
    add("--clip-len", type=int, metavar="N", help=f"frames of a clip ({ClipConfig.clip_len})")
    add(
        "--frame-interval",
        type=int,
        metavar="N",
        help=f"keep every Nth frame ({ClipConfig.frame_interval})",
    )
    add(
        "--frame-rate",
        type=float,
        metavar="F",
        help="or F frames a second, whatever the rate of the video",
    )
    add(
        "--source-fps",
        type=float,
        metavar="F",
        help="rate of videos that are folders of images (25, or as mypath.py)",
    )
    add(
        "--crop-size",
        type=int,
        default=CROP_SIZE,
        help="side of the square crop, pixels (%(default)s)",
    )


if __name__ == "__main__":
    main()
