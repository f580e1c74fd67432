import os
import signal
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from dataloaders.windows import Window

from dataloaders.clips import ClipConfig
from dataloaders.video import VideoReader
from engine import annotate

CONFIG = ClipConfig()


def even_video(num_frames, fps=25):
    """A stand-in for the reader of a video with even time stamps, whose header has this number of frames."""
    return SimpleNamespace(
        fps=fps,
        num_frames=num_frames,
        duration=num_frames / fps,
        timestamps=[number / fps for number in range(200)],
        pixel_aspect=1.0,
        interval=lambda start, end: (start / fps, end / fps),
    )


@pytest.mark.parametrize("ending", ["mp4", "webm"])
def test_each_format_is_written_in_silence(tmp_path, capfd, ending):
    writer = annotate.open_writer(tmp_path / f"v.{ending}", 12.5, (64, 48))
    for shade in range(30):
        writer.write(np.full((48, 64, 3), 8 * shade, np.uint8))
    writer.release()
    assert capfd.readouterr() == ("", "")
    video = VideoReader(tmp_path / f"v.{ending}")
    assert video.fps == 12.5
    assert [round(frame.mean() / 8) for frame in video] == list(range(30))
    os.write(2, b"no longer silent")
    assert capfd.readouterr().err == "no longer silent"
    with pytest.raises(OSError, match="cannot be written"):
        annotate.open_writer(tmp_path / "nowhere" / f"v.{ending}", 25, (64, 48))


PREDICTIONS = [
    ("Archery", 0.75, (200, 120, 30)),
    ("BasketballDunkingWithBothHands", 0.2, (40, 130, 240)),
    ("b", 0.05, (0, 0, 9)),
]


@pytest.mark.parametrize(
    "size", [(160, 120), (320, 240), (640, 90), (90, 640), (96, 64), (1920, 1080)]
)
@pytest.mark.parametrize("shade", [0, 128, 255])
def test_the_panel_is_legible_on_anything(size, shade):
    frame = np.full((size[1], size[0], 3), shade, np.uint8)
    panel = annotate.make_panel(size[1], size[0], PREDICTIONS)
    timeline = np.full((size[0], 3), 60, np.uint8)
    timeline[: size[0] // 2] = PREDICTIONS[0][2]
    annotate.draw_overlay(frame, panel, timeline, 0.25)
    strip = max(2, size[1] // 60)
    top = size[1] - strip - len(panel)
    assert (frame[:top] == shade).all()
    assert top > size[1] / 2
    band = frame[top : size[1] - strip]
    assert np.median(band) < 85
    assert (band[:, : size[0] // 2].min(2) > 150).sum() > 8  # letters
    assert (band[:, :1] <= 64).all() and (band[:, -1:] <= 64).all()  # nothing touches the edges
    for x, expected in ((0.1, PREDICTIONS[0][2]), (0.25, (255, 255, 255)), (0.9, (60, 60, 60))):
        assert tuple(frame[-1, round(x * (size[0] - 1))]) == expected


def test_a_bar_is_as_long_as_its_class_is_likely():
    panel = annotate.make_panel(480, 640, PREDICTIONS)
    for colour, probability in ((PREDICTIONS[0][2], 0.75), (PREDICTIONS[1][2], 0.2)):
        columns = np.argwhere((panel == colour).all(2))[:, 1]
        assert columns.min() == 384
        assert columns.max() - 384 == pytest.approx(probability * (640 - 8 - 384), abs=1)


def test_frames_show_their_window(tmp_path):
    grey = [np.full((120, 160, 3), 90, np.uint8) for _ in range(60)]
    windows = [
        Window(0, 31, grey[:30], probabilities=torch.tensor([0.9, 0.1]), nearest=(0, 30)),
        Window(29, 60, grey[30:], probabilities=torch.tensor([0.2, 0.8]), nearest=(30, 60)),
    ]
    assert (
        list(annotate.annotate(windows, tmp_path / "a.mp4", ["l", "r"], even_video(60), CONFIG))
        == windows
    )
    frames = list(VideoReader(tmp_path / "a.mp4"))
    assert len(frames) == 60
    for number, frame in enumerate(frames):
        blue, green, red = (
            int(value) for value in frame[99, 135]
        )  # in the first bar, right of its text
        assert (blue > red) == (number < 30)  # the first class is blue, the second orange
        strip = frame[-1].astype(int)
        assert strip[2:75, 0].mean() > strip[2:75, 2].mean()  # the first prediction
        position = np.argmax(frame[-2:].min((0, 2)))
        assert position == pytest.approx(number / 60 * 159, abs=3)
        assert (strip[90:, 2].mean() > 120) == (number >= 30)  # not yet coloured for later windows


def test_an_annotated_video_is_whole_or_not_there(tmp_path):
    grey = [np.full((120, 160, 3), 90, np.uint8) for _ in range(60)]

    def broken_windows():
        yield Window(0, 31, grey, probabilities=torch.eye(2)[0])
        raise OSError("broken")

    (tmp_path / "a.mp4").write_text("an earlier one")
    with pytest.raises(OSError, match="broken"):
        list(
            annotate.annotate(
                broken_windows(), tmp_path / "a.mp4", ["l", "r"], even_video(60), CONFIG
            )
        )
    assert [path.name for path in tmp_path.iterdir()] == ["a.mp4"]
    assert (tmp_path / "a.mp4").read_text() == "an earlier one"


def test_a_full_disk_is_reported_and_leaves_the_old_video(tmp_path):
    resource = pytest.importorskip("resource")
    noise = np.random.default_rng(0).integers(0, 256, (60, 240, 320, 3), np.uint8)
    (tmp_path / "a.mp4").write_text("an earlier one")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    for max_bytes in (1_000_000, 3000):  # exceeded by a frame, and by the end of the file
        frames = list(noise) if max_bytes > 3000 else [np.zeros((48, 64, 3), np.uint8)] * 60
        window = Window(0, 60, frames, probabilities=torch.eye(2)[0])
        resource.setrlimit(resource.RLIMIT_FSIZE, (max_bytes, limits[1]))
        try:
            with pytest.raises(OSError, match="a.mp4: cannot be written"):
                list(
                    annotate.annotate(
                        [window], tmp_path / "a.mp4", ["l", "r"], even_video(60), CONFIG
                    )
                )
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert [path.name for path in tmp_path.iterdir()] == ["a.mp4"]
        assert (tmp_path / "a.mp4").read_text() == "an earlier one"


@pytest.mark.parametrize("num_frames", [0, 80])
def test_the_timeline_keeps_its_colours_where_the_video_is_longer_than_its_header_has_it(
    tmp_path, num_frames
):
    grey = [np.full((120, 160, 3), 90, np.uint8) for _ in range(90)]
    labels = (0, 1, 0)
    windows = [
        Window(
            start,
            start + 30,
            grey[start : start + 30],
            probabilities=torch.eye(2)[label],
            nearest=(start, start + 30),
        )
        for start, label in zip((0, 30, 60), labels, strict=True)
    ]
    list(annotate.annotate(windows, tmp_path / "a.mp4", ["l", "r"], even_video(num_frames), CONFIG))
    strip = list(VideoReader(tmp_path / "a.mp4"))[-1][-1].astype(int)
    length = 90 if num_frames else 120  # an unknown length is doubled
    for number, label in zip((15, 45, 75), labels, strict=True):
        blue, _, red = strip[round(number / length * 160)]
        assert (blue > red) == (label == 0)
    if not num_frames:
        assert abs(strip[130:155] - 60).max() < 30


@pytest.mark.parametrize("fps", [14.70588, 59.94, 88.8888, 147.31845])
def test_any_frame_rate_is_written(tmp_path, fps):
    grey = [np.full((48, 64, 3), 90, np.uint8) for _ in range(5)]
    windows = [Window(0, 5, grey, probabilities=torch.eye(2)[0])]
    list(annotate.annotate(windows, tmp_path / "a.mp4", ["l", "r"], even_video(5, fps), CONFIG))
    assert VideoReader(tmp_path / "a.mp4").fps == pytest.approx(fps, rel=1e-3)


def test_q_acts_like_one_ctrl_c_and_closes_the_window(tmp_path, monkeypatch):
    shown, signals = [], []
    monkeypatch.setattr(annotate.cv2, "imshow", lambda name, frame: shown.append(name))
    monkeypatch.setattr(annotate.cv2, "waitKey", lambda wait: ord("q") if len(shown) == 3 else -1)
    monkeypatch.setattr(annotate.cv2, "destroyWindow", lambda name: shown.append(f"closed {name}"))
    monkeypatch.setattr(annotate.signal, "raise_signal", signals.append)
    grey = [np.full((48, 64, 3), 90, np.uint8) for _ in range(9)]
    windows = [Window(0, 9, grey, probabilities=torch.eye(2)[0])]
    list(
        annotate.annotate(windows, tmp_path / "a.mp4", ["l", "r"], even_video(9), CONFIG, show=True)
    )
    assert shown == ["a.mp4"] * 3 + ["closed a.mp4"]
    assert signals == [signal.SIGINT]
    assert len(list(VideoReader(tmp_path / "a.mp4"))) == 9


def test_the_heat_map_lies_where_the_crop_was_cut():
    frame = np.full((240, 320, 3), 128, np.uint8)
    heatmap = np.zeros((112, 112), np.float32)
    annotate.draw_heatmap(frame, heatmap, CONFIG)
    assert (frame == 128).all()
    heatmap[:28, -28:] = 1
    annotate.draw_heatmap(frame, heatmap, CONFIG)
    changed = np.argwhere((frame != 128).any(2))
    # The crop is the middle 112 of 171 and of 128, so its corner lies at 0.827 of the width and 0.0625 of the height.
    assert changed.min(0) == pytest.approx((0.0625 * 240, 0.663 * 320), abs=4)
    assert changed.max(0) == pytest.approx((0.281 * 240, 0.827 * 320), abs=4)
    blue, _, red = frame[40, 250].astype(int)
    assert red > blue + 50


def test_frames_show_the_heat_map_of_their_moment(tmp_path):
    grey = [np.full((120, 160, 3), 90, np.uint8) for _ in range(16)]
    heatmap = np.zeros((16, 112, 112), np.float32)
    heatmap[8] = 1
    window = Window(0, 16, grey, probabilities=torch.eye(2)[0], heatmap=heatmap)
    list(annotate.annotate([window], tmp_path / "a.mp4", ["l", "r"], even_video(16), CONFIG))
    spread = [int(np.ptp(frame[30, 80].astype(int))) for frame in VideoReader(tmp_path / "a.mp4")]
    assert [number for number, value in enumerate(spread) if value > 60] == [8]


@pytest.mark.parametrize("size", [(320, 240), (96, 64)])
def test_a_colour_bar_explains_the_heat_map_and_takes_no_more_room(size):
    plain = annotate.make_panel(size[1], size[0], PREDICTIONS)
    panel = annotate.make_panel(size[1], size[0], PREDICTIONS, with_colour_bar=True)
    assert panel.shape == plain.shape
    ramp = cv2.applyColorMap(np.arange(256, dtype=np.uint8)[None], cv2.COLORMAP_TURBO)[0].astype(
        int
    )
    bar = panel[-1] if size[0] < 160 else panel[-10, round(0.6 * size[0]) : -4]
    for place in (0.35, 0.5):
        colour = bar[round(place * (len(bar) - 1))].astype(int)
        nearest = np.abs(ramp - colour).sum(1).argmin() / 255
        assert nearest == pytest.approx(place, abs=0.06)


def test_a_window_without_a_label_says_so_and_has_no_colour(tmp_path):
    grey = [np.full((120, 160, 3), 90, np.uint8) for _ in range(9)]
    windows = [Window(0, 9, grey, probabilities=torch.tensor([0.6, 0.4]), nearest=(0, 9))]
    list(
        annotate.annotate(
            windows, tmp_path / "a.mp4", ["l", "r"], even_video(9), CONFIG, threshold=0.7
        )
    )
    frame = list(VideoReader(tmp_path / "a.mp4"))[0].astype(int)
    assert np.ptp(frame, axis=2).max() < 25
