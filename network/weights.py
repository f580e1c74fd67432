"""Reads and writes the weights of networks.

A checkpoint is a dict of tensors and plain Python values:

    model, options, classes, clip   the network, its class names and the recipe its clips are cut by
    state_dict, normalization       the weights, and the statistics that they expect their input normalised by
    optimizer, scheduler, scaler, epoch, best, head, videos, args   what it takes to go on training
"""

import os
import shutil

import torch

from network import MODELS

# The layers of the public Sports-1M file of C3D that numbers them, by their classic names.
NUMBERED = {
    "features.0": "conv1",
    "features.3": "conv2",
    "features.6": "conv3a",
    "features.8": "conv3b",
    "features.11": "conv4a",
    "features.13": "conv4b",
    "features.16": "conv5a",
    "features.18": "conv5b",
    "classifier.0": "fc6",
    "classifier.3": "fc7",
    "classifier.6": "fc8",
}

CONTENT = {"model", "options", "classes", "clip", "state_dict", "normalization", "head", "videos", "args"}


def save(checkpoint, path, *others):
    """Write a checkpoint, whole or not at all, and give it further names, which take no more space where links are."""
    partial = path.with_suffix(".partial")
    torch.save(checkpoint, partial)
    os.replace(partial, path)
    for other in others:
        partial.unlink(missing_ok=True)
        try:
            os.link(path, partial)
        except OSError:
            shutil.copyfile(path, partial)
        os.replace(partial, other)


def read(path):
    """Read a file of weights onto the CPU. Nothing but tensors and plain values is unpickled.

    Raises:
        OSError: the file cannot be opened.
        ValueError: it holds something else.
    """
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except OSError:
        raise
    except Exception as error:  # what the unpickler makes of foreign bytes has no one type
        raise ValueError(f"{path}: damaged, or no checkpoint") from error


def load(path):
    """Read a checkpoint of train.py onto the CPU.

    Raises:
        OSError: the file cannot be opened.
        ValueError: it is no checkpoint of ours.
    """
    checkpoint = read(path)
    if not isinstance(checkpoint, dict) or CONTENT - checkpoint.keys():
        raise ValueError(f"{path}: not a checkpoint of train.py")
    return checkpoint


def build(checkpoint):
    """The network of a checkpoint with its weights, on the CPU.

    Raises:
        ValueError: the weights do not fit the network.
    """
    if checkpoint["model"] not in MODELS:
        raise ValueError(f"unknown model {checkpoint['model']!r}, known are {', '.join(MODELS)}")
    network = MODELS[checkpoint["model"]](num_classes=len(checkpoint["classes"]), **checkpoint["options"])
    network.normalize.set(**checkpoint["normalization"])
    try:
        network.load_state_dict(checkpoint["state_dict"])
    except RuntimeError as error:
        raise ValueError(f"the weights do not fit {checkpoint['model']}: {error}") from None
    return network


def load_pretrained(network, path, classes):
    """Start a network from weights trained elsewhere, all of them but the last layer where that has other classes.

    Reads checkpoints of train.py, torchvision's `r3d_18` and `r2plus1d_18`, C3D's Sports-1M weights under numbered or
    classic names, and any such weights under a key `state_dict` or with prefixes `module.`.

    Returns:
        The name of the last layer if it was left as it is, None if it was loaded too.

    Raises:
        OSError: the file cannot be opened.
        ValueError: it holds no weights, or those of another network; the message names the first that differs.
    """
    content = read(path)
    state = content.get("state_dict", content) if isinstance(content, dict) else None
    if not isinstance(state, dict) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise ValueError(f"{path}: no weights in it")
    found = {}
    for name, value in state.items():
        layer, _, kind = name.removeprefix("module.").rpartition(".")
        found[f"{NUMBERED.get(layer, layer)}.{kind}"] = value

    own = network.state_dict()
    head = list(own)[-1].rpartition(".")[0]
    strangers = [name for name in found if name not in own]
    for name, value in own.items():
        if name.startswith(f"{head}.") or name.endswith("num_batches_tracked"):
            continue
        if name not in found:
            raise ValueError(f"{path}: weights of another network, they have no {name}")
        if found[name].shape != value.shape:
            theirs, ours = (tuple(tensor.shape) for tensor in (found[name], value))
            raise ValueError(f"{path}: weights of another network, their {name} is {theirs}, not {ours}")
    if strangers:
        raise ValueError(f"{path}: weights of another network, this one has no {strangers[0]}")

    weight = found.get(f"{head}.weight")
    fits = weight is not None and weight.shape == own[f"{head}.weight"].shape
    replaced = not fits or content.get("classes", classes) != classes
    if replaced:
        found = {name: value for name, value in found.items() if not name.startswith(f"{head}.")}
    network.load_state_dict(found, strict=False)
    network.normalize.set(**content.get("normalization", network.public_normalization))
    print(f"{path}: {len(found)} tensors loaded, {f'{head} replaced by a new one' if replaced else 'none left out'}")
    return head if replaced else None
