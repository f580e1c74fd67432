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


def test_each_video_may_be_drawn_several_times_an_epoch():
    sampler = DistributedBatchSampler(50, 4, seed=3, repeat=3)
    assert (sampler.num_clips, sampler.steps_per_epoch) == (150, 37)
    items = list(chain(*sampler))
    assert len({key for _, key in items}) == 148
    counts = Counter(video for video, _ in items)
    assert set(counts) == set(range(50))
    assert set(counts.values()) <= {1, 2, 3}
    once = DistributedBatchSampler(50, 4, seed=3)
    assert sorted(once.order()) == list(range(50))
    weighted = DistributedBatchSampler(50, 4, seed=3, repeat=3, weights=[1] * 25 + [0] * 25)
    assert len(weighted.order()) == 150 and weighted.order().max() < 25


@pytest.mark.parametrize("repeat", [1, 2])
@pytest.mark.parametrize("world_size", [2, 3])
def test_ranks_share_the_batches_of_a_single_process(world_size, repeat):
    single = DistributedBatchSampler(50, 4 * world_size, seed=1, repeat=repeat)
    ranks = [
        DistributedBatchSampler(50, 4, 1, rank=rank, world_size=world_size, repeat=repeat)
        for rank in range(world_size)
    ]
    for sampler in (single, *ranks):
        sampler.set_position(2, 8 * world_size)
    together = [sum(batches, []) for batches in zip(*ranks, strict=True)]
    assert together == list(single)
    assert len(single) == len(ranks[0]) == (50 * repeat - 8 * world_size) // (4 * world_size)


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
