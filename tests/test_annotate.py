"""Predictions on the frames of a video, and the file that these are written to."""

import os
import signal
import threading
import time
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from conftest import read_video

from dataloaders.sampling import ClipConfig
from dataloaders.video import VideoFile
from dataloaders.video_writer import VideoWriter
from recognition import annotate, drawing
from recognition.annotate import AnnotatedVideoWriter, BackgroundEncoder, Painter, Preview
from recognition.classifier import Prediction
from recognition.drawing import Bar, Timeline
from recognition.frames import ImageFrame
from recognition.results import Labels
from recognition.segments import Segment

CONFIG = ClipConfig()
BARS = [
    Bar("Archery", 0.75, (200, 120, 30)),
    Bar("BasketballDunkingWithBothHands", 0.2, (40, 130, 240)),
    Bar("b", 0.05, (0, 0, 9)),
]


def grey_frames(first, end, fps=25, size=(160, 120)):
    width, height = size
    return [
        ImageFrame(number / fps, np.full((height, width, 3), 90, np.uint8))
        for number in range(first, end)
    ]


def make_segment(frames, probabilities, fps=25, **outputs):
    times = np.array([frame.time for frame in frames])
    start = frames[0].time
    end = frames[-1].time + 1 / fps
    prediction = Prediction(start, end, times, 0, np.float32(probabilities), **outputs)
    return Segment(prediction, start, end, len(frames), frames)


def write(target, segments, *, threshold=0.0, preview=None, **source):
    """Write segments of a video of even time stamps, of whose source such things are known."""
    source = {"fps": 25, "duration": None, "pixel_aspect": 1.0, "is_live": False} | source
    labels = Labels(["l", "r"], 2, threshold)
    painter = Painter(
        labels,
        CONFIG,
        layout=source.pop("layout", "overlay"),
        pixel_aspect=source["pixel_aspect"],
        duration=source["duration"],
    )
    with AnnotatedVideoWriter(target, SimpleNamespace(**source), painter, preview) as writer:
        for segment in segments:
            writer.write(segment)


@pytest.mark.parametrize(
    "size", [(160, 120), (320, 240), (640, 90), (90, 640), (96, 64), (1920, 1080)]
)
@pytest.mark.parametrize("shade", [0, 128, 255])
def test_the_panel_is_legible_on_anything(size, shade):
    frame = np.full((size[1], size[0], 3), shade, np.uint8)
    panel = drawing.make_panel(size[1], size[0], BARS)
    timeline = np.full((size[0], 3), 60, np.uint8)
    timeline[: size[0] // 2] = BARS[0].colour
    drawing.draw_overlay(frame, panel, timeline, 0.25)
    strip = max(2, size[1] // 60)
    top = size[1] - strip - len(panel)
    assert (frame[:top] == shade).all()
    assert top > size[1] / 2
    band = frame[top : size[1] - strip]
    assert np.median(band) < 85
    assert (band[:, : size[0] // 2].min(2) > 150).sum() > 8  # letters
    assert (band[:, :1] <= 64).all() and (band[:, -1:] <= 64).all()  # nothing touches the edges
    for x, expected in ((0.1, BARS[0].colour), (0.25, (255, 255, 255)), (0.9, (60, 60, 60))):
        assert tuple(frame[-1, round(x * (size[0] - 1))]) == expected


def test_a_bar_is_as_long_as_its_class_is_likely():
    panel = drawing.make_panel(480, 640, BARS)
    for bar in BARS[:2]:
        columns = np.argwhere((panel == bar.colour).all(2))[:, 1]
        assert columns.min() == 384
        assert columns.max() - 384 == pytest.approx(bar.probability * (640 - 8 - 384), abs=1)


@pytest.mark.parametrize("size", [(320, 240), (96, 64)])
def test_a_colour_bar_explains_the_heat_map_and_takes_no_more_room(size):
    plain = drawing.make_panel(size[1], size[0], BARS)
    panel = drawing.make_panel(size[1], size[0], BARS, with_colour_bar=True)
    assert panel.shape == plain.shape
    ramp = cv2.applyColorMap(np.arange(256, dtype=np.uint8)[None], cv2.COLORMAP_TURBO)[0]
    ramp = ramp.astype(int)
    bar = panel[-1] if size[0] < 160 else panel[-10, round(0.6 * size[0]) : -4]
    for place in (0.35, 0.5):
        colour = bar[round(place * (len(bar) - 1))].astype(int)
        nearest = np.abs(ramp - colour).sum(1).argmin() / 255
        assert nearest == pytest.approx(place, abs=0.06)


def test_frames_show_their_window(tmp_path):
    segments = [
        make_segment(grey_frames(0, 30), [0.9, 0.1]),
        make_segment(grey_frames(30, 60), [0.2, 0.8]),
    ]
    write(tmp_path / "a.mp4", segments, duration=60 / 25)
    frames = read_video(tmp_path / "a.mp4")
    assert len(frames) == 60
    for number, frame in enumerate(frames):
        blue, green, red = frame[99, 135].astype(int)  # in the first bar, right of its text
        assert (blue > red) == (number < 30)  # the first class is blue, the second orange
        strip = frame[-1].astype(int)
        assert strip[2:75, 0].mean() > strip[2:75, 2].mean()  # the first prediction
        position = np.argmax(frame[-2:].min((0, 2)))
        assert position == pytest.approx(number / 60 * 159, abs=3)
        assert (strip[90:, 2].mean() > 120) == (number >= 30)  # not yet coloured before


def test_an_annotated_video_is_whole_or_not_there(tmp_path):
    def broken_segments():
        yield make_segment(grey_frames(0, 60), [1, 0])
        raise OSError("broken")

    (tmp_path / "a.mp4").write_text("an earlier one")
    with pytest.raises(OSError, match="broken"):
        write(tmp_path / "a.mp4", broken_segments())
    assert [path.name for path in tmp_path.iterdir()] == ["a.mp4"]
    assert (tmp_path / "a.mp4").read_text() == "an earlier one"


@pytest.mark.parametrize("is_live", [False, True])
def test_a_full_disk_is_reported_and_leaves_the_old_video(tmp_path, is_live):
    resource = pytest.importorskip("resource")
    noise = np.random.default_rng(0).integers(0, 256, (60, 240, 320, 3), np.uint8)
    dark = np.zeros((60, 48, 64, 3), np.uint8)
    (tmp_path / "a.mp4").write_text("an earlier one")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    # Exceeded by a frame, and by the end of the file.
    for images, max_bytes in ((noise, 1_000_000), (dark, 1500)):
        frames = [ImageFrame(number / 25, image) for number, image in enumerate(images)]
        resource.setrlimit(resource.RLIMIT_FSIZE, (max_bytes, limits[1]))
        try:
            with pytest.raises(OSError, match=r"a\.partial\.mp4: cannot be written"):
                write(tmp_path / "a.mp4", [make_segment(frames, [1, 0])], is_live=is_live)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert [path.name for path in tmp_path.iterdir()] == ["a.mp4"]
        assert (tmp_path / "a.mp4").read_text() == "an earlier one"


@pytest.mark.parametrize("duration", [None, 80 / 25])
def test_the_timeline_keeps_its_colours_where_the_video_is_longer_than_its_header_says(
    tmp_path, duration
):
    segments = [
        make_segment(grey_frames(start, start + 30), np.eye(2)[label])
        for start, label in ((0, 0), (30, 1), (60, 0))
    ]
    write(tmp_path / "a.mp4", segments, duration=duration)
    strip = read_video(tmp_path / "a.mp4")[-1][-1].astype(int)
    length = 90 if duration else 120  # an unknown length is doubled
    for number, label in ((15, 0), (45, 1), (75, 0)):
        blue, _, red = strip[round(number / length * 160)]
        assert (blue > red) == (label == 0)
    if not duration:
        assert abs(strip[130:155] - 60).max() < 30


def test_a_timeline_shows_each_part_in_its_place():
    timeline = Timeline(128, None)
    for second in range(64):
        timeline.add(second, second + 1, (second, 0, 0))
    assert timeline.row[:, 0].tolist() == [x // 2 for x in range(128)]
    assert timeline.position(32) == 0.5


def test_frames_keep_their_times(tmp_path):
    times = np.cumsum([0, 0.04, 0.04, 1.5, 0.1, 0.033, 0.033])
    frames = [ImageFrame(time, np.full((48, 64, 3), 90, np.uint8)) for time in times]
    write(tmp_path / "a.mp4", [make_segment(frames, [1, 0])])
    found = [frame.time for frame in VideoFile(tmp_path / "a.mp4").frames()]
    assert found == pytest.approx(times.tolist(), abs=1e-3)


def test_pixels_become_square_and_sizes_even(tmp_path):
    frames = grey_frames(0, 5, size=(61, 47))
    frames += grey_frames(5, 9, size=(122, 94))  # a source may change its size
    write(tmp_path / "a.mp4", [make_segment(frames, [1, 0])], pixel_aspect=2.0)
    shapes = {frame.shape for frame in read_video(tmp_path / "a.mp4")}
    assert shapes == {(48, 122, 3)}


def test_a_live_recording_plays_up_to_where_the_power_failed(tmp_path):
    labels = Labels(["l", "r"], 2, 0.0)
    painter = Painter(labels, CONFIG, layout="overlay", pixel_aspect=1.0, duration=None)
    source = SimpleNamespace(fps=None, is_live=True)
    with AnnotatedVideoWriter(tmp_path / "a.mp4", source, painter) as writer:
        for first in range(0, 150, 30):
            writer.write(make_segment(grey_frames(first, first + 30), [1, 0]))
        while writer._encoder._images.qsize():
            time.sleep(0.01)
        (tmp_path / "cut.mp4").write_bytes((tmp_path / "a.partial.mp4").read_bytes())
    assert 25 <= len(read_video(tmp_path / "cut.mp4")) <= 150
    assert len(read_video(tmp_path / "a.mp4")) == 150


def test_what_the_encoder_raises_is_raised_where_frames_are_written(tmp_path):
    class BrokenWriter:
        def __enter__(self):
            return self

        def __exit__(self, *error):
            closed.append(error[0])

        def write(self, image, time):
            raise OSError("no space")

    closed = []
    num_threads = threading.active_count()
    with pytest.raises(OSError, match="no space"), BackgroundEncoder(BrokenWriter(), 2) as encoder:
        for number in range(100):
            encoder.put(np.zeros(1), number)
    assert closed == [OSError]
    with pytest.raises(OSError, match="no space"), BackgroundEncoder(BrokenWriter(), 2) as encoder:
        encoder.put(np.zeros(1), 0)  # raised at the end at the latest
    assert closed == [OSError, OSError]
    assert threading.active_count() == num_threads


def test_q_acts_like_one_ctrl_c_and_closes_the_window(tmp_path, monkeypatch):
    shown = []
    signals = []
    monkeypatch.setattr(annotate.cv2, "imshow", lambda name, frame: shown.append(name))
    monkeypatch.setattr(annotate.cv2, "waitKey", lambda wait: ord("q") if len(shown) == 3 else -1)
    monkeypatch.setattr(annotate.cv2, "destroyWindow", lambda name: shown.append(f"closed {name}"))
    monkeypatch.setattr(annotate.signal, "raise_signal", signals.append)
    segment = make_segment(grey_frames(0, 9, size=(64, 48)), [1, 0])
    write(tmp_path / "a.mp4", [segment], preview=Preview("a.mp4"))
    assert shown == ["a.mp4"] * 3 + ["closed a.mp4"]
    assert signals == [signal.SIGINT]
    assert len(read_video(tmp_path / "a.mp4")) == 9


def test_the_heat_map_lies_where_the_crop_was_cut():
    frame = np.full((240, 320, 3), 128, np.uint8)
    heatmap = np.zeros((112, 112), np.float32)
    drawing.draw_heatmap(frame, heatmap, CONFIG)
    assert (frame == 128).all()
    heatmap[:28, -28:] = 1
    drawing.draw_heatmap(frame, heatmap, CONFIG)
    changed = np.argwhere((frame != 128).any(2))
    # The crop is the middle 112 of 171 and of 128: its corner lies at 0.827 of the width and
    # 0.0625 of the height.
    assert changed.min(0) == pytest.approx((0.0625 * 240, 0.663 * 320), abs=4)
    assert changed.max(0) == pytest.approx((0.281 * 240, 0.827 * 320), abs=4)
    blue, _, red = frame[40, 250].astype(int)
    assert red > blue + 50


def test_frames_show_the_heat_map_of_their_moment(tmp_path):
    heatmap = np.zeros((16, 112, 112), np.float32)
    heatmap[8] = 1
    segment = make_segment(grey_frames(0, 16), [1, 0], heatmap=heatmap)
    write(tmp_path / "a.mp4", [segment])
    spread = [int(np.ptp(frame[30, 80].astype(int))) for frame in read_video(tmp_path / "a.mp4")]
    assert [number for number, value in enumerate(spread) if value > 60] == [8]


def test_a_window_without_a_label_says_so_and_has_no_colour(tmp_path):
    segment = make_segment(grey_frames(0, 9), [0.6, 0.4])
    write(tmp_path / "a.mp4", [segment], threshold=0.7)
    frame = read_video(tmp_path / "a.mp4")[0].astype(int)
    assert np.ptp(frame, axis=2).max() < 25


def test_a_video_is_encoded_in_silence(tmp_path, capfd):
    write(tmp_path / "a.mp4", [make_segment(grey_frames(0, 30), [1, 0])])
    assert capfd.readouterr() == ("", "")
    os.write(2, b"no longer silent")
    assert capfd.readouterr().err == "no longer silent"


def test_a_folder_that_is_not_there_is_made_and_a_bad_one_reported(tmp_path):
    segments = [make_segment(grey_frames(0, 5), [1, 0])]
    write(tmp_path / "new" / "folder" / "a.mp4", segments)
    assert len(read_video(tmp_path / "new" / "folder" / "a.mp4")) == 5
    with pytest.raises(OSError):
        write(tmp_path / "new" / "folder" / "a.mp4" / "b.mp4", segments)


def test_the_writer_of_videos_is_given_images_of_one_size(tmp_path):
    sizes = []

    class Recorder(VideoWriter):
        def write(self, image, time):
            sizes.append(image.shape)
            super().write(image, time)

    frames = grey_frames(0, 3) + grey_frames(3, 6, size=(80, 60))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(annotate, "VideoWriter", Recorder)
        write(tmp_path / "a.mp4", [make_segment(frames, [1, 0])], layout="below")
    assert len(set(sizes)) == 1 and sizes[0][0] > 120 and len(sizes) == 6
