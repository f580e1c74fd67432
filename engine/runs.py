"""Run folders, `run/run_<N>/`, and the checkpoints in their `models/`."""

import contextlib
import itertools
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock

from dataloaders.errors import FileError


@dataclass(frozen=True)
class CheckpointFiles:
    """The checkpoints of a run.

    Attributes:
        folder: Where they lie.
        stem: How their names begin.
    """

    folder: Path
    stem: str

    @property
    def best(self) -> Path:
        """That of the best epoch in validation."""
        return self.folder / f"{self.stem}_best.pth"

    @property
    def last(self) -> Path:
        """The newest."""
        return self.folder / f"{self.stem}_last.pth"

    def of_epoch(self, epoch: int) -> Path:
        """Return that of an epoch, which is kept."""
        return self.folder / f"{self.stem}_epoch-{epoch}.pth"


def validate_root(root: Path) -> None:
    """Raise FileError where no run folder can be made in a folder, which may not be there yet."""
    folder = root.absolute()
    while not folder.exists():
        folder = folder.parent
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        raise FileError(
            f"{folder}: not a folder that can be written to; --run-dir says where runs go"
        )


def create_run(root: Path) -> Path:
    """Make the folder `run_<N>` after the highest N, with a folder for its checkpoints."""
    root.mkdir(parents=True, exist_ok=True)
    for number in itertools.count(max(_run_numbers(root), default=-1) + 1):
        run_dir = root / f"run_{number}"
        with contextlib.suppress(FileExistsError):  # a file, or another start took the number
            run_dir.mkdir()
            (run_dir / "models").mkdir()
            break
    return run_dir


@contextlib.contextmanager
def lock_run(run_dir: Path) -> Iterator[None]:
    """Keep other processes from training or testing the same run during the block.

    Raises:
        FileError: Another process does.
    """
    lock = FileLock(run_dir / ".in_use")
    try:
        lock.acquire(timeout=0)
    except NotImplementedError:  # of a file system without locks
        pass
    except TimeoutError:
        raise FileError(f"{run_dir}: another process works on this run") from None
    try:
        yield
    finally:
        lock.release()


def last_checkpoint(root: Path, name: str) -> Path:
    """Return the last checkpoint of a run.

    Args:
        root: The folder of the runs.
        name: The path, name or number of the run; "latest" for the highest number.

    Raises:
        FileError: There is no such run, or it has no checkpoint.
    """
    if name == "latest":
        numbers = _run_numbers(root)
        if not numbers:
            raise FileError(f"{root}: no run to resume; start one without --resume")
        name = str(max(numbers))
    candidates = (root / f"run_{name}", root / name, Path(name))
    run_dir = next((path for path in candidates if path.is_dir()), None)
    if run_dir is None:
        raise FileError(f"--resume {name}: no such run in {root}")
    files = sorted((run_dir / "models").glob("*_last.pth"))
    if not files:
        raise FileError(f"{run_dir}: no checkpoint, it ended in its first epoch; start a new run")
    return files[0]


def newest_best_checkpoint(root: Path) -> Path:
    """Return the `best` checkpoint written last in a folder of runs; FileError without one."""
    files = list(root.glob("**/models/*_best.pth"))
    if not files:
        raise FileError(
            f"no checkpoint under {root}: train one with train.py, or name one with --checkpoint"
        )
    return max(files, key=lambda file: file.stat().st_mtime_ns)


def _run_numbers(root: Path) -> list[int]:
    names = [path.name.removeprefix("run_") for path in root.glob("run_*") if path.is_dir()]
    return [int(name) for name in names if name.isdecimal()]
