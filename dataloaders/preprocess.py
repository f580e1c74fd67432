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
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from filelock import FileLock, Timeout
from tqdm import tqdm

from dataloaders import demo
from dataloaders.clips import CROP_SIZE, ClipConfig
from dataloaders.copies import find_copies, join_groups
from dataloaders.errors import DataError, TransientReadError
from dataloaders.extract import Extraction, ExtractionJob, extract_all
from dataloaders.index import (
    INDEX,
    PLACES,
    REMOVED,
    SPLITS,
    UNUSED,
    VideoRecord,
    index_row,
    read_index,
    shorten,
    write_index,
    write_split,
    write_table,
)
from dataloaders.layouts import (
    check_name_lengths,
    describe_videos,
    has_split,
    list_videos,
    split_source,
)
from dataloaders.splits import PROTOCOLS, assign_splits
from dataloaders.workers import available_cores

DESCRIPTION = "Videos -> train/val/test folders of JPEG frames, and their index."
JOURNAL = "index.journal"  # the index of what an interrupted start has extracted
COPIES = "copies.csv"
COPIES_COLUMNS = ("source", "shows the same as", "kind")
SKIPPED = "skipped.csv"
SKIPPED_COLUMNS = ("source", "modified", "reason")
DAMAGED = "damaged.csv"
DAMAGED_COLUMNS = ("source", "frames lost", "of", "first time")
TIME_RESOLUTION = 2  # seconds, of the coarsest file system

Check = Callable[[list[VideoRecord]], None]


@dataclass(frozen=True)
class DataSettings:
    """A data set and what its frames depend on.

    Attributes:
        name: Of the data set.
        root_dir: Its videos, see `layouts.list_videos`.
        output_dir: The folder for frames of all samplings.
        config: The clips that the frames are for.
        group_pattern: A regular expression that finds the group in the path of a video.
        source_fps: Frame rate of folders of images.
        image_prefix: Beginning of the names of the images to take from such folders.
        finds_copies: Whether videos that show the same are looked for.
    """

    name: str
    root_dir: Path
    output_dir: Path
    config: ClipConfig = field(default_factory=ClipConfig)
    group_pattern: str | None = None
    source_fps: float = 25.0
    image_prefix: str | None = None
    finds_copies: bool = True

    @property
    def frames_dir(self) -> Path:
        """The folder of the frames of this sampling."""
        return self.output_dir / self.config.sampling(self.source_fps, self.image_prefix)

    def validate(self) -> None:
        """Raise DataError where the folders or the frame rate cannot be used."""
        root = Path(os.path.realpath(self.root_dir))
        output = Path(os.path.realpath(self.output_dir))
        if output in (root, *root.parents) or root in output.parents:
            raise DataError(
                f"{self.output_dir}: the folder for the frames must lie outside {self.root_dir}; "
                "mypath.py names both"
            )
        if not 0.01 <= self.source_fps <= 1000:
            raise DataError(
                f"--source-fps {self.source_fps}: must be 0.01 to 1000; mypath.py has it too"
            )


@dataclass(frozen=True)
class Copy:
    """A video that shows the same as another, by their sources."""

    source: str
    original: str
    kind: str


@dataclass(frozen=True)
class PreparedFrames:
    """The frames of a data set, up to date.

    Attributes:
        frames_dir: The folder that the places of the records lie in.
        records: The videos that have frames, sorted by class and video; their `split` is what the
            data set itself says, None where it says nothing.
        copies: Those of them that show the same as others.
    """

    frames_dir: Path
    records: list[VideoRecord]
    copies: list[Copy]


@dataclass
class Comparison:
    """What the sources have now, compared with the frames that are there.

    Attributes:
        records: All videos that can be used, those with frames up to date with these.
        missing: Those of them without frames.
        gone: Rows of the index whose videos are removed or have changed.
        modified: When each source was changed last; empty where the videos are not there.
        skipped: Videos that cannot be decoded, by source, as rows of `skipped.csv`.
        is_finished: Whether nothing has to be done.
    """

    records: list[VideoRecord]
    missing: list[VideoRecord]
    gone: list[VideoRecord]
    modified: dict[str, float]
    skipped: dict[str, tuple]
    is_finished: bool = False


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
        with _lock(settings.output_dir / ".demo", settings.root_dir):
            demo.write_videos(settings.root_dir)
    comparison = compare(settings)
    if comparison.is_finished and not force:
        return _prepared(settings, comparison.records)
    if check is not None:
        check(comparison.records)
    frames_dir = settings.frames_dir
    with _lock(frames_dir, frames_dir):
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


# What is there and what is missing


def compare(settings: DataSettings, *, force: bool = False) -> Comparison:
    """Compare the videos with the frames that are there; nothing is written."""
    frames_dir = settings.frames_dir
    journal = frames_dir / JOURNAL
    indexed = read_index(frames_dir / INDEX) if (frames_dir / INDEX).is_file() else []
    journaled = _read_journal(journal) if journal.is_file() else []
    if settings.root_dir.exists() or not indexed:
        sources = list_videos(settings.root_dir, settings.group_pattern)
        check_name_lengths(sources, settings.output_dir)
        modified = {record.source: _modification_time(settings, record) for record in sources}
    else:
        sources = [record._replace(place=None) for record in indexed]
        modified = {}
    places = find_places(frames_dir)
    known = {}
    for record in (*indexed, *journaled):
        located = record._replace(place=places.get(record.key))
        if located.place not in (None, REMOVED) and not force:
            known[record.source] = located
    skipped = {} if force else _still_skipped(frames_dir / SKIPPED, modified)

    comparison = Comparison([], [], [], modified, skipped)
    for source in sources:
        if source.source in skipped:
            continue
        row = known.get(source.source)
        if row is None or not _is_up_to_date(row, modified):
            comparison.missing.append(source)
            comparison.records.append(source)
        else:
            comparison.records.append(
                source._replace(
                    video=row.video, frames=row.frames, modified=row.modified, place=row.place
                )
            )
    comparison.records.sort(key=_by_class_and_video)
    current = {record.key for record in comparison.records if record.frames is not None}
    listed = {record.key: record for record in (*indexed, *journaled)}
    comparison.gone = [record for key, record in listed.items() if key not in current]
    comparison.is_finished = (
        not comparison.missing
        and not comparison.gone
        and not journal.is_file()
        and (frames_dir / INDEX).is_file()
        and all(record.place == places[record.key] for record in indexed)
        and (not settings.finds_copies or (frames_dir / COPIES).is_file())
    )
    return comparison


def find_places(frames_dir: Path) -> dict[tuple[str, str], str]:
    """Return in which folder each frame folder lies, by (class, video)."""
    places = {}
    for split in PLACES:
        for class_dir in _folders_in(frames_dir / split):
            for folder in _folders_in(class_dir):
                places.setdefault((class_dir.name, folder.name), split)
    return places


def _folders_in(folder: Path) -> list[os.DirEntry]:
    try:
        with os.scandir(folder) as entries:
            return [entry for entry in entries if entry.is_dir()]
    except FileNotFoundError:
        return []


def _modification_time(settings: DataSettings, record: VideoRecord) -> float:
    path, _, _ = split_source(settings.root_dir, record.source)
    return os.stat(path).st_mtime


def _is_up_to_date(row: VideoRecord, modified: Mapping[str, float]) -> bool:
    """Whether the source of frames has not changed since; where the sources are gone, it has not."""
    if not modified:
        return True
    return abs(row.modified - modified[row.source]) < TIME_RESOLUTION


def _read_journal(journal: Path) -> list[VideoRecord]:
    """Return the rows whose frames are whole: a power failure may have emptied some."""
    return [
        record
        for record in read_index(journal, is_growing=True)
        if _is_whole(record, journal.parent)
    ]


def _is_whole(record: VideoRecord, frames_dir: Path) -> bool:
    for place_name in SPLITS + (UNUSED,):
        folder = record._replace(place=place_name).folder(frames_dir)
        if folder.is_dir():
            sizes = [entry.stat().st_size for entry in os.scandir(folder)]
            return len(sizes) == record.frames and all(sizes)
    return False


def _by_class_and_video(record: VideoRecord) -> tuple[str, str]:
    return record.key


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
    return sorted(extracted.values(), key=_by_class_and_video)


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
        self._rows = [row for row in _read_table(path) if row[0] in kept]
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


def _still_skipped(path: Path, modified: Mapping[str, float]) -> dict[str, tuple]:
    """Return the rows of `skipped.csv` whose videos have not changed since, by source."""
    skipped = {}
    for source, text, reason in _read_table(path):
        try:
            time = float(text)
        except ValueError:
            raise DataError(f"{path} is damaged: delete it and preprocess again") from None
        if source in modified and abs(time - modified[source]) < TIME_RESOLUTION:
            skipped[source] = (source, time, reason)
    return skipped


def _read_table(path: Path) -> list[tuple[str, ...]]:
    """Return the rows of a small table below its first line; empty where there is no file."""
    if not path.is_file():
        return []
    try:
        with open(path, newline="", encoding="utf-8") as lines:
            header, *rows = csv.reader(lines)
    except (ValueError, csv.Error):
        raise DataError(f"{path} is damaged: delete it and preprocess again") from None
    if any(len(row) != len(header) for row in rows):
        raise DataError(f"{path} is damaged: delete it and preprocess again")
    return [tuple(row) for row in rows]


# Copies, splits and places


def read_copies(settings: DataSettings) -> list[Copy]:
    """Return the copies that are known, of videos that may be gone since."""
    if not settings.finds_copies:
        return []
    return [Copy(*row) for row in _read_table(settings.frames_dir / COPIES)]


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


def default_protocol(settings: DataSettings, records: Iterable[VideoRecord] = ()) -> str:
    """Return "folders" for a data set that says who is in train, val and test, else "group"."""
    sources = [record.source for record in records]
    return "folders" if has_split(settings.root_dir, sources) else "group"


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


# What is printed


@dataclass
class Summary:
    """What became of the videos of one start."""

    transient: list[str] = field(default_factory=list)
    num_repeated: int = 0
    num_damaged: int = 0
    num_without_times: int = 0

    def add(self, result: Extraction) -> None:
        self.num_repeated += result.is_repeated
        self.num_damaged += result.damage is not None
        self.num_without_times += not result.has_timestamps

    def add_skipped(
        self, comparison: Comparison, record: VideoRecord, modified: float, error: DataError
    ) -> None:
        """Report a video that is skipped, and remember it where the fault is its own."""
        tqdm.write(f"skipped: {error}", file=sys.stderr)
        if isinstance(error, TransientReadError):
            self.transient.append(str(error))
        else:
            comparison.skipped[record.source] = (record.source, modified, str(error))

    def print(
        self,
        settings: DataSettings,
        comparison: Comparison,
        records: list[VideoRecord],
        copies: list[Copy],
    ) -> None:
        """Print what there is now, and what is worth a look."""
        frames_dir = settings.frames_dir
        skipped = len(comparison.skipped)
        rate = settings.config.frame_rate
        notes = [f"{frames_dir}: {describe_sizes(records)}"]
        if skipped:
            notes.append(f"{skipped} skipped, see {frames_dir / SKIPPED}")
            notes.append("without that file they are tried again")
        if self.num_damaged:
            notes.append(f"{self.num_damaged} damaged, see {frames_dir / DAMAGED}")
        if self.transient:
            count = len(self.transient)
            notes.append(f"{count} cannot be read now, the next start tries them again")
        if self.num_repeated:
            notes.append(
                f"{self.num_repeated} have fewer than {rate:g} frames a second: frames repeat"
            )
        if self.num_without_times:
            count = self.num_without_times
            notes.append(f"{count} have no time stamps: their frames are counted by the rate")
        print("; ".join(notes))
        print_copies(records, copies, frames_dir)
        if len({record.group for record in records}) == len(records):
            print(
                "each video is a group of its own: where some are cut from one recording, "
                "the test is too easy"
            )


def describe_sizes(records: list[VideoRecord]) -> str:
    """Return the number of videos and classes, and the videos of each split or place."""
    counts = Counter(record.split or record.place for record in records)
    names = [name for name in (*SPLITS, UNUSED) if counts[name] or name != UNUSED]
    sizes = ", ".join(f"{name} {counts[name]}" for name in names)
    num_classes = len({record.class_name for record in records})
    return f"{len(records)} videos of {num_classes} classes ({sizes})"


def print_copies(records: list[VideoRecord], copies: list[Copy], frames_dir: Path) -> None:
    """Print the copies that join groups."""
    group_of = {record.source: record.group for record in records}
    joined = [copy for copy in copies if group_of[copy.source] != group_of[copy.original]]
    if not joined:
        return
    counts = Counter(copy.kind for copy in joined).most_common()
    kinds = ", ".join(f"{count} {kind}" for kind, count in counts)
    print(
        f"{len(joined)} videos show the same as others, whose group they share ({kinds}), "
        f"see {frames_dir / COPIES}:"
    )
    print("  " + shorten([f"{copy.source} = {copy.original}" for copy in joined]))


def report_earlier_layout(settings: DataSettings) -> None:
    """Name frames that an earlier version has laid out; they are left alone."""
    if (settings.output_dir / INDEX).is_file():
        print(
            f"{settings.output_dir}: {INDEX}, train, val and test are of an earlier version and "
            "not used; they can be deleted"
        )


def print_samplings(settings: DataSettings) -> None:
    """Print the samplings whose frames are there, with their sizes on disk."""
    for index in sorted(settings.output_dir.glob(f"*/{INDEX}")):
        folder = index.parent
        files = [path for path in folder.rglob("*") if path.is_file()]
        size = sum(path.stat().st_size for path in files)
        mark = " (this one)" if folder == settings.frames_dir else ""
        print(f"{folder}: {len(read_index(index))} videos, {size / 1e6:,.1f} MB{mark}")


# Locks


@contextlib.contextmanager
def _lock(path: Path, what: Path) -> Iterator[None]:
    """Wait until no other process writes these frames, and keep others waiting until the end.

    Where the file system has no locks, or nothing can be written there, there is no lock.
    """
    lock = FileLock(path.with_name(f".{path.name.removeprefix('.')}.lock"))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=0)
    except Timeout:
        print(f"another process is preparing {what}: waiting for it", flush=True)
        lock.acquire()
    except (OSError, NotImplementedError):
        pass
    try:
        yield
    finally:
        lock.release()


# The command line


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line."""
    import mypath

    with contextlib.suppress(AttributeError):
        sys.stdout.reconfigure(errors="backslashreplace")  # names of files may be anything
    parser = get_args_parser()
    args = parser.parse_args(argv)
    try:
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


def settings_of(paths, args: argparse.Namespace) -> DataSettings:
    """Return the settings of a data set by `mypath.Path` and the flags of `add_data_arguments`."""
    config = ClipConfig.from_flags(
        args.crop_size, args.clip_len, args.frame_interval, args.frame_rate
    )
    return open_settings(paths, args.dataset, config, args.source_fps)


def open_settings(
    paths, name: str, config: ClipConfig, source_fps: float | None = None
) -> DataSettings:
    """Return the settings of a data set by `mypath.Path`, with its frames for clips of `config`."""
    root_dir, output_dir = paths.db_dir(name)
    options = paths.options(name, source_fps)
    return DataSettings(name, Path(root_dir), Path(output_dir), config, **options)


def make_split(
    frames: PreparedFrames, settings: DataSettings, args: argparse.Namespace, paths
) -> list[VideoRecord]:
    """Make the split that the flags name."""
    protocol = choose_protocol(settings, args.split, args.fold, frames.records)
    split_dir = paths.split_dir(settings.name) if protocol.startswith("official") else None
    return split_records(frames, protocol, args.fold, split_dir)


def choose_protocol(
    settings: DataSettings, split: str | None, fold: int, records: Iterable[VideoRecord] = ()
) -> str:
    """Return `split`, by default that of the data set, if it has one.

    Raises:
        DataError: A fold of another split than "group" is asked for.
    """
    protocol = split or default_protocol(settings, records)
    if split is None and protocol == "folders":
        print(f"--split folders: {settings.root_dir} says which videos are in train, val and test")
    if fold != 1 and protocol != "group":
        raise DataError(f"--fold {fold}: only --split group has folds, not {protocol}")
    return protocol


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
