"""The networks by name. Adding one is a file in this folder and a line here.

A network takes `num_classes`, and clips as `network.resnet.VideoResNet` does. Its `normalize` is a `Normalize`, its
`public_normalization` what public weights for it expect, and the layer it defines last gives the logits.
"""

import torch

from network.c3d import C3D
from network.resnet import r2plus1d, r3d

MODELS = {
    "C3D": C3D,
    "R3D": r3d,
    "R2Plus1D": r2plus1d,
}


def find_device(name):
    """The device to compute on; ValueError where it is not there."""
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(f"--device {name}: {str(error).splitlines()[0]}") from None
    return torch.device(name)
