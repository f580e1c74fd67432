"""The data of a run: preprocessed, split, validated and loaded."""

import math
from argparse import Namespace
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from dataloaders.arguments import choose_protocol, find_split_dir
from dataloaders.dataset import ClipLoader, EvalWindows, TrainClips
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
from dataloaders.samplers import DistributedBatchSampler, shard_indices
from dataloaders.sampling import ClipConfig
from dataloaders.splits import assign_splits, leaked_groups
from dataloaders.transforms import Augmentation
from dataloaders.workers import describe_missing_shared_memory, worker_init_fn
from engine.args import BATCH_SIZE, PreviousRun
from engine.config import TrainConfig
from engine.distributed import Distributed
from engine.errors import UsageError

PREFETCHED = 2  # batches that a worker of a DataLoader makes ahead


@dataclass(frozen=True)
class SplitRule:
    """Who is in train, val and test.

    Attributes:
        protocol: See `splits.assign_splits`.
        fold: The fifth of the groups that is tested.
        lists_dir: The folder of official lists; None for a split that needs none.
        file: Where a run has stored its split; None for a new run.
    """

    protocol: str
    fold: int
    lists_dir: str | None = None
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


@dataclass(frozen=True)
class Loaders:
    """The loaders of one process.

    Attributes:
        train: Random clips, in the order of a `DistributedBatchSampler`.
        val: The middle window of every video.
        test: Several windows of every video.
    """

    train: ClipLoader
    val: ClipLoader
    test: ClipLoader

    @property
    def sampler(self) -> DistributedBatchSampler:
        """The sampler of the training clips."""
        return self.train.batch_sampler


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
    lists_dir = find_split_dir(paths, args.dataset, protocol)
    file = None
    if previous is not None and (previous.folder / SPLIT_FILE).is_file():
        file = previous.folder / SPLIT_FILE
    return SplitRule(protocol, args.fold, lists_dir, file)


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
        split = assign_splits(records, rule.protocol, rule.fold, rule.lists_dir)
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
    return split_records(frames, rule.protocol, rule.fold, rule.lists_dir)


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
    num_videos = sum(record.split == "train" for record in records)
    largest = num_videos // (distributed.world_size * args.accumulate)
    wanted = args.batch_size or 1
    if wanted > largest and not args.test_only:
        given = f"--batch-size {wanted}"
        if args.accumulate > 1:
            given += f" --accumulate {args.accumulate}"
        raise UsageError(f"{given}: there are training videos for {largest} at most")
    return largest


def choose_batch_size(args: Namespace, data: RunData, distributed: Distributed) -> int:
    """Return how many clips a batch of each process has.

    Args:
        args: The flags.
        data: Of the run.
        distributed: The processes that train together.

    Raises:
        UsageError: There are too few training videos, or the loader processes would not have the
            shared memory that they need.
    """
    largest = largest_batch_size(args, data.records, distributed)
    batch_size = args.batch_size
    if batch_size is None:
        batch_size = max(1, min(BATCH_SIZE, largest))
        if largest < BATCH_SIZE:
            print(f"--batch-size {batch_size}: there are no more training videos")
    processes = distributed.local_world_size
    validate_workers(args.workers, batch_size, data.settings.config, processes)
    return batch_size


def validate_workers(workers: int, batch_size: int, clip: ClipConfig, processes: int) -> None:
    """Raise UsageError where loader processes would not have the shared memory that they need.

    Args:
        workers: Loader processes of each process that trains.
        batch_size: Clips in a batch.
        clip: How clips are cut.
        processes: How many processes of this machine train, each with workers of its own.
    """
    if workers == 0:
        return
    clip_bytes = clip.channels * math.prod(clip.shape)
    batches = PREFETCHED * workers * processes
    reason = describe_missing_shared_memory(batches * batch_size * clip_bytes)
    if reason:
        raise UsageError(
            f"--workers {workers}: {reason}; --workers 0 needs none, and in a container "
            "docker run --shm-size 8g gives more"
        )


def build_loaders(
    config: TrainConfig,
    data: RunData,
    distributed: Distributed,
    *,
    workers: int,
    device: torch.device,
) -> Loaders:
    """Build the loaders of this process.

    Args:
        config: Of the run.
        data: Of the run.
        distributed: The processes that train together.
        workers: Loader processes of each loader.
        device: Where the network is computed.
    """
    frames_dir = data.settings.frames_dir
    clip = data.settings.config
    options = {
        "num_workers": workers,
        "persistent_workers": workers > 0,
        "worker_init_fn": worker_init_fn,
        "pin_memory": device.type == "cuda",
    }

    def open_windows(part: str, windows: int) -> ClipLoader:
        dataset = EvalWindows(frames_dir, data.part(part), data.classes, clip, windows=windows)
        items = shard_indices(dataset, distributed.rank, distributed.world_size)
        return ClipLoader(dataset, batch_size=config.batch_size, sampler=items, **options)

    augmentation = Augmentation(min_scale=config.min_scale, flip=not config.no_flip)
    train = TrainClips(
        frames_dir, data.part("train"), data.classes, clip, augmentation=augmentation
    )
    sampler = DistributedBatchSampler(
        len(train),
        config.batch_size,
        config.seed,
        rank=distributed.rank,
        world_size=distributed.world_size,
        accumulate=config.accumulate,
        weights=train.class_weights()[train.labels] if config.balance == "sampler" else None,
    )
    if data.tested_part == "val":
        print("there is no test: val is what is tested")
    return Loaders(
        train=ClipLoader(train, batch_sampler=sampler, **options),
        val=open_windows("val", 1),
        test=open_windows(data.tested_part, config.test_windows),
    )


def describe_divergence(loaders: Loaders, position: int, last: Path) -> str:
    """Say where a loss was not finite: the step, its videos, and the last checkpoint before it.

    Args:
        loaders: Of the run.
        position: Clips of the epoch before the batch.
        last: The last checkpoint, which may not be there yet.
    """
    sampler = loaders.sampler
    sources = loaders.train.dataset.sources
    batch = sampler.order()[position:][: sampler.batch_size * sampler.world_size]
    videos = ", ".join(sources[video] for video in batch)
    step_of_epoch = position // sampler.clips_per_step
    step = (sampler.epoch - 1) * sampler.steps_per_epoch + step_of_epoch + 1
    fallback = "there is no checkpoint yet"
    if last.exists():
        fallback = f"{last} is good: --weights takes it"
    return (
        f"the loss is not finite in step {step} (epoch {sampler.epoch}), of {videos}. "
        f"Look at these, or try a smaller --lr; {fallback}"
    )
