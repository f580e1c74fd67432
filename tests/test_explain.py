import numpy as np
import pytest
import torch
from conftest import NETWORKS, SIZES
from torch import nn

from dataloaders import clips, demo
from network import MODELS
from network.explain import explain
from network.normalize import Normalize


class Watcher(nn.Module):
    """Says class 0 for what is red and against what is blue, class 1 the other way round."""

    last_pool = "pool"

    def __init__(self):
        super().__init__()
        self.normalize = Normalize((0, 0, 0), (1, 1, 1))
        eye = nn.Conv3d(3, 2, 1, bias=False)
        eye.weight.data = torch.tensor([[1.0, -1, -1], [-1, -1, 1]])[..., None, None, None]
        self.stage = nn.Sequential(eye, nn.ReLU(inplace=True), nn.AvgPool3d((1, 32, 32)))
        self.pool = nn.AdaptiveAvgPool3d(1)
        self.fc = nn.Linear(2, 2, bias=False)
        self.fc.weight.data = torch.tensor([[1, -0.5], [-0.5, 1]])

    def forward(self, x):
        return self.fc(self.pool(self.stage(self.normalize(x))).flatten(1))


def test_heat_is_on_what_the_class_is_said_for():
    clip = torch.zeros(2, 3, 16, 128, 128, dtype=torch.uint8)
    clip[:, 0, 4:12, 10:16, 10:16] = 255  # red
    clip[:, 1, 4:12, 10:16, 26:32] = 255  # green, in the same cell
    clip[0, 2, 4:12, 80:86, 80:86] = 250  # blue, a little less than red
    clip[1, 2, 4:12, 80:86, 80:90] = 255  # and more
    logits, heat = explain(Watcher(), clip)
    assert logits.argmax(1).tolist() == [0, 1]
    assert not logits.requires_grad and not heat.requires_grad
    assert heat.shape == (2, 16, 128, 128)
    assert heat.min() == 0 and heat.max() == 1
    for of_clip, corner in zip(heat, (10, 80), strict=True):
        place = of_clip[4:12, corner - 8 : corner + 14, corner - 8 : corner + 18]
        assert place.mean() > 0.05
        assert place.sum() > 0.99 * of_clip.sum()


@pytest.mark.parametrize("model", NETWORKS)
def test_each_network_says_the_same_and_is_left_as_it_was(model):
    torch.manual_seed(0)
    network = MODELS[model](3).eval()
    clip = torch.randint(0, 256, (2, 3, 16, SIZES[model], SIZES[model]), dtype=torch.uint8)
    with torch.inference_mode():
        plain = network(clip)
    logits, heat = explain(network, clip)
    torch.testing.assert_close(logits, plain)
    assert heat.isfinite().all() and heat.shape == (2, 16, SIZES[model], SIZES[model])
    assert all(parameter.grad is None for parameter in network.parameters())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in network.modules())


@pytest.mark.slow
def test_heat_is_on_what_moves_in_the_demo():
    clip = clips.recipe(16)
    videos = [draw(label, seed) for seed in range(4) for label in (0, 1)]
    pixels = torch.from_numpy(np.stack([clips.cut(frames, clip) for frames in videos])).permute(0, 4, 1, 2, 3)
    labels = torch.tensor([0, 1] * 4)
    torch.manual_seed(0)
    network = MODELS["R3D"](2)
    network.normalize.set(**network.normalize.statistics | {"input": "residual"})
    optimizer = torch.optim.SGD(network.parameters(), 0.01, 0.9)
    for _ in range(25):
        loss = nn.functional.cross_entropy(network(pixels), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    logits, heat = explain(network.eval(), pixels)
    assert (logits.argmax(1) == labels).all()
    for frames, of_clip in zip(videos, heat, strict=True):
        still = np.median(np.stack(frames), 0)
        moving = [(abs(frame - still).max(2, keepdims=True) > 40).repeat(3, 2) * np.uint8(255) for frame in frames]
        inside = torch.from_numpy(clips.cut(moving, clip)[..., 0] / 255)
        assert (of_clip * inside).sum() / inside.sum() > 3 * of_clip.mean()


def draw(label, seed):
    """The stored frames of a demo video that moves up, or down."""
    frames = demo.draw("Up", np.random.default_rng(seed), np.random.default_rng((seed, 1)))[:61:4]
    return [clips.resize(frame) for frame in (frames if label == 0 else frames[::-1])]
