"""Reads and writes the weights of networks.

A checkpoint is a dict of tensors and plain Python values:

    model, classes, clip    name of the network, its class names, the recipe its clips are cut by: all inference needs
    state_dict              the weights
    optimizer, scheduler, scaler, epoch, best, args    what it takes to go on training
"""

import os

import torch

from network import MODELS


def save(checkpoint, path):
    """Write a checkpoint, whole or not at all."""
    partial = path.with_suffix(".partial")
    torch.save(checkpoint, partial)
    os.replace(partial, path)


def load(path):
    """Read a checkpoint onto the CPU. Nothing but tensors and plain values is unpickled.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no checkpoint of ours.
    """
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except OSError:
        raise
    except Exception as error:  # what the unpickler makes of foreign bytes has no one type
        raise ValueError(f"{path}: damaged, or no checkpoint") from error
    if not isinstance(checkpoint, dict) or not {"model", "classes", "clip", "state_dict"} <= checkpoint.keys():
        raise ValueError(f"{path}: not a checkpoint of train.py")
    return checkpoint


def build(checkpoint):
    """The network of a checkpoint with its weights, on the CPU.

    Raises:
        ValueError: the weights do not fit the network.
    """
    if checkpoint["model"] not in MODELS:
        raise ValueError(f"unknown model {checkpoint['model']!r}, known are {', '.join(MODELS)}")
    network = MODELS[checkpoint["model"]](num_classes=len(checkpoint["classes"]))
    try:
        network.load_state_dict(checkpoint["state_dict"])
    except RuntimeError as error:
        raise ValueError(f"the weights do not fit {checkpoint['model']}: {error}") from None
    return network
