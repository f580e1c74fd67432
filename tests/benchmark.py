"""How fast the four things are that a user waits for, beside the classic way and beside what the machine can do.

    python tests/benchmark.py [preprocess|load|train|infer] [--videos DIR] [--json FILE]

"classic" is how such scripts are usually written, "floor" what no script could do without; all are timed by turns in
one run, and each keeps its best turn. Without --videos it makes videos like those of UCF101.
"""

import argparse
import contextlib
import copy
import csv
import io
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections import deque
from itertools import count, islice
from pathlib import Path

import cv2
import numpy as np
import torch
from torch.utils.data import DataLoader

sys.path.insert(0, str(Path(__file__).parent.parent))

from dataloaders import clips
from dataloaders.clips import ClipConfig
from dataloaders.dataset import VideoDataset
from dataloaders.index import COLUMNS, read_index
from dataloaders.preprocess import preprocess
from dataloaders.video import VideoReader
from dataloaders.windows import cut_windows
from dataloaders.workers import worker_init_fn
from engine.annotate import annotate, draw_text
from engine.checkpoint import TrainState
from engine.loops import amp_dtype, train_one_epoch
from engine.predict import BATCH_SIZE, CPU_BATCH_SIZE, predict, prefetch
from network import MODELS

CLASSES = ["Jump", "Run", "Sit", "Walk"]
KEYS = ("work", "classic", "ours", "ratio", "floor", "fraction of the floor")
CORES = os.cpu_count()


@contextlib.contextmanager
def quiet():
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        yield


def best(rounds, **ways):
    """Units a second of each way: the best of so many rounds. A way does its work and returns the units."""
    speeds = dict.fromkeys(ways, 0)
    for _ in range(rounds):
        for name, way in ways.items():
            if hasattr(os, "sync"):
                os.sync()  # what the last one wrote
            start = time.perf_counter()
            with quiet():
                units = way()
            speeds[name] = max(speeds[name], units / (time.perf_counter() - start))
    return speeds


def row(work, classic, ours, floor):
    return dict(zip(KEYS, (work, classic, ours, ours / classic, floor, ours / floor), strict=True))


def write_videos(root, groups=25, clips_per_group=4, frames=180):
    """Videos like those of UCF101: 320x240, 25 fps, MPEG-4, about 2 kB a frame; four, many times over."""
    rng = np.random.default_rng(0)
    texture = cv2.GaussianBlur(rng.integers(0, 256, (600, 800, 3), np.uint8), (0, 0), 4)
    texture = cv2.normalize(texture, None, 0, 255, cv2.NORM_MINMAX)
    for clip in range(clips_per_group):
        first = root / "Run" / f"v_Run_g01_c{clip + 1:02d}.avi"
        first.parent.mkdir(parents=True, exist_ok=True)
        video = cv2.VideoWriter(str(first), cv2.VideoWriter_fourcc(*"XVID"), 25, (320, 240))
        for t in range(frames):
            x, y = (2 + clip) * t % 400, t % 300
            frame = texture[y : y + 240, x : x + 320].copy()
            cv2.circle(frame, (160 + int(90 * np.sin(t / 9)), 120), 30, (40, 80, 220), -1)
            video.write(frame)
        video.release()
        for name in CLASSES:
            for group in range(1, groups + 1):
                twin = root / name / f"v_{name}_g{group:02d}_c{clip + 1:02d}.avi"
                twin.parent.mkdir(exist_ok=True)
                if twin != first:
                    shutil.copy(first, twin)


# Preprocess: frames a second of the videos


def time_preprocess(videos, work_dir):
    files = sorted(path for path in videos.glob("*/*") if path.is_file())
    counts, turn = [], count(1)

    def classic():
        counts[:] = []
        output = work_dir / f"classic{next(turn)}"
        for file in files:
            folder = output / file.parent.name / file.stem
            folder.mkdir(parents=True)
            video, read = cv2.VideoCapture(str(file)), 0
            while (result := video.read())[0]:
                if read % 4 == 0:
                    frame = cv2.resize(result[1], (171, 128))
                    cv2.imwrite(str(folder / f"{read // 4:05d}.jpg"), frame)
                read += 1
            counts.append(read)
        return sum(counts)

    def ours():
        preprocess("own", videos, work_dir / f"ours{next(turn)}")
        return sum(counts)

    def floor():
        for file in files:
            video = VideoReader(file, threads=1)
            while video.grab():
                pass
        return sum(counts) * CORES

    yield row("preprocess, frames/s", **best(3, classic=classic, ours=ours, floor=floor))


# Load: training clips a second of one worker


def time_load(videos, work_dir):
    with quiet():
        index = preprocess("own", videos, work_dir / "frames")
    dataset = VideoDataset(work_dir / "frames", index, "train", sorted({v.class_name for v in index}), ClipConfig())
    rows = [video for video in index if video.split == "train"][:100]
    folders = [video.folder(work_dir / "frames") for video in rows]

    def classic():
        for folder in folders:
            names = sorted(os.listdir(folder))
            buffer = np.empty((len(names), 128, 171, 3), np.float32)
            for i, name in enumerate(names):
                buffer[i] = np.array(cv2.imread(str(folder / name))).astype(np.float64)
            start = random.randrange(max(1, len(names) - 16))
            top, left = random.randrange(16), random.randrange(59)
            clip = buffer[start : start + 16, top : top + 112, left : left + 112]
            if random.random() < 0.5:
                clip = np.stack([cv2.flip(frame, 1) for frame in clip])
            for frame in clip:
                frame -= np.array([[[90.0, 98.0, 102.0]]])
            torch.from_numpy(np.ascontiguousarray(clip.transpose(3, 0, 1, 2)))
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
    speeds = best(5, classic=classic, ours=ours, floor=floor)
    cv2.setNumThreads(-1)
    yield row("load, clips/s per worker", **speeds)
    for size in (1_000, 13_320, 240_000):
        print(start_up(work_dir, size))


def start_up(work_dir, size):
    """Seconds and memory that an index of so many videos takes, from the file to the first batch of four workers."""
    frames = work_dir / "frames"
    index = work_dir / f"index_{size}.csv"
    known = read_index(frames / "index.csv")
    with open(index, "w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(COLUMNS)
        rows.writerows(known[i % len(known)] for i in range(size))
    code = (
        "import resource, sys, time\n"
        "from dataloaders.clips import ClipConfig\n"
        "from dataloaders.dataset import DistributedBatchSampler, VideoDataset\n"
        "from dataloaders.index import read_index\n"
        "from torch.utils.data import DataLoader\n"
        "start = time.perf_counter()\n"
        "videos = read_index(sys.argv[1])\n"
        "data = VideoDataset(sys.argv[2], videos, 'train', sys.argv[3:], ClipConfig())\n"
        "batches = iter(DataLoader(data, batch_sampler=DistributedBatchSampler(len(data), 8, 0), num_workers=4))\n"
        "for _ in range(20): next(batches)\n"
        "seconds = time.perf_counter() - start\n"
        "own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024\n"
        "del batches\n"
        "workers = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024\n"
        "print(f'{seconds:.2f} s, {own:.0f} MB, largest worker {workers:.0f} MB')\n"
    )
    command = [sys.executable, "-c", code, str(index), str(frames), *{row[1] for row in known}]
    done = subprocess.run(command, cwd=Path(__file__).parent.parent, capture_output=True, text=True, check=True)
    return f"start with {size:,} videos, to the 20th batch: {done.stdout.strip()}"


# Train: clips a second


def time_train(videos, work_dir):
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    with quiet():
        index = preprocess("own", videos, work_dir / "frames")
    classes = sorted({video.class_name for video in index})
    batch_size, steps = (32, 20) if device.type == "cuda" else (4, 1)
    for name in MODELS:
        yield train_model(name, device, work_dir / "frames", index, classes, batch_size, steps)


def train_model(name, device, frames, index, classes, batch_size, steps):
    """One row: the classic loop and ours from frames on disk, and forward and backward on clips that are at hand."""

    def sync():
        if device.type == "cuda":
            torch.cuda.synchronize()

    dataset = VideoDataset(frames, index, "train", classes, ClipConfig())
    loader = DataLoader(
        dataset,
        batch_size,
        sampler=[(i % len(dataset), (0, 1, i)) for i in range(steps * batch_size)],
        num_workers=CORES,
        persistent_workers=True,
        worker_init_fn=worker_init_fn,
        pin_memory=device.type == "cuda",
    )
    torch.backends.cudnn.benchmark = True
    dtype = amp_dtype(device)
    autocast = torch.autocast(device.type, dtype, enabled=dtype is not None)
    scaler = torch.amp.GradScaler(device.type, enabled=dtype is torch.float16)

    plain = MODELS[name](len(classes)).to(device)
    mean, std = (tensor.view(3).numpy() for tensor in (plain.normalize.mean.cpu(), plain.normalize.std.cpu()))
    plain.normalize = torch.nn.Identity()
    plain_sgd = torch.optim.SGD(plain.parameters(), 1e-3, 0.9, weight_decay=5e-4)
    fast = MODELS[name](len(classes)).to(device, memory_format=torch.channels_last_3d)
    fast_sgd = torch.optim.SGD(fast.parameters(), 1e-3, 0.9, weight_decay=5e-4, fused=dtype is not torch.float16)
    constant = torch.optim.lr_scheduler.LambdaLR(fast_sgd, lambda step: 1)
    resident = torch.randint(0, 256, (batch_size, 16, 112, 112, 3), dtype=torch.uint8, device=device)
    labels = torch.zeros(batch_size, dtype=torch.long, device=device)

    def classic():
        for pixels, targets in loader:
            floats = (pixels.numpy().astype(np.float32) - mean) / std
            inputs = torch.from_numpy(np.ascontiguousarray(floats.transpose(0, 4, 1, 2, 3))).to(device)
            plain_sgd.zero_grad()
            loss = torch.nn.functional.cross_entropy(plain(inputs), targets.to(device))
            loss.backward()
            plain_sgd.step()
            loss.item()
        sync()
        return steps * batch_size

    def ours():
        train_one_epoch(fast, loader, fast_sgd, constant, scaler, autocast, TrainState())
        sync()
        return steps * batch_size

    def floor():
        for _ in range(steps):
            with autocast:
                loss = torch.nn.functional.cross_entropy(fast(resident.permute(0, 4, 1, 2, 3)), labels)
            loss.backward()
            fast.zero_grad()
        sync()
        return steps * batch_size

    plain.train()
    speeds = best(4, classic=classic, ours=ours, floor=floor)
    return row(f"train {name}, clips/s", **speeds)


# Infer: frames a second of annotated video


def time_infer(videos, work_dir):
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    source = min(path for path in videos.glob("*/*") if path.is_file())
    frames = list(VideoReader(source))
    long = work_dir / "long.avi"
    writer = cv2.VideoWriter(str(long), cv2.VideoWriter_fourcc(*"XVID"), 25, frames[0].shape[1::-1])
    for i in range(300):
        writer.write(frames[i % len(frames)])
    writer.release()
    for name in MODELS:
        model = MODELS[name](len(CLASSES)).to(device, memory_format=torch.channels_last_3d).eval()
        yield from infer_model(name, model, long, work_dir, device)


def infer_model(name, model, video, work_dir, device):
    """Two rows: at the default stride, and at stride 1."""
    config = ClipConfig()
    plain = copy.deepcopy(model).to(memory_format=torch.contiguous_format)
    most = CPU_BATCH_SIZE if device.type == "cpu" else BATCH_SIZE
    few, fewer = 72, 25  # frames where every one costs a pass

    def frames(count):
        return islice(VideoReader(video), count)

    @torch.inference_mode()
    def classic():
        held, writer = deque(maxlen=16), None
        for frame in frames(fewer):
            held.append(clips.resize_frame(frame))
            if len(held) == 16:
                inputs = np.stack(held)[:, 8:120, 29:141, ::-1].astype(np.float32).transpose(3, 0, 1, 2)
                probabilities = plain(torch.from_numpy(inputs[None].copy()).to(device)).softmax(1)[0]
                draw_label(frame, f"{CLASSES[probabilities.argmax()]} {probabilities.max():.0%}")
            writer = writer or inference_writer(work_dir, frame)
            writer.write(frame)
        return fewer - 15  # those that had a pass

    def ours(count, stride):
        opened = VideoReader(video)
        windows = cut_windows(prefetch(islice(opened, count), 8), config, stride)
        found = prefetch(predict(model, windows, most), 1)
        windows = len(list(annotate(found, work_dir / "ours.mp4", CLASSES, opened, config)))
        return windows if stride == 1 else count

    @torch.inference_mode()
    def floor(count, stride):
        writer = None
        for frame in frames(count):
            writer = writer or inference_writer(work_dir, frame)
            writer.write(frame)
        passes = -(-(count - 61) // (stride or 32)) + 1
        pixels = torch.randint(0, 256, (most, 16, 112, 112, 3), dtype=torch.uint8, device=device)
        for _ in range(-(-passes // most)):
            model(pixels.permute(0, 4, 1, 2, 3)).softmax(1).cpu()
        return passes if stride == 1 else count

    speeds = best(
        3,
        classic=classic,
        default=lambda: ours(300, None),
        every=lambda: ours(few, 1),
        floor=lambda: floor(300, None),
        floor_every=lambda: floor(few, 1),
    )
    yield row(f"infer {name}, frames/s", speeds["classic"], speeds["default"], speeds["floor"])
    yield row(f"infer {name} at stride 1, frames/s", speeds["classic"], speeds["every"], speeds["floor_every"])


def draw_label(frame, text):
    """Write one line, white on a dark band along the bottom edge, into an image; it shrinks where it would not fit."""
    height, width = frame.shape[:2]
    line, margin = max(12, height // 12), max(2, height // 60)
    frame[height - line :] //= 4
    draw_text(frame, text, margin, height - line, width - 2 * margin, line - 2)


def inference_writer(work_dir, frame):
    return cv2.VideoWriter(str(work_dir / "out.mp4"), cv2.VideoWriter_fourcc(*"mp4v"), 25, frame.shape[1::-1])


def main():
    works = {"preprocess": time_preprocess, "load": time_load, "train": time_train, "infer": time_infer}
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("work", nargs="?", choices=works, help="only this")
    parser.add_argument("--videos", type=Path, metavar="DIR", help="a folder of class folders of videos")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows here as well")
    args = parser.parse_args()

    rows = []
    with tempfile.TemporaryDirectory() as folder:
        videos = args.videos or Path(folder) / "videos"
        if not args.videos:
            write_videos(videos)
        print("{:34}{:>10}{:>10}{:>9}{:>10}{:>8}".format(*KEYS[:5], "of it"))
        for name, work in works.items():
            if args.work in (None, name):
                for done in work(videos, Path(folder)):
                    rows.append(done)
                    classic, ours, ratio, floor, fraction = (done[key] for key in KEYS[1:])
                    classic, ours, floor = (f"{n:,.{0 if n >= 100 else 2}f}" for n in (classic, ours, floor))
                    speeds = f"{classic:>10}{ours:>10}{ratio:8.2f}x{floor:>10}"
                    print(f"{done['work']:34}{speeds}{fraction:8.2f}", flush=True)
    if args.json:
        args.json.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
