"""A run that is resumed or tested, and the flags that it keeps."""

from argparse import Namespace
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine import runs
from engine.checkpoint import TRAINING_CONTENT, load_checkpoint, validate_types
from engine.errors import CheckpointError, UsageError

# Flags that describe a start, not a run: a resumed run takes them from its own command line.
OF_A_START = (
    "workers",
    "device",
    "compile",
    "run_dir",
    "resume",
    "test_only",
    "checkpoint",
)
CHANGEABLE = ("epochs", "snapshot", "test_windows")  # flags of a run that may be given again
RENAMED = {"clips_per_video": "test_windows"}  # flags in older checkpoints
# Flags that older checkpoints lack, with the values that their runs had.
ADDED = {
    "optimizer": "sgd",
    "repeat": 1,
    "color_jitter": 0,
    "warmup_epochs": None,
    "milestones": None,
    "gamma": 0.1,
}


@dataclass(frozen=True)
class PreviousRun:
    """A run that is resumed or tested.

    Attributes:
        folder: Of the run.
        file: The checkpoint.
        modified: When it was written, in nanoseconds.
        checkpoint: What it contains, see `engine.checkpoint`.
    """

    folder: Path
    file: Path
    modified: int
    checkpoint: dict[str, Any]

    def validate_current(self) -> None:
        """Raise UsageError where another process has written the checkpoint since it was read."""
        if self.file.stat().st_mtime_ns != self.modified:
            raise UsageError(f"{self.file}: written by another process meanwhile; start again")


def open_previous_run(args: Namespace) -> PreviousRun | None:
    """Read the checkpoint that the flags resume or test; None where they start a new run."""
    if args.test_only:
        file = args.checkpoint or runs.newest_best_checkpoint(args.run_dir)
    elif args.resume is not None:
        file = runs.last_checkpoint(args.run_dir, args.resume)
    else:
        return None
    modified = file.stat().st_mtime_ns if file.exists() else 0
    checkpoint = load_checkpoint(file)
    validate_types(checkpoint, TRAINING_CONTENT, f"{file}: cannot be resumed")
    folder = file.parent.parent if file.parent.name == "models" else file.parent
    return PreviousRun(folder, file, modified, checkpoint)


def inherited_flags(previous: PreviousRun, args: Namespace) -> dict[str, Any]:
    """Return the flags that a run was started with.

    Args:
        previous: The run.
        args: Any flags of today, which have the same names.

    Raises:
        CheckpointError: The checkpoint has a flag that train.py does not know.
    """
    flags = dict(ADDED)
    for name, value in previous.checkpoint["args"].items():
        name = RENAMED.get(name, name)
        if name not in vars(args) or name in OF_A_START:
            raise CheckpointError(f"{previous.file}: of another version: unknown flag {name}")
        flags[name] = value
    return flags


def validate_unchanged(args: Namespace, inherited: dict[str, Any], folder: Path) -> None:
    """Raise UsageError where a flag is given that is not that of the run.

    Args:
        args: The flags.
        inherited: Those that the run was started with.
        folder: Of the run.
    """
    changeable = (*CHANGEABLE, "batch_size") if args.test_only else CHANGEABLE
    for name, before in inherited.items():
        value = getattr(args, name)
        if value != before and name not in changeable:
            flag = "--" + name.replace("_", "-")
            raise UsageError(f"{flag} {value}: {folder} was started with {before}")
