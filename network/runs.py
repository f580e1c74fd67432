"""Run folders, `run/run_<N>/`, and the checkpoints in their `models/`."""

import contextlib
import os
from pathlib import Path


def numbers(run_dir):
    """The numbers N of the folders `run_<N>`."""
    names = [path.name.removeprefix("run_") for path in run_dir.glob("run_*") if path.is_dir()]
    return [int(name) for name in names if name.isdecimal()]


def new(run_dir):
    """Make the folder `run_<N>` after the highest there is, with a place for its checkpoints."""
    run_dir.mkdir(parents=True, exist_ok=True)
    while True:
        run = run_dir / f"run_{max(numbers(run_dir), default=-1) + 1}"
        with contextlib.suppress(FileExistsError):  # another start took the number
            run.mkdir()
            (run / "models").mkdir()
            return run


def check(run_dir):
    """Raise OSError where no run folder can be made."""
    parent = run_dir.absolute()
    while not parent.exists():
        parent = parent.parent
    if not parent.is_dir() or not os.access(parent, os.W_OK):
        raise OSError(f"{parent}: not a folder that can be written; --run-dir says where runs go")


def find(run_dir, name):
    """The folder of a run, by its path, its name or its number; "latest" is the highest number.

    Raises:
        FileNotFoundError: there is no such run.
    """
    if name == "latest":
        if not (found := numbers(run_dir)):
            raise FileNotFoundError(f"{run_dir}: no run to resume; start one without --resume")
        name = str(max(found))
    for run in (run_dir / f"run_{name}", run_dir / name, Path(name)):
        if run.is_dir():
            return run
    raise FileNotFoundError(f"--resume {name}: no such run in {run_dir}")


def last(run):
    """The checkpoint that a run goes on from; FileNotFoundError where there is none."""
    if not (files := sorted((run / "models").glob("*_last.pth"))):
        raise FileNotFoundError(f"{run}: no checkpoint, it ended in its first epoch; start anew without --resume")
    return files[0]


def newest_best(run_dir):
    """The `best` checkpoint that was written last under a folder of runs; FileNotFoundError where there is none."""
    files = run_dir.glob("run_*/models/*_best.pth")
    newest = max(files, key=lambda file: file.stat().st_mtime_ns, default=None)
    if newest is None:
        raise FileNotFoundError(f"no checkpoint under {run_dir}: train one with train.py, or name one by --checkpoint")
    return newest
