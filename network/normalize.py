"""The first step of every network: pixels 0..255 into what its weights expect."""

import torch
from torch import nn

# Residual frames: what changes from one frame to the next. The means cancel; the spread is about that of the
# differences between frames a sixth of a second apart.
RESIDUAL = {"mean": [0.0, 0.0, 0.0], "std": [0.07, 0.07, 0.07], "input": "residual"}


class Normalize(nn.Module):
    """(x / 255 - mean) / std per channel, in the network's own floating-point type.

    The statistics are no parameters and stand in no state_dict, so public weights fit without them; checkpoints carry
    them beside it.

    Args:
        mean, std: three numbers each, RGB, on a scale of 0..1.
        input: "rgb", or "residual" to subtract from every frame the one before it (Tao et al. 2020, arXiv:2006.13017,
            section 3.1); the first frame of a clip becomes zero, so that the clip keeps its length.
    """

    def __init__(self, mean, std, input="rgb"):
        super().__init__()
        self.register_buffer("mean", torch.empty(1, 3, 1, 1, 1), persistent=False)
        self.register_buffer("std", torch.empty(1, 3, 1, 1, 1), persistent=False)
        self.set(mean, std, input)

    def set(self, mean, std, input="rgb"):
        """Take other statistics, with weights that were trained with them."""
        for buffer, values in ((self.mean, mean), (self.std, std)):
            buffer.copy_(255 * torch.tensor(values).view(1, 3, 1, 1, 1))
        self.statistics = {"mean": list(mean), "std": list(std), "input": input}

    def forward(self, x):
        x = (x - self.mean) / self.std
        return x.diff(dim=2, prepend=x[:, :, :1]) if self.statistics["input"] == "residual" else x
