"""Videos of two tables are found to be the same, or it is said why that is not clear."""

import pytest

from dataloaders.errors import DataError
from recognition.video_names import match_videos


@pytest.mark.parametrize(
    ("names", "others", "expected"),
    [
        (["a.mp4"], ["a.mp4"], {"a.mp4": "a.mp4"}),
        (["./x//a.mp4"], ["x/a.mp4"], {"./x//a.mp4": "x/a.mp4"}),
        (["x\\a.mp4"], ["x/a.mp4"], {"x\\a.mp4": "x/a.mp4"}),
        (["a.mp4"], ["videos/x/a.mp4"], {"a.mp4": "videos/x/a.mp4"}),
        (["far/off/a.mp4"], ["a.mp4"], {"far/off/a.mp4": "a.mp4"}),
        (["a"], ["x/a.mp4"], {"a": "x/a.mp4"}),
        (["a.avi"], ["a.mp4"], {"a.avi": "a.mp4"}),
        (["a.avi"], ["a.mp4", "a.avi"], {"a.avi": "a.avi"}),
        (["y/a.avi"], ["x/a.mp4", "x/a.avi"], {"y/a.avi": "x/a.avi"}),
        (["b.mp4"], ["a.mp4"], {}),
        # The folders above tell files of one name apart.
        (["m/1.mp4", "n/1.mp4"], ["v/n/1.mp4", "v/m/1.mp4"], {"m/1.mp4": "v/m/1.mp4", "n/1.mp4": "v/n/1.mp4"}),
        (["m/1.mp4", "k/1.mp4"], ["v/m/1.mp4"], {"m/1.mp4": "v/m/1.mp4"}),
        # What is written alike is not left to likeness.
        (["a.mp4", "x/a.mp4"], ["a.mp4"], {"a.mp4": "a.mp4"}),
    ],
)  # fmt: skip
def test_names_are_matched(tmp_path, names, others, expected):
    assert match_videos(names, others, tmp_path) == expected


def test_paths_are_relative_to_the_table_and_to_the_working_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "truth" / "day1"
    others = ["day1/a.mp4", "truth/day1/a.mp4", str(tmp_path / "truth" / "b.mp4")]
    names = ["a.mp4", "../b.mp4"]
    found = match_videos(names, others, folder)
    assert found == {"a.mp4": others[1], "../b.mp4": others[2]}


@pytest.mark.parametrize(
    ("names", "others", "message"),
    [
        (["a.mp4"], ["x/a.mp4", "y/a.mp4"], "a.mp4 may be the video x/a.mp4 or y/a.mp4"),
        (["a"], ["a.mp4", "a.avi"], "a may be the video a.mp4 or a.avi"),
        (["p/a.mp4", "q/a.mp4"], ["a.mp4"], "a.mp4 may be the video p/a.mp4 or q/a.mp4"),
    ],
)
def test_what_may_be_two_videos_is_named(tmp_path, names, others, message):
    with pytest.raises(DataError) as error:
        match_videos(names, others, tmp_path)
    assert str(error.value) == f"{message}: write more of its path in the table"
