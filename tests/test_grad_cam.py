import numpy as np
import pytest
import torch
from conftest import NETWORKS, SIZES
from torch import nn

from dataloaders.demo import draw_video
from dataloaders.sampling import ClipConfig
from dataloaders.transforms import make_clip, resize_frame
from network import MODELS
from network.grad_cam import grad_cam
from network.normalize import Normalize


class ColourModel(nn.Module):
    """Predicts class 0 for what is red and against what is blue, class 1 the other way round."""

    last_pool = "pool"

    def __init__(self):
        super().__init__()
        self.normalize = Normalize((0, 0, 0), (1, 1, 1))
        conv = nn.Conv3d(3, 2, 1, bias=False)
        conv.weight.data = torch.tensor([[1.0, -1, -1], [-1, -1, 1]])[..., None, None, None]
        self.stage = nn.Sequential(conv, nn.ReLU(inplace=True), nn.AvgPool3d((1, 32, 32)))
        self.pool = nn.AdaptiveAvgPool3d(1)
        self.fc = nn.Linear(2, 2, bias=False)
        self.fc.weight.data = torch.tensor([[1, -0.5], [-0.5, 1]])

    def forward(self, x):
        return self.fc(self.pool(self.stage(self.normalize(x))).flatten(1))


def test_the_heat_map_is_on_what_the_class_is_predicted_for():
    clips = torch.zeros(2, 3, 16, 128, 128, dtype=torch.uint8)
    clips[:, 0, 4:12, 10:16, 10:16] = 255  # red
    clips[:, 1, 4:12, 10:16, 26:32] = 255  # green, in the same cell
    clips[0, 2, 4:12, 80:86, 80:86] = 250  # blue, a little less than red
    clips[1, 2, 4:12, 80:86, 80:90] = 255  # and more
    logits, heatmaps = grad_cam(ColourModel(), clips)
    assert logits.argmax(1).tolist() == [0, 1]
    assert not logits.requires_grad and not heatmaps.requires_grad
    assert heatmaps.shape == (2, 16, 128, 128)
    assert heatmaps.min() == 0 and heatmaps.max() == 1
    for heatmap, corner in zip(heatmaps, (10, 80), strict=True):
        place = heatmap[4:12, corner - 8 : corner + 14, corner - 8 : corner + 18]
        assert place.mean() > 0.05
        assert place.sum() > 0.99 * heatmap.sum()


@pytest.mark.parametrize("name", NETWORKS)
def test_each_model_predicts_the_same_and_is_left_as_it_was(name):
    torch.manual_seed(0)
    model = MODELS[name](3).eval()
    if not hasattr(model, "last_pool"):
        pytest.skip("a network without `last_pool` has no Grad-CAM")
    clips = torch.randint(0, 256, (2, 3, 16, SIZES[name], SIZES[name]), dtype=torch.uint8)
    with torch.inference_mode():
        expected = model(clips)
    logits, heatmaps = grad_cam(model, clips)
    torch.testing.assert_close(logits, expected)
    assert heatmaps.isfinite().all() and heatmaps.shape == (2, 16, SIZES[name], SIZES[name])
    assert all(parameter.grad is None for parameter in model.parameters())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


@pytest.mark.slow
def test_the_heat_map_is_on_what_moves_in_the_demo():
    config = ClipConfig.from_flags(16)
    videos = [draw_frames(label, seed) for seed in range(4) for label in (0, 1)]
    clips = torch.from_numpy(np.stack([make_clip(frames, config) for frames in videos])).permute(
        0, 4, 1, 2, 3
    )
    labels = torch.tensor([0, 1] * 4)
    torch.manual_seed(0)
    model = MODELS["R3D"](2)
    model.normalize.set(**model.normalize.statistics | {"input": "residual"})
    optimizer = torch.optim.SGD(model.parameters(), 0.01, 0.9)
    for _ in range(25):
        loss = nn.functional.cross_entropy(model(clips), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    logits, heatmaps = grad_cam(model.eval(), clips)
    assert (logits.argmax(1) == labels).all()
    for frames, heatmap in zip(videos, heatmaps, strict=True):
        still = np.median(np.stack(frames), 0)
        moving = [
            (abs(frame - still).max(2, keepdims=True) > 40).repeat(3, 2) * np.uint8(255)
            for frame in frames
        ]
        mask = torch.from_numpy(make_clip(moving, config)[..., 0] / 255)
        assert (heatmap * mask).sum() / mask.sum() > 3 * heatmap.mean()


def draw_frames(label, seed):
    """Draw the stored frames of a demo video that moves up, or down."""
    frames = draw_video("Up", np.random.default_rng(seed), np.random.default_rng((seed, 1)))[:61:4]
    return [resize_frame(frame) for frame in (frames if label == 0 else frames[::-1])]
