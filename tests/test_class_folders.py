import pytest
from conftest import write_dataset, write_video
from test_sources import given_folders, prepare

from dataloaders.errors import DataError, FileError
from dataloaders.sources import has_split, list_videos


def test_a_class_named_like_a_split_is_a_class(tmp_path):
    write_dataset(tmp_path / "a", ("train", "bus"))
    assert not has_split(tmp_path / "a")
    assert {video.class_name for video in list_videos(tmp_path / "a")} == {"train", "bus"}


@pytest.mark.parametrize("frames", ["videos", "videos/frames", "."])
def test_frames_among_the_videos_are_refused(tmp_path, frames):
    root = write_dataset(tmp_path / "videos")
    with pytest.raises(
        DataError,
        match=r"the folder for the frames must lie outside .*videos; mypath.py names both",
    ):
        prepare(root, tmp_path / frames)
    assert sorted(root.iterdir()) == [root / "Jump", root / "Run"]


def test_what_a_given_split_lacks_or_has_beside_it_is_said(tmp_path, capsys):
    root = given_folders(tmp_path / "videos")
    (root / "Test" / "Run").rename(root / "Test" / "Rnu")
    write_video(root / "Extra" / "a.avi", 5)
    videos = prepare(root, tmp_path / "frames", "folders")
    output = capsys.readouterr().out
    assert len(videos) == 16 and has_split(root)
    assert f"ignored in {root}: 1 beside train, val and test (Extra/)" in output
    assert "train has no videos of Rnu, which the network cannot learn" in output


def test_videos_that_lie_too_deep_are_named_with_what_to_do(tmp_path, capsys):
    for name in ("Jump", "Run"):
        for camera in ("cam1", "cam2"):
            write_video(tmp_path / "videos" / name / camera / "1.avi", 3)
    advice = (
        "videos lie deeper than <class>/<video>, as Jump/cam1/1.avi: move them there, or list them "
        "in a table with the columns path and label"
    )
    with pytest.raises(FileError, match=advice):
        list_videos(tmp_path / "videos")
    assert "4 folders of videos, one deeper than <class>/<video> (Jump/cam1, " in (
        capsys.readouterr().out
    )
    write_dataset(tmp_path / "more" / "videos")
    with pytest.raises(FileError, match="deeper; name .*more/videos in mypath.py"):
        list_videos(tmp_path / "more")
