from dataclasses import asdict

import numpy as np
import pytest
from conftest import is_flipped, numbered_frame, read_number, write_video

from dataloaders import clips
from dataloaders.clips import ClipConfig
from dataloaders.errors import DataError
from dataloaders.video import VideoReader


@pytest.mark.parametrize("clip_len", [2, 8, 16, 32])
@pytest.mark.parametrize(
    "rate",
    [{"frame_interval": n} for n in (1, 2, 4, 7)] + [{"frame_rate": f} for f in (10, 15, 24, 60)],
)
@pytest.mark.parametrize("fps", [10, 23.976, 25, 29.97, 30, 60])
def test_kept_frames_are_the_nearest_ones_and_short_videos_keep_as_many_as_a_clip_has(
    clip_len, rate, fps
):
    config = ClipConfig.from_flags(clip_len=clip_len, **rate)
    full = fps / config.frame_rate if config.frame_rate else config.frame_interval
    for num_frames in range(1, 200):
        step = config.step(fps, num_frames)
        kept = [
            number
            for i in range(10 * num_frames)
            if (number := clips.frame_number(i, step)) < num_frames
        ]
        assert all(abs(number - i * step) <= 0.5 for i, number in enumerate(kept))
        assert kept[0] == 0 and num_frames - 1 - kept[-1] < max(1, step)
        if full <= 1:  # frames are held
            assert step == full and set(kept) == set(range(num_frames))
            continue
        assert 1 <= step <= full and len(set(kept)) == len(kept) >= min(clip_len, num_frames)
        if step < full and num_frames > clip_len:  # and the step is the longest that keeps so many
            longer = step + 1 if config.frame_interval else step * (1 + 1 / num_frames)
            assert clips.frame_number(clip_len - 1, longer) >= num_frames


def test_a_clip_of_a_long_video_keeps_every_4th_frame():
    assert ClipConfig().step(fps=25) == 4


@pytest.mark.parametrize("fps", [25, 30, 60])
def test_videos_of_any_rate_give_the_same_clip_of_the_same_motion(fps):
    config = ClipConfig.from_flags(frame_rate=15)
    for seconds in (0.8, 1.2, 4):
        num_frames = round(seconds * fps)
        step = config.step(fps, num_frames)
        times = [clips.frame_number(i, step) / fps for i in range(config.clip_len)]
        expected = min(1 / 15, (seconds - 1 / fps) / 15)
        assert all(abs(time - i * expected) <= 0.51 / fps + 1e-9 for i, time in enumerate(times))


def test_cut_gives_rgb_in_order_cropped_and_mirrored():
    frames = [clips.resize_frame(numbered_frame(number)) for number in range(16)]
    clip = clips.make_clip(frames, ClipConfig())
    assert clip.shape == (16, 112, 112, 3)
    assert clip.dtype == np.uint8
    assert [read_number(frame) for frame in clip] == list(range(16))
    assert not is_flipped(clip[0])
    assert np.array_equal(
        clips.make_clip(frames, ClipConfig(), flip=True, crop=(8, 29, 112, 112)), clip[:, :, ::-1]
    )
    assert np.array_equal(clip[0], frames[0][8:120, 29:141, ::-1])


def test_smaller_crops_show_the_same_view():
    image = (
        np.random.default_rng(0)
        .integers(0, 256, (4, 6, 3), np.uint8)
        .repeat(32, 0)
        .repeat(29, 1)[:, :171]
    )
    large, small = (
        clips.make_clip([image] * 16, ClipConfig.from_flags(size))[0] for size in (112, 56)
    )
    assert small.shape == (56, 56, 3)
    assert np.abs(clips.resize_frame(large, 56, 56).astype(int) - small).mean() < 6


@pytest.mark.parametrize("size", [(960, 1280), (1080, 1920), (1920, 1080), (1024, 160), (96, 1368)])
def test_resize_averages_where_it_shrinks(size):
    dots = np.zeros((*size, 3), np.uint8)
    dots[:: max(1, size[0] // 128), :: max(1, size[1] // 171)] = 255
    small = clips.resize_frame(dots)
    assert small.shape == (128, 171, 3)
    assert small.mean() == pytest.approx(dots.mean(), rel=0.1)
    assert small.std() < 6


@pytest.mark.parametrize("size", [-1, 0, 1025])
def test_impossible_crops_are_refused(size):
    with pytest.raises(ValueError, match="--crop-size"):
        ClipConfig.from_flags(size)


def test_a_reader_refuses_what_is_no_video(tmp_path):
    with pytest.raises(FileNotFoundError, match="none.avi"):
        VideoReader(tmp_path / "none.avi")
    (tmp_path / "text.avi").write_text("no video")
    with pytest.raises(ValueError, match="text.avi"):
        VideoReader(tmp_path / "text.avi")


@pytest.mark.parametrize(
    "name", ["a b.avi", "300+_Yards!!!_(1)[2].avi", "100%d.avi", "é.avi", "a:b.avi", "-x.avi"]
)
def test_a_reader_takes_any_name(tmp_path, monkeypatch, name):
    video = write_video(tmp_path / "plain.avi", 3).rename(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    assert VideoReader(video.relative_to(tmp_path)).grab()


@pytest.mark.parametrize(
    "change",
    [
        {"clip_len": 10**12},
        {"crop_size": 0},
        {"crop_size": 129},
        {"height": "128"},
        {"width": True},
        {"clip_len": -4},
        {"frame_rate": 15.0},
        {"frame_interval": None},
        {"frame_interval": None, "frame_rate": 0.0},
    ],
    ids=str,
)
def test_a_config_that_cuts_no_clips_is_refused(change):
    for config in (ClipConfig(), ClipConfig.from_flags(16)):
        assert ClipConfig.from_dict(asdict(config)) == config
    with pytest.raises(DataError, match="no clip can be cut"):
        ClipConfig.from_dict(asdict(ClipConfig()) | change)
    with pytest.raises(DataError, match="no clip can be cut"):
        ClipConfig.from_dict({})
