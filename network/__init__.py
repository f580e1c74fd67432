"""The networks by name. Adding one is a file in this folder and a line in `MODELS`.

A network is any `nn.Module` that turns clips (N, C, T, H, W), RGB values of 0..255 as `uint8` or
float, into logits (N, num_classes). Its builder takes `num_classes` and options of its own, and
`channels` if clips may have another number of channels than three. A network may also define:

    head: name of the layer that gives the logits; to fine-tune, to freeze stages, for features
    normalize: its first step, a `Normalize`; for residual input and Grad-CAM
    last_pool: name of the module behind its last convolutional stage; for Grad-CAM
    dropout: its `nn.Dropout`; for --dropout

What needs one of these refuses a network without it.
"""

import inspect
import textwrap
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from network.c3d import C3D
from network.errors import ModelError
from network.resnet import r2plus1d, r3d

MODELS: dict[str, Callable[..., nn.Module]] = {
    "C3D": C3D,
    "R3D": r3d,
    "R2Plus1D": r2plus1d,
}


def build_model(name: str, num_classes: int, *, channels: int = 3, **options) -> nn.Module:
    """Build a network with random weights.

    Args:
        name: In `MODELS`.
        num_classes: The number of logits.
        channels: Those of the clips.
        options: The other parameters of its builder.

    Raises:
        ModelError: There is no such network, or it has no such option.
    """
    if name not in MODELS:
        raise ModelError(f"unknown model {name!r}, known are {', '.join(MODELS)}")
    if channels != 3:
        options["channels"] = channels
    try:
        inspect.signature(MODELS[name]).bind(num_classes=num_classes, **options)
    except TypeError as error:
        raise ModelError(f"{name} cannot take the options {options}: {error}") from None
    return MODELS[name](num_classes=num_classes, **options)


def count_flops(
    name: str, clip_shape: tuple[int, int, int], *, channels: int = 3, **options
) -> int:
    """Count the multiply-adds of a clip, which papers call FLOPs.

    Args:
        name: Of the network.
        clip_shape: (T, H, W).
        channels: Those of the clip.
        options: Of the network.

    Raises:
        ModelError: The network cannot take such clips, or has no such option.
    """
    for device in ("meta", "cpu"):  # shapes are enough, unless the network looks at values
        try:
            with torch.device(device), FlopCounterMode(display=False) as counter:
                model = build_model(name, 1, channels=channels, **options)
                # In training mode batch norm refuses a single value, which a small clip may give.
                with torch.inference_mode():
                    model.eval()(torch.zeros(1, channels, *clip_shape))
            return counter.get_total_flops() // 2
        except RuntimeError as error:
            reason = textwrap.shorten(str(error), 200, placeholder=" ...")
    raise ModelError(f"{name} cannot take clips of {clip_shape}: {reason}")


def part_of(model: nn.Module, name: str) -> Any:
    """Return what a network defines for those who need it.

    Args:
        model: The network.
        name: "normalize", "last_pool" or "dropout".

    Raises:
        ModelError: The network does not define it.
    """
    part = getattr(model, name, None)
    if part is None:
        raise ModelError(f"{type(model).__name__} defines no {name}: see network/__init__.py")
    return part


def head_of(model: nn.Module) -> str:
    """Return the name of the layer that gives the logits; ModelError if the network has no `head`.

    A network whose last layer is itself called `head` needs no more.
    """
    head = part_of(model, "head")
    return "head" if isinstance(head, nn.Module) else head


def move_to_device(model: nn.Module, device: torch.device | str) -> nn.Module:
    """Move a network to a device, and store the weights of 3-D convolutions channels last.

    Args:
        model: The network, which is changed in place.
        device: Where to.

    Returns:
        The network.
    """
    model.to(device)
    for parameter in model.parameters():
        if parameter.dim() == 5:
            parameter.data = parameter.data.to(memory_format=torch.channels_last_3d)
    return model
