"""Which clips a process trains on and evaluates, and in which order."""

from collections.abc import Iterator, Sequence

import numpy as np
from torch.utils.data import Sampler

from dataloaders.dataset import VideoDataset


class DistributedBatchSampler(Sampler):
    """The training batches of one rank: every video once an epoch, in random order, each with the key of its clip.
    Where videos have `weights`, as many are drawn in proportion to these, with replacement. Order and keys depend on
    the seed, the epoch and the position alone. The ranks take turns, a batch each. The last clips of an epoch, too few
    for a step of `accumulate` batches, are dropped. Set `epoch` before each epoch, `start` to continue within one."""

    def __init__(
        self,
        num_videos,
        batch_size,
        seed,
        rank=0,
        world_size=1,
        accumulate=1,
        weights: Sequence[float] = (),
    ):
        self.num_videos, self.batch_size, self.seed, self.weights = (
            num_videos,
            batch_size,
            seed,
            np.float64(weights),
        )
        self.rank, self.world_size, self.accumulate = rank, world_size, accumulate
        self.clips_per_step = batch_size * world_size * accumulate
        self.epoch, self.start = 0, 0

    def __len__(self) -> int:
        return (self.num_videos - self.start) // self.clips_per_step * self.accumulate

    def __iter__(self) -> Iterator[list[tuple[int, tuple[int, int, int]]]]:
        order = self.order()
        for number in range(len(self)):
            first = self.start + (number * self.world_size + self.rank) * self.batch_size
            positions = range(first, first + self.batch_size)
            yield [
                (int(order[position]), (self.seed, self.epoch, position)) for position in positions
            ]

    def order(self) -> np.ndarray:
        """Return the videos of the epoch, position by position."""
        rng = np.random.default_rng((self.seed, self.epoch))
        if not len(self.weights):
            return rng.permutation(self.num_videos)
        return rng.choice(self.num_videos, self.num_videos, p=self.weights / self.weights.sum())


def shard_indices(dataset: VideoDataset, rank: int, world_size: int) -> list[int]:
    """Return the items that one rank evaluates: every `world_size`-th video with all of its windows."""
    return np.flatnonzero(dataset.video_indices % world_size == rank).tolist()
