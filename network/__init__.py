"""The networks by name. Adding one is a file in this folder and a line here.

A network takes `num_classes`, and clips as `network.resnet.VideoResNet` does. Its `normalize` is a `Normalize`, its
`public_normalization` what public weights for it expect, `last_pool` the name of what follows its last convolutional
stage, and the layer it defines last gives the logits.
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
        torch.ones(1, device=name).item()
    except (RuntimeError, AssertionError) as error:
        raise ValueError(f"--device {name}: {str(error).splitlines()[0]}") from None
    return torch.device(name)


def half_precision(device):
    """The type for mixed precision, bfloat16 or else float16; None where 32-bit floats are the better choice.

    On the CPU they are: there PyTorch's bfloat16 gradients of Conv3d can be wrong. So they are on CUDA with releases
    known for it, which is said.
    """
    if device.type != "cuda":
        return None
    release = torch.__version__.split("+")[0]
    cudnn = torch.backends.cudnn.version() or 0
    if release.startswith(("2.9.", "2.10.")) and 90800 <= cudnn < 91500:
        print(f"PyTorch {release} with cuDNN {cudnn} is known for wrong mixed precision: 32-bit floats instead")
        return None
    return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
