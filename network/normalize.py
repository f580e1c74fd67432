"""The first step of every model: pixels 0..255 into what its weights expect."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from network.errors import ModelError

INPUTS = ("rgb", "residual")
RESIDUAL_GAIN = 3  # frames a sixth of a second apart differ by about a third of their own spread


class Normalize(nn.Module):
    """Compute (x / 255 - mean) / std per channel, in the floating-point type of the model.
    The statistics, RGB on a scale of 0..1, are not in the state_dict, so public weights fit without them. The input is
    "rgb", or "residual" to subtract from every frame but the first, which shows what does not move, the one before it
    (Tao et al. 2020, arXiv:2006.13017, section 3.1)."""

    def __init__(self, mean: Sequence[float], std: Sequence[float], input: str = "rgb"):
        super().__init__()
        self.register_buffer("mean", torch.empty(1, 3, 1, 1, 1), persistent=False)
        self.register_buffer("std", torch.empty(1, 3, 1, 1, 1), persistent=False)
        self.set(mean, std, input)

    def set(self, mean: Sequence[float], std: Sequence[float], input: str = "rgb") -> None:
        """Replace the statistics by those that other weights were trained with; ModelError for an unknown input."""
        if input not in INPUTS:
            raise ModelError(f"unknown input {input!r}, known are {', '.join(INPUTS)}")
        for buffer, values in ((self.mean, mean), (self.std, std)):
            buffer.copy_(255 * torch.tensor(values, dtype=torch.float64).view(1, 3, 1, 1, 1))
        self.statistics = {"mean": list(mean), "std": list(std), "input": input}

    def _apply(self, fn, recurse: bool = True) -> nn.Module:
        super()._apply(fn, recurse)
        self.set(**self.statistics)  # exact in the new type too
        return self

    def forward(self, x: Tensor) -> Tensor:
        x = (x - self.mean) / self.std
        if self.statistics["input"] == "residual":
            x = torch.cat([x[:, :, :1], RESIDUAL_GAIN * x.diff(dim=2)], 2)
        return x
