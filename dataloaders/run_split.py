"""The split of a run, in which videos that show the same share a group."""

from pathlib import Path

from dataloaders.copies import Copy
from dataloaders.errors import DataError
from dataloaders.files import plural
from dataloaders.frames import COPIES, DataSettings, PreparedFrames, default_protocol
from dataloaders.groups import copies_across_groups, join_groups
from dataloaders.official_lists import find_official_split
from dataloaders.records import UNUSED, VideoRecord
from dataloaders.splits import assign_splits, official_number, report_untrained_classes


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
    number = official_number(protocol)
    if number is not None:
        find_official_split(frames.records, number, split_dir).report()
    split = _split(frames, protocol, fold, split_dir)
    report_untrained_classes(split)
    return split


def default_split(frames: PreparedFrames) -> list[VideoRecord]:
    """Return the records with the split by which their frames lie, see `default_places`."""
    joined = join_groups(frames.records, frames.copies, within_class=False)
    return [record._replace(split=record.place) for record in joined]


def _split(
    frames: PreparedFrames, protocol: str, fold: int = 1, split_dir: str | Path | None = None
) -> list[VideoRecord]:
    within_class = official_number(protocol) is not None
    joined = join_groups(frames.records, frames.copies, within_class=within_class)
    try:
        return assign_splits(joined, protocol, fold, split_dir)
    except DataError as error:
        num_joined = len(copies_across_groups(frames.records, frames.copies, are_joined=True))
        if not num_joined:
            raise
        raise DataError(
            f"{error}; {plural(num_joined, 'copy', 'copies')} must stay with the original, "
            f"see {COPIES}"
        ) from None


def default_places(
    settings: DataSettings, records: list[VideoRecord], copies: list[Copy]
) -> dict[str, str]:
    """Return in which folder the frames of each video lie, by source.

    That is the split that the data set has, or else the first fold of the split by groups. Where
    there is none, because a class has too few groups, all lie in `unused`.

    Args:
        settings: The data set.
        records: Its videos.
        copies: Those of them that show the same as others.
    """
    protocol = default_protocol(settings, records)
    try:
        placed = _split(PreparedFrames(settings.frames_dir, records, copies), protocol)
    except DataError:
        return {record.source: UNUSED for record in records}
    return {record.source: record.split for record in placed}
