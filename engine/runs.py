"""Run folders, `run/run_<N>/`, and the checkpoints in their `models/`."""

import contextlib
import itertools
from pathlib import Path

from dataloaders.errors import FileError


def run_numbers(root: Path) -> list[int]:
    names = [path.name.removeprefix("run_") for path in root.glob("run_*") if path.is_dir()]
    return [int(name) for name in names if name.isdecimal()]


def create_run(root: Path) -> Path:
    """Make the folder `run_<N>` after the highest N, with a folder for its checkpoints."""
    root.mkdir(parents=True, exist_ok=True)
    for number in itertools.count(max(run_numbers(root), default=-1) + 1):
        run_dir = root / f"run_{number}"
        with contextlib.suppress(FileExistsError):  # a file, or another start took the number
            run_dir.mkdir()
            (run_dir / "models").mkdir()
            return run_dir


def last_checkpoint(root: Path, name: str) -> Path:
    """Return the last checkpoint of a run by path, name or number ("latest": the highest); else FileError."""
    if name == "latest":
        if not (numbers := run_numbers(root)):
            raise FileError(f"{root}: no run to resume; start one without --resume")
        name = str(max(numbers))
    run_dirs = [path for path in (root / f"run_{name}", root / name, Path(name)) if path.is_dir()]
    if not run_dirs:
        raise FileError(f"--resume {name}: no such run in {root}")
    if not (files := sorted((run_dirs[0] / "models").glob("*_last.pth"))):
        raise FileError(
            f"{run_dirs[0]}: no checkpoint, it ended in its first epoch; start a new run"
        )
    return files[0]


def newest_best_checkpoint(root: Path) -> Path:
    """Return the `best` checkpoint written last in a folder of runs; FileError where there is none."""
    if not (files := list(root.glob("**/models/*_best.pth"))):
        raise FileError(
            f"no checkpoint under {root}: train one with train.py, or name one with --checkpoint"
        )
    return max(files, key=lambda file: file.stat().st_mtime_ns)
