"""Checkpoints: dicts of tensors and plain values, to resume runs and to recognise actions."""

import math
import os
import shutil
import textwrap
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch
from torch import nn

from dataloaders.errors import FileError
from dataloaders.files import atomic_write
from dataloaders.sampling import ClipConfig
from engine.errors import CheckpointError
from network import count_flops
from network.errors import ModelError
from network.weights import CHECKPOINT_CONTENT, build_from_checkpoint, read_weights

# What a checkpoint has for training beside CHECKPOINT_CONTENT.
TRAINING_CONTENT = {
    "videos": dict,
    "optimizer": dict,
    "scaler": dict,
    "train_state": dict,
    "head": str | None,
    "args": dict,
}


@dataclass
class TrainState:
    """How far a run is.

    Attributes:
        epoch: Epochs completed, with their validation.
        num_samples: Clips of the following epoch that are done, over all processes.
        loss_sum: Over these clips.
        num_correct: Of these clips.
        best_epoch: The epoch of the best checkpoint; None before there is one.
        best_score: Its score in validation, as `--best-by` says; None likewise.
        best_loss: Its loss in validation; None likewise.
    """

    epoch: int = 0
    num_samples: int = 0
    loss_sum: float = 0.0
    num_correct: int = 0
    best_epoch: int | None = None
    best_score: float | None = None
    best_loss: float | None = None

    def complete_epoch(self, score: float, loss: float) -> bool:
        """Complete an epoch after its validation.

        Args:
            score: In validation; more is better.
            loss: In validation; of two epochs with the same score the one with less is better.

        Returns:
            Whether it is the best epoch so far.
        """
        self.epoch += 1
        self.num_samples = 0
        self.loss_sum = 0.0
        self.num_correct = 0
        # A score that is not a number is the worst. Older checkpoints have 0 for no best epoch.
        has_best = bool(self.best_epoch) and not math.isnan(self.best_score + self.best_loss)
        is_better = not math.isnan(score + loss)
        if has_best and is_better:
            is_better = (score, -loss) > (self.best_score, -self.best_loss)
        if self.best_epoch and not is_better:
            return False
        self.best_epoch = self.epoch
        self.best_score = score
        self.best_loss = loss
        return True


def save_checkpoint(checkpoint: dict[str, Any], path: Path, *copies: Path) -> None:
    """Write a checkpoint atomically.

    Args:
        checkpoint: Tensors and plain values.
        path: The file.
        *copies: Further names of it, which take no more space where hard links exist.

    Raises:
        FileError: It cannot be written.
    """
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
    """Read a checkpoint onto the CPU.

    Raises:
        CheckpointError: It cannot be read, is damaged, or no checkpoint of train.py.
    """
    try:
        checkpoint = read_weights(path)
    except ModelError as error:
        raise CheckpointError(str(error)) from None
    if not isinstance(checkpoint, dict) or CHECKPOINT_CONTENT.keys() - checkpoint.keys():
        raise CheckpointError(f"{path}: not a checkpoint of train.py")
    validate_types(checkpoint, CHECKPOINT_CONTENT, f"{path}: damaged")
    classes = checkpoint["classes"]
    if not classes or not all(isinstance(name, str) for name in classes):
        raise CheckpointError(f"{path}: damaged, its classes are not names")
    return checkpoint


def validate_types(checkpoint: dict[str, Any], kinds: dict[str, type], problem: str) -> None:
    """Raise CheckpointError where a value is missing or of another type.

    Args:
        checkpoint: What was read.
        kinds: The types by name.
        problem: How the message begins.
    """
    for key, kind in kinds.items():
        if key not in checkpoint:
            raise CheckpointError(f"{problem}, it has no {key}")
        if not isinstance(checkpoint[key], kind):
            raise CheckpointError(f"{problem}, its {key} is a {type(checkpoint[key]).__name__}")


def restore_model(checkpoint: dict[str, Any], file: str | Path = "the checkpoint") -> nn.Module:
    """Build the model of a checkpoint on the CPU, in evaluation mode.

    Args:
        checkpoint: What `load_checkpoint` returns.
        file: Its name, for messages.

    Raises:
        CheckpointError: The weights or the clips do not fit the model.
    """
    name = checkpoint["model"]
    try:
        clip = ClipConfig.from_dict(checkpoint["clip"])
        count_flops(name, clip.shape, channels=clip.channels, **checkpoint["options"])
        return build_from_checkpoint(checkpoint)
    except (RuntimeError, TypeError, ValueError) as error:
        message = textwrap.shorten(str(error).removeprefix(f"{file}: "), 200, placeholder=" ...")
        raise CheckpointError(f"{file}: does not fit the model {name!r}: {message}") from None


def restore_state(checkpoint: dict[str, Any]) -> TrainState:
    """Return how far the run of a checkpoint is; CheckpointError where it does not say."""
    names = {field.name for field in fields(TrainState)}
    values = checkpoint["train_state"]
    if names != values.keys():
        raise CheckpointError("the checkpoint is of another version: its train_state differs")
    return TrainState(**values)
