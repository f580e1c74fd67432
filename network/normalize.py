"""The first step of every network: 0..255 into what its weights expect."""

import torch
from torch import nn


class Normalize(nn.Module):
    """(x / 255 - mean) / std per channel, in the network's own floating-point type.

    The statistics are no parameters and stand in no state_dict, so public weights fit without them; checkpoints carry
    them beside it.

    Args:
        mean, std: three numbers each, RGB, on a scale of 0..1.
    """

    def __init__(self, mean, std):
        super().__init__()
        self.register_buffer("mean", torch.empty(1, 3, 1, 1, 1), persistent=False)
        self.register_buffer("std", torch.empty(1, 3, 1, 1, 1), persistent=False)
        self.set(mean, std)

    def set(self, mean, std):
        """Take other statistics, with weights that were trained with them."""
        for buffer, values in ((self.mean, mean), (self.std, std)):
            buffer.copy_(255 * torch.tensor(values).view(1, 3, 1, 1, 1))
        self.statistics = {"mean": list(mean), "std": list(std)}

    def forward(self, x):
        return (x - self.mean) / self.std
