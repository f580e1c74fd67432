"""How fast the four things are that a user waits for, beside the classic way and beside what the machine can do.

    python tests/benchmark.py [preprocess|load|train|infer] [--device cuda] [--videos DIR] [--json FILE]

"classic" is how such scripts are usually written, "floor" what no script could do without; all are timed by turns in
one run, and each keeps its best turn. Without --videos it makes videos like those of UCF101. With --device cuda
training and inference are timed on the GPU, and how many workers load enough clips for it.
"""

import argparse
import contextlib
import copy
import io
import json
import multiprocessing
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections import deque
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from functools import cache
from itertools import count, islice
from pathlib import Path

import cv2
import numpy as np
import torch
from torch.utils.data import DataLoader
from torch.utils.flop_counter import FlopCounterMode

sys.path.insert(0, str(Path(__file__).parent.parent))

from dataloaders.dataset import VideoDataset
from dataloaders.frames import DataSettings
from dataloaders.preprocess import preprocess, split_records
from dataloaders.records import read_index, write_index
from dataloaders.sampling import ClipConfig
from dataloaders.sources import list_videos
from dataloaders.splits import assign_splits
from dataloaders.transforms import resize_frame
from dataloaders.video import VideoFile
from dataloaders.video_writer import VideoWriter
from dataloaders.workers import available_cores, worker_init_fn
from engine.build import amp_dtype
from engine.checkpoint import TrainState, save_checkpoint
from engine.loops import train_one_epoch
from engine.text import draw_text
from network import MODELS, build_model
from recognition.classifier import BATCH_SIZE, CPU_BATCH_SIZE
from recognition.recognizer import Recognizer

CLASSES = ["Jump", "Run", "Sit", "Walk"]
DESCRIPTION = "Time preprocessing, loading, training and inference beside the classic way."
KEYS = ("work", "classic", "ours", "ratio", "floor", "fraction of the floor")
CUDA_KEYS = ("share of the bf16 peak", "peak memory, GiB")
CORES = available_cores()
TRAIN_SIZES = {"cpu": [(4, 4)], "cuda": [(16, 1024), (64, 2048)]}  # clips of a batch, and in all
# Dense bf16 matrix products, FLOP/s, from the data sheets; the first name that occurs in that of the card counts.
PEAKS = {"H100 PCIe": 756e12, "H100": 989.4e12, "H200": 989.4e12, "A100": 312e12}


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


def settings_of(videos, output_dir):
    """A data set of made videos, which are many times the same and yet no copies here."""
    return DataSettings("own", videos, output_dir, finds_copies=False)


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


# Table: rows a second of CPU time that are read, split and indexed


def time_table(videos, work_dir, device, num_rows=240_000):
    table = work_dir / "table.csv"
    with open(table, "w") as file:
        file.write("path,label,group\n")
        for i in range(num_rows):
            path = work_dir / "rows" / str(i // 600) / f"{i}.mp4"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
            file.write(f"rows/{i // 600}/{i}.mp4,class {i // 600},recording {i // 4}\n")
    start = time.process_time()
    with quiet():
        rows = assign_splits(list_videos(table))
        indexed = [row._replace(frames=40, modified=0.0, place=row.split) for row in rows]
        write_index(work_dir / "index.csv", indexed)
        read_index(work_dir / "index.csv")
    yield {
        "work": f"table of {num_rows:,} rows, rows/CPU s",
        "ours": num_rows / (time.process_time() - start),
    }


# Preprocess: frames a second of the videos


def time_preprocess(videos, work_dir, device):
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
        preprocess(settings_of(videos, work_dir / f"ours{next(turn)}"))
        return sum(counts)

    def floor():
        for file in files:
            for _ in VideoFile(file, threads=1).frames():
                pass
        return sum(counts) * CORES

    yield row("preprocess, frames/s", **best(3, classic=classic, ours=ours, floor=floor))


# Load: training clips a second of one worker


def time_load(videos, work_dir, device):
    dataset = train_dataset(videos, work_dir)
    folders = [Path(os.fsdecode(folder)) for folder in dataset.folders[:100]]

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
        print(start_up(videos, work_dir, size))


def start_up(videos, work_dir, size):
    """Seconds and memory that an index of so many videos takes, from the file to the first batch of four workers."""
    frames = settings_of(videos, work_dir / "frames").frames_dir
    index = work_dir / f"index_{size}.csv"
    known = read_index(frames / "index.csv")
    write_index(index, (known[i % len(known)] for i in range(size)))
    code = (
        "import resource, sys, time\n"
        "from dataloaders.sampling import ClipConfig\n"
        "from dataloaders.dataset import VideoDataset\n"
        "from dataloaders.samplers import DistributedBatchSampler\n"
        "from dataloaders.records import read_index\n"
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
    command = [
        sys.executable,
        "-c",
        code,
        str(index),
        str(frames),
        *{row.class_name for row in known},
    ]
    done = subprocess.run(
        command, cwd=Path(__file__).parent.parent, capture_output=True, text=True, check=True
    )
    return f"start with {size:,} videos, to the 20th batch: {done.stdout.strip()}"


# Train: clips a second


def time_workers(videos, work_dir, device):
    """Clips a second of so many workers, from frames on disk to batches in pinned memory."""
    dataset = train_dataset(videos, work_dir)
    for num_workers in (4, 8, 16):
        loader = train_loader(dataset, 16, 1024, device, num_workers)
        speeds = best(2, ours=lambda loader=loader: 16 * sum(1 for _ in loader))
        yield {"work": f"load with {num_workers} workers, clips/s", "workers": num_workers} | speeds


def feeding_workers(rows):
    """The smallest number of workers that load clips faster than any network trains on them; None if none does."""
    fastest = max((row["ours"] for row in rows if row["work"].startswith("train ")), default=0)
    return next(
        (row["workers"] for row in rows if "workers" in row and row["ours"] >= fastest), None
    )


@cache
def count_flops(name):
    """FLOPs of forward and backward for a clip; those of convolutions and linear layers count."""
    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        MODELS[name](len(CLASSES))(torch.empty(1, 3, 16, 112, 112)).sum().backward()
    return counter.get_total_flops()


@cache
def bf16_peak(card):
    """FLOP/s of a card, by its name; of a product of two large matrices where the name is not known."""
    if known := [peak for name, peak in PEAKS.items() if name in card]:
        return known[0]
    side = 8192 if torch.cuda.is_available() else 256
    matrix = torch.randn(
        side, side, dtype=torch.bfloat16, device="cuda" if torch.cuda.is_available() else "cpu"
    )

    def multiply():
        for _ in range(10):
            product = matrix @ matrix
        product[0, 0].item()
        return 10 * 2 * side**3

    return best(3, multiply=multiply)["multiply"]


def train_dataset(videos, work_dir):
    with quiet():
        frames = preprocess(settings_of(videos, work_dir / "frames"))
    records = split_records(frames, "group")
    classes = sorted({record.class_name for record in records})
    return VideoDataset(frames.frames_dir, records, "train", classes, ClipConfig())


def train_loader(dataset, batch_size, num_clips, device, num_workers=CORES):
    return DataLoader(
        dataset,
        batch_size,
        sampler=[(i % len(dataset), (0, 1, i)) for i in range(num_clips)],
        num_workers=num_workers,
        persistent_workers=True,
        worker_init_fn=worker_init_fn,
        pin_memory=device.type == "cuda",
    )


def fast_model(name, num_classes, device, is_compiled):
    model = MODELS[name](num_classes).to(device, memory_format=torch.channels_last_3d)
    if is_compiled:
        torch.compiler.reset()  # or another batch size would be compiled for any
        model.compile()
    return model


def forward_and_backward(model, pixels):
    dtype = amp_dtype(pixels.device)
    with torch.autocast(pixels.device.type, dtype, enabled=dtype is not None):
        labels = torch.zeros(len(pixels), dtype=torch.long, device=pixels.device)
        loss = torch.nn.functional.cross_entropy(model(pixels.permute(0, 4, 1, 2, 3)), labels)
    loss.backward()
    model.zero_grad()


def resident_clips(batch_size, device):
    return torch.randint(0, 256, (batch_size, 16, 112, 112, 3), dtype=torch.uint8, device=device)


def compile_once(name, num_classes, batch_size, device):
    forward_and_backward(
        fast_model(name, num_classes, device, True), resident_clips(batch_size, device)
    )


def compile_ahead(names, num_classes, batch_sizes, device):
    """Compile all networks at once, each in a process that leaves its kernels in the cache on disk.

    What fails here is compiled again, and then told, in its row.
    """
    jobs = [(name, num_classes, batch_size, device) for name in names for batch_size in batch_sizes]
    with ProcessPoolExecutor(len(jobs), multiprocessing.get_context("spawn")) as pool:
        for job in jobs:
            pool.submit(compile_once, *job)


def time_train(videos, work_dir, device):
    dataset = train_dataset(videos, work_dir)
    for batch_size, num_clips in TRAIN_SIZES[device.type]:
        loader = train_loader(dataset, batch_size, num_clips, device)
        for name in MODELS:
            yield from train_model(name, device, loader)


def train_model(name, device, loader):
    """A row: the classic loop and ours from frames on disk, and forward and backward on clips that are at hand. On
    CUDA a second one, with --compile."""
    is_cuda, batch_size, num_classes = (
        device.type == "cuda",
        loader.batch_size,
        len(loader.dataset.classes),
    )
    few = 128 // batch_size if is_cuda else len(loader)  # batches
    torch.backends.cudnn.benchmark = True
    dtype = amp_dtype(device)
    autocast = torch.autocast(device.type, dtype, enabled=dtype is not None)
    scaler = torch.amp.GradScaler(device.type, enabled=dtype is torch.float16)
    resident = resident_clips(batch_size, device)

    def sync():
        if is_cuda:
            torch.cuda.synchronize()

    def classic_way():
        model = MODELS[name](num_classes).to(device)
        mean, std = (
            tensor.view(3).cpu().numpy() for tensor in (model.normalize.mean, model.normalize.std)
        )
        model.normalize = torch.nn.Identity()
        sgd = torch.optim.SGD(model.parameters(), 1e-3, 0.9, weight_decay=5e-4)

        def classic():
            with torch.backends.cudnn.flags(
                enabled=True
            ):  # without the search for the fastest kernels
                for pixels, targets in islice(loader, few):
                    floats = (pixels.numpy().astype(np.float32) - mean) / std
                    inputs = torch.from_numpy(
                        np.ascontiguousarray(floats.transpose(0, 4, 1, 2, 3))
                    ).to(device)
                    sgd.zero_grad()
                    loss = torch.nn.functional.cross_entropy(model(inputs), targets.to(device))
                    loss.backward()
                    sgd.step()
                    loss.item()
            return few * batch_size

        return {"classic": classic}

    def fast_ways(is_compiled):
        model = fast_model(name, num_classes, device, is_compiled)
        sgd = torch.optim.SGD(
            model.parameters(), 1e-3, 0.9, weight_decay=5e-4, fused=dtype is not torch.float16
        )
        constant = torch.optim.lr_scheduler.LambdaLR(sgd, lambda step: 1)

        def ours():
            train_one_epoch(model, loader, sgd, constant, scaler, autocast, TrainState())
            sync()
            return len(loader) * batch_size

        def floor():
            for _ in range(few):
                forward_and_backward(model, resident)
            sync()
            return few * batch_size

        return {"ours": ours, "floor": floor}

    if not is_cuda:
        yield row(f"train {name}, clips/s", **best(4, **classic_way(), **fast_ways(False)))
        return
    classic_speed = best(2, **classic_way())["classic"]
    for is_compiled in (False, True):
        torch.cuda.reset_peak_memory_stats()
        ways = fast_ways(is_compiled)
        speeds = best(2, floor=ways["floor"]) | best(
            1, ours=ways["ours"]
        )  # whose kernels have been chosen by then
        share = speeds["ours"] * count_flops(name) / bf16_peak(torch.cuda.get_device_name())
        measured = share, torch.cuda.max_memory_allocated() / 2**30
        about = f"train {name}, {batch_size}{' compiled' if is_compiled else ''}, clips/s"
        yield row(about, classic_speed, **speeds) | dict(zip(CUDA_KEYS, measured, strict=True))
    torch.backends.cudnn.benchmark = False


# Infer: frames a second of annotated video


def time_infer(videos, work_dir, device):
    source = min(path for path in videos.glob("*/*") if path.is_file())
    images = [frame.to_image() for frame in VideoFile(source).frames()]
    long = write_frames(work_dir / "long.avi", images, 300)
    short = write_frames(work_dir / "short.avi", images, 72 if device.type == "cpu" else 200)
    for name in MODELS:
        checkpoint = write_checkpoint(work_dir / f"{name}.pth", name)
        yield from infer_model(name, checkpoint, long, short, device)
    yield time_folder(videos, work_dir, device)


def write_frames(file, images, count):
    """Write so many frames, the images over and over, as a video like those of UCF101."""
    writer = cv2.VideoWriter(str(file), cv2.VideoWriter_fourcc(*"XVID"), 25, images[0].shape[1::-1])
    for i in range(count):
        writer.write(images[i % len(images)])
    writer.release()
    return file


def write_checkpoint(file, name):
    model = build_model(name, len(CLASSES))
    content = {
        "model": model.name,
        "options": {},
        "classes": CLASSES,
        "clip": asdict(ClipConfig()),
        "state_dict": model.state_dict(),
        "normalization": model.normalize.statistics,
    }
    save_checkpoint(content, file)
    return file


def time_folder(videos, work_dir, device, num_videos=8):
    """A row: inference.py on a folder of videos, with its start, the loading of R(2+1)D and the encoding."""
    folder = work_dir / "folder"
    folder.mkdir()
    files = [path for path in sorted(videos.glob("*/*")) if path.is_file()]
    num_frames = 0
    for i in range(num_videos):
        video = shutil.copy(files[i % len(files)], folder / f"{i}{files[i % len(files)].suffix}")
        num_frames += sum(1 for _ in VideoFile(Path(video)).frames())
    checkpoint = write_checkpoint(work_dir / "model.pth", "R2Plus1D")
    script = Path(__file__).parent.parent / "inference.py"
    command = [
        sys.executable,
        script,
        folder,
        "--checkpoint",
        checkpoint,
        "--output",
        work_dir / "out",
    ]

    def ours():
        subprocess.run([*command, "--device", str(device)], capture_output=True, check=True)
        return num_frames

    return {"work": f"infer a folder of {num_videos} videos, frames/s"} | best(2, ours=ours)


def infer_model(name, checkpoint, long, short, device):
    """Two rows: at the default stride, and at stride 1, where every frame costs a pass."""
    recognizers = {
        stride: Recognizer(checkpoint, device=str(device), stride=stride) for stride in (None, 1)
    }
    plain = copy.deepcopy(recognizers[None].model).to(memory_format=torch.contiguous_format)
    most = CPU_BATCH_SIZE if device.type == "cpu" else BATCH_SIZE
    fewer = 25 if device.type == "cpu" else 100  # frames that the classic way has
    target = long.with_name("annotated.mp4")

    @torch.inference_mode()
    def classic():
        held, writer, video = deque(maxlen=16), None, cv2.VideoCapture(str(long))
        for _ in range(fewer):
            _, image = video.read()
            held.append(resize_frame(image))
            if len(held) == 16:
                inputs = np.stack(held)[:, 8:120, 29:141, ::-1].astype(np.float32)
                inputs = torch.from_numpy(inputs.transpose(3, 0, 1, 2)[None].copy()).to(device)
                probabilities = plain(inputs).softmax(1)[0]
                label = CLASSES[probabilities.argmax()]
                draw_label(image, f"{label} {probabilities.max():.0%}")
            writer = writer or cv2.VideoWriter(
                str(target), cv2.VideoWriter_fourcc(*"mp4v"), 25, image.shape[1::-1]
            )
            writer.write(image)
        writer.release()
        return fewer - 15  # those that had a pass

    def ours(video, stride):
        result = recognizers[stride].predict(video, target)
        return len(result["windows"]) if stride == 1 else result["frames"]

    @torch.inference_mode()
    def floor(video, stride):
        images = [frame.to_image() for frame in VideoFile(video).frames()]
        with VideoWriter(target, size=images[0].shape[1::-1], fps=25) as writer:
            for number, image in enumerate(images):
                writer.write(image, number / 25)
        passes = -(-(len(images) - 61) // (stride or 32)) + 1
        pixels = torch.randint(0, 256, (most, 16, 112, 112, 3), dtype=torch.uint8, device=device)
        for _ in range(-(-passes // most)):
            plain(pixels.permute(0, 4, 1, 2, 3)).softmax(1).cpu()
        return passes if stride == 1 else len(images)

    speeds = best(
        3 if device.type == "cpu" else 2,
        classic=classic,
        default=lambda: ours(long, None),
        every=lambda: ours(short, 1),
        floor=lambda: floor(long, None),
        floor_every=lambda: floor(short, 1),
    )
    yield row(f"infer {name}, frames/s", speeds["classic"], speeds["default"], speeds["floor"])
    yield row(
        f"infer {name} at stride 1, frames/s",
        speeds["classic"],
        speeds["every"],
        speeds["floor_every"],
    )


def draw_label(frame, text):
    """Write one line, white on a dark band along the bottom edge, into an image; it shrinks where it would not fit."""
    height, width = frame.shape[:2]
    line, margin = max(12, height // 12), max(2, height // 60)
    frame[height - line :] //= 4
    draw_text(frame[height - line : height - 2, margin : width - margin], text)


def main():
    works = {
        "table": time_table,
        "preprocess": time_preprocess,
        "load": time_load,
        "train": time_train,
        "infer": time_infer,
    }
    parser = argparse.ArgumentParser(description=DESCRIPTION)
    parser.add_argument("work", nargs="?", choices=works, help="only this")
    parser.add_argument("--device", default="cpu", help="where to train and infer (%(default)s)")
    parser.add_argument(
        "--videos", type=Path, metavar="DIR", help="a folder of class folders of videos"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows here as well")
    args = parser.parse_args()
    device = torch.device(args.device)
    if device.type == "cuda":
        del works["table"], works["preprocess"]
        works["load"] = time_workers
        print(f"on {torch.cuda.get_device_name(device)}, PyTorch {torch.__version__}")

    start, rows = time.perf_counter(), []
    with tempfile.TemporaryDirectory() as folder:
        videos = args.videos or Path(folder) / "videos"
        if not args.videos:
            write_videos(videos, groups=10 if device.type == "cuda" else 25)
        if device.type == "cuda" and args.work in (None, "train"):
            num_classes = sum(path.is_dir() for path in videos.iterdir())
            compile_ahead(
                MODELS, num_classes, [batch_size for batch_size, _ in TRAIN_SIZES["cuda"]], device
            )
        print("{:38}{:>10}{:>10}{:>9}{:>10}{:>8}".format(*KEYS[:5], "of it"))
        for name, work in works.items():
            if args.work in (None, name):
                for done in work(videos, Path(folder), device):
                    rows.append(done)
                    print(format_row(done), flush=True)
    if workers := feeding_workers(rows):
        print(f"{workers} workers load clips faster than any network trains on them")
    print(f"in {time.perf_counter() - start:.0f} s")
    if args.json:
        args.json.write_text(json.dumps(rows, indent=2) + "\n")


def format_row(row):
    """One line for a row, which need not have all columns."""
    classic, ours, floor = (
        f"{row[key]:,.{0 if row[key] >= 100 else 2}f}" if key in row else ""
        for key in ("classic", "ours", "floor")
    )
    ratio, fraction = (
        f"{row[key]:.2f}{unit}" if key in row else ""
        for key, unit in (("ratio", "x"), (KEYS[5], ""))
    )
    line = f"{row['work']:38}{classic:>10}{ours:>10}{ratio:>9}{floor:>10}{fraction:>8}"
    if CUDA_KEYS[0] in row:
        line += f"{row[CUDA_KEYS[0]]:7.1%} of the peak{row[CUDA_KEYS[1]]:7.1f} GiB"
    return line.rstrip()


if __name__ == "__main__":
    main()
