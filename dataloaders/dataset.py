"""Frame folders -> clips for training and evaluation."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from dataloaders.errors import DataError, FileError
from dataloaders.records import PLACES, SPLITS
from dataloaders.sampling import ClipConfig
from dataloaders.transforms import make_clip
from dataloaders.workers import block_signals

JPEG_END = b"\xff\xd9"


def _read_bytes(file: Path) -> np.ndarray | None:
    """Return the bytes of a file, `uint8` (N,); None where it is not there."""
    try:
        return np.fromfile(file, np.uint8)
    except FileNotFoundError:
        return None


class VideoDataset(Dataset):
    """The clips of the videos of one split.
    `dataset[i]` is a clip for evaluation: the windows lie uniformly over each video, video by video, with the centre
    crop. Equal windows, of a short video, are one item, which counts `repeats[i]` times. `dataset[i, key]` is a random
    clip of video `i` for training: window, crop and mirroring are drawn once a clip, from `key` alone. Either is (clip,
    label), a `uint8` tensor (T, H, W, 3), RGB, and an int; FileError where a frame is missing or damaged.
    `videos` are rows of the index, `classes` the names in the order of their labels. Where `flip` is set, half of the
    training clips are mirrored; a training crop has a random share of the frame's area, `min_scale` or more."""

    def __init__(
        self,
        frames_dir,
        videos,
        split,
        classes,
        config: ClipConfig,
        windows=1,
        flip=True,
        min_scale=1,
    ):
        videos = [video for video in videos if video.split == split]
        label_of = {name: label for label, name in enumerate(classes)}
        # Arrays, which the worker processes share; a list of objects would be copied into each of them.
        self.frames_dir = Path(frames_dir)
        self.folders = np.array(
            [os.fsencode(video.folder(self.frames_dir)) for video in videos], np.bytes_
        )
        self.num_frames = np.array([video.frames for video in videos], np.int32)
        self.labels = np.array([label_of[video.class_name] for video in videos], np.int64)
        self.sources = [video.source for video in videos]
        self.classes, self.config, self.windows = classes, config, windows
        self.split, self.flip, self.min_scale = split, flip, min_scale
        last = np.maximum(self.num_frames - config.clip_len, 0)[
            :, None
        ]  # where the last window of a video starts
        starts = (
            last // 2
            if windows == 1
            else np.rint(last * np.arange(windows) / (windows - 1)).astype(np.int32)
        )
        is_distinct = np.diff(starts, axis=1, prepend=-1) != 0
        self.video_indices, self.starts = np.nonzero(is_distinct)[0], starts[is_distinct]
        self.repeats = np.diff(np.flatnonzero(is_distinct), append=is_distinct.size)

    @classmethod
    def open(cls, name: str, split: str = "train", windows: int = 1, **flags) -> "VideoDataset":
        """Open a part of the default split of a data set of mypath.py, preprocessed if need be.

        Args:
            name: Of the data set.
            split: "train", "val" or "test".
            windows: Windows of each video for evaluation.
            **flags: Those of `ClipConfig.from_flags`.
        """
        import mypath
        from dataloaders.arguments import open_settings
        from dataloaders.frames import default_protocol
        from dataloaders.labels import class_names
        from dataloaders.preprocess import preprocess, split_records

        if split not in SPLITS:
            raise DataError(f"no split {split!r}: there are {', '.join(SPLITS)}")
        config = ClipConfig.from_flags(**flags)
        settings = open_settings(mypath.Path, name, config)
        frames = preprocess(settings)
        videos = split_records(frames, default_protocol(settings, frames.records))
        classes = class_names(name, videos)
        return cls(frames.frames_dir, videos, split, classes, config, windows)

    def __len__(self) -> int:
        return len(self.starts)

    def class_weights(self) -> np.ndarray:
        """Return float32 (classes,), inverse to the videos of each class; their mean over the videos is 1."""
        counts = np.bincount(self.labels, minlength=len(self.classes))
        return (len(self.labels) / np.maximum(counts, 1) / max(1, np.count_nonzero(counts))).astype(
            np.float32
        )

    def __getitem__(self, item: int | tuple[int, Sequence[int]]) -> tuple[Tensor, int]:
        index, key = item if isinstance(item, tuple) else (self.video_indices[item], None)
        if key is None:
            start, augmentation = int(self.starts[item]), {}
        else:
            rng = np.random.default_rng(key)
            start = int(rng.integers(max(self.num_frames[index] - self.config.clip_len, 0) + 1))
            augmentation = {
                "crop": self._random_crop(rng),
                "flip": bool(rng.random() < 0.5) and self.flip,
            }
        clip = make_clip(self._read_frames(index, start), self.config, **augmentation)
        return torch.from_numpy(clip), int(self.labels[index])

    def _read_frames(self, index: int, start: int) -> Iterator[np.ndarray]:
        """Yield the images of a window, BGR (H, W, 3), the last one of a short video several times."""
        last = self.num_frames[index] - 1
        for number in range(start, start + self.config.clip_len):
            yield self._read_frame(index, min(number, last) + 1)

    def _read_frame(self, index: int, number: int) -> np.ndarray:
        """Read one image; FileError where it is missing or damaged."""
        folder = Path(os.fsdecode(self.folders[index]))
        name = f"{number:05d}.jpg"
        data = _read_bytes(folder / name)
        if data is None:
            data = self._read_elsewhere(folder, name)
        # OpenCV makes the rest of an image that is cut off grey.
        is_whole = data is not None and data[-2:].tobytes() == JPEG_END
        image = cv2.imdecode(data, cv2.IMREAD_COLOR) if is_whole else None
        if image is None:
            raise FileError(
                f"{folder / name}: missing or damaged; delete {folder} and start again, "
                "which extracts the frames of that video"
            )
        return image

    def _read_elsewhere(self, folder: Path, name: str) -> np.ndarray | None:
        """Read a file of a frame folder that a change of the data has moved to another place."""
        for place in 2 * PLACES:  # twice: it may move from one not yet seen to one already seen
            data = _read_bytes(self.frames_dir / place / folder.parent.name / folder.name / name)
            if data is not None:
                return data
        return None

    def _random_crop(self, rng: np.random.Generator) -> tuple[int, int, int, int]:
        """Draw (top, left, height, width) of a crop (resized as in Szegedy et al. 2015, arXiv:1409.4842, section 6)."""
        frame_height, frame_width = self.config.height, self.config.width
        height = width = self.config.crop_size
        if self.min_scale < 1:
            area = rng.uniform(self.min_scale, 1) * frame_height * frame_width
            aspect = np.exp(rng.uniform(np.log(3 / 4), np.log(4 / 3)))
            height = min(frame_height, max(1, round(np.sqrt(area / aspect))))
            width = min(frame_width, max(1, round(np.sqrt(area * aspect))))
        return (
            int(rng.integers(frame_height - height + 1)),
            int(rng.integers(frame_width - width + 1)),
            height,
            width,
        )


class ClipLoader(DataLoader):
    """A DataLoader whose worker processes start with the stop signals blocked."""

    def __iter__(self):
        with block_signals():
            return super().__iter__()
