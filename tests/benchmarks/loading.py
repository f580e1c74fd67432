"""Clips that are loaded from frames on disk."""

import os
import random
import subprocess
import sys
from pathlib import Path
from statistics import median

import cv2
import numpy as np
import torch

from benchmarks.data import data_settings, train_dataset, train_loader
from benchmarks.timing import make_row, run_by_turns
from dataloaders.records import read_index, write_index

ROOT = Path(__file__).parent.parent.parent
# Opens an index, and reports time and memory when the 20th batch has come.
START_UP = """
import resource, sys, time
from dataloaders.sampling import ClipConfig
from dataloaders.dataset import TrainClips
from dataloaders.samplers import DistributedBatchSampler
from dataloaders.records import read_index
from torch.utils.data import DataLoader
start = time.perf_counter()
videos = [video for video in read_index(sys.argv[1]) if video.place == 'train']
data = TrainClips(sys.argv[2], videos, sys.argv[3:], ClipConfig())
sampler = DistributedBatchSampler(len(data), 8, 0)
batches = iter(DataLoader(data, batch_sampler=sampler, num_workers=4))
for _ in range(20): next(batches)
seconds = time.perf_counter() - start
own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
del batches
workers = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
print(f'{seconds:.2f} s, {own:.0f} MB, largest worker {workers:.0f} MB')
"""


def time_load(videos, work_dir, device, effort):
    """Training clips a second of one worker."""
    dataset = train_dataset(videos, work_dir)
    folders = [dataset.folder(video) for video in range(min(100, len(dataset)))]

    def classic():
        for folder in folders:
            load_classic(folder)
        return len(folders)

    def ours():
        for i in range(len(folders)):
            dataset[i, (0, 1, i)]
        return len(folders)

    def floor():
        for folder in folders:
            for i in range(1, 17):
                cv2.imread(f"{folder}/{i:05d}.jpg")
        return len(folders)

    cv2.setNumThreads(1)
    speeds = run_by_turns(effort.rounds, classic=classic, ours=ours, floor=floor)
    cv2.setNumThreads(-1)
    yield make_row("load, clips/s per worker", **speeds)
    if not effort.is_thorough:
        return
    for size in (1_000, 13_320, 240_000):
        print(start_up(videos, work_dir, size))


def load_classic(folder):
    """Load a random clip as such scripts do."""
    names = sorted(os.listdir(folder))
    buffer = np.empty((len(names), 128, 171, 3), np.float32)
    for i, name in enumerate(names):
        buffer[i] = np.array(cv2.imread(str(folder / name))).astype(np.float64)
    start = random.randrange(max(1, len(names) - 16))
    top = random.randrange(16)
    left = random.randrange(59)
    clip = buffer[start : start + 16, top : top + 112, left : left + 112]
    if random.random() < 0.5:
        clip = np.stack([cv2.flip(frame, 1) for frame in clip])
    for frame in clip:
        frame -= np.array([[[90.0, 98.0, 102.0]]])
    return torch.from_numpy(np.ascontiguousarray(clip.transpose(3, 0, 1, 2)))


def start_up(videos, work_dir, size):
    """Seconds and memory from an index of so many videos to the first batches of four workers."""
    frames = data_settings(videos, work_dir / "frames").frames_dir
    index = work_dir / f"index_{size}.csv"
    known = read_index(frames / "index.csv")
    write_index(index, (known[i % len(known)] for i in range(size)))
    classes = {row.class_name for row in known}
    command = [sys.executable, "-c", START_UP, str(index), str(frames), *classes]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return f"start with {size:,} videos, to the 20th batch: {done.stdout.strip()}"


def time_workers(videos, work_dir, device, effort):
    """Clips a second of so many workers, from frames on disk to batches in pinned memory."""
    dataset = train_dataset(videos, work_dir)
    for num_workers in (4, 8, 16):
        loader = train_loader(dataset, 16, 1024, device, num_workers)
        speeds = run_by_turns(1, warm_ups=1, ours=lambda loader=loader: 16 * sum(1 for _ in loader))
        yield {
            "work": f"load with {num_workers} workers, clips/s",
            "workers": num_workers,
            "ours": median(speeds["ours"]),
        }


def feeding_workers(rows):
    """The fewest workers that load clips faster than any network trains; None if none do."""
    speeds = [row["ours"] for row in rows if row["work"].startswith("train ")]
    fastest = max(speeds, default=0)
    for row in rows:
        if "workers" in row and row["ours"] >= fastest:
            return row["workers"]
    return None
