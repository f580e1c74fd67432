"""The data of a run: preprocessed, split, validated and loaded."""

import math
from argparse import Namespace
from functools import partial
from pathlib import Path

from dataloaders.clips import ClipConfig
from dataloaders.dataset import (
    ClipLoader,
    DistributedBatchSampler,
    VideoDataset,
    class_names,
    shard_indices,
)
from dataloaders.errors import DataError
from dataloaders.index import (
    INDEX,
    SPLITS,
    VideoRecord,
    fingerprint,
    read_index,
    validate_same_data,
)
from dataloaders.preprocess import preprocess
from dataloaders.splits import leaked_groups
from dataloaders.workers import describe_missing_shared_memory, worker_init_fn
from engine.errors import UsageError

BATCH_SIZE = 16
PREFETCHED = 2  # batches that a worker of a DataLoader makes ahead


def prepare_data(
    args, root_dir, output_dir, config, distributed, checkpoint, device, **layout
) -> tuple:
    """Preprocess the videos where that is due, and build the datasets and loaders; `layout` is for `preprocess`.
    Sets `args.batch_size` where it is None. Returns the loaders by split, the fingerprint of the videos, and how many
    groups leak. OSError or DataError where the videos cannot be used, or are not those of the checkpoint."""
    validate = partial(validate_data, args, distributed.world_size)
    if distributed.local_rank == 0:
        layout |= {"protocol": args.split, "fold": args.fold, "config": config}
        early = (
            {} if checkpoint else {"validate": validate}
        )  # a resumed run reports differing videos instead
        videos = preprocess(args.dataset, root_dir, output_dir, **layout, **early)
    distributed.barrier()
    if distributed.local_rank > 0:
        videos = read_index(Path(output_dir) / INDEX)
    classes, data_fingerprint = class_names(args.dataset, videos), fingerprint(videos)
    if distributed.broadcast_object((classes, data_fingerprint)) != (classes, data_fingerprint):
        raise UsageError(
            f"{output_dir}: not the videos that rank 0 has; compare skipped.csv on both machines"
        )
    if checkpoint:
        validate_same_data(checkpoint, classes, data_fingerprint)
    largest = validate(videos)
    if args.batch_size is None:
        args.batch_size = min(BATCH_SIZE, largest)
        if largest < BATCH_SIZE:
            print(f"--batch-size {largest}: there are no more training videos")
    validate_workers(args, config, distributed.local_world_size)
    leaked = leaked_groups(videos, args.split)
    print(f"split {args.split}: {leaked} groups in more than one of train, val and test")

    tested = "test" if data_fingerprint.get("test") else "val"
    if tested == "val":
        print("there is no test: val is what is tested")
    workers = {
        "num_workers": args.workers,
        "persistent_workers": args.workers > 0,
        "worker_init_fn": worker_init_fn,
    }
    workers["pin_memory"] = device.type == "cuda"
    ranks, loaders = (distributed.rank, distributed.world_size), {}
    for split, part, windows in zip(
        SPLITS, ("train", "val", tested), (1, 1, args.clips_per_video), strict=True
    ):
        dataset = VideoDataset(
            output_dir, videos, part, classes, config, windows, not args.no_flip, args.min_scale
        )
        if split == "train":
            weights = dataset.class_weights()[dataset.labels] if args.balance == "sampler" else ()
            batches = (
                len(dataset.labels),
                args.batch_size,
                args.seed,
                *ranks,
                args.accumulate,
                weights,
            )
            sampling = {"batch_sampler": DistributedBatchSampler(*batches)}
        else:
            sampling = {"batch_size": args.batch_size, "sampler": shard_indices(dataset, *ranks)}
        loaders[split] = ClipLoader(dataset, **sampling, **workers)
    return loaders, data_fingerprint, leaked


def validate_workers(args: Namespace, config: ClipConfig, processes: int) -> None:
    """Raise UsageError where the loader processes would not have the shared memory that they need.

    Args:
        args: The flags, of which `workers` and `batch_size` count.
        config: The clips.
        processes: How many processes of this machine train, each with workers of its own.
    """
    batches = PREFETCHED * args.workers * processes
    clip_bytes = 3 * math.prod(config.shape)
    reason = describe_missing_shared_memory(batches * args.batch_size * clip_bytes)
    if args.workers and reason:
        raise UsageError(
            f"--workers {args.workers}: {reason}; --workers 0 needs none, and in a container "
            "docker run --shm-size 8g gives more"
        )


def validate_data(args: Namespace, world_size: int, videos: list[VideoRecord]) -> int:
    """Return the largest possible batch size; UsageError for a larger one, DataError for a leak or a single class."""
    if args.split == "group" and (
        leaked := leaked_groups(videos, "group")
    ):  # others are as the user wants them
        raise DataError(f"{leaked} groups leak between train, val and test")
    if len(names := {video.class_name for video in videos}) < 2:
        raise DataError(f"there is one class only, {names.pop()}: at least two are needed")
    largest = sum(video.split == "train" for video in videos) // (world_size * args.accumulate)
    if (args.batch_size or 1) > largest and not args.test_only:
        given = f"--batch-size {args.batch_size or 1}" + f" --accumulate {args.accumulate}" * (
            args.accumulate > 1
        )
        raise UsageError(f"{given}: there are training videos for {largest} at most")
    return largest
