"""Checkpoints: dicts of tensors and plain values, as CONTENT names them, and TRAINING_CONTENT for resuming."""

import os
import shutil
import textwrap
import zipfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from dataloaders.errors import FileError
from dataloaders.files import atomic_write
from dataloaders.sampling import ClipConfig
from engine.errors import CheckpointError
from network import count_flops
from network.weights import build_from_checkpoint, read_weights

CONTENT = {
    "model": str,
    "options": dict,
    "classes": list,
    "clip": dict,
    "state_dict": dict,
    "normalization": dict,
}
TRAINING_CONTENT = dict.fromkeys(
    ("videos", "optimizer", "scheduler", "scaler", "train_state"), dict
)
TRAINING_CONTENT |= {"head": str | None, "args": dict}


@dataclass
class TrainState:
    """How far a run is. The training loop updates it in place, and every checkpoint stores it."""

    epoch: int = 0  # epochs completed, with their validation
    num_samples: int = 0  # clips of the following epoch that are done, over all processes
    loss_sum: float = 0.0  # over these clips
    num_correct: int = 0
    best_epoch: int = 0  # the epoch of the best checkpoint, 0 before there is one
    best_score: float = 0.0  # its score, as --best-by says, and loss in validation
    best_loss: float = 0.0


def save_checkpoint(checkpoint: dict[str, Any], path: Path, *copies: Path) -> None:
    """Write a checkpoint atomically; further names take no more space where hard links exist. OSError on failure."""
    try:
        with atomic_write(path) as partial, open(partial, "wb") as file:
            torch.save(checkpoint, file)
    except (OSError, RuntimeError) as error:  # PyTorch raises RuntimeError when the disk is full
        reason = str(error).partition("\n")[0]
        raise FileError(f"{path}: cannot be written; is the disk full? ({reason})") from error
    for copy in copies:
        with atomic_write(copy) as partial:
            try:
                os.link(path, partial)
            except OSError:
                shutil.copyfile(path, partial)


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint onto the CPU; OSError if it cannot be opened, CheckpointError if damaged."""
    try:
        return _load_checkpoint(path)
    except CheckpointError as error:
        siblings = set(path.parent.glob(f"{path.stem.rpartition('_')[0]}_*{path.suffix}")) - {path}
        for sibling in sorted(siblings, key=lambda file: file.stat().st_mtime_ns, reverse=True):
            try:
                epoch = _load_checkpoint(sibling).get("train_state", {}).get("epoch")
            except (AttributeError, OSError, CheckpointError):  # damaged itself
                continue
            previous = f"the one before it, of epoch {epoch}, is {sibling}: copy it to {path}"
            raise CheckpointError(f"{error}; {previous}") from None
        raise


def _load_checkpoint(path: Path) -> dict[str, Any]:
    with open(path, "rb") as file:
        try:
            with zipfile.ZipFile(file) as archive:
                if archive.testzip():  # by the checksums that PyTorch writes and does not read
                    raise zipfile.BadZipFile
            checkpoint = read_weights(path)
        except Exception:  # zipfile raises all kinds of errors on foreign bytes
            raise CheckpointError(f"{path}: damaged, or not a checkpoint") from None
    if not isinstance(checkpoint, dict) or CONTENT.keys() - checkpoint.keys():
        raise CheckpointError(f"{path}: not a checkpoint of train.py")
    validate_types(checkpoint, CONTENT, f"{path}: damaged")
    if not checkpoint["classes"] or not all(
        isinstance(name, str) for name in checkpoint["classes"]
    ):
        raise CheckpointError(f"{path}: damaged, its classes are not names")
    return checkpoint


def validate_types(checkpoint: dict[str, Any], types: dict, problem: str) -> None:
    """Raise CheckpointError where a value is missing or of another type."""
    for key, kind in types.items():
        if key not in checkpoint:
            raise CheckpointError(f"{problem}, it has no {key}")
        if not isinstance(checkpoint[key], kind):
            raise CheckpointError(f"{problem}, its {key} is a {type(checkpoint[key]).__name__}")


def restore_model(
    checkpoint: dict[str, Any], file: str | Path = "the checkpoint"
) -> torch.nn.Module:
    """Build the model of a checkpoint, for evaluation on the CPU; CheckpointError where weights or clips do not fit."""
    try:
        count_flops(
            checkpoint["model"],
            ClipConfig.from_dict(checkpoint["clip"]).shape,
            **checkpoint["options"],
        )
        model = build_from_checkpoint(checkpoint)
        model.get_submodule(checkpoint.get("head") or "")
    except (AttributeError, RuntimeError, TypeError, ValueError) as error:
        message = textwrap.shorten(str(error).removeprefix(f"{file}: "), 200, placeholder=" ...")
        raise CheckpointError(
            f"{file}: does not fit the model {checkpoint['model']!r}: {message}"
        ) from None
    return model


def state_dicts(model, optimizer, scheduler, scaler, state: TrainState) -> dict[str, Any]:
    """Return the part of a checkpoint that changes with every step."""
    content = {"state_dict": model.state_dict(), "normalization": model.normalize.statistics}
    content |= {
        "optimizer": optimizer.state_dict(),
        "scheduler": {"last_epoch": scheduler.last_epoch},
    }
    return content | {"scaler": scaler.state_dict(), "train_state": asdict(state)}


def restore_training(
    checkpoint, optimizer, scaler, num_videos: int, file: str | Path = "the checkpoint"
) -> TrainState:
    """Restore an optimizer and a GradScaler, and return the TrainState; CheckpointError where one is damaged."""
    try:
        optimizer.load_state_dict(checkpoint["optimizer"])
        for group in optimizer.param_groups:
            group["fused"] = optimizer.defaults["fused"]  # as this machine has it
            float(group["initial_lr"])
            for parameter in group["params"]:
                buffer = optimizer.state[parameter].get("momentum_buffer")
                if buffer is not None and buffer.shape != parameter.shape:
                    raise ValueError(
                        f"momentum of shape {tuple(buffer.shape)} for {tuple(parameter.shape)}"
                    )
        if checkpoint["scaler"]:  # empty where none was needed
            scaler.load_state_dict(checkpoint["scaler"])
        state = TrainState(**checkpoint["train_state"])
        validate_types(checkpoint["train_state"], TrainState.__annotations__, "train_state")
        if not 0 <= state.num_samples <= num_videos:
            raise ValueError(f"{state.num_samples} clips of an epoch are done")
        return state
    except (
        AttributeError,
        IndexError,
        KeyError,
        OverflowError,
        RuntimeError,
        TypeError,
        ValueError,
    ) as error:
        raise CheckpointError(f"{file}: damaged: {error}") from None
