"""Public weight files: how their publishers name layers, order colours, pad and normalise."""

import re
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from network import build_model, resnet
from network.c3d import CAFFE_MEAN, MEAN
from network.errors import ModelError

UNIT_STD = (1 / 255, 1 / 255, 1 / 255)  # of networks that see plain differences of 0..255
CAFFE = {"mean": CAFFE_MEAN, "std": UNIT_STD}
CLASSIC = {"mean": MEAN, "std": UNIT_STD}
MMACTION2 = {"mean": (104 / 255, 117 / 255, 128 / 255), "std": UNIT_STD}
KINETICS = {"mean": resnet.MEAN, "std": resnet.STD}
GDT = {"mean": (0.45, 0.45, 0.45), "std": (0.225, 0.225, 0.225)}
GLUON = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
CAFFE2_EPS = 1e-3  # of batch norm, where the weights come from Caffe2

# The layers of C3D by their numbers in the public Sports-1M file, and by mmaction's names.
C3D_LAYERS = ["conv1", "conv2", "conv3a", "conv3b", "conv4a", "conv4b", "conv5a", "conv5b", "fc6", "fc7", "fc8"]
NUMBERED = [f"features.{i}" for i in (0, 3, 6, 8, 11, 13, 16, 18)] + [f"classifier.{i}" for i in (0, 3, 6)]
MMACTION = ["conv1a", "conv2a", *C3D_LAYERS[2:10], "fc_cls"]
C3D_NAMES = dict(zip(NUMBERED + MMACTION, 2 * C3D_LAYERS, strict=True))
GLUON_NAMES = (
    (r"\.conv([12])\.conv1\.", r".conv\1.0.0."),
    (r"\.conv([12])\.bn1\.", r".conv\1.0.1."),
    (r"\.conv([12])\.conv2\.", r".conv\1.0.3."),
    (r"\.bn([12])\.", r".conv\1.1."),
    (r"^conv1\.", "stem.0."),
    (r"^bn1\.", "stem.1."),
    (r"^conv2\.", "stem.3."),
    (r"^bn2\.", "stem.4."),
)
REFUSED = {  # other networks, by the name and shape of a weight
    r"(res3d|res2plus1d)\.": "R3D or R2Plus1D of the classic scripts, with two BatchNorm-ReLUs after every convolution",
    r"blocks\.\d": "a network of pytorchvideo, such as its R(2+1)D-50, with bottleneck blocks",
    r"layer1\.0\.conv1\.conv\.": "mmaction2's R(2+1)D-34, with another stem and other strides",
    r"conv1\.weight \(64, 3, 7, 7, 7\)": "3D-ResNets-PyTorch, whose stem is a 7x7x7 convolution and a max pool",
    r"layer2\.0\.conv1\.0\.weight \(\d+, \d+, 1, 3, 3\)": "torchvision's mc3_18, whose later stages see single frames",
}


def read_weights(path: str | Path) -> Any:
    """Read a file of weights onto the CPU; only tensors and plain values are unpickled.

    OSError where the file cannot be opened, ModelError where it holds something else.
    """
    with open(path, "rb") as file:  # a missing or unreadable file raises the error of the system
        start = file.read(4096)
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # the unpickler raises all kinds of errors on foreign bytes
        if b"blobs" in start:
            raise ModelError(f"{path}: a file of Caffe2, which PyTorch does not read") from error
        if b"<html" in start.lower():
            raise ModelError(f"{path}: a web page, not the file of weights; download it again") from error
        raise ModelError(f"{path}: damaged, or not a checkpoint") from error


def load_public(path: str | Path) -> nn.Module:
    """Build the network of a file of weights: a checkpoint of train.py, or one of the families of docs/weights.md.

    OSError where the file cannot be opened; ModelError, which names the network, where it is not built here.

    Returns:
        The model in evaluation mode, which takes RGB clips (N, 3, T, H, W), 0..255, and gives the logits that its
        publisher's gives, or features (N, 512 or 4096) where the file has no last layer. Its `classes` are the names of
        the classes, None where the file has none; its `head` is the name of the last layer.
    """
    content = read_weights(path)
    content = content if isinstance(content, dict) else {}
    nested = next((key for key in ("state_dict", "model") if isinstance(content.get(key), dict)), None)
    state = content if nested is None else content[nested]
    if not state or not all(isinstance(value, Tensor) for value in state.values()):
        raise ModelError(f"{path}: no weights in it")
    state = {name.removeprefix("module."): value for name, value in state.items()}
    if {"normalization", "options", "classes"} <= content.keys():
        name, classes, normalization = content["model"], content["classes"], content["normalization"]
        options, num_classes = saved_options(name, content["options"], state), len(classes)
    else:
        name, options, normalization, state = _recognize(path, state, nested is not None)
        classes, num_classes = None, len(state.get("fc8.weight" if name == "C3D" else "fc.weight", ()))
    model = build_model(name, num_classes or 1, **options)
    model.classes, model.head = classes, list(model.state_dict())[-1].rpartition(".")[0]
    if not num_classes:
        setattr(model, model.head, nn.Identity())

    expected = model.state_dict()
    for key, value in expected.items():
        if key not in state and not key.endswith("num_batches_tracked"):
            raise ModelError(f"{path}: weights of another network, they have no {key}")
        if key in state and state[key].shape != value.shape:
            shapes = f"{tuple(state[key].shape)}, not {tuple(value.shape)}"
            raise ModelError(f"{path}: weights of another network, their {key} is {shapes}")
    if unknown := [key for key in state if key not in expected]:
        raise ModelError(f"{path}: weights of another network, {name} has no {unknown[0]}")
    model.load_state_dict(state, strict=False)
    model.normalize.set(**normalization)
    return model.eval()


def _recognize(path, state, is_nested):
    """Return (model, options, normalization, state) of a family, its layers named and its colours ordered as ours."""
    if any(name.startswith("video_network.base.") for name in state):  # beside a network for the sound
        prefix = "video_network.base."
        state = {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
        return "R2Plus1D", residual_options(state), GDT, state
    state = {re.sub(r"^(backbone|cls_head)\.", "", name): value for name, value in state.items()}
    for pattern, reason in REFUSED.items():
        if any(re.match(pattern, f"{name} {tuple(value.shape)}") for name, value in state.items()):
            raise ModelError(f"{path}: {reason}: another network, which is not built here")

    if "stem.0.weight" in state:
        options = residual_options(state)
        is_factored = "stem.3.weight" in state
        if is_factored and not options["shared_midplanes"]:
            options["eps"] = CAFFE2_EPS  # ig65m and XDC
        return "R2Plus1D" if is_factored else "R3D", options, KINETICS, state
    if "bn1.weight" in state:
        for pattern, name in GLUON_NAMES:
            state = {re.sub(pattern, name, key): value for key, value in state.items()}
        return "R2Plus1D", residual_options(state), GLUON, state

    is_mmaction2 = "conv1a.conv.weight" in state
    renamed = {}
    for name, value in state.items():
        layer, _, kind = name.replace(".conv.", ".").rpartition(".")
        renamed[f"{C3D_NAMES.get(layer, layer)}.{kind}"] = value
    is_classic = is_nested and "conv1.weight" in state
    if not is_mmaction2 and "conv1.weight" in renamed:  # they read BGR
        renamed["conv1.weight"] = renamed["conv1.weight"].flip(1)
    options = {} if is_mmaction2 or is_classic else {"ceil_mode": True}
    return "C3D", options, MMACTION2 if is_mmaction2 else CLASSIC if is_classic else CAFFE, renamed


def residual_options(state: dict[str, Tensor]) -> dict[str, Any]:
    """Return the depth of a residual network, and of R(2+1)D how its planes are counted, by its weights."""
    options = {"depth": 34 if any(name.startswith("layer1.2.") for name in state) else 18}
    second = state.get("layer2.0.conv2.0.0.weight")
    return options if second is None else options | {"shared_midplanes": len(second) == 230}


def saved_options(name: str, options: dict, state: dict[str, Tensor]) -> dict[str, Any]:
    """Return the options of a checkpoint; those written before R(2+1)D of 34 layers followed the paper lack one."""
    is_old = name == "R2Plus1D" and options.get("depth") == 34 and "shared_midplanes" not in options
    return options | (residual_options(state) if is_old else {})
