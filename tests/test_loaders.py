import re
from types import SimpleNamespace

from dataloaders.samplers import DistributedBatchSampler
from engine.loaders import Loaders, describe_divergence


def test_a_step_whose_loss_is_not_finite_is_named_with_its_videos(tmp_path):
    sampler = DistributedBatchSampler(23, 2, 0, accumulate=3)
    sampler.set_position(2, 0)
    sources = [f"{video}.avi" for video in range(23)]
    loaders = SimpleNamespace(
        sampler=sampler, train=SimpleNamespace(dataset=SimpleNamespace(sources=sources))
    )
    videos = sampler.order()
    # An epoch has 3 steps of 6 clips.
    for position, step in ((0, 4), (6, 5), (12, 6)):
        names = ", ".join(f"{video}.avi" for video in videos[position : position + 2])
        message = describe_divergence(loaders, position, tmp_path / "none.pth")
        assert f"not finite in step {step} (epoch 2), of {names}. " in message
        assert message.endswith("there is no checkpoint yet")
    assert "is good: --weights takes it" in describe_divergence(loaders, 0, tmp_path)


def test_a_divergence_names_the_step_and_the_videos_of_all_processes(tmp_path):
    samplers = [DistributedBatchSampler(20, 2, 0, rank=rank, world_size=3) for rank in range(3)]
    seen = set()
    for sampler in samplers:
        sampler.set_position(2, 0)
        seen |= {f"v{video}.avi" for video, _ in list(sampler)[2]}
    dataset = SimpleNamespace(sources=[f"v{number}.avi" for number in range(20)])
    train = SimpleNamespace(batch_sampler=samplers[0], dataset=dataset)
    reason = describe_divergence(Loaders(train, None, None), 2 * 6, tmp_path / "last.pth")
    # An epoch has three steps of six clips.
    assert reason.startswith("the loss is not finite in step 6 (epoch 2), of v")
    assert set(re.findall(r"v\d+\.avi", reason)) == seen and len(seen) == 6
    assert reason.endswith("; there is no checkpoint yet")
