"""Reads public weight files, and starts a model from them."""

from pathlib import Path
from typing import Any

import torch
from torch import nn

from network.errors import ModelError

# The layers of the public Sports-1M file of C3D that numbers them, by their classic names.
NUMBERED_LAYERS = {
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


def read_weights(path: str | Path) -> Any:
    """Read a file of weights onto the CPU; only tensors and plain values are unpickled.

    Raises:
        OSError: the file cannot be opened.
        ModelError: it holds something else.
    """
    with open(path, "rb"):  # a missing or unreadable file raises the error of the system
        pass
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # the unpickler raises all kinds of errors on foreign bytes
        raise ModelError(f"{path}: damaged, or not a checkpoint") from error


def load_pretrained(model: nn.Module, path: str | Path, classes: list[str]) -> str | None:
    """Start a model from weights trained elsewhere; a last layer of other classes keeps its random weights.

    Reads checkpoints of train.py, torchvision's `r3d_18` and `r2plus1d_18`, C3D's Sports-1M weights under numbered or
    classic names, and any such weights under a key `state_dict` or with prefixes `module.`.

    Args:
        model: gets the weights, and the normalisation that they were trained with.
        path: the file.
        classes: class names of the model.

    Returns:
        The name of the last layer if it keeps its random weights, None if it was loaded too.

    Raises:
        OSError: the file cannot be opened.
        ModelError: it holds no weights, or those of another model; the message names the first that differs.
    """
    content = read_weights(path)
    state = content.get("state_dict", content) if isinstance(content, dict) else None
    if not isinstance(state, dict) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise ModelError(f"{path}: no weights in it")
    loaded = {}
    for name, value in state.items():
        layer, _, kind = name.removeprefix("module.").rpartition(".")
        loaded[f"{NUMBERED_LAYERS.get(layer, layer)}.{kind}"] = value

    expected = model.state_dict()
    head = list(expected)[-1].rpartition(".")[0]
    for name, value in expected.items():
        if name.startswith(f"{head}.") or name.endswith("num_batches_tracked"):
            continue
        if name not in loaded:
            raise ModelError(f"{path}: weights of another model, they have no {name}")
        if loaded[name].shape != value.shape:
            shapes = f"{tuple(loaded[name].shape)}, not {tuple(value.shape)}"
            raise ModelError(f"{path}: weights of another model, their {name} is {shapes}")
    if unknown := [name for name in loaded if name not in expected]:
        raise ModelError(f"{path}: weights of another model, this one has no {unknown[0]}")

    weight = loaded.get(f"{head}.weight")
    has_same_shape = weight is not None and weight.shape == expected[f"{head}.weight"].shape
    is_new_head = not has_same_shape or content.get("classes", classes) != classes
    if is_new_head:
        loaded = {name: value for name, value in loaded.items() if not name.startswith(f"{head}.")}
    model.load_state_dict(loaded, strict=False)
    model.normalize.set(**content.get("normalization", model.public_normalization))
    print(f"{path}: {len(loaded)} tensors loaded" + (f", {head} is new" if is_new_head else ""))
    return head if is_new_head else None
