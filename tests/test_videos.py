from pathlib import Path

import pytest
from conftest import write_video

from dataloaders import videos

OUTPUT = Path("output")


def test_files_folders_and_patterns_are_found_each_once(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("v [1].avi", "v 2.avi", "in/b.MP4", "in/deep/a.mkv", "in/notes.txt", "in/deep.avi/x.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    found = videos.find_videos(["v [1].avi", "in", "v*.avi", "in/b.MP4"], OUTPUT)
    assert [(str(path), str(folder)) for path, folder in found] == [
        ("v [1].avi", "."),
        ("in/b.MP4", "."),
        ("in/deep/a.mkv", "deep"),
        ("v 2.avi", "."),
    ]
    for pattern, below in (("**/*.mkv", "in/deep"), ("in/*/*.mkv", "deep"), ("in/deep/[a-c].mkv", ".")):
        assert [tuple(map(str, pair)) for pair in videos.find_videos([pattern], OUTPUT)] == [("in/deep/a.mkv", below)]
    inside = videos.find_videos(["in", "in/deep"], Path("in/deep"))
    assert [str(path) for path, _ in inside] == ["in/b.MP4", "in/deep/a.mkv"]
    assert [str(path) for path, _ in videos.find_videos(["in", "in/**/*.[mM]*"], Path("in/deep"))] == ["in/b.MP4"]
    for name in ("none.avi", "*.webm", "in/deep.avi"):
        with pytest.raises(FileNotFoundError, match="no such file, nor a folder or pattern with videos"):
            videos.find_videos([name], OUTPUT)


class Capture:
    """Images with such positions, in seconds."""

    def __init__(self, positions):
        self.positions = [0, *positions]

    def read(self):
        self.positions.pop(0)
        return bool(self.positions), None

    def get(self, _):
        return 1000 * self.positions[0]

    def release(self):
        pass


def test_times_are_those_of_the_file_and_go_on_where_it_does_not_tell(tmp_path):
    video = videos.Video(write_video(tmp_path / "v.avi", 1))
    video.capture = Capture([0.5, 0.54, 6.5, 0.62, 0.66, 6.7])  # one is wrong
    assert len(list(video)) == 6
    assert list(video.times) == pytest.approx([0, 0.04, 6, 6.04, 6.08, 6.2])
    assert video.seconds(1, 5) == pytest.approx((0.04, 6.2))
    assert video.seconds(0, 6) == pytest.approx((0, 6.24))


@pytest.mark.parametrize(
    ("live", "rate", "between", "fps"),
    [
        (False, 25, 0.1, 25),
        (False, 1000, 0.1, 10),
        (True, 25, 0.1, 10),
        (True, 30, 0.001, 30),
        (True, 0, 0.001, 25),
    ],
)
def test_the_rate_of_what_does_not_tell_it_is_measured(tmp_path, live, rate, between, fps):
    video = videos.Video(write_video(tmp_path / "v.avi", 1))
    video.live, video.rate = live, rate
    video.capture = Capture([between * i for i in range(50)])
    assert len(list(video)) == 50
    assert video.fps == pytest.approx(fps)
