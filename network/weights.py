"""Reads and writes the weights of networks.

A checkpoint is a dict of tensors and plain Python values:

    model, options, classes, clip   the network, its class names and the recipe its clips are cut by
    state_dict, normalization       the weights, and the statistics that they expect their input normalised by
    optimizer, scheduler, scaler, epoch, sums, best, head, videos, args   what it takes to go on training
"""

import os
import shutil
import textwrap
import zipfile

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

CONTENT = {
    "model": str,
    "options": dict,
    "classes": list,
    "clip": dict,
    "state_dict": dict,
    "normalization": dict,
    "head": (str, type(None)),
    "args": dict,
}
TO_GO_ON = {
    "videos": dict,
    "optimizer": dict,
    "scheduler": dict,
    "scaler": dict,
    "epoch": int,
    "sums": (tuple, list),
    "best": (dict, type(None)),
}


def save(checkpoint, path, *others):
    """Write a checkpoint, whole or not at all, and give it further names, which take no more space where links are.

    Raises:
        OSError: it cannot be written.
    """
    partial = path.with_suffix(".partial")
    partial.unlink(missing_ok=True)  # of a start that was killed, it may be another name of a checkpoint
    try:
        with open(partial, "wb") as file:
            torch.save(checkpoint, file)
            file.flush()
            os.fsync(file.fileno())  # or a power failure may leave an empty file of this name
    except (OSError, RuntimeError) as error:  # the latter is PyTorch's when the disk is full
        partial.unlink(missing_ok=True)
        raise OSError(f"{path}: cannot be written; is the disk full?") from error
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
    with open(path, "rb"):  # what is no file or not ours to read says so
        pass
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # what the unpickler makes of foreign bytes has no one type
        raise ValueError(f"{path}: damaged, or no checkpoint") from error


def load(path):
    """Read a checkpoint of train.py onto the CPU.

    Raises:
        OSError: the file cannot be opened.
        ValueError: it is no checkpoint of ours, or a damaged one; the message names the one before it, if there is one.
    """
    try:
        return _load(path)
    except ValueError as error:
        others = path.parent.glob(f"{path.stem.rpartition('_')[0]}_*{path.suffix}")
        for other in sorted(set(others) - {path}, key=lambda file: file.stat().st_mtime_ns, reverse=True):
            try:
                epoch = _load(other).get("epoch")
            except (OSError, ValueError):
                continue
            raise ValueError(f"{error}; the one before it, of epoch {epoch}, is {other}: copy that over it") from None
        raise


def _load(path):
    with open(path, "rb") as file:
        if _is_torn(file):
            raise ValueError(f"{path}: damaged, or no checkpoint")
    checkpoint = read(path)
    if not isinstance(checkpoint, dict) or CONTENT.keys() - checkpoint.keys():
        raise ValueError(f"{path}: not a checkpoint of train.py")
    if wrong := [key for key, kind in CONTENT.items() if not isinstance(checkpoint[key], kind)]:
        raise ValueError(f"{path}: damaged, its {wrong[0]} is a {type(checkpoint[wrong[0]]).__name__}")
    if not checkpoint["classes"] or not all(isinstance(name, str) for name in checkpoint["classes"]):
        raise ValueError(f"{path}: damaged, its classes are no names")
    return checkpoint


def _is_torn(file):
    """Look at the check sums that PyTorch writes and does not read, and for what it would take for an empty folder."""
    try:
        with zipfile.ZipFile(file) as archive:
            return bool(archive.testzip() or any(entry.external_attr for entry in archive.infolist()))
    except Exception:  # what zipfile makes of foreign bytes has no one type either
        return True


def build(checkpoint):
    """The network of a checkpoint with its weights, on the CPU.

    Raises:
        ValueError: the weights do not fit the network, or it cannot take the checkpoint's clips.
    """
    if checkpoint["model"] not in MODELS:
        raise ValueError(f"unknown model {checkpoint['model']!r}, known are {', '.join(MODELS)}")
    try:
        clip = checkpoint["clip"]
        with torch.device("meta"):  # a network that cannot take such clips says so
            network = MODELS[checkpoint["model"]](1, **checkpoint["options"])
            network(torch.empty(1, 3, clip["clip_len"], clip["crop_size"], clip["crop_size"]))
        network = MODELS[checkpoint["model"]](num_classes=len(checkpoint["classes"]), **checkpoint["options"])
        network.normalize.set(**checkpoint["normalization"])
        network.load_state_dict(checkpoint["state_dict"])
        network.get_submodule(checkpoint["head"] or "")
    except (AttributeError, KeyError, RuntimeError, TypeError) as error:
        said = textwrap.shorten(str(error), 200, placeholder=" ...")
        raise ValueError(f"the weights do not fit {checkpoint['model']}: {said}") from None
    return network


def restore(checkpoint, optimizer, scaler):
    """Put an optimiser and a `GradScaler` back to where a checkpoint has them.

    Returns:
        (done, best, sums): epochs done; score and epoch of the best; sums over an epoch that was begun.

    Raises:
        ValueError: the checkpoint is damaged.
    """
    fused = optimizer.defaults["fused"]
    try:
        if wrong := [key for key, kind in TO_GO_ON.items() if not isinstance(checkpoint[key], kind)]:
            raise TypeError(f"its {wrong[0]} is a {type(checkpoint[wrong[0]]).__name__}")
        optimizer.load_state_dict(checkpoint["optimizer"])
        for group in optimizer.param_groups:
            group["fused"] = fused  # of this machine
            float(group["initial_lr"])
            for parameter in group["params"]:
                buffer = optimizer.state[parameter].get("momentum_buffer")
                if buffer is not None and buffer.shape != parameter.shape:
                    raise ValueError(f"momentum of shape {tuple(buffer.shape)} for {tuple(parameter.shape)}")
        if checkpoint["scaler"]:  # empty where it was not needed
            scaler.load_state_dict(checkpoint["scaler"])
        best, (loss, hits, clips) = checkpoint["best"], checkpoint["sums"]
        if best:
            accuracy, negative_loss = map(float, best["score"])
            best = {"score": [accuracy, negative_loss], "epoch": int(best["epoch"])}
        return checkpoint["epoch"], best, (float(loss), int(hits), int(clips))
    except (AttributeError, IndexError, KeyError, OverflowError, RuntimeError, TypeError, ValueError) as error:
        raise ValueError(f"the checkpoint is damaged: {error}") from None


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
