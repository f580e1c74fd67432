"""The frames of a data set, and the tables beside them.

Frames belong to a sampling: `OUTPUT/16x4_171x128/train/<Class>/<video>/00001.jpg`, with an index
beside train, val and test. `dataloaders.preprocess` makes them.
"""

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from filelock import FileLock, Timeout

from dataloaders.copies import Copy
from dataloaders.errors import DataError
from dataloaders.files import append_row, cut_incomplete_row, delete_file, read_table, write_table
from dataloaders.records import VideoRecord
from dataloaders.sampling import ClipConfig
from dataloaders.sources import has_split
from dataloaders.video import Damage

JOURNAL = "index.journal"  # the index of what an interrupted start has extracted
COPIES = "copies.csv"
COPIES_COLUMNS = ("source", "shows the same as", "kind")
SKIPPED = "skipped.csv"
SKIPPED_COLUMNS = ("source", "modified", "reason")
DAMAGED = "damaged.csv"
DAMAGED_COLUMNS = ("source", "frames lost", "of", "first time")


class SkippedVideo(NamedTuple):
    """A row of `skipped.csv`: a video that cannot be decoded."""

    source: str
    modified: float  # when it was changed last, in seconds
    reason: str


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


def default_protocol(settings: DataSettings, records: Iterable[VideoRecord] = ()) -> str:
    """Return "folders" for a data set that says who is in train, val and test, else "group".

    Args:
        settings: The data set.
        records: Its videos, by which this is known where their folder is gone.
    """
    sources = [record.source for record in records]
    return "folders" if has_split(settings.root_dir, sources) else "group"


def read_skipped(frames_dir: Path) -> list[SkippedVideo]:
    """Return the videos that could not be decoded."""
    return _read_growing(frames_dir / SKIPPED, SKIPPED_COLUMNS, _parse_skipped)


def _parse_skipped(row: dict[str, str]) -> SkippedVideo:
    return SkippedVideo(row["source"], float(row["modified"]), row["reason"])


def read_damaged(frames_dir: Path) -> list[dict[str, str]]:
    """Return the rows of `damaged.csv`: videos that are used as far as they can be decoded."""
    return _read_growing(frames_dir / DAMAGED, DAMAGED_COLUMNS, dict)


def count_damaged(settings: DataSettings) -> int:
    """Return how many videos are used only as far as they can be decoded."""
    return len(read_damaged(settings.frames_dir))


def read_copies(settings: DataSettings) -> list[Copy]:
    """Return the copies that are known, of videos that may be gone since."""
    if not settings.finds_copies:
        return []
    path = settings.frames_dir / COPIES
    if not os.path.isfile(path):
        return []
    return list(read_table(path, COPIES_COLUMNS, _parse_copy))


def _parse_copy(row: dict[str, str]) -> Copy:
    return Copy(*row.values())


def _read_growing(path: Path, columns: Sequence[str], parse: Callable[[dict], Any]) -> list:
    """Read a table that a killed start may have left with half a row; empty where there is none."""
    if not os.path.isfile(path):
        return []
    return list(read_table(path, columns, parse, is_growing=True))


def cut_incomplete_rows(frames_dir: Path) -> None:
    """Remove what a start has written of last rows when the disk was full."""
    for table in (SKIPPED, DAMAGED, JOURNAL):
        cut_incomplete_row(frames_dir / table)


def append_skipped(frames_dir: Path, video: SkippedVideo) -> None:
    """Add a video to `skipped.csv`.

    Args:
        frames_dir: The frames of a sampling.
        video: One that cannot be decoded.
    """
    append_row(frames_dir / SKIPPED, SKIPPED_COLUMNS, video)


def append_damaged(frames_dir: Path, source: str, damage: Damage) -> None:
    """Add a video to `damaged.csv`.

    Args:
        frames_dir: The frames of a sampling.
        source: Of its record.
        damage: What could not be decoded.
    """
    row = (source, damage.num_lost, damage.num_frames, f"{damage.first_time:.2f}")
    append_row(frames_dir / DAMAGED, DAMAGED_COLUMNS, row)


def write_skipped(frames_dir: Path, videos: Iterable[SkippedVideo]) -> None:
    """Write `skipped.csv`, in the order of the sources; without videos there is no such file.

    Args:
        frames_dir: The frames of a sampling.
        videos: Those that cannot be decoded.
    """
    _write_list(frames_dir / SKIPPED, SKIPPED_COLUMNS, videos)


def keep_damaged(frames_dir: Path, sources: set[str]) -> int:
    """Keep in `damaged.csv` the videos that have frames, in the order of the sources.

    Args:
        frames_dir: The frames of a sampling.
        sources: The videos that have frames.

    Returns:
        The number of damaged videos.
    """
    rows = {}  # the last one of a video that was extracted once more
    for row in read_damaged(frames_dir):
        if row["source"] in sources:
            rows[row["source"]] = tuple(row.values())
    _write_list(frames_dir / DAMAGED, DAMAGED_COLUMNS, rows.values())
    return len(rows)


def _write_list(path: Path, columns: Sequence[str], rows: Iterable[tuple]) -> None:
    rows = sorted(rows)
    if rows:
        write_table(path, columns, rows)
    else:
        delete_file(path)


@contextlib.contextmanager
def lock_frames(path: Path, what: Path) -> Iterator[None]:
    """Wait until no other process writes these frames, and keep others waiting until the end.

    Where the file system has no locks, or nothing can be written there, there is no lock.

    Args:
        path: The folder that is locked.
        what: What to call it while this process waits.
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
