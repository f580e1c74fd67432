from dataclasses import replace

import pytest

from dataloaders.arguments import open_settings
from dataloaders.errors import DataError, FileError
from dataloaders.sampling import ClipConfig
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
    entry = {"videos": "~/videos", "frames": "~/frames", "lists": "~/lists"}
    monkeypatch.setitem(Path.DATASETS, "own", entry)
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
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "c3d-pretrained.pth").touch()
    assert Path.model_dir() == "data/c3d-pretrained.pth"  # where the script was started comes first


def test_one_entry_says_all_of_a_data_set(monkeypatch, tmp_path):
    entry = {
        "videos": tmp_path,
        "frames": "frames",
        "lists": "lists",
        "group_pattern": r"(p\d+)_",
        "source_fps": 12,
        "image_prefix": "img_",
        "finds_copies": False,
    }
    monkeypatch.setitem(Path.DATASETS, "own", entry)
    settings = open_settings(Path, "own", ClipConfig())
    assert (str(settings.root_dir), str(settings.output_dir)) == (str(tmp_path), "frames")
    assert (settings.group_pattern, settings.image_prefix) == (r"(p\d+)_", "img_")
    assert (settings.source_fps, settings.finds_copies) == (12, False)
    assert open_settings(Path, "own", ClipConfig(), 30).source_fps == 30
    assert Path.split_dir("own") == "lists"


def test_a_field_of_none_is_one_that_is_left_out(monkeypatch):
    fields = ("lists", "group_pattern", "source_fps", "image_prefix", "finds_copies")
    monkeypatch.setitem(Path.DATASETS, "pair", ("videos", "frames"))
    entry = {"videos": "videos", "frames": "frames", **dict.fromkeys(fields)}
    monkeypatch.setitem(Path.DATASETS, "own", entry)
    settings = open_settings(Path, "own", ClipConfig())
    assert settings == replace(open_settings(Path, "pair", ClipConfig()), name="own")
    assert (settings.source_fps, settings.finds_copies) == (25, True)
    monkeypatch.setitem(Path.DATASETS, "own", {**entry, "frames": None})
    with pytest.raises(DataError, match="the entry 'own' has no 'frames'"):
        Path.db_dir("own")


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"videos": "a"}, "the entry 'own' has no 'frames'"),
        (
            {"videos": "a", "frames": "b", "group": "c"},
            "'own' has an unknown field 'group'; it may",
        ),
        ({"videos": 3, "frames": "b"}, "videos of 'own' is 3; it must be a path"),
        (
            {"videos": "a", "frames": "b", "source_fps": "25"},
            "source_fps of 'own' is '25'; it must",
        ),
        (("a", "b", "c"), "the entry 'own' is not a pair of folders, but"),
        ("ab", "the entry 'own' is not a pair of folders, but 'ab'"),
    ],
)
def test_a_wrong_entry_is_one_line(monkeypatch, entry, message):
    monkeypatch.setitem(Path.DATASETS, "own", entry)
    with pytest.raises(DataError, match=f"^mypath.py: {message}"):
        Path.db_dir("own")


def test_the_dicts_of_an_older_mypath_are_read(monkeypatch):
    for name, value in (("GROUPS", r"(p\d+)_"), ("SOURCE_FPS", 12), ("COPIES", False)):
        monkeypatch.setattr(Path, name, {"own": value}, raising=False)
    monkeypatch.setitem(Path.DATASETS, "own", ("videos", "frames"))
    monkeypatch.setitem(Path.SPLITS, "own", "lists")
    settings = open_settings(Path, "own", ClipConfig())
    assert (settings.group_pattern, settings.source_fps) == (r"(p\d+)_", 12)
    assert settings.finds_copies is False and Path.split_dir("own") == "lists"
    entry = {"videos": "videos", "frames": "frames", "source_fps": 30, "lists": "others"}
    monkeypatch.setitem(Path.DATASETS, "own", entry)
    assert open_settings(Path, "own", ClipConfig()).source_fps == 30
    assert Path.split_dir("own") == "others"


def test_a_class_of_another_project_that_has_db_dir_alone_will_do():
    class Other:
        @staticmethod
        def db_dir(database):
            return "/videos", "/frames"

    settings = open_settings(Other, "ucf101", ClipConfig())
    assert (str(settings.root_dir), settings.source_fps) == ("/videos", 25)


def test_a_method_that_a_user_has_written_comes_first(monkeypatch):
    monkeypatch.setattr(Path, "db_dir", lambda dataset: ("/v", "/f"))
    assert str(open_settings(Path, "ucf101", ClipConfig()).root_dir) == "/v"
    assert str(open_settings(Path, "no entry", ClipConfig()).output_dir) == "/f"
