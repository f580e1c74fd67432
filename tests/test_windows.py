"""Which frames the windows of a video show, when they come, and which frames belong to each."""

import weakref
from itertools import pairwise

import cv2
import numpy as np
import pytest
from conftest import numbered_frame, read_number, write_video

from dataloaders.extract import ExtractionJob, extract_frames
from dataloaders.sampling import ClipConfig
from dataloaders.video import VideoFile
from recognition.classifier import Prediction
from recognition.frames import ImageFrame
from recognition.segments import SegmentBuilder
from recognition.windows import WindowCutter, nearest_frames


def numbered_frames(count, fps=25):
    return [ImageFrame(number / fps, numbered_frame(number)) for number in range(count)]


def cut(frames, cutter):
    """All windows of a run of frames."""
    windows = []
    for frame in frames:
        windows += cutter.push(frame)
    return windows + cutter.flush()


def numbers_of(window):
    return [read_number(image) for image in window.clip]


def predict(window):
    return Prediction(window.start, window.end, window.image_times, window.run, np.ones(3) / 3)


@pytest.mark.parametrize("num_frames", [61, 62, 93, 100, 157])
@pytest.mark.parametrize("stride", [1, 7, 30, 1000, None])
def test_windows_cover_the_video_to_its_end(num_frames, stride):
    windows = cut(numbered_frames(num_frames), WindowCutter(ClipConfig(), stride))
    starts = [round(25 * window.start) for window in windows]
    assert starts == sorted({*range(0, num_frames - 60, stride or 32), num_frames - 61})
    for window, start in zip(windows, starts, strict=True):
        assert numbers_of(window) == list(range(start, start + 61, 4))
        assert window.end == pytest.approx((start + 61) / 25)


@pytest.mark.parametrize(("num_frames", "interval"), [(5, 1), (16, 1), (46, 3), (61, 4), (200, 4)])
@pytest.mark.parametrize("stride", [None, 1, 25, 100])
def test_windows_sample_frames_as_training_does(num_frames, interval, stride):
    windows = cut(numbered_frames(num_frames), WindowCutter(ClipConfig(), stride))
    for window in windows:
        start = round(25 * window.start)
        expected = [min(start + i * interval, num_frames - 1) for i in range(16)]
        assert numbers_of(window) == expected
        assert window.image_times * 25 == pytest.approx(expected)
        assert round(25 * window.end) == min(start + 15 * interval + 1, num_frames)
    assert windows[0].start == 0
    assert round(25 * windows[-1].end) == num_frames


@pytest.mark.parametrize("num_frames", [5, 46, 61, 200])
@pytest.mark.parametrize("stride", [None, 1, 25, 100])
def test_each_frame_belongs_to_the_nearest_window(num_frames, stride):
    cutter = WindowCutter(ClipConfig(), stride)
    builder = SegmentBuilder(keep_frames=True)
    frames = numbered_frames(num_frames)
    windows = []
    segments = []
    for frame in frames:
        builder.push_frame(frame, cutter.run)
        for window in cutter.push(frame):
            windows.append(window)
            segments += builder.push(predict(window))
    for window in cutter.flush():
        windows.append(window)
        segments += builder.push(predict(window))
    segments += builder.flush()
    assert [segment.prediction.start for segment in segments] == [w.start for w in windows]
    assert sum([segment.frames for segment in segments], []) == frames
    for before, after in pairwise(segments):
        assert before.end == after.start
    assert segments[0].start == 0
    assert segments[-1].end == pytest.approx(num_frames / 25)
    middles = np.array([(window.start + window.end) / 2 for window in windows])
    for segment, middle in zip(segments, middles, strict=True):
        assert segment.num_frames == len(segment.frames)
        for frame in segment.frames:
            distances = np.abs(middles - frame.time - 0.5 / 25)
            assert abs(middle - frame.time - 0.5 / 25) == pytest.approx(distances.min())


@pytest.mark.parametrize("stride", [None, 1, 7, 100])
def test_a_window_is_there_with_its_last_frame(stride):
    cutter = WindowCutter(ClipConfig(), stride)
    for number, frame in enumerate(numbered_frames(200)):
        windows = cutter.push(frame)
        is_due = number >= 60 and (number - 60) % (stride or 32) == 0
        assert [numbers_of(window)[-1] for window in windows] == [number] * is_due


@pytest.mark.parametrize("fps", [10, 24, 25, 30, 60])
def test_of_an_even_rate_a_window_by_time_is_there_with_its_last_frame(fps):
    config = ClipConfig(frame_interval=None, frame_rate=15)
    cutter = WindowCutter(config, fps=fps, is_even=True)
    last_frames = []
    for number, frame in enumerate(numbered_frames(3 * fps, fps)):
        for window in cutter.push(frame):
            last_frames.append(number)
            assert numbers_of(window)[-1] == number
    due = [int((window * 8 + 15) / 15 * fps + 0.5) for window in range(len(last_frames))]
    assert last_frames == due and len(due) > 2


def test_of_an_uneven_rate_a_window_by_time_waits_for_no_more_than_one_frame():
    config = ClipConfig(frame_interval=None, frame_rate=15)
    cutter = WindowCutter(config)
    rng = np.random.default_rng(0)
    times = np.cumsum(rng.choice([0.02, 0.05, 0.08], 100))
    times -= times[0]
    for number, time in enumerate(times):
        for window in cutter.push(ImageFrame(time, numbered_frame(number))):
            assert numbers_of(window)[-1] >= number - 1


def test_at_uneven_rates_images_are_the_nearest_in_time():
    """Ten frames a second, from 10 s on fifty."""
    times = [number / 10 for number in range(100)] + [10 + number / 50 for number in range(156)]
    frames = [ImageFrame(time, numbered_frame(number)) for number, time in enumerate(times)]
    config = ClipConfig(frame_interval=None, frame_rate=15)
    windows = cut(frames, WindowCutter(config))
    assert len(windows) > 15
    times = np.array(times)
    for number, window in enumerate(windows):
        first = number * 8 / 15 if number < len(windows) - 1 else times[-1] - 1
        expected = [np.abs(times - first - k / 15).min() for k in range(16)]
        shown = times[numbers_of(window)]
        assert np.abs(shown - first - np.arange(16) / 15) == pytest.approx(expected)
        assert window.image_times == pytest.approx(shown)
    assert numbers_of(windows[-1])[-1] == 255


def test_a_stride_of_frames_holds_at_any_rate():
    config = ClipConfig(frame_interval=None, frame_rate=15)
    frames = numbered_frames(100, 30)
    windows = cut(frames, WindowCutter(config, 20))
    assert [round(30 * window.start) for window in windows] == [0, 20, 40, 60, 69]
    assert numbers_of(windows[1]) == list(range(20, 51, 2))


def test_a_long_gap_in_time_makes_no_windows():
    config = ClipConfig(frame_interval=None, frame_rate=15)
    cutter = WindowCutter(config)
    frames = numbered_frames(40, 15)
    late = [ImageFrame(3600 + frame.time, frame.image) for frame in frames]
    assert len(cut([*frames, *late], cutter)) < 15


def test_no_window_spans_a_gap():
    cutter = WindowCutter(ClipConfig(), 10)
    first = [window for frame in numbered_frames(75) for window in cutter.push(frame)]
    first += cutter.flush()
    assert [round(25 * window.start) for window in first] == [0, 10, 14]
    later = [ImageFrame(10 + frame.time, frame.image) for frame in numbered_frames(70)]
    second = cut(later, cutter)
    assert [round(25 * window.start) for window in second] == [250, 259]
    assert numbers_of(second[0]) == list(range(0, 61, 4))
    assert [window.run for window in first + second] == [0, 0, 0, 1, 1]
    assert cutter.flush() == []


def test_frames_belong_to_a_window_of_their_own_run():
    builder = SegmentBuilder(keep_frames=False)
    times = np.arange(16) / 25
    for run, count in enumerate((50, 3)):
        for number in range(count):
            builder.push_frame(ImageFrame(2 * run + number / 25, None), run)
    segments = builder.push(Prediction(0, 16 / 25, times, 0, np.ones(3)))
    segments += builder.push(Prediction(2, 2.12, 2 + times / 5, 1, np.ones(3)))
    segments += builder.flush()
    assert [segment.num_frames for segment in segments] == [50, 3]


@pytest.mark.parametrize("size", [(160, 120), (171, 128)])
def test_an_image_may_change_when_the_next_is_asked_for(size):
    cutter = WindowCutter(ClipConfig(), 2)
    windows = []
    image = np.empty((size[1], size[0], 3), np.uint8)
    for number in range(80):
        image[:] = numbered_frame(number, *size)
        windows += cutter.push(ImageFrame(number / 25, image))
        image[:] = 255
    windows += cutter.flush()
    starts = (*range(0, 19, 2), 19)
    assert [numbers_of(window) for window in windows] == [
        list(range(start, start + 61, 4)) for start in starts
    ]


@pytest.mark.parametrize("rate", [{}, {"frame_interval": None, "frame_rate": 6}])
def test_no_more_images_are_kept_than_a_window_has(rate):
    released = []

    class Image(np.ndarray):
        """An image whose deletion is noticed."""

    cutter = WindowCutter(ClipConfig(**rate))
    for number in range(1000):
        image = numbered_frame(number % 256, 171, 128).view(Image)
        weakref.finalize(image, released.append, number)
        cutter.push(ImageFrame(number / 25, image))
        del image
        assert len(released) == number + 1  # small copies are kept alone
        assert len(cutter._images) <= 64  # of 61 frames, or of 2.5 s


@pytest.mark.parametrize(
    ("fps", "frame_rate"), [(25, 15), (30, 15), (60, 15), (29.97, 15), (10, 15), (25, 30)]
)
@pytest.mark.parametrize("num_frames", [5, 16, 24, 40, 200])
def test_windows_of_so_many_frames_a_second_are_those_of_training(
    tmp_path, fps, frame_rate, num_frames
):
    video = write_video(tmp_path / "v.avi", num_frames, fps=fps)
    config = ClipConfig.from_flags(clip_len=16, frame_rate=frame_rate)
    num_kept = extract_frames(ExtractionJob(video, tmp_path / "frames", config)).num_frames
    kept = [
        read_number(cv2.imread(f"{tmp_path}/frames/{number:05d}.jpg")[..., ::-1])
        for number in range(1, num_kept + 1)
    ]
    source = VideoFile(video)
    windows = cut(source.frames(), WindowCutter(config, fps=source.fps))
    span = min(15, num_kept - 1)
    assert numbers_of(windows[0]) == [kept[min(i, num_kept - 1)] for i in range(16)]
    for number, window in enumerate(windows[:-1]):  # half a window apart, in stored frames
        assert numbers_of(window) == kept[8 * number : 8 * number + 16]
    assert numbers_of(windows[-1])[span] == num_frames - 1


def test_of_two_frames_as_near_it_is_the_later():
    assert nearest_frames([0, 1, 2, 5], [-1, 0.4, 0.5, 0.6, 3.4, 3.5, 9]).tolist() == [
        *(0, 0, 1, 1, 2, 3, 3)
    ]
    assert nearest_frames([7], [1, 9]).tolist() == [0, 0]
