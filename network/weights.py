"""Weights by name or file: downloaded, hashed, read, and put into their network."""

import hashlib
import os
import re
import socket
import zipfile
from dataclasses import dataclass
from functools import cache
from http.client import HTTPException
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock
from torch import Tensor, nn

from network import build_model, head_of, part_of
from network.converters import WeightFile, convert, residual_options
from network.errors import ModelError

# The public files of weights, as `--weights help` prints them: the top-1 is what the publisher
# reports, on UCF101 and HMDB51 after fine-tuning, and the name of the file at the address ends in
# the first digits of its SHA-256.
TABLE = Path(__file__).with_name("weights.txt")
DOWNLOAD_TIMEOUT = 30  # seconds without a byte

# What a checkpoint of train.py has for everybody who wants its model.
CHECKPOINT_CONTENT = {
    "model": str,
    "options": dict,
    "classes": list,
    "clip": dict,
    "state_dict": dict,
    "normalization": dict,
}

# How other programs wrap a network or its parts.
PREFIXES = re.compile(r"^(module\.)?(_orig_mod\.)?(backbone\.|cls_head\.)?")


@dataclass(frozen=True)
class PretrainedModel:
    """A network with the weights of a file, in evaluation mode on the CPU.

    Attributes:
        name: Of the network, in `network.MODELS`.
        options: That it was built with.
        model: Gives its publisher's logits, or features where the file has no last layer.
        num_classes: The number of logits, None without a last layer.
        classes: Their names, None where the file has none.
        clip: The clips it was trained on: `clip_len`, `frame_rate` or `frame_interval`, and of a
            checkpoint of train.py their size; None where it is not known.
        channels: Those of the clips.
    """

    name: str
    options: dict[str, Any]
    model: nn.Module
    num_classes: int | None
    classes: list[str] | None
    clip: dict[str, Any] | None
    channels: int = 3


def describe_clip(clip: dict[str, Any]) -> str:
    """Describe clips by their `clip_len` and `frame_rate` or `frame_interval`."""
    text = f"{clip['clip_len']} frames"
    if clip.get("frame_rate") is not None:
        return f"{text}, {clip['frame_rate']:g} a second"
    if clip["frame_interval"] > 1:
        return f"{text}, 1 in {clip['frame_interval']}"
    return f"{text} in a row"


@cache
def weight_urls() -> dict[str, str]:
    """Return the addresses of public weights by name."""
    rows = TABLE.read_text(encoding="utf-8").splitlines()[1:]
    columns = [row.split() for row in rows]
    return {row[0]: row[-1] for row in columns}


def download_weights(name: str) -> Path:
    """Download public weights, once, into the folder of torch.hub.

    Args:
        name: In `weight_urls()`.

    Raises:
        ModelError: That fails, or the file there is damaged.
    """
    url = weight_urls()[name]
    path = Path(torch.hub.get_dir(), "checkpoints", url.rpartition("/")[2])
    digits = path.stem.rpartition("-")[2]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{path}.lock"):  # another process may be downloading it
            if not path.exists():
                print(f"{url} goes to {path}")
                _download(url, path, digits)
            elif not hashlib.sha256(path.read_bytes()).hexdigest().startswith(digits):
                raise ModelError(
                    f"{path}: damaged, its SHA-256 does not begin with {digits}; delete it"
                )
    except (OSError, RuntimeError, HTTPException) as error:  # RuntimeError where the hash differs
        reason = " ".join(str(getattr(error, "reason", error)).split())
        raise ModelError(
            f"--weights {name}: {url} cannot be downloaded ({reason}); get it elsewhere and put it"
            f" at {path}"
        ) from None
    return path


def _download(url: str, path: Path, digits: str) -> None:
    timeout = socket.getdefaulttimeout()
    socket.setdefaulttimeout(DOWNLOAD_TIMEOUT)
    try:
        torch.hub.download_url_to_file(url, str(path), digits)
    finally:
        socket.setdefaulttimeout(timeout)


def read_weights(path: str | Path) -> Any:
    """Read tensors and plain values onto the CPU, with their checksums if the file is a zip.

    Raises:
        ModelError: The file cannot be opened, is damaged, or holds anything else.
    """
    try:
        with open(path, "rb") as file:
            start = file.read(4096)
    except OSError as error:
        raise ModelError(f"{path}: cannot be read: {error.strerror}") from None
    try:
        if zipfile.is_zipfile(path):
            _verify_checksums(path)
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # the unpickler raises all kinds of errors on foreign bytes
        raise ModelError(f"{path}: {_describe_foreign(start)}") from error


def _verify_checksums(path: str | Path) -> None:
    """Verify what PyTorch writes and does not read."""
    with zipfile.ZipFile(path) as archive:
        damaged = archive.testzip()
    if damaged is not None:
        raise zipfile.BadZipFile(damaged)


def _describe_foreign(start: bytes) -> str:
    if b"blobs" in start:
        return "a file of Caffe2, which PyTorch does not read"
    if b"<html" in start.lower():
        return "a web page, not the file of weights; download it again"
    return "damaged, or not a checkpoint"


def load_weights(name_or_file: str | Path) -> PretrainedModel:
    """Load a checkpoint of train.py, or public weights of the families in docs/weights.md.

    Args:
        name_or_file: A file, or a name in `weight_urls()`, which is downloaded.

    Raises:
        ModelError: The file cannot be read or downloaded, or its network is not built here.
    """
    path = _find_weights(str(name_or_file))
    content = read_weights(path)
    try:
        if isinstance(content, dict) and content.keys() >= CHECKPOINT_CONTENT.keys():
            return _load_checkpoint(content)
        return _load_public(content, path.name)
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from None


def build_from_checkpoint(content: dict[str, Any]) -> nn.Module:
    """Build the network of a checkpoint of train.py, in evaluation mode on the CPU.

    Args:
        content: What the file holds.

    Raises:
        ModelError: The weights or statistics do not fit the network.
    """
    return _load_checkpoint(content).model


def _find_weights(name: str) -> Path:
    path = Path(os.path.expanduser(name))
    if os.path.isfile(path):  # `Path.is_file` raises an OSError for a name that is too long
        return path
    if name in weight_urls():
        return download_weights(name)
    raise ModelError(
        f"{path}: no such file of weights; --weights help lists those that have a name"
    )


def _load_checkpoint(content: dict[str, Any]) -> PretrainedModel:
    name = content["model"]
    options = content["options"]
    clip = content["clip"]
    classes = content["classes"]
    statistics = content["normalization"]
    state = content["state_dict"]
    if name == "R2Plus1D" and options.get("depth") == 34:
        # Not all checkpoints say how their planes are counted.
        options = {**residual_options(state), **options}
    channels = clip.get("channels", 3)
    model = build_model(name, len(classes), channels=channels, **options)
    _load_state(model, state)
    if statistics:
        part_of(model, "normalize").set(**statistics)
    return PretrainedModel(name, options, model.eval(), len(classes), classes, clip, channels)


def _load_public(content: Any, file_name: str) -> PretrainedModel:
    weights = convert(_unwrap(content, file_name))
    num_classes = weights.num_classes
    model = build_model(weights.model, num_classes or 1, **weights.options)
    if num_classes is None:
        model.set_submodule(head_of(model), nn.Identity())
    _load_state(model, weights.state)
    model.normalize.set(**weights.statistics)
    return PretrainedModel(
        name=weights.model,
        options=weights.options,
        model=model.eval(),
        num_classes=num_classes,
        classes=None,
        clip=weights.clip,
    )


def _unwrap(content: Any, file_name: str) -> WeightFile:
    """Find the weights in what a file holds; ModelError where there are none."""
    state = content
    if isinstance(content, dict):
        nested = [content.get(key) for key in ("state_dict", "model")]
        state = next((value for value in nested if isinstance(value, dict)), content)
    is_state = isinstance(state, dict) and len(state) > 0
    if not is_state or not all(isinstance(value, Tensor) for value in state.values()):
        raise ModelError("no weights in it")
    bare = {PREFIXES.sub("", name): value for name, value in state.items()}
    return WeightFile(file_name, bare, is_nested=state is not content)


def _load_state(model: nn.Module, state: dict[str, Any]) -> None:
    """Put weights into their network; ModelError where they do not fit or are not finite."""
    known = model.state_dict()
    for key in known:
        if key not in state and not key.endswith("num_batches_tracked"):
            raise ModelError(f"weights of another network, they have no {key}")
    for key in state:
        if key not in known:
            raise ModelError(f"weights of another network, with {key}")
    try:
        model.load_state_dict(state, strict=False)
    except RuntimeError as error:  # a line for each weight of another shape
        reason = str(error).splitlines()[1].strip()
        raise ModelError(f"weights of another network: {reason}") from None
    for tensor in (*model.parameters(), *model.buffers()):
        if not tensor.isfinite().all():
            raise ModelError("some of the weights are not finite")
