from pathlib import Path

import cv2
import numpy as np
import pytest
from conftest import write_video

from dataloaders.files import find_videos
from dataloaders.video import VideoReader, display_name

OUTPUT = Path("output")


def test_files_folders_and_patterns_are_found_each_once(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in (
        "v [1].avi",
        "v 2.avi",
        "in/b.MP4",
        "in/deep/a.mkv",
        "in/notes.txt",
        "in/deep.avi/x.txt",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    found = find_videos(["v [1].avi", "in", "v*.avi", "in/b.MP4"], OUTPUT)
    assert [(str(path), str(folder)) for path, folder in found] == [
        ("v [1].avi", "."),
        ("in/b.MP4", "."),
        ("in/deep/a.mkv", "deep"),
        ("v 2.avi", "."),
    ]
    for pattern, below in (
        ("**/*.mkv", "in/deep"),
        ("in/*/*.mkv", "deep"),
        ("in/deep/[a-c].mkv", "."),
    ):
        assert [tuple(map(str, pair)) for pair in find_videos([pattern], OUTPUT)] == [
            ("in/deep/a.mkv", below)
        ]
    inside = find_videos(["in", "in/deep"], Path("in/deep"))
    assert [str(path) for path, _ in inside] == ["in/b.MP4", "in/deep/a.mkv"]
    assert [str(path) for path, _ in find_videos(["in", "in/**/*.[mM]*"], Path("in/deep"))] == [
        "in/b.MP4"
    ]
    for name in ("none.avi", "*.webm", "in/deep.avi"):
        with pytest.raises(
            FileNotFoundError, match="no such file, nor a folder or pattern with videos"
        ):
            find_videos([name], OUTPUT)


def test_folders_are_searched_through_links_and_without_what_is_hidden(tmp_path, capsys):
    for name in (
        "in/a.avi",
        "in/B.MTS",
        "in/._a.avi",
        "in/__MACOSX/a.avi",
        "in/.cache/b.avi",
        "in/c.txt",
        "else/d.m2ts",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "in" / "linked").symlink_to(tmp_path / "else")
    (tmp_path / "else" / "up").symlink_to(tmp_path / "in")  # a loop
    (tmp_path / "in" / "self.avi").symlink_to("self.avi")
    found = find_videos([str(tmp_path / "in")], OUTPUT)
    assert [(path.name, str(folder)) for path, folder in found] == [
        ("B.MTS", "."),
        ("a.avi", "."),
        ("d.m2ts", "linked"),
    ]
    said = capsys.readouterr().out
    reasons = "1 hidden (._a.avi); 1 that are no files (self.avi); 1 without the ending of a video (c.txt)"
    assert said == f"ignored in {tmp_path / 'in'}: {reasons}\n"


@pytest.mark.parametrize(
    ("source", "shown"),
    [
        ("rtsp://user:secret@host/live", "rtsp://host/live"),
        ("rtsp://user:se/cr@et@host:554/live", "rtsp://host:554/live"),
        ("rtsp://secret@host", "rtsp://host"),
        ("rtsp://host:554/cam@1", "rtsp://host:554/cam@1"),
        ("http://host/a@b", "http://host/a@b"),
        ("rtsp://u@d.com:SECRET@host:554/x", "rtsp://host:554/x"),
        ("rtsp://u:SEC@RET@h/x", "rtsp://h/x"),
        ("rtsp://user:1/SECRET@127.0.0.1:1/x", "rtsp://127.0.0.1:1/x"),
        ("http:/u:SECRET@h/x", "http:/h/x"),
        ("user:SECRET@127.0.0.1/x", "127.0.0.1/x"),
        ("http://h/v?user=me&password=SECRET&x=1", "http://h/v?user=me&password=...&x=1"),
        ("0", "0"),
        (Path("a:b@c.avi"), "a:b@c.avi"),
        (Path("a\nb.avi"), "a\\nb.avi"),
    ],
)
def test_no_address_is_shown_with_its_password(source, shown):
    assert display_name(source) == shown


def test_an_address_among_files_is_told_to_go_behind_source():
    with pytest.raises(
        FileNotFoundError, match="^rtsp://host/1: an address of a stream goes behind --source$"
    ):
        find_videos(["rtsp://user:secret@host/1"], OUTPUT)


class Capture:
    """A stand-in for cv2.VideoCapture whose frames have such time stamps, in seconds, and whose header such a rate."""

    def __init__(self, seconds, fps=25):
        self.seconds, self.fps = [0, *seconds], fps

    def isOpened(self):
        return True

    def grab(self):
        self.seconds.pop(0)
        return bool(self.seconds)

    def retrieve(self):
        return True, np.zeros((2, 2, 3), np.uint8)

    def get(self, prop):
        return 1000 * self.seconds[0] if prop == cv2.CAP_PROP_POS_MSEC else self.fps

    def release(self):
        pass


def test_timestamps_are_those_of_the_file_and_continue_evenly_where_it_has_none(tmp_path):
    video = VideoReader(write_video(tmp_path / "v.avi", 1))
    video.capture = Capture([0.5, 0.54, 6.5, 0.62, 0.66, 6.7])  # one is wrong
    assert len(list(video)) == 6
    assert list(video.timestamps) == pytest.approx([0, 0.04, 6, 6.04, 6.08, 6.2])
    assert video.interval(1, 5) == pytest.approx((0.04, 6.2))
    assert video.interval(0, 6) == pytest.approx((0, 6.24))


@pytest.mark.parametrize(
    ("is_live", "header_fps", "seconds", "fps"),
    [
        (False, 25, 0.1, 25),
        (False, 1000, 0.1, 10),
        (True, 25, 0.1, 10),
        (True, 30, 0.001, 30),
        (True, 0, 0.001, 25),
    ],
)
def test_the_frame_rate_is_measured_where_the_header_has_none_and_for_live_sources(
    tmp_path, monkeypatch, is_live, header_fps, seconds, fps
):
    monkeypatch.setattr(
        cv2, "VideoCapture", lambda *_: Capture([seconds * i for i in range(50)], header_fps)
    )
    (tmp_path / "v.avi").touch()
    video = VideoReader(tmp_path / "v.avi")
    video.is_live = is_live
    assert len(list(video)) == 50
    assert video.fps == pytest.approx(fps)
