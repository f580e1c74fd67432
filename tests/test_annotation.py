import os
import signal
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from dataloaders import annotation, clips
from dataloaders.videos import Video, Window

RECIPE = clips.recipe()


def steady(told, fps=25):
    """What is asked of a video whose frames come at even intervals."""
    return SimpleNamespace(fps=fps, told=told, length=told / fps, seconds=lambda start, end: (start / fps, end / fps))


@pytest.mark.parametrize("ending", ["mp4", "webm"])
def test_each_format_is_written_in_silence(tmp_path, capfd, ending):
    writer = annotation.open_writer(tmp_path / f"v.{ending}", 12.5, (64, 48))
    for shade in range(30):
        writer.write(np.full((48, 64, 3), 8 * shade, np.uint8))
    writer.release()
    assert capfd.readouterr() == ("", "")
    video = Video(tmp_path / f"v.{ending}")
    assert video.fps == 12.5
    assert [round(frame.mean() / 8) for frame in video] == list(range(30))
    os.write(2, b"heard again")
    assert capfd.readouterr().err == "heard again"
    with pytest.raises(OSError, match="cannot be written"):
        annotation.open_writer(tmp_path / "nowhere" / f"v.{ending}", 25, (64, 48))


GUESSES = [
    ("Archery", 0.75, (200, 120, 30)),
    ("BasketballDunkingWithBothHands", 0.2, (40, 130, 240)),
    ("b", 0.05, (0, 0, 9)),
]


@pytest.mark.parametrize("size", [(160, 120), (320, 240), (640, 90), (90, 640), (96, 64), (1920, 1080)])
@pytest.mark.parametrize("shade", [0, 128, 255])
def test_the_panel_is_legible_on_anything(size, shade):
    frame = np.full((size[1], size[0], 3), shade, np.uint8)
    panel = annotation.make_panel(size[1], size[0], GUESSES)
    timeline = np.full((size[0], 3), 60, np.uint8)
    timeline[: size[0] // 2] = GUESSES[0][2]
    annotation.stamp(frame, panel, timeline, 0.25)
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
    panel = annotation.make_panel(480, 640, GUESSES)
    for colour, probability in ((GUESSES[0][2], 0.75), (GUESSES[1][2], 0.2)):
        columns = np.argwhere((panel == colour).all(2))[:, 1]
        assert columns.min() == 384
        assert columns.max() - 384 == pytest.approx(probability * (640 - 8 - 384), abs=1)


def test_frames_show_their_window(tmp_path):
    grey = [np.full((120, 160, 3), 90, np.uint8) for _ in range(60)]
    windows = [
        Window(0, 31, grey[:30], probabilities=torch.tensor([0.9, 0.1])),
        Window(29, 60, grey[30:], probabilities=torch.tensor([0.2, 0.8])),
    ]
    assert list(annotation.annotate(windows, tmp_path / "a.mp4", ["l", "r"], steady(60), RECIPE)) == windows
    frames = list(Video(tmp_path / "a.mp4"))
    assert len(frames) == 60
    for number, frame in enumerate(frames):
        blue, green, red = (int(value) for value in frame[99, 135])  # in the first bar, right of its text
        assert (blue > red) == (number < 30)  # the first class is blue, the second orange
        strip = frame[-1].astype(int)
        assert strip[2:75, 0].mean() > strip[2:75, 2].mean()  # what was said first
        cursor = np.argmax(frame[-2:].min((0, 2)))
        assert cursor == pytest.approx(number / 60 * 159, abs=3)
        assert (strip[90:, 2].mean() > 120) == (number >= 30)  # nothing is known of later windows


def test_an_annotated_video_is_whole_or_not_there(tmp_path):
    grey = [np.full((120, 160, 3), 90, np.uint8) for _ in range(60)]

    def torn():
        yield Window(0, 31, grey, probabilities=torch.eye(2)[0])
        raise OSError("torn")

    (tmp_path / "a.mp4").write_text("an earlier one")
    with pytest.raises(OSError, match="torn"):
        list(annotation.annotate(torn(), tmp_path / "a.mp4", ["l", "r"], steady(60), RECIPE))
    assert [path.name for path in tmp_path.iterdir()] == ["a.mp4"]
    assert (tmp_path / "a.mp4").read_text() == "an earlier one"


def test_a_full_disk_is_told_and_leaves_the_old_video(tmp_path):
    resource = pytest.importorskip("resource")
    noise = np.random.default_rng(0).integers(0, 256, (60, 240, 320, 3), np.uint8)
    (tmp_path / "a.mp4").write_text("an earlier one")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    for room in (1_000_000, 3000):  # bytes a file: filled by a frame, and by the end of the file
        frames = list(noise) if room > 3000 else [np.zeros((48, 64, 3), np.uint8)] * 60
        window = Window(0, 60, frames, probabilities=torch.eye(2)[0])
        resource.setrlimit(resource.RLIMIT_FSIZE, (room, limits[1]))
        try:
            with pytest.raises(OSError, match="a.mp4: cannot be written"):
                list(annotation.annotate([window], tmp_path / "a.mp4", ["l", "r"], steady(60), RECIPE))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert [path.name for path in tmp_path.iterdir()] == ["a.mp4"]
        assert (tmp_path / "a.mp4").read_text() == "an earlier one"


@pytest.mark.parametrize("told", [0, 80])
def test_the_timeline_of_a_video_longer_than_told_keeps_what_was_said(tmp_path, told):
    grey = [np.full((120, 160, 3), 90, np.uint8) for _ in range(90)]
    likeliest = (0, 1, 0)
    windows = [
        Window(first, first + 30, grey[first : first + 30], probabilities=torch.eye(2)[label])
        for first, label in zip((0, 30, 60), likeliest, strict=True)
    ]
    list(annotation.annotate(windows, tmp_path / "a.mp4", ["l", "r"], steady(told), RECIPE))
    strip = list(Video(tmp_path / "a.mp4"))[-1][-1].astype(int)
    length = told and 90 or 120  # of an unknown length the double is taken
    for number, label in zip((15, 45, 75), likeliest, strict=True):
        blue, _, red = strip[round(number / length * 160)]
        assert (blue > red) == (label == 0)
    if not told:
        assert abs(strip[130:155] - 60).max() < 30


@pytest.mark.parametrize("fps", [14.70588, 59.94, 88.8888, 147.31845])
def test_any_rate_is_written(tmp_path, fps):
    grey = [np.full((48, 64, 3), 90, np.uint8) for _ in range(5)]
    windows = [Window(0, 5, grey, probabilities=torch.eye(2)[0])]
    list(annotation.annotate(windows, tmp_path / "a.mp4", ["l", "r"], steady(5, fps), RECIPE))
    assert Video(tmp_path / "a.mp4").fps == pytest.approx(fps, rel=1e-3)


def test_q_is_one_ctrl_c_and_shows_no_more(tmp_path, monkeypatch):
    shown, came = [], []
    monkeypatch.setattr(annotation.cv2, "imshow", lambda name, frame: shown.append(name))
    monkeypatch.setattr(annotation.cv2, "waitKey", lambda wait: ord("q") if len(shown) == 3 else -1)
    monkeypatch.setattr(annotation.cv2, "destroyWindow", lambda name: shown.append(f"no {name}"))
    monkeypatch.setattr(annotation.signal, "raise_signal", came.append)
    grey = [np.full((48, 64, 3), 90, np.uint8) for _ in range(9)]
    windows = [Window(0, 9, grey, probabilities=torch.eye(2)[0])]
    list(annotation.annotate(windows, tmp_path / "a.mp4", ["l", "r"], steady(9), RECIPE, show=True))
    assert shown == ["a.mp4"] * 3 + ["no a.mp4"]
    assert came == [signal.SIGINT]
    assert len(list(Video(tmp_path / "a.mp4"))) == 9


def test_heat_lies_where_the_crop_was_cut():
    frame = np.full((240, 320, 3), 128, np.uint8)
    heat = np.zeros((112, 112), np.float32)
    annotation.overlay(frame, heat, RECIPE)
    assert (frame == 128).all()
    heat[:28, -28:] = 1
    annotation.overlay(frame, heat, RECIPE)
    changed = np.argwhere((frame != 128).any(2))
    # The crop is the middle 112 of 171 and of 128, so its corner lies at 0.827 of the width and 0.0625 of the height.
    assert changed.min(0) == pytest.approx((0.0625 * 240, 0.663 * 320), abs=4)
    assert changed.max(0) == pytest.approx((0.281 * 240, 0.827 * 320), abs=4)
    blue, _, red = frame[40, 250].astype(int)
    assert red > blue + 50


def test_frames_show_the_heat_of_their_moment(tmp_path):
    grey = [np.full((120, 160, 3), 90, np.uint8) for _ in range(16)]
    heat = np.zeros((16, 112, 112), np.float32)
    heat[8] = 1
    window = Window(0, 16, grey, probabilities=torch.eye(2)[0], heat=heat)
    list(annotation.annotate([window], tmp_path / "a.mp4", ["l", "r"], steady(16), RECIPE))
    spread = [int(np.ptp(frame[30, 80].astype(int))) for frame in Video(tmp_path / "a.mp4")]
    assert [number for number, value in enumerate(spread) if value > 60] == [8]
