"""How fast the four things are that a user waits for, beside two other ways.

    python tests/benchmark.py [preprocess|load|train|infer] [--thorough] [--device cuda]
                              [--videos DIR] [--json FILE]

"classic" is how such scripts are usually written, "floor" what no script could do without. The
three take turns, and a row has the medians of their speeds and of their ratios within a turn: with
three turns a ratio is right to a tenth, also on a shared machine. Without --videos it makes videos
like those of UCF101, in memory where that has room. With --device cuda training and inference are timed on the GPU, and how many workers load
enough clips for it.
"""

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parent.parent))

from benchmarks.data import write_videos
from benchmarks.inference import time_infer
from benchmarks.loading import feeding_workers, time_load, time_workers
from benchmarks.preprocessing import time_preprocess, time_table
from benchmarks.timing import CUDA, QUICK, THOROUGH, format_header, format_row
from benchmarks.training import TRAIN_SIZES, compile_ahead, time_train

from network import MODELS

MEMORY_NEEDED = 1 << 30  # bytes that the videos, frames and checkpoints take at most
CPU_WORKS = {
    "table": time_table,
    "preprocess": time_preprocess,
    "load": time_load,
    "train": time_train,
    "infer": time_infer,
}
CUDA_WORKS = {"load": time_workers, "train": time_train, "infer": time_infer}


def parse_args():
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description="Time preprocessing, loading, training and inference beside the classic way."
    )
    parser.add_argument("work", nargs="?", choices=CPU_WORKS, help="only this")
    parser.add_argument("--thorough", action="store_true", help="more and longer turns, more rows")
    parser.add_argument("--device", default="cpu", help="where to train and infer (%(default)s)")
    parser.add_argument(
        "--videos", type=Path, metavar="DIR", help="a folder of class folders of videos"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows here as well")
    return parser.parse_args()


def run(videos, work_dir, device, effort, *, only):
    """Time one kind of work, or all, print the rows and return them.

    Args:
        videos: A folder of class folders of videos.
        work_dir: A folder for what is written.
        device: Where to train and infer.
        effort: How much is timed.
        only: The kind of work; None for all.
    """
    works = CUDA_WORKS if device.type == "cuda" else CPU_WORKS
    rows = []
    print(format_header())
    for name, work in works.items():
        if only in (None, name):
            for row in work(videos, work_dir, device, effort):
                rows.append(row)
                print(format_row(row), flush=True)
    return rows


def choose_folder():
    """Where to write: into memory if there is room, and no TMPDIR says otherwise; None if not."""
    memory = Path("/dev/shm")
    if "TMPDIR" in os.environ or not memory.is_dir():
        return None
    return memory if shutil.disk_usage(memory).free > MEMORY_NEEDED else None


def compile_networks(videos, device):
    """Compile what will be trained, for each size of a batch."""
    num_classes = sum(path.is_dir() for path in videos.iterdir())
    batch_sizes = [batch_size for batch_size, _ in TRAIN_SIZES["cuda"]]
    compile_ahead(MODELS, num_classes, batch_sizes, device)


def main():
    """Do what the command line says."""
    args = parse_args()
    device = torch.device(args.device)
    is_cuda = device.type == "cuda"
    if is_cuda:
        print(f"on {torch.cuda.get_device_name(device)}, PyTorch {torch.__version__}")
    effort = THOROUGH if args.thorough else QUICK
    if is_cuda:
        effort = CUDA
    start = time.perf_counter()
    with tempfile.TemporaryDirectory(dir=choose_folder()) as folder:
        videos = args.videos or Path(folder) / "videos"
        if not args.videos:
            write_videos(videos, num_videos=effort.num_videos)
        if is_cuda and args.work in (None, "train"):
            compile_networks(videos, device)
        rows = run(videos, Path(folder), device, effort, only=args.work)
    num_workers = feeding_workers(rows)
    if num_workers is not None:
        print(f"{num_workers} workers load clips faster than any network trains on them")
    print(f"in {time.perf_counter() - start:.0f} s")
    if args.json:
        args.json.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
