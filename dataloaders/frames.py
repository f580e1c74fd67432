"""The frames that a data set has, and what its videos need beyond them.

Frames belong to a sampling: `OUTPUT/16x4_171x128/train/<Class>/<video>/00001.jpg`, with an index
beside train, val and test. Here they are only looked at; `dataloaders.preprocess` makes them.
"""

import contextlib
import csv
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from filelock import FileLock, Timeout

from dataloaders.clips import ClipConfig
from dataloaders.errors import DataError
from dataloaders.index import INDEX, PLACES, REMOVED, SPLITS, UNUSED, VideoRecord, read_index
from dataloaders.layouts import check_name_lengths, has_split, list_videos, split_source

JOURNAL = "index.journal"  # the index of what an interrupted start has extracted
COPIES = "copies.csv"
SKIPPED = "skipped.csv"
TIME_RESOLUTION = 2  # seconds, of the coarsest file system


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


def default_protocol(settings: DataSettings, records: Iterable[VideoRecord] = ()) -> str:
    """Return "folders" for a data set that says who is in train, val and test, else "group"."""
    sources = [record.source for record in records]
    return "folders" if has_split(settings.root_dir, sources) else "group"


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
    skipped = {} if force else still_skipped(frames_dir / SKIPPED, modified)

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
    comparison.records.sort(key=by_class_and_video)
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


def by_class_and_video(record: VideoRecord) -> tuple[str, str]:
    return record.key


def still_skipped(path: Path, modified: Mapping[str, float]) -> dict[str, tuple]:
    """Return the rows of `skipped.csv` whose videos have not changed since, by source."""
    skipped = {}
    for source, text, reason in read_rows(path):
        try:
            time = float(text)
        except ValueError:
            raise DataError(f"{path} is damaged: delete it and preprocess again") from None
        if source in modified and abs(time - modified[source]) < TIME_RESOLUTION:
            skipped[source] = (source, time, reason)
    return skipped


def read_rows(path: Path) -> list[tuple[str, ...]]:
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


def read_copies(settings: DataSettings) -> list[Copy]:
    """Return the copies that are known, of videos that may be gone since."""
    if not settings.finds_copies:
        return []
    return [Copy(*row) for row in read_rows(settings.frames_dir / COPIES)]


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
