"""The models by name. Adding one is a file in this folder and a line here.
A builder takes `num_classes` and returns a model that takes clips as `network.resnet.VideoResNet` does. A model has
`normalize`, a `Normalize`; `dropout`; `last_pool`, the name of the module after its last convolutional stage. What it
defines last gives the logits. `build_model` adds the name of that, `head`, and its own `name` and `options`."""

import textwrap

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from network.c3d import C3D
from network.errors import ModelError
from network.resnet import r2plus1d, r3d

MODELS = {"C3D": C3D, "R3D": r3d, "R2Plus1D": r2plus1d}


def build_model(name: str, num_classes: int, **options) -> nn.Module:
    """Build a model with random weights; ModelError where there is no such model or option."""
    if name not in MODELS:
        raise ModelError(f"unknown model {name!r}, known are {', '.join(MODELS)}")
    try:
        model = MODELS[name](num_classes=num_classes, **options)
    except (KeyError, TypeError) as error:
        raise ModelError(f"{name} cannot take the options {options}: {error}") from None
    model.name, model.options, model.head = (
        name,
        options,
        list(model.state_dict())[-1].rpartition(".")[0],
    )
    return model


def count_flops(name: str, clip_shape: tuple[int, int, int], **options) -> int:
    """Return the multiply-adds, FLOPs in papers, of a clip (T, H, W), by shapes alone; ModelError if it cannot be."""
    try:
        with (
            torch.device("meta"),
            FlopCounterMode(display=False) as counter,
            torch.inference_mode(),
        ):
            # In training mode batch norm refuses a single value, which a small clip may give it.
            build_model(name, 1, **options).eval()(torch.empty(1, 3, *clip_shape))
    except RuntimeError as error:
        reason = textwrap.shorten(str(error), 200, placeholder=" ...")
        raise ModelError(f"{name} cannot take clips of {clip_shape}: {reason}") from None
    return counter.get_total_flops() // 2
