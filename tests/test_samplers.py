from collections import Counter
from itertools import chain

import numpy as np
import pytest

from dataloaders.samplers import DistributedBatchSampler, shard_indices


def test_sampler_visits_every_video_once_in_a_new_order_each_epoch():
    sampler = DistributedBatchSampler(50, 5, seed=3)
    first = list(chain(*sampler))
    sampler.set_position(2, 0)
    second = list(chain(*sampler))
    assert (
        Counter(index for index, _ in first)
        == Counter(range(50))
        == Counter(index for index, _ in second)
    )
    assert [index for index, _ in first] != [index for index, _ in second]
    assert not {key for _, key in first} & {key for _, key in second}


@pytest.mark.parametrize("world_size", [2, 3])
def test_ranks_share_the_batches_of_a_single_process(world_size):
    single = DistributedBatchSampler(50, 4 * world_size, seed=1)
    ranks = [
        DistributedBatchSampler(50, 4, 1, rank=rank, world_size=world_size)
        for rank in range(world_size)
    ]
    for sampler in (single, *ranks):
        sampler.set_position(2, 8 * world_size)
    together = [sum(batches, []) for batches in zip(*ranks, strict=True)]
    assert together == list(single)
    assert len(single) == len(ranks[0]) == (50 - 8 * world_size) // (4 * world_size)


def test_every_window_is_evaluated_once():
    class Videos:
        video_of_item = np.repeat(np.arange(5), 3)

    shards = [shard_indices(Videos(), rank, 4) for rank in range(4)]
    assert sorted(sum(shards, [])) == list(range(15))
    assert shards[1] == [3, 4, 5]


def test_an_epoch_has_whole_steps_alone():
    sampler = DistributedBatchSampler(23, 2, 0, accumulate=3)
    assert (len(sampler), sampler.steps_per_epoch) == (9, 3)
    assert len(list(sampler)) == 9
    sampler.set_position(2, 6)
    assert (len(sampler), sampler.steps_left) == (6, 2)
    assert [index for index, _ in next(iter(sampler))] == sampler.order()[6:8].tolist()
