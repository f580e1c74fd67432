"""The frames that a data set has, and what its videos need beyond them.

Frames belong to a sampling: `OUTPUT/16x4_171x128/train/<Class>/<video>/00001.jpg`, with an index
beside train, val and test. Here they are only looked at; `dataloaders.preprocess` makes them.
"""

import contextlib
import csv
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from sys import intern

from filelock import FileLock, Timeout

from dataloaders.copies import Copy
from dataloaders.errors import DataError, FileError
from dataloaders.records import INDEX, PLACES, REMOVED, SPLITS, UNUSED, VideoRecord, read_index
from dataloaders.sampling import ClipConfig
from dataloaders.sources import check_name_lengths, has_split, list_videos, modification_times

JOURNAL = "index.journal"  # the index of what an interrupted start has extracted
COPIES = "copies.csv"
COPIES_COLUMNS = ("source", "shows the same as", "kind")
SKIPPED = "skipped.csv"
SKIPPED_COLUMNS = ("source", "modified", "reason")
DAMAGED = "damaged.csv"
DAMAGED_COLUMNS = ("source", "frames lost", "of", "first time")
TIME_RESOLUTION = 2  # seconds, of the coarsest file system


@dataclass(frozen=True)
class DataSettings:
    """A data set and what its frames depend on.

    Attributes:
        name: Of the data set.
        root_dir: Its videos, see `sources.list_videos`.
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
        if not isinstance(self.finds_copies, bool):
            raise DataError(
                f"mypath.py: COPIES of {self.name!r} is {self.finds_copies!r}; "
                "it must be True or False"
            )
        if not 0.01 <= self.source_fps <= 1000:
            raise DataError(
                f"--source-fps {self.source_fps}: must be 0.01 to 1000; mypath.py has it too"
            )


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


def default_protocol(settings: DataSettings, records: Iterable[VideoRecord] = ()) -> str:
    """Return "folders" for a data set that says who is in train, val and test, else "group"."""
    sources = [record.source for record in records]
    return "folders" if has_split(settings.root_dir, sources) else "group"


def compare(
    settings: DataSettings, journaled: Sequence[VideoRecord] = (), *, force: bool = False
) -> Comparison:
    """Compare the videos with the frames that are there; nothing is written.

    Args:
        settings: The data set.
        journaled: What an interrupted start has extracted, see `read_journal`.
        force: Whether the frames of all videos count as missing.

    Raises:
        FileError: Frames are missing, and so are the videos.
        DataError: The data set or a table of the frames cannot be used.
    """
    frames_dir = settings.frames_dir
    indexed = _read_index_if_there(frames_dir / INDEX)
    rows = {record.key: record for record in (*indexed, *journaled)}
    known = {} if force else _locate(rows, frames_dir)
    sources = _list_sources(settings, known)
    skipped = {} if force else still_skipped(frames_dir / SKIPPED, sources.modified)

    records = _with_frames(sources, known, skipped)
    missing = [record for record in records if record.frames is None]
    current = {record.key for record in records if record.modified is not None}
    gone = [record for key, record in rows.items() if key not in current]
    if missing and not sources.modified:
        raise FileError(
            f"{settings.root_dir}: no such folder, and {len(missing)} videos have no frames in "
            f"{frames_dir}; mypath.py says where the videos lie"
        )
    is_finished = not missing and not gone and _is_recorded(settings, records, rows)
    return Comparison(records, missing, gone, sources.modified, skipped, is_finished)


def _read_index_if_there(index: Path) -> list[VideoRecord]:
    return read_index(index) if index.is_file() else []


@dataclass(frozen=True)
class _Sources:
    """The videos of a data set, without frames, and when each was changed last."""

    records: list[VideoRecord]
    modified: dict[str, float]


def _list_sources(settings: DataSettings, known: Mapping[str, VideoRecord]) -> _Sources:
    """List the videos, or, where they are not there, those that frames are known of."""
    if known and not settings.root_dir.exists():
        is_given = has_split(settings.root_dir, known)
        records = []
        for record in known.values():
            split = record.split if is_given else None
            records.append(record._replace(split=split, frames=None, modified=None, place=None))
        return _Sources(records, {})
    records = list_videos(settings.root_dir, settings.group_pattern)
    check_name_lengths(records, settings.output_dir)
    sources = [record.source for record in records]
    return _Sources(records, modification_times(settings.root_dir, sources))


def _with_frames(
    sources: _Sources, known: Mapping[str, VideoRecord], skipped: Mapping[str, tuple]
) -> list[VideoRecord]:
    """Return the videos that can be used, with what is known of those that have not changed.

    A video whose frames are lost keeps the name of its frame folder.
    """
    records = []
    for source in sources.records:
        if source.source in skipped:
            continue
        record = known.get(source.source)
        if record is not None and _is_up_to_date(record, source, sources.modified):
            source = source._replace(
                video=record.video,
                frames=record.frames,
                modified=record.modified,
                place=record.place,
            )
        records.append(source)
    return sorted(records, key=by_class_and_video)


def _locate(
    rows: Mapping[tuple[str, str], VideoRecord], frames_dir: Path
) -> dict[str, VideoRecord]:
    """Return the rows with the places where their frames lie now, by source.

    A row whose frames are lost has no frames and no place. Those whose frames lie in `removed` are
    left out.
    """
    places = find_places(frames_dir)
    located = {}
    for key, record in rows.items():
        place = places.get(key)
        if place is None:
            located[record.source] = record._replace(frames=None, place=None)
        elif place == record.place:
            located[record.source] = record
        elif place != REMOVED:
            located[record.source] = record._replace(place=place)
    return located


def find_places(frames_dir: Path) -> dict[tuple[str, str], str]:
    """Return in which folder each frame folder lies, by (class, video)."""
    places = {}
    for split in PLACES:
        for class_dir in _folders_in(frames_dir / split):
            class_name = intern(class_dir.name)
            for folder in _folders_in(class_dir):
                places.setdefault((class_name, folder.name), split)
    return places


def _folders_in(folder: str | os.PathLike) -> list[os.DirEntry]:
    try:
        with os.scandir(folder) as entries:
            return [entry for entry in entries if entry.is_dir()]
    except FileNotFoundError:
        return []


def _is_up_to_date(record: VideoRecord, source: VideoRecord, modified: Mapping[str, float]) -> bool:
    """Whether a source has not changed since its frames were extracted.

    Where the videos are not there, they have not.
    """
    if record.class_name != source.class_name:
        return False
    if not modified:
        return True
    return abs(record.modified - modified[source.source]) < TIME_RESOLUTION


def _is_recorded(
    settings: DataSettings,
    records: list[VideoRecord],
    rows: Mapping[tuple[str, str], VideoRecord],
) -> bool:
    """Whether the frames lie where they should, and the index and the copies say so."""
    frames_dir = settings.frames_dir
    if (frames_dir / JOURNAL).is_file() or not (frames_dir / INDEX).is_file():
        return False
    if settings.finds_copies and not (frames_dir / COPIES).is_file():
        return False
    given = {record.split for record in records}
    for record in records:
        if rows[record.key]._replace(split=record.split) != record:
            return False
        # Where the data set gives no val, some videos of its train lie in val.
        if record.split not in (None, record.place) and record.place in given:
            return False
    return True


def read_journal(journal: Path) -> list[VideoRecord]:
    """Return the rows whose frames are whole: a power failure may have emptied some."""
    if not journal.is_file():
        return []
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


def by_class_and_video(record: VideoRecord) -> tuple[str, str]:
    return record.key


def still_skipped(path: Path, modified: Mapping[str, float]) -> dict[str, tuple]:
    """Return the rows of `skipped.csv` whose videos have not changed since, by source."""
    skipped = {}
    for source, text, reason in read_rows(path, SKIPPED_COLUMNS):
        try:
            time = float(text)
        except ValueError:
            raise _damaged(path) from None
        if source in modified and abs(time - modified[source]) < TIME_RESOLUTION:
            skipped[source] = (source, time, reason)
    return skipped


def read_rows(path: Path, columns: Sequence[str]) -> list[tuple[str, ...]]:
    """Return the rows of a table beside the index; empty where there is no file.

    A last row that a killed start has not completed is left out.
    """
    if not path.is_file():
        return []
    try:
        with open(path, newline="", encoding="utf-8") as lines:
            header, *rows = csv.reader(line for line in lines if line.endswith("\n"))
    except (ValueError, csv.Error):
        raise _damaged(path) from None
    if tuple(header) != tuple(columns) or any(len(row) != len(columns) for row in rows):
        raise _damaged(path)
    return [tuple(row) for row in rows]


def _damaged(path: Path) -> DataError:
    return DataError(f"{path} is damaged: delete it and preprocess again")


def read_copies(settings: DataSettings) -> list[Copy]:
    """Return the copies that are known, of videos that may be gone since."""
    if not settings.finds_copies:
        return []
    return [Copy(*row) for row in read_rows(settings.frames_dir / COPIES, COPIES_COLUMNS)]


def count_damaged(settings: DataSettings) -> int:
    """Return how many videos are used only as far as they can be decoded."""
    return len(read_rows(settings.frames_dir / DAMAGED, DAMAGED_COLUMNS))


@contextlib.contextmanager
def lock_frames(path: Path, what: Path) -> Iterator[None]:
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
