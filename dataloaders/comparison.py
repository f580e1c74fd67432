"""What the videos of a data set are now, compared with the frames that are there."""

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from sys import intern

from dataloaders.errors import FileError
from dataloaders.files import named_errors, plural
from dataloaders.frames import COPIES, JOURNAL, DataSettings, SkippedVideo, read_skipped
from dataloaders.records import (
    INDEX,
    PLACES,
    REMOVED,
    SPLITS,
    UNUSED,
    VideoRecord,
    read_index,
)
from dataloaders.sources import check_name_lengths, has_split, list_videos, modification_times

TIME_RESOLUTION = 2  # seconds, of the coarsest file system

Rows = Mapping[tuple[str, str], VideoRecord]  # of the index, by (class, video)


@dataclass(frozen=True)
class Sources:
    """The videos of a data set, without frames.

    Attributes:
        records: The videos.
        modified: When each source was changed last, in seconds; empty where the videos are not
            there.
    """

    records: list[VideoRecord]
    modified: dict[str, float]


@dataclass(frozen=True)
class Comparison:
    """What the sources have now, compared with the frames that are there.

    Attributes:
        records: All videos that can be used, those with frames up to date with these.
        missing: Those of them without frames.
        gone: Rows of the index whose videos are removed or have changed.
        modified: When each source was changed last; empty where the videos are not there.
        skipped: Videos that cannot be decoded, by source.
        is_finished: Whether nothing has to be done.
    """

    records: list[VideoRecord]
    missing: list[VideoRecord]
    gone: list[VideoRecord]
    modified: dict[str, float]
    skipped: dict[str, SkippedVideo]
    is_finished: bool


def list_sources(settings: DataSettings) -> Sources | None:
    """List the videos of a data set; None where its folder is not there."""
    if not os.path.exists(settings.root_dir):
        return None
    records = list_videos(settings.root_dir, settings.group_pattern)
    check_name_lengths(records)
    sources = [record.source for record in records]
    return Sources(records, modification_times(settings.root_dir, sources))


def compare(
    settings: DataSettings,
    sources: Sources | None,
    journaled: Sequence[VideoRecord] = (),
    *,
    force: bool = False,
) -> Comparison:
    """Compare the videos with the frames that are there; nothing is written.

    Args:
        settings: The data set.
        sources: Its videos; None where they are not there.
        journaled: What an interrupted start has extracted, see `read_journal`.
        force: Whether the frames of all videos count as missing.

    Raises:
        FileError: Frames are missing, and so are the videos.
        DataError: A table of the frames is damaged.
    """
    frames_dir = settings.frames_dir
    rows = {record.key: record for record in (*_read_index(frames_dir), *journaled)}
    known = {} if force else _locate(rows, frames_dir)
    if sources is None:
        sources = _known_sources(settings, known)
    skipped = {} if force else _still_skipped(frames_dir, sources.modified)
    records = _with_frames(sources, known, skipped)
    missing = [record for record in records if record.frames is None]
    if missing and not sources.modified:
        raise FileError(
            f"{settings.root_dir}: no such folder, and {plural(len(missing), 'video')} without "
            f"frames in {frames_dir}; mypath.py says where the videos lie"
        )
    gone = _find_gone(rows, records)
    is_due = bool(missing or gone)
    return Comparison(
        records=records,
        missing=missing,
        gone=gone,
        modified=sources.modified,
        skipped=skipped,
        is_finished=not is_due and _is_recorded(settings, records, rows),
    )


def _read_index(frames_dir: Path) -> list[VideoRecord]:
    index = frames_dir / INDEX
    return read_index(index) if os.path.isfile(index) else []


def _find_gone(rows: Rows, records: Iterable[VideoRecord]) -> list[VideoRecord]:
    """Return the rows that are no record that has or had frames."""
    current = {record.key for record in records if record.modified is not None}
    return [record for key, record in rows.items() if key not in current]


def _known_sources(settings: DataSettings, known: Mapping[str, VideoRecord]) -> Sources:
    """Return the videos that frames are known of, in place of those that are not there."""
    if not known:
        raise FileError(f"{settings.root_dir}: no such folder. mypath.py says where the videos lie")
    is_given = has_split(settings.root_dir, known)
    records = []
    for record in known.values():
        split = record.split if is_given else None
        records.append(record._replace(split=split, frames=None, modified=None, place=None))
    return Sources(records, {})


def _with_frames(
    sources: Sources, known: Mapping[str, VideoRecord], skipped: Mapping[str, SkippedVideo]
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
    return sorted(records, key=attrgetter("key"))


def _is_up_to_date(record: VideoRecord, source: VideoRecord, modified: Mapping[str, float]) -> bool:
    """Whether a source has not changed since its frames were extracted.

    Where the videos are not there, they have not.
    """
    if record.class_name != source.class_name:
        return False
    return not modified or _is_same_time(record.modified, modified[source.source])


def _is_same_time(seconds: float, others: float) -> bool:
    return abs(seconds - others) < TIME_RESOLUTION


def _still_skipped(frames_dir: Path, modified: Mapping[str, float]) -> dict[str, SkippedVideo]:
    """Return the rows of `skipped.csv` whose videos have not changed since, by source."""
    skipped = {}
    for row in read_skipped(frames_dir):
        if row.source in modified and _is_same_time(row.modified, modified[row.source]):
            skipped[row.source] = row
    return skipped


def _locate(rows: Rows, frames_dir: Path) -> dict[str, VideoRecord]:
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
    with named_errors(folder):
        try:
            with os.scandir(folder) as entries:
                return [entry for entry in entries if entry.is_dir()]
        except FileNotFoundError:  # also where another process has just moved it
            return []


def _is_recorded(settings: DataSettings, records: Iterable[VideoRecord], rows: Rows) -> bool:
    """Whether the frames lie where they should, and the index and the copies say so."""
    frames_dir = settings.frames_dir
    if os.path.isfile(frames_dir / JOURNAL) or not os.path.isfile(frames_dir / INDEX):
        return False
    if settings.finds_copies and not os.path.isfile(frames_dir / COPIES):
        return False
    given = {record.split for record in records}
    for record in records:
        if rows[record.key]._replace(split=record.split) != record:
            return False
        # Where the data set gives no val, some videos of its train lie in val.
        if record.split not in (None, record.place) and record.place in given:
            return False
    return True


def read_journal(frames_dir: Path) -> list[VideoRecord]:
    """Return the rows whose frames are whole: a power failure may have emptied some."""
    journal = frames_dir / JOURNAL
    if not os.path.isfile(journal):
        return []
    records = read_index(journal, is_growing=True)
    return [record for record in records if _is_whole(record, frames_dir)]


def _is_whole(record: VideoRecord, frames_dir: Path) -> bool:
    for place in (*SPLITS, UNUSED):
        folder = record._replace(place=place).folder(frames_dir)
        if os.path.isdir(folder):
            with named_errors(folder):
                sizes = [entry.stat().st_size for entry in os.scandir(folder)]
            return len(sizes) == record.frames and all(sizes)
    return False
