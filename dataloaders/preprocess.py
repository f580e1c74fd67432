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
from dataloaders.arguments import add_data_arguments, choose_protocol, settings_of
from dataloaders.copies import find_copies, join_groups
from dataloaders.errors import DataError
from dataloaders.extract import Extraction, ExtractionJob, extract_all
from dataloaders.frames import (
    COPIES,
    JOURNAL,
    SKIPPED,
    Comparison,
    Copy,
    DataSettings,
    PreparedFrames,
    by_class_and_video,
    compare,
    default_protocol,
    find_places,
    lock_frames,
    read_copies,
    read_rows,
)
from dataloaders.index import (
    INDEX,
    REMOVED,
    UNUSED,
    VideoRecord,
    index_row,
    shorten,
    write_index,
    write_split,
    write_table,
)
from dataloaders.layouts import describe_videos, list_videos, split_source
from dataloaders.opencv import check_opencv
from dataloaders.splits import assign_splits
from dataloaders.summary import (
    DAMAGED,
    Summary,
    describe_sizes,
    print_samplings,
    report_earlier_layout,
)
from dataloaders.workers import available_cores

DESCRIPTION = "Videos -> train/val/test folders of JPEG frames, and their index."
COPIES_COLUMNS = ("source", "shows the same as", "kind")
SKIPPED_COLUMNS = ("source", "modified", "reason")
DAMAGED_COLUMNS = ("source", "frames lost", "of", "first time")

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
        OSError: The videos are not there, or frames cannot be written.
        DataError: None of the videos can be used, or the index is damaged.
    """
    settings.validate()
    report_earlier_layout(settings)
    if settings.name == "demo" and not settings.root_dir.exists():
        with lock_frames(settings.output_dir / ".demo", settings.root_dir):
            demo.write_videos(settings.root_dir)
    comparison = compare(settings)
    if comparison.is_finished and not force:
        return _prepared(settings, comparison.records)
    if check is not None:
        check(comparison.records)
    frames_dir = settings.frames_dir
    with lock_frames(frames_dir, frames_dir):
        comparison = compare(settings, force=force)
        if comparison.is_finished:  # another process has done it
            return _prepared(settings, comparison.records)
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
    copies = update_copies(settings, records)
    places = default_places(settings, records, copies)
    records = place(records, places, frames_dir)
    with contextlib.suppress(AttributeError):  # Windows
        os.sync()  # the index must not survive a power failure that its frames do not
    write_index(frames_dir / INDEX, records)
    (frames_dir / JOURNAL).unlink(missing_ok=True)
    if comparison.modified and not comparison.skipped:
        (frames_dir / SKIPPED).unlink(missing_ok=True)
    summary.print(settings, comparison, records, copies)
    return PreparedFrames(frames_dir, records, copies)


def _prepared(settings: DataSettings, records: list[VideoRecord]) -> PreparedFrames:
    return PreparedFrames(settings.frames_dir, records, read_copies(settings))


# Extraction


def extract_missing(
    settings: DataSettings,
    comparison: Comparison,
    summary: "Summary",
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
    places = _provisional_places(settings, comparison.records)
    names = _FolderNames(frames_dir, comparison)
    journal = _Journal(frames_dir / JOURNAL)
    damaged = _DamagedList(frames_dir / DAMAGED, comparison)
    extracted = {r.source: r for r in comparison.records if r.frames is not None}
    missing = comparison.missing
    jobs = (_make_job(settings, record, partial / str(i)) for i, record in enumerate(missing))
    if processes is None:
        processes = available_cores() + 1  # one more than cores: some wait for the disk
    results = extract_all(jobs, min(processes, len(missing)))
    title = f"{settings.name}: videos to frames"
    with contextlib.closing(results), damaged:
        for number, result in tqdm(results, title, len(missing), unit="video"):
            source = missing[number]
            modified = comparison.modified[source.source]
            if isinstance(result, DataError):
                summary.add_skipped(comparison, source, modified, result)
                _write_skipped(frames_dir, comparison.skipped)
                continue
            record = names.choose(source)._replace(
                frames=result.num_frames, modified=modified, place=places[source.source]
            )
            os.renames(partial / str(number), record.folder(frames_dir))
            journal.add(record)
            extracted[source.source] = record
            damaged.add(record, result)
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


def _provisional_places(settings: DataSettings, records: list[VideoRecord]) -> dict[str, str]:
    """Return where frames go before it is known which videos can be decoded, by source."""
    known_copies = read_copies(settings)
    return default_places(settings, records, known_copies)


class _FolderNames:
    """Names for frame folders that no folder of the index has.

    A video that has changed gets new frames beside the old ones, as `<video>.2`: a run that reads
    the old ones goes on reading them.
    """

    def __init__(self, frames_dir: Path, comparison: Comparison):
        self._frames_dir = frames_dir
        self._places = find_places(frames_dir)
        self._listed = {record.key for record in (*comparison.records, *comparison.gone)}
        self._listed -= {record.key for record in comparison.missing}
        self._listed |= {record.key for record in comparison.gone}

    def choose(self, record: VideoRecord) -> VideoRecord:
        """Return the record with the name that its frame folder gets."""
        number = 2
        named = record
        while self._is_taken(named.key):
            named = record._replace(video=f"{record.video}.{number}")
            number += 1
        self._listed.add(named.key)
        return named

    def _is_taken(self, key: tuple[str, str]) -> bool:
        if key in self._listed or self._places.get(key) == REMOVED:
            return True
        if key in self._places:  # of a start that was killed before the journal named it
            shutil.rmtree(self._frames_dir / self._places[key] / key[0] / key[1])
        return False


class _Journal:
    """The index of what is extracted, row by row; a killed start continues from it."""

    def __init__(self, path: Path):
        self._path = path
        if not path.is_file():
            write_index(path, [])

    def add(self, record: VideoRecord) -> None:
        with open(self._path, "a", newline="", encoding="utf-8") as file:
            csv.writer(file).writerow(index_row(record))


class _DamagedList:
    """`damaged.csv`: the videos that are used as far as they can be decoded."""

    def __init__(self, path: Path, comparison: Comparison):
        self._path = path
        kept = {r.source for r in comparison.records if r.frames is not None}
        self._rows = [row for row in read_rows(path) if row[0] in kept]
        self._has_changed = False

    def add(self, record: VideoRecord, result: Extraction) -> None:
        damage = result.damage
        if damage is not None:
            first_time = f"{damage.first_time:.2f}"
            self._rows.append((record.source, damage.num_lost, damage.num_frames, first_time))
            self._has_changed = True

    def __enter__(self) -> "_DamagedList":
        return self

    def __exit__(self, *_) -> None:
        if self._rows:
            write_table(self._path, DAMAGED_COLUMNS, self._rows)
        else:
            self._path.unlink(missing_ok=True)


def _write_skipped(frames_dir: Path, skipped: Mapping[str, tuple]) -> None:
    write_table(frames_dir / SKIPPED, SKIPPED_COLUMNS, skipped.values())


# Copies, splits and places


def update_copies(settings: DataSettings, records: list[VideoRecord]) -> list[Copy]:
    """Look for videos that show the same, and write `copies.csv`."""
    if not settings.finds_copies:
        return []
    folders = [record.folder(settings.frames_dir) for record in records]
    copies = [Copy(*row) for row in find_copies(records, folders)]
    rows = ((copy.source, copy.original, copy.kind) for copy in copies)
    write_table(settings.frames_dir / COPIES, COPIES_COLUMNS, rows)
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
    return _split(frames.records, frames.copies, protocol, fold, split_dir)


def _split(
    records: list[VideoRecord],
    copies: list[Copy],
    protocol: str,
    fold: int = 1,
    split_dir: str | Path | None = None,
) -> list[VideoRecord]:
    pairs = [(copy.source, copy.original, copy.kind) for copy in copies]
    joined = join_groups(records, pairs, within_class=protocol.startswith("official"))
    try:
        return assign_splits(joined, protocol, fold, split_dir)
    except DataError as error:
        if not copies:
            raise
        raise DataError(
            f"{error}; {len(copies)} videos stay with those that show the same, see {COPIES}"
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
            os.renames(record.folder(frames_dir), target.folder(frames_dir))
        placed.append(target)
    return placed


def remove_gone(gone: list[VideoRecord], frames_dir: Path) -> None:
    """Move the frames of videos that are gone or have changed to the folder `removed`."""
    places = find_places(frames_dir)
    for record in gone:
        if places.get(record.key) in (None, REMOVED):
            continue
        located = record._replace(place=places[record.key])
        os.renames(located.folder(frames_dir), located._replace(place=REMOVED).folder(frames_dir))
    if gone:
        names = shorten(sorted({record.source for record in gone}))
        print(f"gone or changed, their frames are in {frames_dir / REMOVED}: {names}")


def prune(settings: DataSettings) -> None:
    """Delete the frames of videos that are gone or have changed; no run may read them any longer."""
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
            print(f"split {args.split or default_protocol(settings)}: {describe_sizes(split)}")
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
    split_dir = paths.split_dir(settings.name) if protocol.startswith("official") else None
    return split_records(frames, protocol, args.fold, split_dir)


def print_dry_run(settings: DataSettings, args: argparse.Namespace, paths) -> None:
    """Describe a data set by the headers of its videos."""
    videos = list_videos(settings.root_dir, settings.group_pattern)
    protocol = choose_protocol(settings, args.split, args.fold, videos)
    split_dir = paths.split_dir(settings.name) if protocol.startswith("official") else None
    try:
        videos = assign_splits(videos, protocol, args.fold, split_dir)
    except DataError as error:
        print(f"no split: {error}")
    print(describe_videos(settings.root_dir, videos, settings.source_fps, settings.image_prefix))


if __name__ == "__main__":
    main()
