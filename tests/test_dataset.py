import cv2
import numpy as np
import pytest
import torch
from conftest import (
    data_settings,
    is_flipped,
    read_number,
    take_nothing_for_copies,
    write_dataset,
)
from torch.utils.data import DataLoader, Subset

from dataloaders.dataset import EvalWindows, TrainClips
from dataloaders.errors import FileError
from dataloaders.preprocess import preprocess, split_records
from dataloaders.records import SPLITS, VideoRecord
from dataloaders.samplers import DistributedBatchSampler
from dataloaders.sampling import ClipConfig
from dataloaders.transforms import Augmentation
from dataloaders.workers import worker_init_fn


@pytest.fixture(scope="module", params=[5, 16, 20, 100], ids="{}_frames".format)
def data(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    root = write_dataset(folder / "videos", frames=request.param)
    with pytest.MonkeyPatch.context() as patch:
        take_nothing_for_copies(patch)
        frames = preprocess(data_settings(root, folder / "frames"))
    return request.param, frames.frames_dir, split_records(frames, "group")


def record(split, class_name, video, frames=16):
    """A video whose frames lie in the folder of its split."""
    source = f"{class_name}/{video}.avi"
    return VideoRecord(split, class_name, video, "g", source, frames, 1e9, split)


def part(videos, split):
    """The videos of one part."""
    return [video for video in videos if video.split == split]


def interval_of(length):
    """The distance of the frames of a clip in a video of so many: 4, or less where it is short."""
    return max(1, min(4, (length - 1) // 15))


def numbers(clip):
    return [read_number(frame) for frame in clip.numpy()]


@pytest.mark.parametrize("split", SPLITS)
def test_evaluation_reads_the_middle_and_nothing_random(data, split):
    length, frames, videos = data
    dataset = EvalWindows(frames, part(videos, split), ["Jump", "Run"], ClipConfig())
    rows = [video for video in videos if video.split == split]
    assert len(dataset) == len(rows)
    interval = interval_of(length)
    kept = len(range(0, length, interval))
    start = max(0, (kept - 16) // 2)
    for i in range(len(dataset)):
        clip, label = dataset[i]
        assert clip.shape == (16, 112, 112, 3)
        assert clip.dtype == torch.uint8
        assert label == ["Jump", "Run"].index(rows[i].class_name)
        assert numbers(clip) == [min(start + j, kept - 1) * interval for j in range(16)]
        assert not is_flipped(clip[0].numpy())
        assert torch.equal(clip, dataset[i][0])
        file = rows[i].folder(frames) / f"{start + 1:05d}.jpg"
        assert np.array_equal(clip[0], cv2.imread(str(file))[8:120, 29:141, ::-1])


def test_evaluation_windows_lie_evenly(data):
    length, frames, videos = data
    dataset = EvalWindows(
        frames, part(videos, "test"), ["Jump", "Run"], ClipConfig.from_flags(8), windows=3
    )
    rows = [video for video in videos if video.split == "test"]
    interval = interval_of(length)
    starts = {5: [0], 16: [0], 20: [0, 2, 4], 100: [0, 4, 9]}[length] * len(rows)
    assert [numbers(dataset[i][0])[0] for i in range(len(dataset))] == [
        start * interval for start in starts
    ]


@pytest.mark.parametrize(
    ("num_frames", "windows", "starts"),
    [
        (40, 1, [12]),
        (19, 1, [1]),
        (40, 3, [0, 12, 24]),
        (19, 3, [0, 2, 3]),  # a half goes to the even number
        (17, 4, [0, 0, 1, 1]),
        (5, 3, [0, 0, 0]),
    ],
)
def test_windows_reach_from_the_first_frame_to_the_last(tmp_path, num_frames, windows, starts):
    videos = [record("test", "Run", name, num_frames) for name in "ab"]
    dataset = EvalWindows(tmp_path, videos, ["Run"], ClipConfig(), windows=windows)
    assert dataset.start_of_item[dataset.item_of_window].tolist() == 2 * [starts]
    assert dataset.video_of_item.tolist() == len(set(starts)) * [0] + len(set(starts)) * [1]
    assert len(dataset) == 2 * len(set(starts))


def test_training_draws_every_window_and_flips_half_of_the_clips(data):
    length, frames, videos = data
    dataset = TrainClips(frames, part(videos, "train"), ["Jump", "Run"], ClipConfig.from_flags(8))
    interval = interval_of(length)
    kept = len(range(0, length, interval))
    drawn = [dataset[0, (0, 1, position)][0] for position in range(150)]
    starts = {numbers(clip)[0] // interval for clip in drawn}
    assert starts == set(range(max(1, kept - 15)))  # the first, the last and all between
    for clip in drawn:
        first = numbers(clip)[0] // interval
        assert numbers(clip) == [min(first + j, kept - 1) * interval for j in range(16)]
        assert len({is_flipped(frame) for frame in clip.numpy()}) == 1  # one draw a clip
    assert 45 < sum(is_flipped(clip[0].numpy()) for clip in drawn) < 105


def test_training_crops_everywhere(data):
    _, frames, videos = data
    dataset = TrainClips(frames, part(videos, "train"), ["Jump", "Run"], ClipConfig())
    borders = set()
    for position in range(60):
        clip, _ = dataset[0, (0, 1, position)]
        blue = clip[0, 56, :, 2].numpy().astype(int)
        borders.add(int(np.abs(np.diff(blue)).argmax()))
    assert len(borders) > 20  # columns at which the right half begins


def test_only_the_frames_of_the_clip_are_read(data, monkeypatch):
    _, frames, videos = data
    read = []
    fromfile = np.fromfile
    monkeypatch.setattr(
        np, "fromfile", lambda file, dtype: read.append(file) or fromfile(file, dtype)
    )
    TrainClips(frames, part(videos, "train"), ["Jump", "Run"], ClipConfig())[0, (0, 0, 0)]
    assert len(read) == 16


@pytest.mark.parametrize("length", [0, 300, -1])
def test_a_frame_that_is_cut_off_is_named(data, length):
    _, frames, videos = data
    dataset = EvalWindows(frames, part(videos, "val"), ["Jump", "Run"], ClipConfig())
    file = (
        frames
        / "val"
        / dataset.sources[0].removesuffix(".avi")
        / f"{dataset.start_of_item[0] + 1:05d}.jpg"
    )
    whole = file.read_bytes()
    file.write_bytes(whole[:length])
    try:
        with pytest.raises(FileError, match=f"{file.name}: missing or damaged; delete"):
            dataset[0]
    finally:
        file.write_bytes(whole)


def test_a_missing_frame_is_named(tmp_path):
    video = record("train", "Run", "v")
    with pytest.raises(
        FileError,
        match=r"train/Run/v/00001.jpg: missing or damaged; delete .*train/Run/v and start again",
    ):
        EvalWindows(tmp_path, [video], ["Run"], ClipConfig())[0]


@pytest.mark.parametrize("workers", [1, 2])
def test_the_number_of_workers_changes_nothing(data, workers):
    _, frames, videos = data
    dataset = TrainClips(frames, part(videos, "train"), ["Jump", "Run"], ClipConfig())

    def epochs(num_workers):
        sampler = DistributedBatchSampler(len(dataset), 2, seed=1)
        loader = DataLoader(
            dataset,
            batch_sampler=sampler,
            num_workers=num_workers,
            persistent_workers=num_workers > 0,
        )
        for epoch in (1, 2):
            sampler.set_position(epoch, 0)
            yield from loader

    plain, parallel = list(epochs(0)), list(epochs(workers))
    for (clips_a, labels_a), (clips_b, labels_b) in zip(plain, parallel, strict=True):
        assert torch.equal(clips_a, clips_b)
        assert torch.equal(labels_a, labels_b)
    half = len(plain) // 2
    assert any(not torch.equal(a[0], b[0]) for a, b in zip(plain[:half], plain[half:], strict=True))


def test_workers_run_though_opencv_had_threads_before_the_fork(data):
    _, frames, videos = data
    image = np.zeros((1000, 1000, 3), np.uint8)
    cv2.resize(image, (3000, 3000), interpolation=cv2.INTER_CUBIC)  # by several threads
    dataset = EvalWindows(frames, part(videos, "train"), ["Jump", "Run"], ClipConfig.from_flags(8))
    loader = DataLoader(dataset, 2, num_workers=2, worker_init_fn=worker_init_fn, timeout=30)
    assert sum(len(labels) for _, labels in loader) == len(dataset)


def test_a_class_without_videos_weighs_nothing():
    dataset = TrainClips(".", [], ["a", "none", "b"], ClipConfig())
    dataset.labels = np.array([0, 0, 0, 2])
    np.testing.assert_allclose(dataset.class_weights(), [2 / 3, 0, 2], rtol=1e-6)


def test_indices_may_be_numpy_integers(data):
    _, frames, videos = data
    dataset = EvalWindows(frames, part(videos, "train"), ["Jump", "Run"], ClipConfig())
    subset = Subset(dataset, np.arange(3, dtype=np.int64))
    assert torch.equal(subset[2][0], dataset[2][0]) and subset[2][1] == dataset[2][1]
    train = TrainClips(frames, part(videos, "train"), ["Jump", "Run"], ClipConfig())
    clip = train[np.int64(2), (0, 1, 2)][0]
    assert torch.equal(clip, train[2, (0, 1, 2)][0])


def test_clips_that_must_not_be_mirrored_are_not_and_are_drawn_alike(data):
    _, frames, videos = data
    plain, unflipped = (
        TrainClips(
            frames,
            part(videos, "train"),
            ["Jump", "Run"],
            ClipConfig.from_flags(112),
            augmentation=Augmentation(flip=flip),
        )
        for flip in (True, False)
    )
    for position in range(20):
        clip = unflipped[0, (0, 1, position)][0].numpy()
        mirrored = plain[0, (0, 1, position)][0].numpy()
        assert np.array_equal(
            clip, mirrored if not is_flipped(mirrored[0]) else mirrored[:, :, ::-1]
        )
