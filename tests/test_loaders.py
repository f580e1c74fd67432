from types import SimpleNamespace

from dataloaders.samplers import DistributedBatchSampler
from engine.loaders import describe_divergence


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
