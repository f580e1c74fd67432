import pytest

from dataloaders.errors import FileError
from mypath import Path


@pytest.mark.parametrize("dataset", ["ucf101", "hmdb51", "demo"])
def test_known_data_sets_have_videos_and_frames(dataset):
    root_dir, output_dir = Path.db_dir(dataset)
    assert root_dir != output_dir


def test_one_entry_adds_a_data_set(monkeypatch):
    monkeypatch.setitem(Path.DATASETS, "own", ("videos", "frames"))
    assert Path.db_dir("own") == ("videos", "frames")


def test_unknown_names_list_the_known():
    with pytest.raises(FileError, match="ucf-101.*ucf101, hmdb51, demo"):
        Path.db_dir("ucf-101")
    with pytest.raises(FileError, match="official lists of 'demo'.*ucf101, hmdb51"):
        Path.split_dir("demo")


def test_files_and_lists():
    assert Path.model_dir().endswith(".pth")
    assert Path.split_dir("ucf101") != Path.split_dir("hmdb51")


def test_a_tilde_is_the_home_of_the_user(monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.setenv("USERPROFILE", "/home/me")
    monkeypatch.setitem(Path.DATASETS, "own", ("~/videos", "~/frames"))
    monkeypatch.setitem(Path.SPLITS, "own", "~/lists")
    assert Path.db_dir("own") == ("/home/me/videos", "/home/me/frames")
    assert Path.split_dir("own") == "/home/me/lists"


def test_lists_and_weights_lie_beside_the_file_too(monkeypatch, tmp_path):
    monkeypatch.setattr("mypath.__file__", str(tmp_path / "repository" / "mypath.py"))
    (tmp_path / "repository" / "data" / "testTrainMulti_7030_splits").mkdir(parents=True)
    (tmp_path / "repository" / "data" / "c3d-pretrained.pth").touch()
    monkeypatch.chdir(tmp_path)
    assert Path.split_dir("hmdb51") == str(tmp_path / "repository/data/testTrainMulti_7030_splits")
    assert Path.model_dir() == str(tmp_path / "repository/data/c3d-pretrained.pth")
    assert Path.split_dir("ucf101") == "data/ucfTrainTestlist"
