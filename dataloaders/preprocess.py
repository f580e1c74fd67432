"""Videos -> train/val/test folders of JPEG frames, and their index.

`python -m dataloaders.preprocess DATASET` does ahead of time what the first training run does by
itself. Its steps:

1. The videos of the data set are listed (`list_sources`) and compared with the index (`compare`).
2. Frames of videos that are gone or have changed move to the folder `removed` (`remove_gone`).
3. The frames that are missing are extracted (`extract_missing`).
4. Videos that show the same are looked for (`update_copies`).
5. Each frame folder moves to its place, train, val or test (`place`).
6. The index is written, last of all.

Frames belong to a sampling: `OUTPUT/16x4_171x128/train/<Class>/<video>/00001.jpg`. A split belongs
to a run: `split_records` makes one, and moves nothing.
"""

import argparse
import contextlib
import os
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from operator import attrgetter
from pathlib import Path

from tqdm import tqdm

from dataloaders import demo
from dataloaders.arguments import (
    choose_protocol,
    find_split_dir,
    get_preprocess_parser,
    open_settings,
)
from dataloaders.comparison import Comparison, compare, list_sources, read_journal
from dataloaders.copies import Copy, find_copies
from dataloaders.dry_run import print_dry_run
from dataloaders.errors import DataError, UserError
from dataloaders.extract import Extraction, extract_all, make_job
from dataloaders.files import append_row, delete_file, named_errors, write_table
from dataloaders.frame_folders import FolderNames, move_folder, place, prune, remove_gone
from dataloaders.frames import (
    COPIES,
    COPIES_COLUMNS,
    JOURNAL,
    SKIPPED,
    DataSettings,
    PreparedFrames,
    SkippedVideo,
    append_damaged,
    append_skipped,
    count_damaged,
    cut_incomplete_rows,
    default_protocol,
    keep_damaged,
    lock_frames,
    read_copies,
    write_skipped,
)
from dataloaders.opencv import check_opencv
from dataloaders.records import (
    INDEX,
    INDEX_COLUMNS,
    VideoRecord,
    index_row,
    write_index,
    write_split,
)
from dataloaders.run_split import default_places, default_split, split_records
from dataloaders.sampling import ClipConfig
from dataloaders.summary import (
    Summary,
    describe_losses,
    describe_sizes,
    print_samplings,
    report_earlier_layout,
)
from dataloaders.workers import available_cores


def preprocess(
    settings: DataSettings,
    *,
    processes: int | None = None,
    check: Callable[[list[VideoRecord]], None] | None = None,
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
    if settings.name == "demo" and not os.path.exists(settings.root_dir):
        with lock_frames(settings.output_dir / ".demo", settings.root_dir):
            demo.write_videos(settings.root_dir)
    sources = list_sources(settings)
    comparison = compare(settings, sources, force=force)
    if comparison.is_finished:
        return _prepared(settings, comparison)
    if check is not None:
        check(comparison.records)
    frames_dir = settings.frames_dir
    with lock_frames(frames_dir, frames_dir):
        # Another process may have worked on the frames meanwhile.
        comparison = compare(settings, sources, read_journal(frames_dir), force=force)
        if comparison.is_finished:
            return _prepared(settings, comparison)
        return _update(settings, comparison, processes)


def _update(
    settings: DataSettings, comparison: Comparison, processes: int | None
) -> PreparedFrames:
    """Do all that a comparison found to be due; the caller holds the lock."""
    frames_dir = settings.frames_dir
    summary = Summary()

    # Frames of videos that are gone
    remove_gone(comparison.gone, frames_dir)

    # Frames of new videos
    records = comparison.records
    if comparison.missing:
        records = extract_missing(settings, comparison, summary, processes=processes)
    if not records:
        reasons = [video.reason for video in comparison.skipped.values()] + summary.transient
        raise DataError(
            f"{settings.root_dir}: none of its videos can be read, see {frames_dir / SKIPPED}; "
            f"the first: {reasons[0]}"
        )

    # Lists of skipped and damaged videos
    if comparison.modified:  # otherwise the videos are not there
        write_skipped(frames_dir, comparison.skipped.values())
    summary.num_damaged = keep_damaged(frames_dir, {record.source for record in records})

    # Copies, and the places that follow from the groups they join
    copies = update_copies(settings, records)
    places = default_places(settings, records, copies)
    records = place(records, places, frames_dir)

    # The index, last of all
    with contextlib.suppress(AttributeError):  # Windows
        os.sync()  # the index must not survive a power failure that its frames do not
    write_index(frames_dir / INDEX, records)
    delete_file(frames_dir / JOURNAL)
    frames = PreparedFrames(frames_dir, records, copies)
    summary.print(settings, comparison, frames)
    return frames


def _prepared(settings: DataSettings, comparison: Comparison) -> PreparedFrames:
    """Return frames of which nothing has to be done."""
    frames_dir = settings.frames_dir
    losses = describe_losses(frames_dir, len(comparison.skipped), count_damaged(settings))
    if losses:
        print(f"{frames_dir}: {'; '.join(losses)}")
    return PreparedFrames(frames_dir, comparison.records, read_copies(settings))


def extract_missing(
    settings: DataSettings,
    comparison: Comparison,
    summary: Summary,
    *,
    processes: int | None = None,
) -> list[VideoRecord]:
    """Extract the frames of the missing videos, each folder whole or not at all.

    Args:
        settings: The data set.
        comparison: What is missing; videos that cannot be decoded are added to its `skipped`.
        summary: What became of the videos is added to it.
        processes: Worker processes that decode, by default one more than cores.

    Returns:
        The records that have frames; those that could not be decoded are left out.

    Raises:
        FileError: Frames cannot be written.
    """
    frames_dir = settings.frames_dir
    partial = frames_dir / ".partial"
    shutil.rmtree(partial, ignore_errors=True)
    with named_errors(partial):
        # os.renames removes a folder that it empties.
        (partial / "placeholder").mkdir(parents=True)
    cut_incomplete_rows(frames_dir)
    places = default_places(settings, comparison.records, read_copies(settings))
    names = FolderNames(frames_dir, comparison)
    records = [record for record in comparison.records if record.frames is not None]
    missing = comparison.missing
    results = _start_extraction(settings, missing, partial, processes)
    title = f"{settings.name}: videos to frames"
    with contextlib.closing(results):
        for number, result in tqdm(results, title, len(missing), unit="video"):
            source = missing[number]
            modified = comparison.modified[source.source]
            if isinstance(result, DataError):
                if summary.add_skipped(result):
                    video = SkippedVideo(source.source, modified, str(result))
                    comparison.skipped[source.source] = video
                    append_skipped(frames_dir, video)
                continue
            record = names.choose(source)._replace(
                frames=result.num_frames, modified=modified, place=places[source.source]
            )
            move_folder(partial / str(number), record.folder(frames_dir))
            if result.damage is not None:
                append_damaged(frames_dir, record.source, result.damage)
            append_row(frames_dir / JOURNAL, INDEX_COLUMNS, index_row(record))
            records.append(record)
            summary.add(result)
    shutil.rmtree(partial, ignore_errors=True)
    return sorted(records, key=attrgetter("key"))


def _start_extraction(
    settings: DataSettings, missing: list[VideoRecord], partial: Path, processes: int | None
) -> Iterator[tuple[int, Extraction | DataError]]:
    """Extract the frames of the missing videos into folders of `partial`, named by number."""
    jobs = (make_job(settings, record, partial / str(i)) for i, record in enumerate(missing))
    if processes is None:
        processes = available_cores() + 1  # one more than cores: some wait for the disk
    return extract_all(jobs, min(processes, len(missing)))


def update_copies(settings: DataSettings, records: list[VideoRecord]) -> list[Copy]:
    """Look for videos that show the same, and write `copies.csv`.

    Args:
        settings: The data set.
        records: Its videos, which have frames.
    """
    if not settings.finds_copies:
        delete_file(settings.frames_dir / COPIES)  # it does not know new videos
        return []
    folders = [record.folder(settings.frames_dir) for record in records]
    copies = find_copies(records, folders)
    write_table(settings.frames_dir / COPIES, COPIES_COLUMNS, copies)
    return copies


# The command line


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line."""
    import mypath

    parser = get_preprocess_parser()
    args = parser.parse_args(argv)
    with contextlib.suppress(AttributeError):
        sys.stdout.reconfigure(errors="backslashreplace")  # names of files may be anything
    try:
        check_opencv()
        _run(mypath.Path, args)
    except UserError as error:
        parser.exit(2, f"{error}\n")
    except KeyboardInterrupt:
        parser.exit(130, "interrupted; the next start continues from here\n")


def _run(paths, args: argparse.Namespace) -> None:
    """Do what the flags say, with the data sets of `mypath.Path`."""
    if args.dry_run and args.page:
        raise UserError("--dry-run writes nothing, so it makes no page: leave one of the two out")
    config = ClipConfig.from_flags(
        args.crop_size, args.clip_len, args.frame_interval, args.frame_rate
    )
    settings = open_settings(paths, args.dataset, config, args.source_fps)
    if args.dry_run:
        print_dry_run(paths, settings, args.split, args.fold)
        return
    frames = preprocess(settings, force=args.force)
    if args.prune:
        prune(settings)
    print_samplings(settings)
    if args.split is not None or args.fold != 1 or args.output is not None:
        protocol = choose_protocol(settings, args.split, args.fold, frames.records)
        split_dir = find_split_dir(paths, settings.name, protocol)
        split = split_records(frames, protocol, args.fold, split_dir)
        print(f"the split of these flags: {describe_sizes(split)}")
        if args.output is not None:
            write_split(args.output, split)
    elif args.page:
        protocol = default_protocol(settings, frames.records)
        split = default_split(frames)
    if args.page:
        from dataloaders.page import write_data_page

        page = write_data_page(settings, frames, split, protocol=protocol, fold=args.fold)
        print(f"look at the data: {page.absolute().as_uri()}")


if __name__ == "__main__":
    main()
