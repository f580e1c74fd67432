"""Public weights: where they lie; how their publishers name layers, order colours, pad, normalise and cut clips."""

import hashlib
import re
import socket
from functools import cache
from http.client import HTTPException
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock
from torch import Tensor, nn

from network import build_model, resnet
from network.c3d import MEAN
from network.errors import ModelError

# The public files of weights, as `--weights help` prints them: the top-1 is what the publisher reports, on UCF101 and
# HMDB51 after fine-tuning, and the name of the file at the address ends in the first digits of its SHA-256.
TABLE = Path(__file__).with_name("weights.txt")
DOWNLOAD_TIMEOUT = 30  # seconds without a byte

UNIT_STD = (1 / 255, 1 / 255, 1 / 255)  # of networks that see plain differences of 0..255
CLIP8, CLIP16, CLIP32 = ({"clip_len": clip_len, "frame_interval": 1} for clip_len in (8, 16, 32))
TORCHVISION_CLIP = {"clip_len": 16, "frame_rate": 15.0}
# The statistics of other publishers, and the clips that their weights were trained on.
SPORTS1M = {"mean": (101.41 / 255, 97.66 / 255, 90.25 / 255), "std": UNIT_STD}, CLIP16
OPENMMLAB = {"mean": (104 / 255, 117 / 255, 128 / 255), "std": UNIT_STD}, CLIP16
CLASSIC = {"mean": MEAN, "std": UNIT_STD}, {"clip_len": 16, "frame_interval": 4}
GDT = (
    {"mean": (0.45, 0.45, 0.45), "std": (0.225, 0.225, 0.225)},
    {"clip_len": 30, "frame_rate": 30.0},
)
GLUON = (
    {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)},
    {"clip_len": 16, "frame_interval": 2},
)

# The layers of C3D by their numbers in the public Sports-1M file, and by mmaction's names.
C3D_LAYERS = [
    "conv1",
    "conv2",
    "conv3a",
    "conv3b",
    "conv4a",
    "conv4b",
    "conv5a",
    "conv5b",
    "fc6",
    "fc7",
    "fc8",
]
NUMBERED = [f"features.{i}" for i in (0, 3, 6, 8, 11, 13, 16, 18)] + [
    f"classifier.{i}" for i in (0, 3, 6)
]
C3D_NAMES = dict(zip(NUMBERED, C3D_LAYERS, strict=True)) | {
    "conv1a": "conv1",
    "conv2a": "conv2",
    "fc_cls": "fc8",
}
# The layers of gluon-cv as patterns, tried in this order: a pair of convolutions, the batch norm behind it, the stem.
GLUON_PAIR = {
    r"(\.conv.)\.conv1\.": r"\1.0.0.",
    r"(\.conv.)\.bn1\.": r"\1.0.1.",
    r"(\.conv.)\.conv2\.": r"\1.0.3.",
}
GLUON_STEM = {
    r"^conv1\.": "stem.0.",
    r"^bn1\.": "stem.1.",
    r"^conv2\.": "stem.3.",
    r"^bn2\.": "stem.4.",
}
GLUON_NAMES = GLUON_PAIR | {r"\.bn([12])\.": r".conv\1.1."} | GLUON_STEM
REFUSED = {  # other networks, by the name and shape of a weight
    r"(res3d|res2plus1d)\.": "R3D or R2Plus1D of the classic scripts, with two BatchNorm-ReLUs after every convolution",
    r"blocks\.\d": "a network of pytorchvideo, such as its R(2+1)D-50, with bottleneck blocks",
    r"layer1\.0\.conv1\.conv\.": "mmaction2's R(2+1)D-34, with another stem and other strides",
    r"conv1\.weight \(64, 3, 7, 7, 7\)": "3D-ResNets-PyTorch, whose stem is a 7x7x7 convolution and a max pool",
    r"layer2\.0\.conv1\.0\.weight \(\d+, \d+, 1, 3, 3\)": "torchvision's mc3_18, whose later stages see single frames",
}


def describe_clip(clip: dict[str, Any]) -> str:
    if (rate := clip.get("frame_rate")) is not None:
        return f"{clip['clip_len']} frames, {rate:g} a second"
    return f"{clip['clip_len']} frames" + (
        f", 1 in {n}" if (n := clip["frame_interval"]) > 1 else " in a row"
    )


@cache
def weight_urls() -> dict[str, str]:
    """Return the addresses of public weights by name."""
    return {
        row[0]: row[-1]
        for row in map(str.split, TABLE.read_text(encoding="utf-8").splitlines()[1:])
    }


def download_weights(name: str) -> Path:
    """Return the file of public weights, downloaded once into the folder of torch.hub; ModelError where that fails."""
    url = weight_urls()[name]
    path = Path(torch.hub.get_dir(), "checkpoints", url.rpartition("/")[2])
    digits, timeout = path.stem.rpartition("-")[2], socket.getdefaulttimeout()
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{path}.lock"):  # another process may be downloading it
        if path.exists() and not hashlib.sha256(path.read_bytes()).hexdigest().startswith(digits):
            raise ModelError(
                f"{path}: damaged, its SHA-256 does not begin with {digits}; delete it"
            )
        try:
            socket.setdefaulttimeout(DOWNLOAD_TIMEOUT)
            if not path.exists():
                print(f"{url} goes to {path}")
                torch.hub.download_url_to_file(url, str(path), digits)
        except (
            OSError,
            RuntimeError,
            HTTPException,
        ) as error:  # RuntimeError where the hash differs
            reason = " ".join(str(getattr(error, "reason", error)).split())
            message = f"--weights {name}: {url} cannot be downloaded ({reason}); get it elsewhere and put it at {path}"
            raise ModelError(message) from None
        finally:
            socket.setdefaulttimeout(timeout)
    return path


def read_weights(path: str | Path) -> Any:
    """Read tensors and plain values onto the CPU; OSError where a file cannot be opened, ModelError for all else."""
    with open(path, "rb") as file:  # a missing or unreadable file raises the error of the system
        start = file.read(4096)
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # the unpickler raises all kinds of errors on foreign bytes
        if b"blobs" in start:
            raise ModelError(f"{path}: a file of Caffe2, which PyTorch does not read") from error
        if b"<html" in start.lower():
            raise ModelError(
                f"{path}: a web page, not the file of weights; download it again"
            ) from error
        raise ModelError(f"{path}: damaged, or not a checkpoint") from error


def load_public(path: str | Path, content: Any = None) -> nn.Module:
    """Build the network of a file of weights: a checkpoint of train.py, or one of the families of docs/weights.md.
    The model is in evaluation mode and gives its publisher's logits, or features (N, 512 or 4096) where the file has no
    last layer. It has `num_classes`, 0 without one, their names, `classes`, or None, and the `clip` that it was trained
    on. `content` is what the file contains, where it has been read.
    OSError where the file cannot be opened; ModelError, which names the network, where it is not built here."""
    content = read_weights(path) if content is None else content
    content = content if isinstance(content, dict) else {}
    nested = next(
        (content[key] for key in ("state_dict", "model") if isinstance(content.get(key), dict)),
        None,
    )
    state = content if nested is None else nested
    if not state or not all(isinstance(value, Tensor) for value in state.values()):
        raise ModelError(f"{path}: no weights in it")
    state = {
        name.removeprefix("module.").removeprefix("_orig_mod."): value
        for name, value in state.items()
    }
    if {"normalization", "options", "classes"} <= content.keys():
        name, options = content["model"], content["options"]
        if options.get("depth") == 34:  # not all checkpoints say how their planes are counted
            options = residual_options(state) | options
        classes, normalization, clip = content["classes"], content["normalization"], content["clip"]
        num_classes = len(classes)
    else:
        name, options, normalization, clip, state = _recognize(path, state, nested is not None)
        classes, num_classes = (
            None,
            len(state.get("fc8.weight" if name == "C3D" else "fc.weight", ())),
        )
    model = build_model(name, num_classes or 1, **options)
    model.num_classes, model.classes, model.clip = num_classes, classes, clip
    if not num_classes:
        setattr(model, model.head, nn.Identity())
    for key, value in model.state_dict().items():
        if key not in state and not key.endswith("num_batches_tracked"):
            raise ModelError(f"{path}: weights of another network, they have no {key}")
        if key in state and state[key].shape != value.shape:
            shapes = f"{tuple(state[key].shape)}, not {tuple(value.shape)}"
            raise ModelError(f"{path}: weights of another network, their {key} is {shapes}")
    if unknown := model.load_state_dict(state, strict=False).unexpected_keys:
        raise ModelError(f"{path}: weights of another network, {name} has no {unknown[0]}")
    if not all(value.isfinite().all() for value in state.values()):
        raise ModelError(f"{path}: some of the weights are not finite")
    model.normalize.set(**normalization)
    return model.eval()


def _recognize(path, state, is_nested):
    """Return (model, options, normalization, clip, state), layers named and colours ordered as ours."""
    base = "video_network.base."  # of GDT, beside a network for the sound
    if video := {
        name.removeprefix(base): value for name, value in state.items() if name.startswith(base)
    }:
        return "R2Plus1D", residual_options(video), *GDT, video
    state = {re.sub(r"^(backbone|cls_head)\.", "", name): value for name, value in state.items()}
    for pattern, reason in REFUSED.items():
        if any(re.match(pattern, f"{name} {tuple(value.shape)}") for name, value in state.items()):
            raise ModelError(f"{path}: {reason}: another network, which is not built here")

    if "stem.0.weight" in state:
        options, clip = residual_options(state), TORCHVISION_CLIP
        if options.get("shared_midplanes") is False:  # ig65m and XDC
            options["eps"] = 1e-3  # of batch norm in Caffe2
            clip = CLIP8 if "clip8" in Path(path).name else CLIP32  # the weights do not tell
        name = "R2Plus1D" if "stem.3.weight" in state else "R3D"
        return name, options, {"mean": resnet.MEAN, "std": resnet.STD}, clip, state
    if "bn1.weight" in state:
        for pattern, name in GLUON_NAMES.items():
            state = {re.sub(pattern, name, key): value for key, value in state.items()}
        return "R2Plus1D", residual_options(state), *GLUON, state
    renamed = {}
    for name, value in state.items():
        layer, _, kind = name.replace(".conv.", ".").rpartition(".")
        renamed[f"{C3D_NAMES.get(layer, layer)}.{kind}"] = value
    if "conv1a.conv.weight" in state:
        return "C3D", {}, *OPENMMLAB, renamed
    if "conv1.weight" in renamed:  # all others read BGR
        renamed["conv1.weight"] = renamed["conv1.weight"].flip(1)
    if (
        is_nested and "conv1.weight" in state and len(renamed.get("fc8.weight", ())) != 487
    ):  # of Sports-1M
        return "C3D", {}, *CLASSIC, renamed
    return "C3D", {"ceil_mode": True}, *SPORTS1M, renamed


def residual_options(state: dict[str, Tensor]) -> dict[str, Any]:
    """Return the depth of a residual network, and of R(2+1)D how its planes are counted, by its weights."""
    options = {"depth": 34 if any(name.startswith("layer1.2.") for name in state) else 18}
    second = state.get("layer2.0.conv2.0.0.weight")
    return options if second is None else options | {"shared_midplanes": len(second) == 230}
