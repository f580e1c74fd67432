"""Videos -> train/val/test folders of JPEG frames, and their index.

`python -m dataloaders.preprocess DATASET` does ahead of time what the first training run does by
itself. The steps, each a function below: the videos that the sources have now are compared with
the index (`compare`), what is missing is extracted (`extract_missing`), copies are looked for
(`update_copies`), the frame folders go to their places (`place`), and the index is written.

Frames belong to a sampling: `OUTPUT/16x4_171x128/train/<Class>/<video>/00001.jpg`. A split belongs
to a run: `split_records` makes one, and moves nothing.
"""

import argparse
import contextlib
import csv
import math
import os
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from tqdm import tqdm

from dataloaders import demo
from dataloaders.arguments import (
    add_data_arguments,
    choose_protocol,
    find_split_dir,
    settings_of,
)
from dataloaders.copies import Copy, copies_across_groups, find_copies, join_groups
from dataloaders.errors import DataError
from dataloaders.extract import ExtractionJob, extract_all
from dataloaders.files import shorten, write_table
from dataloaders.frames import (
    COPIES,
    COPIES_COLUMNS,
    DAMAGED,
    DAMAGED_COLUMNS,
    JOURNAL,
    SKIPPED,
    SKIPPED_COLUMNS,
    Comparison,
    DataSettings,
    PreparedFrames,
    by_class_and_video,
    compare,
    count_damaged,
    default_protocol,
    find_places,
    lock_frames,
    read_copies,
    read_journal,
    read_rows,
)
from dataloaders.opencv import check_opencv
from dataloaders.records import (
    INDEX,
    INDEX_COLUMNS,
    REMOVED,
    SPLITS,
    UNUSED,
    VideoRecord,
    index_row,
    write_index,
    write_split,
)
from dataloaders.sources import describe_videos, list_videos, split_source
from dataloaders.splits import assign_splits, report_untrained_classes
from dataloaders.summary import (
    Summary,
    describe_losses,
    describe_sizes,
    print_samplings,
    report_earlier_layout,
)
from dataloaders.video import Damage
from dataloaders.workers import available_cores

DESCRIPTION = "Videos -> train/val/test folders of JPEG frames, and their index."
Check = Callable[[list[VideoRecord]], None]


def preprocess(
    settings: DataSettings,
    *,
    processes: int | None = None,
    check: Check | None = None,
    force: bool = False,
) -> PreparedFrames:
    """Bring the frames of a data set up to date with its videos.

    Decoded are videos that are new or have changed. Frames of videos that are gone or have changed
    stay in the folder `removed`, for runs that read them. Where nothing has to be done, nothing is
    written and no lock is taken. One process at a time extracts the frames of a sampling; others
    that need them wait.

    Args:
        settings: The data set.
        processes: Worker processes that decode, by default one more than cores.
        check: Called with the records before any video is decoded; it raises what speaks against
            training on them.
        force: Whether all videos are decoded again.

    Raises:
        FileError: The videos are not there, or frames cannot be written.
        DataError: None of the videos can be used, or the index is damaged.
    """
    settings.validate()
    report_earlier_layout(settings)
    if settings.name == "demo" and not settings.root_dir.exists():
        with lock_frames(settings.output_dir / ".demo", settings.root_dir):
            demo.write_videos(settings.root_dir)
    comparison = compare(settings, force=force)
    if comparison.is_finished:
        return _prepared(settings, comparison)
    if check is not None:
        check(comparison.records)
    frames_dir = settings.frames_dir
    with lock_frames(frames_dir, frames_dir):
        comparison = compare(settings, read_journal(frames_dir / JOURNAL), force=force)
        if comparison.is_finished:  # another process has done it
            return _prepared(settings, comparison)
        return _update(settings, comparison, processes)


def _update(
    settings: DataSettings, comparison: Comparison, processes: int | None
) -> PreparedFrames:
    """Do all that a comparison found to be due; the caller holds the lock."""
    frames_dir = settings.frames_dir
    summary = Summary()
    remove_gone(comparison.gone, frames_dir)
    records = comparison.records
    if comparison.missing:
        records = extract_missing(settings, comparison, summary, processes)
    if not records:
        reasons = [row[2] for row in comparison.skipped.values()] + summary.transient
        raise DataError(
            f"{settings.root_dir}: none of its videos can be read, see {frames_dir / SKIPPED}; "
            f"the first: {reasons[0]}"
        )
    summary.num_damaged = write_lists(settings, comparison, records)
    copies = update_copies(settings, records)
    places = default_places(settings, records, copies)
    records = place(records, places, frames_dir)
    with contextlib.suppress(AttributeError):  # Windows
        os.sync()  # the index must not survive a power failure that its frames do not
    write_index(frames_dir / INDEX, records)
    (frames_dir / JOURNAL).unlink(missing_ok=True)
    summary.print(settings, comparison, records, copies)
    return PreparedFrames(frames_dir, records, copies)


def _prepared(settings: DataSettings, comparison: Comparison) -> PreparedFrames:
    """Return frames of which nothing has to be done."""
    frames_dir = settings.frames_dir
    losses = describe_losses(frames_dir, len(comparison.skipped), count_damaged(settings))
    if losses:
        print(f"{frames_dir}: {'; '.join(losses)}")
    return PreparedFrames(frames_dir, comparison.records, read_copies(settings))


# Extraction


def extract_missing(
    settings: DataSettings,
    comparison: Comparison,
    summary: Summary,
    processes: int | None,
) -> list[VideoRecord]:
    """Extract the frames of the missing videos, each folder whole or not at all.

    Returns:
        The records that have frames; those that could not be decoded are left out.
    """
    frames_dir = settings.frames_dir
    partial = frames_dir / ".partial"
    shutil.rmtree(partial, ignore_errors=True)
    (partial / "placeholder").mkdir(parents=True)  # os.renames removes a folder that it empties
    places = default_places(settings, comparison.records, read_copies(settings))
    names = _FolderNames(frames_dir, comparison)
    extracted = {r.source: r for r in comparison.records if r.frames is not None}
    missing = comparison.missing
    jobs = (_make_job(settings, record, partial / str(i)) for i, record in enumerate(missing))
    if processes is None:
        processes = available_cores() + 1  # one more than cores: some wait for the disk
    results = extract_all(jobs, min(processes, len(missing)))
    title = f"{settings.name}: videos to frames"
    with contextlib.closing(results):
        for number, result in tqdm(results, title, len(missing), unit="video"):
            source = missing[number]
            modified = comparison.modified[source.source]
            if isinstance(result, DataError):
                if summary.add_skipped(result):
                    row = (source.source, modified, str(result))
                    comparison.skipped[source.source] = row
                    _append_row(frames_dir / SKIPPED, SKIPPED_COLUMNS, row)
                continue
            record = names.choose(source)._replace(
                frames=result.num_frames, modified=modified, place=places[source.source]
            )
            os.renames(partial / str(number), record.folder(frames_dir))
            if result.damage is not None:
                row = _damaged_row(record.source, result.damage)
                _append_row(frames_dir / DAMAGED, DAMAGED_COLUMNS, row)
            _append_row(frames_dir / JOURNAL, INDEX_COLUMNS, index_row(record))
            extracted[source.source] = record
            summary.add(result)
    shutil.rmtree(partial, ignore_errors=True)
    return sorted(extracted.values(), key=by_class_and_video)


def _make_job(settings: DataSettings, record: VideoRecord, folder: Path) -> ExtractionJob:
    path, start, end = split_source(settings.root_dir.absolute(), record.source)
    return ExtractionJob(
        source=path,
        folder=folder.absolute(),
        config=settings.config,
        start=start,
        end=end if math.isfinite(end) else None,
        source_fps=settings.source_fps,
        image_prefix=settings.image_prefix,
    )


class _FolderNames:
    """Names for frame folders that no folder of the index has.

    A video that has changed gets new frames beside the old ones, as `<video>.2`: a run that reads
    the old ones goes on reading them.
    """

    def __init__(self, frames_dir: Path, comparison: Comparison):
        self._frames_dir = frames_dir
        self._taken = {record.key for record in comparison.gone}
        self._taken |= {record.key for record in comparison.records if record.frames is not None}

    def choose(self, record: VideoRecord) -> VideoRecord:
        """Return the record with the name that its frame folder gets."""
        number = 2
        named = record
        while named.key in self._taken or self._folder(named, REMOVED).exists():
            named = record._replace(video=f"{record.video}.{number}")
            number += 1
        self._taken.add(named.key)
        for place in (*SPLITS, UNUSED):  # a start may have been killed before it listed the folder
            shutil.rmtree(self._folder(named, place), ignore_errors=True)
        return named

    def _folder(self, record: VideoRecord, place: str) -> Path:
        return record._replace(place=place).folder(self._frames_dir)


def _append_row(path: Path, columns: Sequence[str], row: Sequence) -> None:
    """Add a row to a table that a killed start continues from."""
    is_new = not path.is_file()
    with open(path, "a", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        if is_new:
            table.writerow(columns)
        table.writerow(row)


def _damaged_row(source: str, damage: Damage) -> list:
    return [source, damage.num_lost, damage.num_frames, f"{damage.first_time:.2f}"]


def write_lists(
    settings: DataSettings, comparison: Comparison, records: Sequence[VideoRecord]
) -> int:
    """Write `skipped.csv` and `damaged.csv`, in the order of their sources.

    Returns:
        The number of damaged videos.
    """
    frames_dir = settings.frames_dir
    if comparison.modified:
        _write_list(frames_dir / SKIPPED, SKIPPED_COLUMNS, comparison.skipped)
    sources = {record.source for record in records}
    rows = read_rows(frames_dir / DAMAGED, DAMAGED_COLUMNS)
    damaged = {row[0]: row for row in rows if row[0] in sources}
    _write_list(frames_dir / DAMAGED, DAMAGED_COLUMNS, damaged)
    return len(damaged)


def _write_list(path: Path, columns: Sequence[str], rows: Mapping[str, tuple]) -> None:
    if rows:
        write_table(path, columns, [rows[source] for source in sorted(rows)])
    else:
        path.unlink(missing_ok=True)


# Copies, splits and places


def update_copies(settings: DataSettings, records: list[VideoRecord]) -> list[Copy]:
    """Look for videos that show the same, and write `copies.csv`."""
    if not settings.finds_copies:
        (settings.frames_dir / COPIES).unlink(missing_ok=True)  # it does not know new videos
        return []
    folders = [record.folder(settings.frames_dir) for record in records]
    copies = find_copies(records, folders)
    write_table(settings.frames_dir / COPIES, COPIES_COLUMNS, copies)
    return copies


def split_records(
    frames: PreparedFrames, protocol: str, fold: int = 1, split_dir: str | Path | None = None
) -> list[VideoRecord]:
    """Make the split of a run; no file is moved.

    Videos that show the same share a group.

    Args:
        frames: The frames of a data set.
        protocol: See `splits.assign_splits`.
        fold: Which fifth is tested.
        split_dir: The folder of official lists.

    Returns:
        The records with their `split`, sorted by class and video.

    Raises:
        DataError: There is no such split.
    """
    split = _split(frames.records, frames.copies, protocol, fold, split_dir)
    report_untrained_classes(split)
    return split


def _split(
    records: list[VideoRecord],
    copies: list[Copy],
    protocol: str,
    fold: int = 1,
    split_dir: str | Path | None = None,
) -> list[VideoRecord]:
    joined = join_groups(records, copies, within_class=protocol.startswith("official"))
    try:
        return assign_splits(joined, protocol, fold, split_dir)
    except DataError as error:
        num_joined = len(copies_across_groups(records, copies, are_joined=True))
        if not num_joined:
            raise
        raise DataError(
            f"{error}; {num_joined} videos stay with those that show the same, see {COPIES}"
        ) from None


def default_places(
    settings: DataSettings, records: list[VideoRecord], copies: list[Copy]
) -> dict[str, str]:
    """Return in which folder the frames of each video lie, by source.

    That is the split that the data set has, or else the first fold of the split by groups. Where
    there is none, because a class has too few groups, all lie in `unused`.
    """
    protocol = default_protocol(settings, records)
    try:
        placed = _split(records, copies, protocol)
    except DataError:
        return {record.source: UNUSED for record in records}
    return {record.source: record.split for record in placed}


def place(
    records: list[VideoRecord], places: Mapping[str, str], frames_dir: Path
) -> list[VideoRecord]:
    """Move the frame folders that lie elsewhere, and return the records with their places.

    A run that reads them finds them in their new place.
    """
    placed = []
    for record in records:
        target = record._replace(place=places[record.source])
        if target.place != record.place:
            _move(record.folder(frames_dir), target.folder(frames_dir))
        placed.append(target)
    return placed


def _move(folder: Path, target: Path) -> None:
    """Move a frame folder; what is in its way is left over, and listed nowhere."""
    if target.is_dir():
        shutil.rmtree(target)
    os.renames(folder, target)


def remove_gone(gone: list[VideoRecord], frames_dir: Path) -> None:
    """Move the frames of videos that are gone or have changed to the folder `removed`."""
    if not gone:
        return
    places = find_places(frames_dir)
    for record in gone:
        if places.get(record.key) in (None, REMOVED):
            continue
        located = record._replace(place=places[record.key])
        _move(located.folder(frames_dir), located._replace(place=REMOVED).folder(frames_dir))
    names = shorten(sorted({record.source for record in gone}))
    print(f"gone or changed, their frames are in {frames_dir / REMOVED}: {names}")


def prune(settings: DataSettings) -> None:
    """Delete the frames of videos that are gone or have changed; no run may read them any more."""
    with lock_frames(settings.frames_dir, settings.frames_dir):
        shutil.rmtree(settings.frames_dir / REMOVED, ignore_errors=True)


# The command line


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line."""
    import mypath

    with contextlib.suppress(AttributeError):
        sys.stdout.reconfigure(errors="backslashreplace")  # names of files may be anything
    parser = get_args_parser()
    args = parser.parse_args(argv)
    try:
        check_opencv()
        settings = settings_of(mypath.Path, args)
        if args.dry_run:
            print_dry_run(settings, args, mypath.Path)
            return
        frames = preprocess(settings, force=args.force)
        if args.prune:
            prune(settings)
        print_samplings(settings)
        if args.split is not None or args.fold != 1 or args.output is not None:
            split = make_split(frames, settings, args, mypath.Path)
            print(f"the split of these flags: {describe_sizes(split)}")
            if args.output is not None:
                write_split(args.output, split)
    except (OSError, DataError) as error:
        parser.exit(2, f"{error}\n")
    except KeyboardInterrupt:
        parser.exit(130, "interrupted; the next start continues from here\n")


def get_args_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m dataloaders.preprocess", description=DESCRIPTION
    )
    add = parser.add_argument
    add("dataset", help="a data set named in mypath.py")
    add("--force", action="store_true", help="extract all frames again")
    add("--prune", action="store_true", help="delete the frames of videos that are gone or changed")
    add("--dry-run", action="store_true", help="say what there is, by the headers; write nothing")
    add("--output", type=Path, metavar="FILE", help="write the split of --split and --fold there")
    add_data_arguments(parser)
    return parser


def make_split(
    frames: PreparedFrames, settings: DataSettings, args: argparse.Namespace, paths
) -> list[VideoRecord]:
    """Make the split that the flags name."""
    protocol = choose_protocol(settings, args.split, args.fold, frames.records)
    split_dir = find_split_dir(paths, settings.name, protocol)
    return split_records(frames, protocol, args.fold, split_dir)


def print_dry_run(settings: DataSettings, args: argparse.Namespace, paths) -> None:
    """Describe a data set by the headers of its videos."""
    videos = list_videos(settings.root_dir, settings.group_pattern)
    protocol = choose_protocol(settings, args.split, args.fold, videos)
    split_dir = find_split_dir(paths, settings.name, protocol)
    try:
        videos = assign_splits(videos, protocol, args.fold, split_dir)
    except DataError as error:
        print(f"no split: {error}")
    print(describe_videos(settings.root_dir, videos, settings.source_fps, settings.image_prefix))


if __name__ == "__main__":
    main()
