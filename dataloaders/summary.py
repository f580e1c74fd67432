"""What preprocessing prints: what became of the videos, and which frames there are."""

import contextlib
import os
import sys
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from tqdm import tqdm

from dataloaders.comparison import Comparison
from dataloaders.copies import Copy
from dataloaders.errors import DataError, TransientReadError
from dataloaders.extract import Extraction
from dataloaders.files import plural, shorten
from dataloaders.frames import COPIES, DAMAGED, SKIPPED, DataSettings, PreparedFrames
from dataloaders.groups import copies_across_groups
from dataloaders.records import INDEX, SPLITS, UNUSED, VideoRecord, read_index


@dataclass
class Summary:
    """What became of the videos of one start."""

    transient: list[str] = field(default_factory=list)
    num_repeated: int = 0
    num_damaged: int = 0
    num_without_times: int = 0

    def add(self, result: Extraction) -> None:
        """Count a video that was extracted."""
        self.num_repeated += result.is_repeated
        self.num_without_times += not result.has_timestamps

    def add_skipped(self, error: DataError) -> bool:
        """Report a video that is skipped, and return whether the fault is surely its own."""
        tqdm.write(f"skipped: {error}", file=sys.stderr)
        if isinstance(error, TransientReadError):
            self.transient.append(str(error))
            return False
        return True

    def print(self, settings: DataSettings, comparison: Comparison, frames: PreparedFrames) -> None:
        """Print what there is now, and what is worth a look.

        Args:
            settings: The data set.
            comparison: What it had before.
            frames: The frames that it has now.
        """
        records = frames.records
        placed = [record._replace(split=record.place) for record in records]
        notes = [f"{frames.frames_dir}: {describe_sizes(placed)}"]
        notes += describe_losses(frames.frames_dir, len(comparison.skipped), self.num_damaged)
        if self.transient:
            count = len(self.transient)
            notes.append(f"{count} cannot be read now, the next start tries them again")
        if self.num_repeated:
            rate = settings.config.frame_rate
            notes.append(
                f"{self.num_repeated} have fewer than {rate:g} frames a second: frames repeat"
            )
        if self.num_without_times:
            count = self.num_without_times
            notes.append(f"{count} have no time stamps: their frames are counted by the rate")
        print("; ".join(notes))
        _print_copies(frames)
        if len({record.group for record in records}) == len(records):
            print(
                "each video is a group of its own: where some are cut from one recording, "
                "the test is too easy"
            )


def describe_losses(frames_dir: Path, num_skipped: int, num_damaged: int) -> list[str]:
    """Return what to say of videos that are not used, or not as a whole.

    Args:
        frames_dir: The frames of a sampling.
        num_skipped: Videos that cannot be decoded.
        num_damaged: Videos that are used as far as they can be decoded.
    """
    notes = []
    if num_skipped:
        notes.append(f"{num_skipped} skipped, see {frames_dir / SKIPPED}")
        notes.append("without that file they are tried again")
    if num_damaged:
        notes.append(f"{num_damaged} damaged, see {frames_dir / DAMAGED}")
    return notes


def describe_sizes(records: list[VideoRecord]) -> str:
    """Return the number of videos and classes, and the videos of each split."""
    counts = Counter(record.split for record in records)
    names = [name for name in (*SPLITS, UNUSED) if counts[name] or name != UNUSED]
    sizes = ", ".join(f"{name} {counts[name]}" for name in names)
    num_classes = len({record.class_name for record in records})
    videos = plural(len(records), "video")
    return f"{videos} of {plural(num_classes, 'class', 'classes')} ({sizes})"


def _print_copies(frames: PreparedFrames) -> None:
    """Print the copies of videos of other groups."""
    table = frames.frames_dir / COPIES
    joined = copies_across_groups(frames.records, frames.copies, are_joined=True)
    apart = copies_across_groups(frames.records, frames.copies, are_joined=False)
    _print_some_copies(joined, "whose group they share", table)
    _print_some_copies(apart, "of other groups, which stay apart as you named them", table)


def _print_some_copies(copies: list[Copy], which: str, table: Path) -> None:
    if not copies:
        return
    counts = Counter(copy.kind for copy in copies).most_common()
    kinds = ", ".join(f"{count} {kind}" for kind, count in counts)
    print(f"videos that show the same as others, {which}: {len(copies)} ({kinds}), see {table}:")
    print("  " + shorten([f"{copy.source} = {copy.original}" for copy in copies]))


def report_earlier_layout(settings: DataSettings) -> None:
    """Name frames that an earlier version has laid out; they are left alone."""
    if os.path.isfile(settings.output_dir / INDEX):
        print(
            f"{settings.output_dir}: {INDEX}, train, val and test are of an earlier version and "
            "not used; they can be deleted"
        )


def print_samplings(settings: DataSettings) -> None:
    """Print the samplings whose frames are there, with their sizes on disk."""
    for index in sorted(settings.output_dir.glob(f"*/{INDEX}")):
        folder = index.parent
        videos = plural(len(read_index(index)), "video")
        mark = " (this one)" if folder == settings.frames_dir else ""
        print(f"{folder}: {videos}, {_size_of(folder) / 1e6:,.1f} MB{mark}")


def _size_of(folder: str | os.PathLike) -> int:
    """Return the bytes of all files in a folder and below."""
    size = 0
    # Another process may move what is in it meanwhile.
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            size += _size_of(entry) if entry.is_dir() else entry.stat().st_size
    return size
