"""The first step of every network: 0..255 into what its weights expect."""

import torch
from torch import nn


class Normalize(nn.Module):
    """(x / 255 - mean) / std per channel, in the network's own floating-point type.

    The statistics are no parameters and stand in no state_dict, so public weights fit without them.

    Args:
        mean, std: three numbers each, RGB, on a scale of 0..1.
    """

    def __init__(self, mean, std):
        super().__init__()
        self.register_buffer("mean", 255 * torch.tensor(mean).view(1, 3, 1, 1, 1), persistent=False)
        self.register_buffer("std", 255 * torch.tensor(std).view(1, 3, 1, 1, 1), persistent=False)

    def forward(self, x):
        return (x - self.mean) / self.std
