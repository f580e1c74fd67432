"""The loaders of a run, and how many clips a batch has."""

import math
from argparse import Namespace
from dataclasses import dataclass
from pathlib import Path

import torch

from dataloaders.dataset import ClipLoader, EvalWindows, TrainClips
from dataloaders.samplers import DistributedBatchSampler, shard_indices
from dataloaders.sampling import ClipConfig
from dataloaders.transforms import Augmentation
from dataloaders.workers import describe_missing_shared_memory, worker_init_fn
from engine.config import BATCH_SIZE, TrainConfig
from engine.data import RunData, largest_batch_size
from engine.distributed import Distributed
from engine.errors import UsageError

PREFETCHED = 2  # batches that a worker of a DataLoader makes ahead


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

    augmentation = Augmentation(
        min_scale=config.min_scale, flip=not config.no_flip, color_jitter=config.color_jitter
    )
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
        repeat=config.repeat,
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
