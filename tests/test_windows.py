import weakref
from dataclasses import asdict

import cv2
import numpy as np
import pytest
import torch
from conftest import numbered_frame, read_number, write_video
from dataloaders.windows import cut_windows, print_once, sliding_windows
from engine.recognizer import classify_windows
from torch import nn

from dataloaders.clips import ClipConfig, frame_number
from dataloaders.extract import extract_frames
from dataloaders.video import VideoReader


class FrameRecorder(nn.Module):
    """A model that records the numbers of the frames in its clips, and predicts class 0."""

    def __init__(self):
        super().__init__()
        self.unused = nn.Parameter(torch.zeros(1))
        self.frame_numbers = []

    def forward(self, x):
        self.frame_numbers += [
            [read_number(frame) for frame in clip] for clip in x.permute(0, 2, 3, 4, 1).numpy()
        ]
        return torch.tensor([[2.0, 0.0, 0.0]]).expand(len(x), 3)


@pytest.mark.parametrize("num_frames", [16, 17, 31, 61, 100])
@pytest.mark.parametrize("stride", [1, 7, 30, 1000])
def test_sliding_windows_cover_the_video_to_its_end(num_frames, stride):
    span = 15 * ClipConfig().step(25, num_frames) + 1
    found = list(sliding_windows(range(num_frames), span, stride))
    assert [start for start, _ in found] == sorted(
        {*range(0, num_frames - span + 1, stride), num_frames - span}
    )
    assert all(frames == list(range(start, start + span)) for start, frames in found)


def test_sliding_windows_of_short_and_empty_videos():
    assert list(sliding_windows(range(5), 16, 8)) == [(0, [0, 1, 2, 3, 4])]
    assert list(sliding_windows([], 16, 8)) == []


@pytest.mark.parametrize(("num_frames", "interval"), [(5, 1), (16, 1), (46, 3), (61, 4), (200, 4)])
@pytest.mark.parametrize("stride", [None, 1, 25, 100])
def test_windows_sample_frames_as_training_does_and_each_frame_belongs_to_the_nearest(
    num_frames, interval, stride
):
    model = FrameRecorder()
    frames = [numbered_frame(number) for number in range(num_frames)]
    windows = list(classify_windows(model, cut_windows(frames, ClipConfig(), stride), 2))
    for window, numbers in zip(windows, model.frame_numbers, strict=True):
        assert numbers == [min(window.start + i * interval, num_frames - 1) for i in range(16)]
        assert window.end == min(window.start + 15 * interval + 1, num_frames)
        assert window.probabilities.sum().item() == pytest.approx(1)
    assert windows[0].start == 0
    assert windows[-1].end == num_frames

    kept = [(index, frame) for index, window in enumerate(windows) for frame in window.frames]
    assert all(frame is original for (_, frame), original in zip(kept, frames, strict=True))
    for number, (index, _) in enumerate(kept):
        distances = [abs((window.start + window.end) / 2 - (number + 0.5)) for window in windows]
        assert distances[index] == min(distances)


@pytest.mark.parametrize("size", [(160, 120), (171, 128)])
def test_what_is_drawn_on_a_frame_is_hidden_from_the_model(size):
    model = FrameRecorder()
    frames = [numbered_frame(number, *size) for number in range(80)]
    for window in classify_windows(model, cut_windows(frames, ClipConfig(), 2), 2):
        for frame in window.frames:
            frame[:] = 255
    assert model.frame_numbers == [
        [start + 4 * i for i in range(16)] for start in (*range(0, 19, 2), 19)
    ]


def test_frames_are_read_as_they_are_needed_and_let_go():
    released, most = [], 0

    class Frame(np.ndarray):
        """An image whose deletion is noticed."""

    def frames():
        nonlocal most
        for count in range(1, 1001):
            frame = numbered_frame(0).view(Frame)
            weakref.finalize(frame, released.append, count)
            most = max(most, count - len(released))
            yield frame

    for window in classify_windows(FrameRecorder(), cut_windows(frames(), ClipConfig()), 2):
        del window
    assert 61 <= most <= 61 + 2 * 32 + 2

    released.clear()
    most = 0
    for _ in classify_windows(
        FrameRecorder(), cut_windows(frames(), ClipConfig(), keep_frames=False), 2
    ):
        pass
    assert most <= 4


@pytest.mark.parametrize(
    ("fps", "frame_rate"), [(25, 15), (30, 15), (60, 15), (29.97, 15), (10, 15), (25, 30)]
)
@pytest.mark.parametrize("num_frames", [5, 16, 24, 40, 200])
def test_windows_of_so_many_frames_a_second_are_those_of_training(
    tmp_path, capsys, fps, frame_rate, num_frames
):
    video = write_video(tmp_path / "v.avi", num_frames, fps=fps)
    config = ClipConfig.from_flags(clip_len=16, frame_rate=frame_rate)
    num_kept = extract_frames(video, tmp_path / "frames", asdict(config))["frames"]
    kept = [
        read_number(cv2.imread(f"{tmp_path}/frames/{i:05d}.jpg")[..., ::-1])
        for i in range(1, num_kept + 1)
    ]
    print_once.cache_clear()
    model, reader = FrameRecorder(), VideoReader(video)
    windows = list(classify_windows(model, cut_windows(reader, config, 1, video=reader), 2))
    assert model.frame_numbers[0] == [kept[min(i, num_kept - 1)] for i in range(16)]
    repeated = f"frames are repeated where a video has fewer than {frame_rate} a second\n"
    assert capsys.readouterr().out == (repeated if fps < frame_rate else "")
    for window, numbers in zip(windows, model.frame_numbers, strict=True):
        assert numbers == [
            min(window.start + frame_number(i, window.step), num_frames - 1) for i in range(16)
        ]
        heatmaps = window._replace(heatmap=np.arange(16))
        assert all(
            abs(numbers[heatmaps.heatmap_at(number)] - number) <= window.step for number in numbers
        )
    assert windows[-1].end == num_frames
