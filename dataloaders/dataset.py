"""Frame folders -> clips for training and for evaluation."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from dataloaders.errors import DataError, FileError
from dataloaders.records import PLACES, SPLITS, VideoRecord, frame_name
from dataloaders.sampling import ClipConfig
from dataloaders.transforms import Augmentation, Transform, make_clip
from dataloaders.workers import block_signals

JPEG_END = b"\xff\xd9"


class VideoDataset(Dataset):
    """The videos of one part of a split, from which clips are read.

    A clip is a `uint8` tensor (T, H, W, 3), RGB. A network takes batches of (N, 3, T, H, W), which
    is `clips.permute(0, 4, 1, 2, 3)`.

    Attributes:
        classes: The names in the order of their labels.
        config: How clips are cut.
        labels: `int64` (videos,).
        sources: The path of each video below the folder of the data set.
    """

    def __init__(
        self,
        frames_dir: str | Path,
        records: Sequence[VideoRecord],
        classes: Sequence[str],
        config: ClipConfig,
    ):
        """Take the videos of one part.

        Args:
            frames_dir: The folder that the places of the records lie in.
            records: The videos of the part, which have frames.
            classes: The names in the order of their labels.
            config: How clips are cut.
        """
        label_of = {name: label for label, name in enumerate(classes)}
        folders = [os.fsencode(record.folder(Path(frames_dir))) for record in records]
        # Arrays are shared with the worker processes; a list would be copied into each of them.
        self._folders = np.array(folders, np.bytes_)
        self._frames_dir = Path(frames_dir)
        self.num_frames = np.array([record.frames for record in records], np.int32)
        self.labels = np.array([label_of[record.class_name] for record in records], np.int64)
        self.sources = [record.source for record in records]
        self.classes = list(classes)
        self.config = config

    @staticmethod
    def open(
        name: str,
        split: str = "train",
        windows: int = 1,
        *,
        config: ClipConfig | None = None,
        extract: bool = False,
        **flags: Any,
    ) -> "EvalWindows":
        """Open windows of a part of the default split of a data set of mypath.py.

        They are those of evaluation, also of "train": nothing is drawn at random.

        Args:
            name: Of the data set.
            split: "train", "val" or "test".
            windows: Windows of each video.
            config: How clips are cut, such as `recognizer.config`; None where flags say it.
            extract: Whether frames that are missing are extracted first.
            **flags: Those of `ClipConfig.from_flags`, where there is no `config`.

        Raises:
            DataError: There is no such split, or frames are missing.
        """
        import mypath
        from dataloaders.arguments import open_settings
        from dataloaders.comparison import compare, list_sources
        from dataloaders.frames import default_protocol
        from dataloaders.labels import class_names
        from dataloaders.preprocess import preprocess
        from dataloaders.run_split import split_records

        if split not in SPLITS:
            raise DataError(f"no split {split!r}: there are {', '.join(SPLITS)}")
        if config is None:
            config = ClipConfig.from_flags(**flags)
        settings = open_settings(mypath.Path, name, config)
        if not extract and not compare(settings, list_sources(settings)).is_finished:
            raise DataError(
                f"{settings.frames_dir}: frames are missing or out of date; extract=True extracts "
                "them, as python -m dataloaders.preprocess does"
            )
        frames = preprocess(settings)
        records = split_records(frames, default_protocol(settings, frames.records))
        part = [record for record in records if record.split == split]
        classes = class_names(name, records)
        return EvalWindows(frames.frames_dir, part, classes, config, windows=windows)

    def class_weights(self) -> np.ndarray:
        """Return weights of the classes, inverse to the number of their videos.

        Returns:
            `float32` (classes,); their mean over the videos is 1. A class without videos has 0.
        """
        counts = np.bincount(self.labels, minlength=len(self.classes))
        is_present = counts > 0
        num_present = max(1, np.count_nonzero(is_present))
        weights = is_present * len(self.labels) / np.maximum(counts, 1) / num_present
        return weights.astype(np.float32)

    def read_clip(self, video: int, start: int, transform: Transform | None = None) -> Tensor:
        """Read a clip.

        Args:
            video: The number of the video.
            start: The number of the first frame, from 0.
            transform: What is done to each frame; None for the centre crop.

        Returns:
            `uint8` (T, H, W, 3), RGB; the last frame of a short video is repeated.

        Raises:
            FileError: A frame is missing or damaged.
        """
        return torch.from_numpy(make_clip(self._read_frames(video, start), self.config, transform))

    def _read_frames(self, video: int, start: int) -> Iterator[np.ndarray]:
        last = self.num_frames[video] - 1
        for number in range(start, start + self.config.clip_len):
            yield self._read_frame(video, min(number, last))

    def folder(self, video: int) -> Path:
        """Return the frame folder of a video."""
        return Path(os.fsdecode(self._folders[video]))

    def _read_frame(self, video: int, number: int) -> np.ndarray:
        """Read one image, BGR (H, W, 3); the files are numbered from 1."""
        folder = self.folder(video)
        name = frame_name(number + 1)
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
            data = _read_bytes(self._frames_dir / place / folder.parent.name / folder.name / name)
            if data is not None:
                return data
        return None


class TrainClips(VideoDataset):
    """Random clips: window, crop and mirroring are drawn once a clip.

    `dataset[video, key]` is (clip, label); what is drawn depends on `key` alone.
    """

    def __init__(
        self,
        frames_dir: str | Path,
        records: Sequence[VideoRecord],
        classes: Sequence[str],
        config: ClipConfig,
        *,
        augmentation: Augmentation | None = None,
    ):
        """Take the videos of the training part.

        Args:
            frames_dir: See `VideoDataset`.
            records: See `VideoDataset`.
            classes: See `VideoDataset`.
            config: See `VideoDataset`.
            augmentation: How transforms are drawn.
        """
        super().__init__(frames_dir, records, classes, config)
        self.augmentation = augmentation or Augmentation()

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, item: tuple[int, Sequence[int]]) -> tuple[Tensor, int]:
        video, key = item
        rng = np.random.default_rng(key)
        num_starts = max(self.num_frames[video] - self.config.clip_len, 0) + 1
        start = int(rng.integers(num_starts))
        transform = self.augmentation.draw(rng, self.config)
        return self.read_clip(video, start, transform), int(self.labels[video])


class EvalWindows(VideoDataset):
    """Windows that lie uniformly over each video, with the centre crop; nothing is random.

    Windows of a short video may be equal. Each distinct one is one item, video by video:
    `dataset[item]` is (clip, label).

    Attributes:
        windows: Windows of each video.
        video_of_item: (items,), the number of the video that an item is cut from.
        start_of_item: (items,), its first frame.
        item_of_window: (videos, windows), the item that each window is.
    """

    def __init__(
        self,
        frames_dir: str | Path,
        records: Sequence[VideoRecord],
        classes: Sequence[str],
        config: ClipConfig,
        *,
        windows: int = 1,
    ):
        """Take the videos of a part.

        Args:
            frames_dir: See `VideoDataset`.
            records: See `VideoDataset`.
            classes: See `VideoDataset`.
            config: See `VideoDataset`.
            windows: Windows of each video; one is in its middle.
        """
        super().__init__(frames_dir, records, classes, config)
        self.windows = windows
        starts = self._window_starts()
        is_distinct = np.diff(starts, axis=1, prepend=-1) != 0
        self.video_of_item = np.nonzero(is_distinct)[0]
        self.start_of_item = starts[is_distinct]
        self.item_of_window = np.cumsum(is_distinct).reshape(starts.shape) - 1

    def _window_starts(self) -> np.ndarray:
        """Return the first frame of each window, (videos, windows), ascending in a video."""
        last = np.maximum(self.num_frames - self.config.clip_len, 0)[:, None]
        if self.windows == 1:
            return last // 2
        return np.rint(last * np.arange(self.windows) / (self.windows - 1)).astype(np.int32)

    def __len__(self) -> int:
        return len(self.start_of_item)

    def __getitem__(self, item: int) -> tuple[Tensor, int]:
        video = self.video_of_item[item]
        clip = self.read_clip(video, int(self.start_of_item[item]))
        return clip, int(self.labels[video])


class ClipLoader(DataLoader):
    """A DataLoader whose worker processes start with the stop signals blocked."""

    def __iter__(self):
        with block_signals():
            return super().__iter__()


def _read_bytes(file: Path) -> np.ndarray | None:
    """Return the bytes of a file, `uint8` (N,); None where it is not there."""
    try:
        return np.fromfile(file, np.uint8)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise FileError(f"{file}: cannot be read: {error.strerror}") from None
