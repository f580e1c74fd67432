"""Batch norm that is folded into convolutions computes the same."""

import pytest
import torch
from torch import nn

from network import MODELS
from network.folding import fold_batch_norm


def trained(model):
    """Give the batch norms statistics and weights as training leaves them."""
    generator = torch.Generator().manual_seed(1)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm3d) and module.track_running_stats:
            module.running_mean.normal_(0, 0.5, generator=generator)
            module.running_var.uniform_(0.5, 2, generator=generator)
            nn.init.uniform_(module.weight, 0.5, 1.5, generator=generator)
            nn.init.normal_(module.bias, 0, 0.5, generator=generator)
    return model.eval()


def count_batch_norms(model):
    return sum(isinstance(module, nn.BatchNorm3d) for module in model.modules())


@pytest.mark.parametrize("name", ["R3D", "R2Plus1D"])
def test_folded_networks_give_the_same_logits_in_double_precision(name):
    model = trained(MODELS[name](num_classes=3)).double()
    clips = 255 * torch.rand(1, 3, 2, 16, 16, generator=torch.Generator().manual_seed(2)).double()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    folded = fold_batch_norm(model)
    with torch.inference_mode():
        torch.testing.assert_close(folded(clips), model(clips), rtol=1e-9, atol=1e-9)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


# A convolution has each: the stem, two of each block, and the projections of three stages; of
# R(2+1)D one more between space and time of the stem and of each pair.
@pytest.mark.parametrize(
    ("name", "options", "number"),
    [
        ("R3D", {}, 1 + 2 * 8 + 3),
        ("R2Plus1D", {}, 2 + 4 * 8 + 3),
        ("R2Plus1D", {"depth": 34}, 2 + 4 * 16 + 3),
        ("C3D", {}, 0),
    ],
)
def test_all_batch_norms_are_folded(name, options, number):
    with torch.device("meta"):
        model = MODELS[name](num_classes=3, **options).eval()
        assert count_batch_norms(model) == number
        assert count_batch_norms(fold_batch_norm(model)) == 0


def test_only_batch_norm_behind_a_convolution_is_folded():
    convolution = nn.Conv3d(1, 2, 1)
    model = trained(
        nn.Sequential(
            nn.BatchNorm3d(1),
            nn.Sequential(convolution, nn.ReLU()),
            nn.BatchNorm3d(2),
            nn.Conv3d(2, 2, 1),
            nn.BatchNorm3d(2, track_running_stats=False),
        )
    )
    clips = torch.randn(2, 1, 2, 3, 3, generator=torch.Generator().manual_seed(0))
    folded = fold_batch_norm(model)
    assert count_batch_norms(folded) == 3
    with torch.inference_mode():
        assert torch.equal(folded(clips), model(clips))
