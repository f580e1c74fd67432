"""The data of a run: preprocessed, split, validated and loaded."""

import math
from argparse import Namespace
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from dataloaders.dataset import ClipLoader, VideoDataset
from dataloaders.errors import DataError
from dataloaders.frames import DataSettings, PreparedFrames, count_damaged
from dataloaders.labels import class_names
from dataloaders.preprocess import preprocess, split_records
from dataloaders.records import (
    INDEX,
    VideoRecord,
    fingerprint,
    read_index,
    read_split,
    validate_same_data,
)
from dataloaders.samplers import DistributedBatchSampler, shard_indices
from dataloaders.sampling import ClipConfig
from dataloaders.splits import assign_splits, leaked_groups
from dataloaders.workers import describe_missing_shared_memory, worker_init_fn
from engine.distributed import Distributed
from engine.errors import UsageError

BATCH_SIZE = 16
PREFETCHED = 2  # batches that a worker of a DataLoader makes ahead


@dataclass(frozen=True)
class RunData:
    """The data of a run.

    Attributes:
        records: The videos with the split of the run.
        classes: The names in the order of their labels.
        fingerprint: By which a resumed run notices other data, see `index.fingerprint`.
        num_leaked_groups: Groups that are in more than one of train, val and test.
        num_damaged: Videos of the data set that are used as far as they can be decoded.
        batch_size: Clips in a batch of each process.
    """

    records: list[VideoRecord]
    classes: list[str]
    fingerprint: dict[str, list]
    num_leaked_groups: int
    num_damaged: int
    batch_size: int


def prepare_data(
    args: Namespace,
    settings: DataSettings,
    distributed: Distributed,
    *,
    checkpoint: dict | None = None,
    split_file: Path | None = None,
    split_dir: str | None = None,
) -> RunData:
    """Preprocess the videos where that is due, and split them.

    The first process of each machine extracts the frames while the others wait. Rank 0 makes the
    split, and the others take it from there.

    Args:
        args: The flags.
        settings: The data set.
        distributed: The processes of the run.
        checkpoint: Of a run that is resumed or tested; None for a new run.
        split_file: Where that run has stored its split; None, or a file that is not there, where
            the split is made anew.
        split_dir: The folder of official lists.

    Raises:
        OSError, DataError: The videos cannot be used, or are not those of the checkpoint.
        UsageError: The batch is larger than the training split, or the machines differ.
    """

    def check(records: list[VideoRecord]) -> None:
        split = assign_splits(records, args.split, args.fold, split_dir)
        validate_split(args, distributed.world_size, split)

    frames = None
    if distributed.local_rank == 0:
        # A resumed run reports differing videos instead.
        frames = preprocess(settings, check=None if checkpoint else check)
    distributed.barrier()
    indexed = frames.records if frames else read_index(settings.frames_dir / INDEX)
    records = None
    if frames is not None and distributed.is_main:
        records = _make_split(args, frames, split_file, split_dir)
    records = _share_split(distributed, records, indexed, settings.output_dir)
    classes = class_names(args.dataset, records)
    data_fingerprint = fingerprint(records)
    if distributed.broadcast_object((classes, data_fingerprint)) != (classes, data_fingerprint):
        raise _other_videos(settings.output_dir)
    if checkpoint:
        validate_same_data(checkpoint, classes, data_fingerprint)
    largest = validate_split(args, distributed.world_size, records)
    batch_size = args.batch_size
    if batch_size is None:
        batch_size = min(BATCH_SIZE, largest)
        if largest < BATCH_SIZE:
            print(f"--batch-size {largest}: there are no more training videos")
    validate_workers(args.workers, batch_size, settings.config, distributed.local_world_size)
    num_leaked = leaked_groups(records, args.split)
    print(f"split {args.split}: {num_leaked} groups in more than one of train, val and test")
    num_damaged = count_damaged(settings)
    return RunData(records, classes, data_fingerprint, num_leaked, num_damaged, batch_size)


def _make_split(
    args: Namespace,
    frames: PreparedFrames,
    split_file: Path | None,
    split_dir: str | None,
) -> list[VideoRecord]:
    """Read the split that a run has stored, or make that of a new run."""
    if split_file is not None and split_file.is_file():
        return read_split(split_file, frames.records)
    return split_records(frames, args.split, args.fold, split_dir)


def _share_split(
    distributed: Distributed,
    records: list[VideoRecord] | None,
    indexed: Sequence[VideoRecord],
    output_dir: Path,
) -> list[VideoRecord]:
    """Return the split of rank 0, with the frames as they lie on this machine."""
    rows = None
    if records is not None:
        rows = [(record.key, record.split, record.group) for record in records]
    rows = distributed.broadcast_object(rows)
    if records is not None:
        return records
    known = {record.key: record for record in indexed}
    if any(key not in known for key, _, _ in rows):
        raise _other_videos(output_dir)
    return [known[key]._replace(split=split, group=group) for key, split, group in rows]


def _other_videos(output_dir: Path) -> UsageError:
    return UsageError(
        f"{output_dir}: not the videos that rank 0 has; compare skipped.csv on both machines"
    )


def validate_split(args: Namespace, world_size: int, records: list[VideoRecord]) -> int:
    """Return the largest possible batch size.

    Raises:
        UsageError: The batch of the flags is larger.
        DataError: Groups leak though they should not, or there is a single class.
    """
    if args.split == "group":  # others are as the user wants them
        num_leaked = leaked_groups(records, "group")
        if num_leaked:
            raise DataError(f"{num_leaked} groups leak between train, val and test")
    names = {record.class_name for record in records}
    if len(names) < 2:
        raise DataError(f"there is one class only, {names.pop()}: at least two are needed")
    num_train = sum(record.split == "train" for record in records)
    largest = num_train // (world_size * args.accumulate)
    if (args.batch_size or 1) > largest and not args.test_only:
        given = f"--batch-size {args.batch_size or 1}"
        if args.accumulate > 1:
            given += f" --accumulate {args.accumulate}"
        raise UsageError(f"{given}: there are training videos for {largest} at most")
    return largest


def validate_workers(workers: int, batch_size: int, config: ClipConfig, processes: int) -> None:
    """Raise UsageError where the loader processes would not have the shared memory that they need.

    Args:
        workers: Loader processes of each process that trains.
        batch_size: Clips in a batch.
        config: The clips.
        processes: How many processes of this machine train, each with workers of its own.
    """
    if workers == 0:
        return
    clip_bytes = 3 * math.prod(config.shape)
    batches = PREFETCHED * workers * processes
    reason = describe_missing_shared_memory(batches * batch_size * clip_bytes)
    if reason:
        raise UsageError(
            f"--workers {workers}: {reason}; --workers 0 needs none, and in a container "
            "docker run --shm-size 8g gives more"
        )


def build_loaders(
    args: Namespace,
    settings: DataSettings,
    data: RunData,
    distributed: Distributed,
    device: torch.device,
) -> dict[str, ClipLoader]:
    """Build the loaders of this process, "train", "val" and "test".

    Where no video is in test, the loader "test" has those of val.
    """
    tested = "test" if data.fingerprint.get("test") else "val"
    if tested == "val":
        print("there is no test: val is what is tested")
    options = {
        "num_workers": args.workers,
        "persistent_workers": args.workers > 0,
        "worker_init_fn": worker_init_fn,
        "pin_memory": device.type == "cuda",
    }

    def open_part(part: str, windows: int) -> VideoDataset:
        return VideoDataset(
            settings.frames_dir,
            data.records,
            part,
            data.classes,
            settings.config,
            windows=windows,
            flip=not args.no_flip,
            min_scale=args.min_scale,
        )

    def open_evaluation(dataset: VideoDataset) -> ClipLoader:
        items = shard_indices(dataset, distributed.rank, distributed.world_size)
        return ClipLoader(dataset, batch_size=data.batch_size, sampler=items, **options)

    train = open_part("train", 1)
    sampler = DistributedBatchSampler(
        len(train.labels),
        data.batch_size,
        args.seed,
        rank=distributed.rank,
        world_size=distributed.world_size,
        accumulate=args.accumulate,
        weights=train.class_weights()[train.labels] if args.balance == "sampler" else (),
    )
    return {
        "train": ClipLoader(train, batch_sampler=sampler, **options),
        "val": open_evaluation(open_part("val", 1)),
        "test": open_evaluation(open_part(tested, args.clips_per_video)),
    }
