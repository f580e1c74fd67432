"""Which clips a process trains on and evaluates, and in which order."""

from collections.abc import Iterator, Sequence

import numpy as np
from torch.utils.data import Sampler

from dataloaders.dataset import EvalWindows

TrainItem = tuple[int, tuple[int, int, int]]  # a video, and (seed, epoch, position) of its clip


class DistributedBatchSampler(Sampler):
    """The training batches of one process: clips of every video each epoch, in random order.

    Order and clips depend on the seed, the epoch and the position in the epoch alone. The
    processes take turns, a batch each. The last clips of an epoch, too few for a step, are left
    out. An epoch that was interrupted continues at any position, see `set_position`.

    Attributes:
        num_clips: Clips of an epoch.
        clips_per_step: Clips of one step of the optimizer, over all processes.
        epoch: The number of the epoch, from 1.
        start: Clips of the epoch that are done.
    """

    def __init__(  # noqa: PLR0913  numbers that stand for themselves
        self,
        num_videos: int,
        batch_size: int,
        seed: int,
        *,
        rank: int = 0,
        world_size: int = 1,
        accumulate: int = 1,
        repeat: int = 1,
        weights: Sequence[float] | None = None,
    ):
        """Describe the clips and the processes.

        Args:
            num_videos: Videos to train on.
            batch_size: Clips of a batch of one process.
            seed: Of everything random.
            rank: The number of this process.
            world_size: How many processes there are.
            accumulate: Batches of one process that make a step.
            repeat: Clips of an epoch, as a multiple of the videos.
            weights: (videos,), in proportion to which videos are drawn, with replacement; None to
                take each equally often.
        """
        self.num_videos = num_videos
        self.num_clips = repeat * num_videos
        self.batch_size = batch_size
        self.seed = seed
        self.rank = rank
        self.world_size = world_size
        self.accumulate = accumulate
        self.weights = weights
        self.clips_per_step = batch_size * world_size * accumulate
        self.set_position(epoch=1, start=0)

    def set_position(self, epoch: int, start: int) -> None:
        """Choose what is drawn next.

        Args:
            epoch: The number of the epoch, from 1.
            start: Clips of it that are done.
        """
        self.epoch = epoch
        self.start = start

    @property
    def steps_per_epoch(self) -> int:
        """Steps of the optimizer in a whole epoch."""
        return self.num_clips // self.clips_per_step

    @property
    def steps_left(self) -> int:
        """Steps of the optimizer from the position on."""
        return (self.num_clips - self.start) // self.clips_per_step

    def __len__(self) -> int:
        return self.steps_left * self.accumulate

    def __iter__(self) -> Iterator[list[TrainItem]]:
        videos = self.order()
        for number in range(len(self)):
            first = self.start + (number * self.world_size + self.rank) * self.batch_size
            batch = []
            for position in range(first, first + self.batch_size):
                batch.append((int(videos[position]), (self.seed, self.epoch, position)))
            yield batch

    def order(self) -> np.ndarray:
        """Return the video of each clip of the epoch, (clips,)."""
        rng = np.random.default_rng((self.seed, self.epoch))
        if self.weights is None:
            return rng.permutation(self.num_clips) % self.num_videos
        weights = np.float64(self.weights)
        return rng.choice(self.num_videos, self.num_clips, p=weights / weights.sum())


def shard_indices(dataset: EvalWindows, rank: int, world_size: int) -> list[int]:
    """Return the items that one process evaluates: every Nth video with all of its windows.

    Args:
        dataset: What all processes evaluate together.
        rank: The number of this process.
        world_size: How many there are, N.
    """
    return np.flatnonzero(dataset.video_of_item % world_size == rank).tolist()
