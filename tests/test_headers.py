import cv2
import numpy as np
import pytest
from conftest import data_settings, numbered_frame, write_video
from videos import encode

from dataloaders.headers import Header, read_headers
from dataloaders.records import VideoRecord


def record_of(source):
    return VideoRecord("train", "Run", source, source, source)


@pytest.fixture
def settings(tmp_path):
    root = tmp_path / "videos"
    (root / "Run" / "images").mkdir(parents=True)
    write_video(root / "Run" / "a.avi", [numbered_frame(0, 320, 240)] * 30, fps=10)
    encode(root / "Run" / "b.mp4", 20, rate=50)
    encode(root / "Run" / "c.mkv", 12, rate=24)
    encode(root / "Run" / "d.flv", 12, rate=24)
    for number in range(6):
        file = root / "Run" / "images" / f"{number}.png"
        cv2.imwrite(str(file), np.zeros((20, 30, 3), np.uint8))
    (root / "Run" / "broken.avi").write_bytes(b"no video")
    return data_settings(root, tmp_path / "frames")


def test_lengths_rates_and_sizes(settings):
    names = ("a.avi", "b.mp4", "c.mkv", "d.flv", "images", "broken.avi", "gone.avi")
    headers = read_headers(settings, [record_of(f"Run/{name}") for name in names])
    assert headers[0] == Header(3.0, 10.0, (320, 240))
    assert headers[1] == Header(0.4, 50.0, (64, 48))
    for header in headers[2:4]:
        assert header.seconds == pytest.approx(0.5, abs=0.01)
        assert (header.fps, header.size) == (24.0, (64, 48))
    assert headers[4] == Header(6 / 25, 25.0, (30, 20))
    assert headers[5:] == [Header(), Header()]


def test_a_part_has_its_own_length(settings):
    names = ("#t=0.5,2.0", "#t=2.5,9.0")
    headers = read_headers(settings, [record_of(f"Run/a.avi{name}") for name in names])
    assert [header.seconds for header in headers] == [1.5, 0.5]
    assert headers[0].fps == 10


def test_videos_that_are_not_there_say_nothing(tmp_path):
    settings = data_settings(tmp_path / "gone", tmp_path / "frames")
    assert read_headers(settings, [record_of("Run/a.avi")]) == [Header()]
