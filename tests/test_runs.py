import os

import pytest

from network import runs


def test_runs_count_as_numbers(tmp_path):
    assert runs.new(tmp_path) == tmp_path / "run_0"
    for name in ("run_9", "run_10", "run_old"):
        (tmp_path / name).mkdir()
    assert runs.new(tmp_path) == tmp_path / "run_11"
    assert (tmp_path / "run_11" / "models").is_dir()
    assert runs.find(tmp_path, "latest") == tmp_path / "run_11"
    for name in ("9", "run_9", str(tmp_path / "run_9")):
        assert runs.find(tmp_path, name) == tmp_path / "run_9"


def test_what_is_not_there_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="no run to resume"):
        runs.find(tmp_path / "nowhere", "latest")
    with pytest.raises(FileNotFoundError, match="--resume 7: no such run"):
        runs.find(tmp_path, "7")
    with pytest.raises(FileNotFoundError, match="no checkpoint, it ended in its first epoch"):
        runs.last(runs.new(tmp_path))
    with pytest.raises(FileNotFoundError, match="no checkpoint under"):
        runs.newest_best(tmp_path)


def test_the_newest_best_is_the_one_written_last(tmp_path):
    for when, name in ((300, "run_2"), (100, "run_9"), (200, "run_10")):
        file = tmp_path / name / "models" / "R3D-demo_best.pth"
        file.parent.mkdir(parents=True)
        file.touch()
        os.utime(file, (when, when))
    assert runs.newest_best(tmp_path).parts[-3] == "run_2"
