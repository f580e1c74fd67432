import os

import pytest

from dataloaders.errors import FileError
from engine import runs


def test_runs_are_ordered_by_number(tmp_path):
    assert runs.create_run(tmp_path) == tmp_path / "run_0"
    for name in ("run_9", "run_10", "run_old"):
        (tmp_path / name).mkdir()
    assert runs.create_run(tmp_path) == tmp_path / "run_11"
    (tmp_path / "run_12").touch()
    assert runs.create_run(tmp_path) == tmp_path / "run_13"
    (tmp_path / "run_12").unlink()
    (tmp_path / "run_13" / "models").rmdir()
    (tmp_path / "run_13").rmdir()
    assert (tmp_path / "run_11" / "models").is_dir()
    files = {name: tmp_path / name / "models" / "R3D-demo_last.pth" for name in ("run_9", "run_11")}
    for file in files.values():
        file.parent.mkdir(exist_ok=True)
        file.touch()
    assert runs.last_checkpoint(tmp_path, "latest") == files["run_11"]
    for name in ("9", "run_9", str(tmp_path / "run_9")):
        assert runs.last_checkpoint(tmp_path, name) == files["run_9"]


def test_what_is_missing_is_named(tmp_path):
    with pytest.raises(FileError, match="no run to resume"):
        runs.last_checkpoint(tmp_path / "nowhere", "latest")
    with pytest.raises(FileError, match="--resume 7: no such run"):
        runs.last_checkpoint(tmp_path, "7")
    with pytest.raises(FileError, match="no checkpoint, it ended in its first epoch"):
        runs.last_checkpoint(tmp_path, runs.create_run(tmp_path).name)
    with pytest.raises(FileError, match="no checkpoint under"):
        runs.newest_best_checkpoint(tmp_path)


def test_the_newest_best_checkpoint_is_the_one_written_last(tmp_path):
    for modified, name in ((300, "run_2"), (100, "run_9"), (200, "run_10")):
        file = tmp_path / name / "models" / "R3D-demo_best.pth"
        file.parent.mkdir(parents=True)
        file.touch()
        os.utime(file, (modified, modified))
    assert runs.newest_best_checkpoint(tmp_path).parts[-3] == "run_2"
