import os

import cv2
import numpy as np
import pytest
import torch

from dataloaders import clips, videos


def test_files_folders_and_patterns_are_found_each_once(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("v [1].avi", "v 2.avi", "in/b.MP4", "in/deep/a.mkv", "in/notes.txt", "in/deep.avi/x.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    found = videos.find_videos(["v [1].avi", "in", "v*.avi", "in/b.MP4"])
    assert [(str(path), str(folder)) for path, folder in found] == [
        ("v [1].avi", "."), ("in/b.MP4", "."), ("in/deep/a.mkv", "deep"), ("v 2.avi", "."),
    ]
    assert [str(path) for path, _ in videos.find_videos(["**/*.mkv"])] == ["in/deep/a.mkv"]
    for name in ("none.avi", "*.webm", "in/deep.avi"):
        with pytest.raises(FileNotFoundError, match="no such file, nor a folder or pattern with videos"):
            videos.find_videos([name])


@pytest.mark.parametrize("ending", ["mp4", "webm"])
def test_each_format_is_written_in_silence(tmp_path, capfd, ending):
    writer = videos.open_writer(tmp_path / f"v.{ending}", 12.5, (64, 48))
    for shade in range(30):
        writer.write(np.full((48, 64, 3), 8 * shade, np.uint8))
    writer.release()
    assert capfd.readouterr() == ("", "")
    video = clips.open_video(tmp_path / f"v.{ending}")
    assert video.get(cv2.CAP_PROP_FPS) == 12.5
    assert [round(frame.mean() / 8) for frame in videos.read_frames(video)] == list(range(30))
    os.write(2, b"heard again")
    assert capfd.readouterr().err == "heard again"
    with pytest.raises(OSError, match="cannot be written"):
        videos.open_writer(tmp_path / "nowhere" / f"v.{ending}", 25, (64, 48))


GUESSES = [
    ("Archery", 0.75, (200, 120, 30)),
    ("BasketballDunkingWithBothHands", 0.2, (40, 130, 240)),
    ("b", 0.05, (0, 0, 9)),
]


@pytest.mark.parametrize("size", [(160, 120), (320, 240), (640, 90), (90, 640), (96, 64), (1920, 1080)])
@pytest.mark.parametrize("shade", [0, 128, 255])
def test_the_panel_is_legible_on_anything(size, shade):
    frame = np.full((size[1], size[0], 3), shade, np.uint8)
    panel = videos.make_panel(size[1], size[0], GUESSES)
    timeline = np.full((size[0], 3), 60, np.uint8)
    timeline[: size[0] // 2] = GUESSES[0][2]
    videos.stamp(frame, panel, timeline, 0.25)
    thin = max(2, size[1] // 60)
    top = size[1] - thin - len(panel)
    assert (frame[:top] == shade).all()
    assert top > size[1] / 2
    band = frame[top : size[1] - thin]
    assert np.median(band) < 85
    assert (band[:, : size[0] // 2].min(2) > 150).sum() > 8  # letters
    assert (band[:, :1] <= 64).all() and (band[:, -1:] <= 64).all()  # nothing touches the edges
    for x, expected in ((0.1, GUESSES[0][2]), (0.25, (255, 255, 255)), (0.9, (60, 60, 60))):
        assert tuple(frame[-1, round(x * (size[0] - 1))]) == expected


def test_a_bar_is_as_long_as_its_class_is_likely():
    panel = videos.make_panel(480, 640, GUESSES)
    for colour, probability in ((GUESSES[0][2], 0.75), (GUESSES[1][2], 0.2)):
        columns = np.argwhere((panel == colour).all(2))[:, 1]
        assert columns.min() == 384
        assert columns.max() - 384 == pytest.approx(probability * (640 - 8 - 384), abs=1)


def test_frames_show_their_window(tmp_path):
    grey = [np.full((120, 160, 3), 90, np.uint8) for _ in range(60)]
    windows = [(0, 31, torch.tensor([0.9, 0.1]), grey[:30]), (29, 60, torch.tensor([0.2, 0.8]), grey[30:])]
    found = list(videos.annotate(windows, tmp_path / "a.mp4", ["l", "r"], 25, 60))
    assert found == [window[:3] for window in windows]
    frames = list(videos.read_frames(clips.open_video(tmp_path / "a.mp4")))
    assert len(frames) == 60
    for number, frame in enumerate(frames):
        blue, green, red = (int(value) for value in frame[99, 135])  # in the first bar, right of its text
        assert (blue > red) == (number < 30)  # the first class is blue, the second orange
        strip = frame[-1].astype(int)
        assert strip[2:75, 0].mean() > strip[2:75, 2].mean()  # what was said first
        cursor = np.argmax(frame[-2:].min((0, 2)))
        assert cursor == pytest.approx(number / 59 * 159, abs=3)
        assert (strip[90:, 2].mean() > 120) == (number >= 30)  # nothing is known of later windows


def test_an_annotated_video_is_whole_or_not_there(tmp_path):
    grey = [np.full((120, 160, 3), 90, np.uint8) for _ in range(60)]

    def torn():
        yield 0, 31, torch.eye(2)[0], grey
        raise OSError("torn")

    (tmp_path / "a.mp4").write_text("an earlier one")
    with pytest.raises(OSError, match="torn"):
        list(videos.annotate(torn(), tmp_path / "a.mp4", ["l", "r"], 25, 60))
    assert [path.name for path in tmp_path.iterdir()] == ["a.mp4"]
    assert (tmp_path / "a.mp4").read_text() == "an earlier one"
