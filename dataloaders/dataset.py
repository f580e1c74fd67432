"""Frame folders -> 16-frame clips for training and evaluation."""

import os
from pathlib import Path

import cv2
import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from dataloaders import clips
from dataloaders.workers import block_signals

LABELS = {"ucf101": "ucf_labels.txt", "hmdb51": "hmdb_labels.txt"}


def class_names(dataset, videos):
    """The classes of a data set in the order of their labels.

    UCF101 and HMDB51 have their full lists, so a label means the same however few classes are on disk. Any other data
    set, and one under those names with classes of its own, has its class folders in alphabetical order.

    Args:
        dataset: name of the data set.
        videos: rows of its whole index, every split.

    Returns:
        A list of names; a label is an index into it.
    """
    folders = sorted({video.class_name for video in videos})
    if dataset in LABELS:
        lines = Path(__file__).with_name(LABELS[dataset]).read_text(encoding="utf-8").splitlines()
        official = [line.split(maxsplit=1)[1] for line in lines]
        if foreign := [name for name in folders if name not in official]:
            print(f"{foreign[0]} is no class of {dataset}: the labels are the {len(folders)} class folders instead")
        else:
            return official
    return folders


class VideoDataset(Dataset):
    """The clips of the videos of one split.

    `dataset[i]` is a fixed clip for evaluation: one of the windows that lie evenly over a video, video by video, and the
    centre crop. A video with fewer places than windows has some windows several times: each is one item, and
    `repeats[i]` says how often it counts. `dataset[i, key]` is a random clip of video `i` for training: window, crop and
    mirroring are drawn once a clip, from `key` alone.

    Args:
        output_dir: folder of the frame folders.
        videos: rows of the index.
        split: "train", "val" or "test".
        classes: names in the order of their labels.
        clip: the recipe, see `clips.recipe`.
        windows: evaluation clips per video; one is the middle window.

    Items:
        (clip, label): `uint8` tensor (T, H, W, 3), RGB, and an int.

    Raises:
        FileNotFoundError: a frame is missing or damaged.
    """

    def __init__(self, output_dir, videos, split, classes, clip, windows=1):
        videos = [video for video in videos if video.split == split]
        label_of = {name: label for label, name in enumerate(classes)}
        # Arrays, which the worker processes share; of a list of objects each of them would get its own copy.
        self.folders = np.array([os.fsencode(video.folder(Path(output_dir))) for video in videos], np.bytes_)
        self.frames = np.array([video.frames for video in videos], np.int32)
        self.labels = np.array([label_of[video.class_name] for video in videos], np.int64)
        self.classes = classes
        self.clip = clip
        self.windows = windows
        starts = [clips.even_starts(num_frames, windows, clip["clip_len"]) for num_frames in self.frames.tolist()]
        starts = np.array(starts, np.int32).reshape(-1, windows)
        distinct = np.diff(starts, axis=1, prepend=-1) != 0
        self.video_of_item = np.nonzero(distinct)[0]
        self.starts = starts[distinct]
        self.repeats = np.diff(np.flatnonzero(distinct), append=distinct.size)

    def __len__(self):
        return len(self.starts)

    def item(self, video, window):
        """The item that is such a window of a video."""
        return int(np.searchsorted(self.repeats.cumsum(), video * self.windows + window, side="right"))

    def __getitem__(self, item):
        clip_len = self.clip["clip_len"]
        if isinstance(item, int):
            index = self.video_of_item[item]
            num_frames, start, place = int(self.frames[index]), int(self.starts[item]), {}
        else:
            index, key = item
            num_frames = int(self.frames[index])
            rng = np.random.default_rng(key)
            start = int(rng.integers(clips.num_windows(num_frames, clip_len)))
            place = {
                "top": int(rng.integers(self.clip["height"] - self.clip["crop_size"] + 1)),
                "left": int(rng.integers(self.clip["width"] - self.clip["crop_size"] + 1)),
                "flip": bool(rng.random() < 0.5),
            }
        folder = os.fsdecode(self.folders[index])
        files = (f"{folder}/{number + 1:05d}.jpg" for number in clips.window(start, num_frames, clip_len))
        return torch.from_numpy(clips.cut(map(read_frame, files), self.clip, **place)), int(self.labels[index])


def read_frame(file):
    """Read a frame, BGR (H, W, 3); FileNotFoundError where it is missing or damaged."""
    frame = cv2.imread(file)
    if frame is None:
        folder = os.path.dirname(file)
        raise FileNotFoundError(
            f"{file}: missing or damaged. Delete {folder} and run python -m dataloaders.preprocess DATASET"
        )
    return frame


class ClipLoader(DataLoader):
    """A `DataLoader` whose workers no signal can end while they start."""

    def __iter__(self):
        with block_signals():
            return super().__iter__()


class TrainingBatches(Sampler):
    """The batches of one process: every video once an epoch, in random order, each with the key of its clip.

    Order and keys depend on the seed, the epoch and the position in the epoch alone, whatever the number of workers.
    Processes that train together take turns, a batch each; what is left when not everyone gets a whole batch is passed
    over, other videos every epoch. Set `epoch` before each, and `start` to the position at which to go on with one.

    Args:
        num_videos: of all processes together.
        batch_size: of one process.
        rank, size: which process this is, of how many.
    """

    def __init__(self, num_videos, batch_size, seed, rank=0, size=1):
        self.num_videos, self.batch_size, self.seed, self.rank, self.size = num_videos, batch_size, seed, rank, size
        self.epoch, self.start = 0, 0

    def __len__(self):
        return (self.num_videos - self.start) // (self.batch_size * self.size)

    def __iter__(self):
        order = self.order()
        for number in range(len(self)):
            first = self.start + (number * self.size + self.rank) * self.batch_size
            positions = range(first, first + self.batch_size)
            yield [(int(order[position]), (self.seed, self.epoch, position)) for position in positions]

    def order(self):
        """The videos of the epoch, position by position."""
        return np.random.default_rng((self.seed, self.epoch)).permutation(self.num_videos)


def share(dataset, rank, size):
    """The items that one process evaluates: every `size`-th video, with all of its windows."""
    return np.flatnonzero(dataset.video_of_item % size == rank).tolist()
