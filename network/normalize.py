"""The first step of a network: pixels 0..255 into what its weights expect."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from network.errors import ModelError

INPUTS = ("rgb", "residual")
RESIDUAL_GAIN = 3  # frames a sixth of a second apart differ by about a third of their own spread

# For clips that are not RGB: the middle of the range, which is no motion in optical flow, and the
# spread of pixels that fill the range as those of photographs do.
NEUTRAL_MEAN = 0.5
NEUTRAL_STD = 0.25


class Normalize(nn.Module):
    """Computes (x / 255 - mean) / std per channel, in the floating-point type of the network.

    The statistics are not in the state_dict, so public weights fit without them. Residual input
    subtracts from every frame but the first the one before it, which removes what does not move
    (Tao et al. 2020, arXiv:2006.13017, section 3.1).

    Attributes:
        statistics: Mean and std, a number for each channel on a scale of 0..1; input, "rgb" or
            "residual".
    """

    def __init__(self, mean: Sequence[float], std: Sequence[float], input: str = "rgb"):
        super().__init__()
        shape = (1, len(mean), 1, 1, 1)
        self.register_buffer("mean", torch.empty(shape), persistent=False)
        self.register_buffer("std", torch.empty(shape), persistent=False)
        self.set(mean, std, input)

    @classmethod
    def for_channels(
        cls, channels: int, mean: Sequence[float], std: Sequence[float]
    ) -> "Normalize":
        """Build the first step of a network that takes any number of channels.

        Args:
            channels: Those of the clips.
            mean: Of RGB clips, (3,); other clips get `NEUTRAL_MEAN`.
            std: Of RGB clips, (3,); other clips get `NEUTRAL_STD`.
        """
        if channels == 3:
            return cls(mean, std)
        return cls([NEUTRAL_MEAN] * channels, [NEUTRAL_STD] * channels)

    def set(self, mean: Sequence[float], std: Sequence[float], input: str = "rgb") -> None:
        """Replace the statistics by those that other weights were trained with.

        Args:
            mean: Of each channel, on a scale of 0..1.
            std: Of each channel.
            input: "rgb" or "residual".

        Raises:
            ModelError: The input is unknown, or the network has another number of channels.
        """
        if input not in INPUTS:
            raise ModelError(f"unknown input {input!r}, known are {', '.join(INPUTS)}")
        channels = self.mean.shape[1]
        if not len(mean) == len(std) == channels:
            raise ModelError(
                f"{len(mean)} means and {len(std)} standard deviations for {channels} channels"
            )
        for buffer, values in ((self.mean, mean), (self.std, std)):
            buffer.copy_(255 * torch.tensor(values, dtype=torch.float64).view(buffer.shape))
        self.statistics = {"mean": list(mean), "std": list(std), "input": input}

    def _apply(self, fn, recurse: bool = True) -> nn.Module:
        super()._apply(fn, recurse)
        self.set(**self.statistics)  # exact in the new type too
        return self

    def forward(self, x: Tensor) -> Tensor:
        """Normalise clips.

        Args:
            x: (N, C, T, H, W), 0..255, `uint8` or float.

        Returns:
            The same shape, float.

        Raises:
            ModelError: The clips have another number of channels.
        """
        channels = self.mean.shape[1]
        if x.shape[1] != channels:
            raise ModelError(f"clips of {x.shape[1]} channels for a network of {channels}")
        x = (x - self.mean) / self.std
        if self.statistics["input"] == "residual":
            x = torch.cat([x[:, :, :1], RESIDUAL_GAIN * x.diff(dim=2)], 2)
        return x


def input_of(network: nn.Module) -> str | None:
    """Return what a network sees, of `INPUTS`; None where it has no `Normalize` as `normalize`."""
    normalize = getattr(network, "normalize", None)
    return normalize.statistics["input"] if isinstance(normalize, Normalize) else None
