"""The data of a run: preprocessed, split and validated."""

from argparse import Namespace
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dataloaders.arguments import choose_protocol, find_split_dir
from dataloaders.errors import DataError
from dataloaders.frames import DataSettings, PreparedFrames, count_damaged
from dataloaders.labels import class_names
from dataloaders.preprocess import preprocess, split_records
from dataloaders.records import (
    INDEX,
    SPLIT_FILE,
    VideoRecord,
    fingerprint,
    read_index,
    read_split,
    validate_same_data,
)
from dataloaders.splits import assign_splits, leaked_groups
from engine.distributed import Distributed
from engine.errors import UsageError
from engine.resume import PreviousRun


@dataclass(frozen=True)
class SplitRule:
    """Who is in train, val and test.

    Attributes:
        protocol: See `splits.assign_splits`.
        fold: The fifth of the groups that is tested.
        split_dir: The folder of official lists; None for a split that needs none.
        file: Where a run has stored its split; None for a new run.
    """

    protocol: str
    fold: int
    split_dir: str | None = None
    file: Path | None = None


@dataclass(frozen=True)
class RunData:
    """The data of a run.

    Attributes:
        settings: Of the data set.
        records: The videos with the split of the run.
        classes: The names in the order of their labels.
        fingerprint: By which a resumed run notices other data, see `records.fingerprint`.
        num_leaked_groups: Groups that are in more than one of train, val and test.
        num_damaged: Videos of the data set that are used as far as they can be decoded.
    """

    settings: DataSettings
    records: list[VideoRecord]
    classes: list[str]
    fingerprint: dict[str, list]
    num_leaked_groups: int
    num_damaged: int

    def part(self, name: str) -> list[VideoRecord]:
        """Return the videos of "train", "val" or "test"."""
        return [record for record in self.records if record.split == name]

    @property
    def tested_part(self) -> str:
        """The part that is tested: val where no video is in test."""
        return "test" if self.part("test") else "val"


def choose_split(
    args: Namespace, settings: DataSettings, paths: Any, previous: PreviousRun | None
) -> SplitRule:
    """Return who is in train, val and test by the flags, or else as the data set says.

    Args:
        args: The flags.
        settings: Of the data set.
        paths: `mypath.Path`, which knows the official lists.
        previous: The run that is resumed or tested; None for a new one.
    """
    protocol = choose_protocol(settings, args.split, args.fold)
    split_dir = find_split_dir(paths, args.dataset, protocol)
    file = None
    if previous is not None and (previous.folder / SPLIT_FILE).is_file():
        file = previous.folder / SPLIT_FILE
    return SplitRule(protocol, args.fold, split_dir, file)


def prepare_data(
    args: Namespace,
    settings: DataSettings,
    rule: SplitRule,
    distributed: Distributed,
    previous: PreviousRun | None = None,
) -> RunData:
    """Preprocess the videos where that is due, and split them.

    The first process of each machine extracts the frames while the others wait. Rank 0 makes the
    split, and the others take it from there.

    Args:
        args: The flags.
        settings: Of the data set.
        rule: Who is in train, val and test.
        distributed: The processes of the run.
        previous: The run that is resumed or tested; None for a new one.

    Raises:
        UserError: The videos cannot be used, are not those of the run, or the machines differ.
    """

    def check(records: list[VideoRecord]) -> None:
        split = assign_splits(records, rule.protocol, rule.fold, rule.split_dir)
        validate_split(split, rule)
        largest_batch_size(args, split, distributed)

    frames = None
    if distributed.local_rank == 0:
        # A resumed run reports differing videos instead.
        frames = preprocess(settings, check=None if previous else check)
    distributed.barrier()
    records = _share_split(settings, rule, frames, distributed)
    classes = class_names(settings.name, records)
    data_fingerprint = fingerprint(records)
    if distributed.broadcast_object((classes, data_fingerprint)) != (classes, data_fingerprint):
        raise _other_videos(settings)
    if previous is not None:
        validate_same_data(previous.checkpoint, classes, data_fingerprint)
    validate_split(records, rule)
    num_leaked = leaked_groups(records, rule.protocol)
    print(f"split {rule.protocol}: {num_leaked} groups in more than one of train, val and test")
    return RunData(
        settings=settings,
        records=records,
        classes=classes,
        fingerprint=data_fingerprint,
        num_leaked_groups=num_leaked,
        num_damaged=count_damaged(settings),
    )


def _share_split(
    settings: DataSettings,
    rule: SplitRule,
    frames: PreparedFrames | None,
    distributed: Distributed,
) -> list[VideoRecord]:
    """Return the split of rank 0, with the frames as they lie on this machine."""
    rows = None
    records = None
    if distributed.is_main:
        records = _make_split(rule, frames)
        rows = [(record.key, record.split, record.group) for record in records]
    rows = distributed.broadcast_object(rows)
    if records is not None:
        return records
    indexed = frames.records if frames else read_index(settings.frames_dir / INDEX)
    known = {record.key: record for record in indexed}
    if any(key not in known for key, _, _ in rows):
        raise _other_videos(settings)
    return [known[key]._replace(split=split, group=group) for key, split, group in rows]


def _make_split(rule: SplitRule, frames: PreparedFrames) -> list[VideoRecord]:
    """Read the split that a run has stored, or make that of a new run."""
    if rule.file is not None:
        return read_split(rule.file, frames.records)
    return split_records(frames, rule.protocol, rule.fold, rule.split_dir)


def _other_videos(settings: DataSettings) -> UsageError:
    return UsageError(
        f"{settings.output_dir}: not the videos that rank 0 has; "
        "compare skipped.csv on both machines"
    )


def validate_split(records: list[VideoRecord], rule: SplitRule) -> None:
    """Raise DataError where a split cannot be trained on.

    Args:
        records: The videos with their split.
        rule: By which it was made.
    """
    if rule.protocol == "group":  # others are as the user wants them
        num_leaked = leaked_groups(records, "group")
        if num_leaked:
            raise DataError(f"{num_leaked} groups leak between train, val and test")
    names = {record.class_name for record in records}
    if len(names) < 2:
        raise DataError(f"there is one class only, {names.pop()}: at least two are needed")


def largest_batch_size(
    args: Namespace, records: list[VideoRecord], distributed: Distributed
) -> int:
    """Return for how many clips in a batch of each process there are training videos.

    Args:
        args: The flags.
        records: The videos with their split.
        distributed: The processes that train together.

    Raises:
        UsageError: The batch of the flags is larger, or there are not enough for any.
    """
    num_clips = args.repeat * sum(record.split == "train" for record in records)
    largest = num_clips // (distributed.world_size * args.accumulate)
    wanted = args.batch_size or 1
    if wanted > largest and not args.test_only:
        given = f"--batch-size {wanted}"
        if args.accumulate > 1:
            given += f" --accumulate {args.accumulate}"
        raise UsageError(f"{given}: there are training videos for {largest} at most")
    return largest
